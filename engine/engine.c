#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/model.h"
#include "engine/pool.h"
#include "engine/progress.h"
#include "engine/safetensors.h"
#include "engine/step.h"
#include "engine/tokenizer.h"

/* Tokens of one step unless asked otherwise: four prefill chunks of 128. */
#define ROWS_MAX_DEFAULT 512
/* A step of this many tokens is already bound by arithmetic, not by reading weights; bounds the
 * workspace. */
#define ROWS_MAX_LIMIT 65536
/* Slots of a hot pool unless asked otherwise: four times what a token of the released model
 * selects, so that most of what the next one selects is there. */
#define HOT_ROWS_DEFAULT 2048
/* More threads than this only wait for each other on the models and machines we know. */
#define THREADS_LIMIT 256

/* Where the parts of loading begin, as shares of the whole. What takes long in a large model is
 * reading: the headers of many files from a cold disk, then scales that are looked at. */
#define AT_TOKENIZER 0.01
#define AT_HASH      0.05
#define AT_FILES     0.10
#define AT_WEIGHTS   0.30
#define AT_WORKSPACE 0.95

static void report(const struct engine_options *options, double done, const char *what) {
        if (options->progress)
                options->progress(options->userdata, done, what);
}

static struct progress part(const struct engine_options *options, double from, double to) {
        return (struct progress){ options->progress, options->userdata, from, to };
}

static int choose_backend(enum backend_kind kind, const struct backend **ret, struct error *err) {
        const struct backend *fast = backend_vector(0);
        if (kind == BACKEND_CPU && !fast)
                return error_set(err, -ENOTSUP,
                                 "backend cpu: this processor has neither AVX2 with FMA nor "
                                 "AVX-512; use auto");
        *ret = kind == BACKEND_REFERENCE || !fast ? &backend_reference : fast;
        return 0;
}

static int load_files(struct engine *e, const struct engine_options *options, struct error *err) {
        report(options, 0.0, "reading config.json");
        int r = model_config_read(options->model_dir, &e->config, err);
        if (r < 0)
                return r;
        report(options, AT_TOKENIZER, "reading tokenizer.json");
        r = tokenizer_open(options->model_dir, &e->tokenizer, err);
        if (r < 0)
                return r;
        if (tokenizer_n_ids(e->tokenizer) > e->config.vocab_size)
                return error_set(err, -EINVAL,
                                 "tokenizer.json has %u ids, config.json's vocab_size is %u",
                                 tokenizer_n_ids(e->tokenizer), e->config.vocab_size);
        report(options, AT_HASH, "building the n-gram hash");
        if (e->config.engram_ngram_max > 0) /* else the family has no Engram */
                r = engram_hash_init(&e->hash, &e->config, e->tokenizer, err);
        if (r < 0)
                return r;
        struct progress files = part(options, AT_FILES, AT_WEIGHTS),
                        weights = part(options, AT_WEIGHTS, AT_WORKSPACE);
        r = checkpoint_open(options->model_dir, &files, &e->checkpoint, err);
        if (r < 0)
                return r;
        return weights_bind(&e->weights, e->checkpoint, &e->config, options->engram_rows != NULL,
                            &weights, err);
}

static int open_engram(struct engine *e, const struct engram_rows *source, struct error *err) {
        engram_tables_init(&e->engram_tables, &e->config, &e->weights, &e->hash);
        int r = ENGRAM_ROWS_OF_CHECKPOINT;
        if (source && e->config.n_engram_layers > 0)
                r = source->operations->open(source->context, &e->engram_tables, err);
        if (r == 0) {
                e->engram_rows = *source;
                return 0;
        }
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < e->config.n_engram_layers; i++)
                if (!e->engram_tables.table[i].codes)
                        return error_set(err, -ENOENT,
                                         "layers.%u.engram.embed: not in the checkpoint, and its "
                                         "rows are nowhere else",
                                         e->config.engram_layers[i]);
        r = weights_check_engram_scales(&e->weights, &e->config, err);
        if (r < 0)
                return r;
        e->engram_rows = (struct engram_rows){ &engram_checkpoint_rows, &e->engram_checkpoint };
        return engram_checkpoint_rows.open(&e->engram_checkpoint, &e->engram_tables, err);
}

