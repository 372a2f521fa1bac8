#include "engine/kv_source.h"

#include <errno.h>
#include <stdlib.h>

int kv_source_init(struct kv_source *source, uint32_t n_slots, uint32_t row_bytes) {
        *source = (struct kv_source){ .row_bytes = row_bytes };
        int r = hot_pool_init(&source->hot, n_slots);
        source->memory = calloc(n_slots, row_bytes);
        source->wanted = calloc(n_slots, sizeof(*source->wanted));
        if (r == 0 && source->memory && source->wanted)
                return 0;
        kv_source_deinit(source);
        return -ENOMEM;
}

void kv_source_deinit(struct kv_source *source) {
        hot_pool_deinit(&source->hot);
        free(source->memory);
        free(source->wanted);
        *source = (struct kv_source){ 0 };
}
