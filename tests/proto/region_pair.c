#include "tests/proto/region_pair.h"

#include "base/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void check(int r, const struct error *err) {
        if (r == 0)
                return;
        fprintf(stderr, "region pair: %s\n", err->text);
        abort();
}

void region_pair_init(struct region_pair *pair, uint64_t d_data_bytes, uint64_t c_data_bytes) {
        struct error err = { 0 };
        struct region_options options = {
                .side = REGION_D,
                .data_bytes = d_data_bytes,
                .session_id = 7,
                .generation = 1,
        };
        check(region_create(&options, &pair->d, &pair->fd_d, &err), &err);
        options.side = REGION_C;
        options.data_bytes = c_data_bytes;
        check(region_create(&options, &pair->c, &pair->fd_c, &err), &err);
        check(region_attach(pair->fd_d, REGION_D, &pair->d_client, &err), &err);
        check(region_attach(pair->fd_c, REGION_C, &pair->c_client, &err), &err);
}

void region_pair_deinit(struct region_pair *pair) {
        region_deinit(&pair->d);
        region_deinit(&pair->c);
        region_deinit(&pair->d_client);
        region_deinit(&pair->c_client);
        close(pair->fd_d);
        close(pair->fd_c);
}
