/* seekd-bench engram, the part that needs a model: what reading rows from the store costs decoding,
 * and how many rows of a text a cache would have. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/fd.h"
#include "bench/engram.h"
#include "daemon/engram.h"
#include "engine/engine.h"
#include "engine/tokenizer.h"
#include "memory/row_cache.h"

#define N_DECODED 256

static int decode(struct engine *engine, double *ret, struct error *err) {
        uint32_t v = engine_config(engine)->vocab_size;
        CLEANUP_FREE float *logits = calloc(v, sizeof(float));
        struct sequence *s;
        int r = logits && sequence_new(engine, &s) == 0 ? 0 : error_set(err, -ENOMEM, "no memory");
        if (r < 0)
                return r;
        uint64_t start = clock_ns();
        for (uint32_t i = 0; r == 0 && i < N_DECODED; i++) {
                uint32_t id = i == 0 ? engine_config(engine)->bos_id : (i * 2654435761U >> 8) % v;
                engine_prefetch(s, &id, 0, 1); /* as when it is drawn */
                struct batch_part part = { s, &id, 1, 1, logits };
                r = engine_step(engine, &part, 1, err);
        }
        *ret = N_DECODED / ((double)(clock_ns() - start) / (double)NS_PER_S);
        sequence_free(s);
        return r;
}

/* Three decodes a round: stored, in memory, in memory again, beginning with another one each time.
 * The two in memory say how far equal things differ here. */
static int measure_pairs(struct engram_bench *b, struct engine *ram, struct engine *stored,
                         struct error *err) {
        int r = 0;
        for (unsigned i = 0; r == 0 && i < b->n_pairs + 1; i++) {
                double rate[3] = { 0 };
                for (unsigned k = 0; r == 0 && k < 3; k++) {
                        unsigned which = (i + k) % 3;
                        r = decode(which == 0 ? stored : ram, &rate[which], err);
                }
                if (i == 0 || r < 0)
                        continue; /* pages and caches fill */
                series_add(&b->decode_store, rate[0]);
                series_add(&b->decode_ram, rate[1]);
                series_add(&b->pairs, rate[0] / rate[1]);
                series_add(&b->equal_pairs, rate[2] / rate[1]);
        }
        return r;
}

static int measure_decode(struct engram_bench *b, struct error *err) {
        struct engram *engram;
        struct engine *ram = NULL, *stored = NULL;
        struct engram_options engram_options = { .state_dir = b->folder,
                                                 .cache_rows = ENGRAM_CACHE_ROWS_DEFAULT };
        struct engram_fetch_stats stats;
        if (access(b->path, F_OK) == 0)
                return error_set(err, -EEXIST, "%s is in the way of the model's", b->path);
        int r = engram_new(&engram_options, &engram);
        if (r < 0)
                return error_set(err, r, "no memory");
        struct engram_rows rows = engram_rows(engram);
        struct engine_options options = { .model_dir = b->model, .n_threads = 1 };
        r = engine_open(&options, &ram, err);
        options.engram_rows = &rows;
        if (r == 0)
                r = engine_open(&options, &stored, err);
        if (r == 0 && !engram_statistics(engram, &stats))
                r = error_set(err, -ENOTSUP, "%s: no Engram tables, or too large ones", b->model);
        if (r == 0)
                r = measure_pairs(b, ram, stored, err);
        engine_close(stored);
        engine_close(ram);
        engram_free(engram);
        unlink(b->path);
        return r;
}

/* -------- hits -------- */

/* A source of rows that only counts what a cache of some size would have had. */
struct counter {
        uint64_t n_table_rows;
        struct row_cache *cache;
        uint64_t n, n_hits;
};

static int open_counter(void *context, const struct engram_tables *tables, struct error *err) {
        (void)err;
        struct counter *c = context;
        for (uint32_t t = 0; t < tables->n_tables; t++)
                c->n_table_rows += tables->table[t].n_rows;
        return 0;
}

static void count(void *context, unsigned table, const uint64_t *rows, uint32_t n) {
        struct counter *c = context;
        for (uint32_t i = 0; i < n; i++) {
                uint64_t key = (uint64_t)table << 40 | rows[i];
                bool hit = row_cache_find(c->cache, key) != NULL;
                c->n_hits += hit;
                if (!hit)
                        row_cache_put(c->cache, key, (const uint8_t *)"");
        }
        c->n += n;
}

static const struct engram_rows_operations counting = { .open = open_counter, .prefetch = count };

/* Share of rows that are in a cache with 1 / `part` of the table's rows, token after token. */
static int hit_rate(struct engine *engine, struct counter *c, const uint32_t *ids, size_t n,
                    uint64_t part, double *ret) {
        struct sequence *s;
        c->n = c->n_hits = 0;
        if (row_cache_new(c->n_table_rows / part, 1, &c->cache) < 0)
                return -ENOMEM;
        int r = sequence_new(engine, &s);
        for (size_t i = 3; r == 0 && i < n; i++) /* three before it are its history */
                engine_prefetch(s, ids + i - 3, 3, 4);
        if (r == 0)
                sequence_free(s);
        *ret = c->n > 0 ? (double)c->n_hits / (double)c->n : 0;
        row_cache_free(c->cache);
        return r;
}

/* The default cache has 4,194,304 of the released model's 768,022,850 rows. */
#define RELEASED_PART 183

static int measure_hits(struct engram_bench *b, struct error *err) {
        struct counter counter = { 0 };
        struct engram_rows rows = { &counting, &counter };
        struct engine_options options = { .model_dir = b->model,
                                          .n_threads = 1,
                                          .engram_rows = &rows };
        struct engine *engine = NULL;
        struct file_map text;
        struct token_list ids = { 0 };
        double small = 0, whole = 0;
        int r = file_map_open(b->text, &text, err);
        if (r < 0)
                return r;
        r = engine_open(&options, &engine, err);
        if (r == 0)
                r = tokenizer_encode(engine_tokenizer(engine), (const char *)text.data, text.bytes,
                                     0, &ids, err);
        if (r == 0)
                r = hit_rate(engine, &counter, ids.ids, ids.n, RELEASED_PART, &small);
        if (r == 0) /* eight times the rows: what was ever used stays */
                r = hit_rate(engine, &counter, ids.ids, ids.n, 1, &whole);
        if (r == 0) {
                series_add(&b->hits, small);
                series_add(&b->hits_of_all, whole);
        }
        token_list_deinit(&ids);
        engine_close(engine);
        file_map_close(&text);
        return r;
}

int engram_bench_model(struct engram_bench *bench, struct error *err) {
        int r = bench->model ? measure_decode(bench, err) : 0;
        return r == 0 && bench->model && bench->text ? measure_hits(bench, err) : r;
}