static int prepare(struct engine *e, const struct engine_options *options, struct error *err) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        unsigned n_threads = options->n_threads ? options->n_threads
                : online > 0                    ? (unsigned)online
                                                : 1;
        n_threads = n_threads > THREADS_LIMIT ? THREADS_LIMIT : n_threads;
        e->rows_max = options->batch_rows_max ? options->batch_rows_max : ROWS_MAX_DEFAULT;
        e->rows_max = e->rows_max > ROWS_MAX_LIMIT ? ROWS_MAX_LIMIT : e->rows_max;
        e->round = options->compute == COMPUTE_BF16;
        e->choices = options->choices;
        e->kv = &kv_memory;
        e->config.exact_rows = e->round ? ROW_BF16 : ROW_F32;
        kv_layout_init(&e->kv_layout, &e->frontier_layout, &e->config);
        e->kv_pool.limit = options->device_kv_bytes > 0 && options->device_kv_bytes < INT64_MAX
                ? options->device_kv_bytes
                : INT64_MAX;
        e->kv_pool.hot_rows = options->hot_rows ? options->hot_rows : HOT_ROWS_DEFAULT;
        if (e->kv_pool.hot_rows < e->config.index_topk)
                e->kv_pool.hot_rows = e->config.index_topk;

        report(options, AT_WORKSPACE, "allocating the workspace");
        int r = rope_frequencies_init(&e->rope, &e->config);
        if (r == 0)
                r = pool_new(n_threads, &e->pool);
        if (r == 0)
                r = workspace_new(e, &e->workspace);
        if (r < 0)
                return error_set(err, r, "%s: no room for a workspace of %u rows and %u threads",
                                 options->model_dir, e->rows_max, n_threads);
        return 0;
}

int engine_open(const struct engine_options *options, struct engine **ret, struct error *err) {
        struct engine *e = calloc(1, sizeof(*e));
        if (!e)
                return error_set(err, -ENOMEM, "out of memory");
        int r = choose_backend(options->backend, &e->backend, err);
        if (r == 0)
                r = load_files(e, options, err);
        if (r == 0)
                r = open_engram(e, options->engram_rows, err);
        if (r == 0)
                r = prepare(e, options, err);
        if (r < 0) {
                engine_close(e);
                return r;
        }
        report(options, 1.0, "ready");
        *ret = e;
        return 0;
}

struct engine *engine_close(struct engine *engine) {
        if (!engine)
                return NULL;
        workspace_free(engine->workspace);
        pool_free(engine->pool);
        rope_frequencies_deinit(&engine->rope);
        weights_unbind(&engine->weights);
        checkpoint_close(engine->checkpoint);
        engram_hash_deinit(&engine->hash);
        tokenizer_close(engine->tokenizer);
        free(engine);
        return NULL;
}

void engine_watch(struct engine *engine,
                  void (*layer_done)(void *userdata, uint32_t done, uint32_t total),
                  void *userdata) {
        engine->layer_done = layer_done;
        engine->layer_done_userdata = userdata;
}

const struct model_config *engine_config(const struct engine *engine) {
        return &engine->config;
}

const struct tokenizer *engine_tokenizer(const struct engine *engine) {
        return engine->tokenizer;
}

const char *engine_backend_name(const struct engine *engine) {
        return engine->backend->name;
}

const char *engine_numerics_class(const struct engine *engine) {
        return engine->round ? "cpu bf16" : "cpu f32";
}

unsigned engine_batch_rows_max(const struct engine *engine) {
        return engine->rows_max;
}

uint64_t engine_weight_bytes(const struct engine *engine) {
        return engine->weights.bytes;
}

bool engine_skipped(const struct engine *engine, unsigned index, char *ret_text, size_t size) {
        for (unsigned kind = 0; kind < N_SKIPPED_KINDS; kind++) {
                const struct tensors_skipped *s = &engine->weights.skipped[kind];
                if (s->n == 0 || index-- > 0)
                        continue;
                bool large = s->bytes >= 1000000000;
                snprintf(ret_text, size, "%s: %llu tensors, %.*f %s, not used%s%s", s->what,
                         (unsigned long long)s->n, large ? 2 : 3,
                         (double)s->bytes / (large ? 1e9 : 1e6), large ? "GB" : "MB",
                         kind == SKIPPED_UNKNOWN ? "; the first is " : "",
                         kind == SKIPPED_UNKNOWN ? s->first : "");
                return true;
        }
        return false;
}

uint64_t engine_decode_bytes(const struct engine *engine) {
        const struct model_config *c = &engine->config;
        uint64_t embed_row = (uint64_t)c->hidden_size * sizeof(uint16_t);
        uint64_t expert_layers = model_config_expert_layers(c), expert = 0;
        for (uint32_t l = 0; expert_layers > 0 && expert == 0; l++) {
                const struct mlp_weights *w = engine->weights.layer[l].experts;
                if (c->layer[l].feed_forward == FEED_FORWARD_EXPERTS)
                        expert = matrix_bytes(&w->gate) + matrix_bytes(&w->up) +
                                matrix_bytes(&w->down);
        }
        uint64_t engram_row = c->engram_head_dim + c->engram_head_dim / FP8_BLOCK;
        uint64_t bytes = engine->weights.bytes - (c->vocab_size - 1) * embed_row -
                expert_layers * (c->n_experts - c->n_experts_per_token) * expert;
        for (uint32_t i = 0; i < c->n_engram_layers; i++) {
                bool counted = engine->engram_tables.table[i].codes != NULL;
                bytes -= counted ? c->engram_rows[i] * engram_row : 0;
                bytes += engine->hash.n_rows * engram_row;
        }
        return bytes;
}

const struct engram_tables *engine_engram_tables(const struct engine *engine) {
        return &engine->engram_tables;
}
