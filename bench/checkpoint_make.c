#include "bench/checkpoint_make.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "bench/checkpoint_write.h"
#include "engine/tokenizer.h"

/* The tokenizer to copy: the one named, the base folder's, the installed default model's. */
static int find_tokenizer(const struct checkpoint_order *order, char path[PATH_MAX],
                          struct error *err) {
        struct stat st;
        int n;
        if (order->tokenizer)
                n = snprintf(path, PATH_MAX, "%s", order->tokenizer);
        else if (stat(order->config.like, &st) == 0 && S_ISDIR(st.st_mode))
                n = snprintf(path, PATH_MAX, "%s/tokenizer.json", order->config.like);
        else
                n = snprintf(path, PATH_MAX, "%s/tokenizer.json", SEEKD_MODEL_DIR);
        if (n < 0 || n >= PATH_MAX)
                return error_set(err, -ENAMETOOLONG, "the tokenizer's path is too long");
        if (!order->tokenizer && access(path, R_OK) < 0)
                return error_set(err, -ENOENT, "%s: not there; name another with --tokenizer",
                                 path);
        return 0;
}

static unsigned n_threads(const struct checkpoint_order *order) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        if (order->n_threads > 0)
                return order->n_threads;
        if (online < 1)
                return 1;
        return online > CHECKPOINT_THREADS_MAX ? CHECKPOINT_THREADS_MAX : (unsigned)online;
}

static int write_plan(const struct checkpoint_order *order, const struct checkpoint_config *config,
                      const struct checkpoint_plan *plan, const struct file_map *tokenizer,
                      struct error *err) {
        size_t index_bytes;
        CLEANUP_FREE char *index = checkpoint_plan_index(plan, &index_bytes);
        CLEANUP_FREE char *json = json_dumps(config->json, JSON_INDENT(1));
        if (!index || !json)
                return error_set(err, -ENOMEM, "out of memory");
        const struct checkpoint_file files[] = {
                { "config.json", json, strlen(json) },
                { "tokenizer.json", (const char *)tokenizer->data, tokenizer->bytes },
                { "model.safetensors.index.json", index, index_bytes },
        };
        const struct checkpoint_write write = {
                .plan = plan,
                .target = order->out,
                .files = files,
                .n_files = sizeof(files) / sizeof(files[0]),
                .n_threads = n_threads(order),
                .progress = order->progress,
        };
        return checkpoint_write(&write, err);
}

static int make(const struct checkpoint_order *order, struct checkpoint_config *config,
                struct checkpoint_plan *plan, struct error *err) {
        char path[PATH_MAX];
        struct file_map map CLEANUP(file_map_close) = { 0 };
        struct tokenizer *tokenizer = NULL;
        int r = find_tokenizer(order, path, err);
        if (r == 0)
                r = file_map_open(path, &map, err);
        if (r == 0)
                r = tokenizer_parse(path, map.data ? (const char *)map.data : "", map.bytes,
                                    &tokenizer, err);
        if (r == 0)
                r = checkpoint_config_make(&order->config, tokenizer, config, err);
        tokenizer_close(tokenizer);
        if (r == 0)
                r = checkpoint_plan_make(&config->table, order->seed, plan, err);
        if (r == 0 && order->out)
                r = write_plan(order, config, plan, &map, err);
        return r;
}

int checkpoint_make(const struct checkpoint_order *order, struct checkpoint_made *ret,
                    struct error *err) {
        struct checkpoint_plan plan = { 0 };
        struct checkpoint_config *config = calloc(1, sizeof(*config));
        if (!config)
                return error_set(err, -ENOMEM, "out of memory");
        uint64_t start = clock_ns();
        int r = make(order, config, &plan, err);
        if (r == 0)
                *ret = (struct checkpoint_made){
                        .n_files = plan.n_shards,
                        .n_tensors = plan.n_tensors,
                        .n_parameters = plan.n_parameters,
                        .data_bytes = plan.data_bytes,
                        .file_bytes = plan.file_bytes,
                        .seconds = (double)(clock_ns() - start) / (double)NS_PER_S,
                };
        checkpoint_plan_deinit(&plan);
        checkpoint_config_deinit(config);
        free(config);
        return r;
}
