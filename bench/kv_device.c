/* seekd-bench kv, on the engine: a session whose device pool is limited beside one that is fully
 * resident, fed with the same tokens in turn. Every logit of both is compared.
 *
 * The limit is what a spilled session of the greatest length needs. Both sides save their pages, as
 * the daemon does, and lend them; so they differ in nothing but the limit. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/kv.h"
#include "engine/engine.h"
#include "engine/formats.h"

#define CHUNK ENGINE_PAGE_TOKENS
#define TEXT  1

enum { LIMITED, RESIDENT, N_SIDES };

struct side {
        struct engine *engine;
        struct sequence *sequence;
        uint8_t **slabs; /* of its full pages */
        size_t n_slabs, n_slabs_max;
        float *logits;  /* [CHUNK][vocab_size] of the last step */
        double seconds; /* that it took */
};

struct session {
        struct kv_bench *bench;
        struct side side[N_SIDES];
        uint32_t position;
        uint64_t n_compared, n_differing;
        bool saves;    /* spilled, the shortest session is smaller than resident */
        unsigned turn; /* whose step comes first changes with each */
};

/* -------- one side -------- */

static uint32_t vocab_size(const struct side *side) {
        return engine_config(side->engine)->vocab_size;
}

static int side_open(struct side *side, const struct kv_bench *b, uint64_t device_bytes,
                     uint32_t n_tokens, struct error *err) {
        struct engine_options options = { .model_dir = b->model,
                                          .n_threads = b->n_threads,
                                          .batch_rows_max = CHUNK,
                                          .device_kv_bytes = device_bytes,
                                          .hot_rows = b->hot_rows };
        int r = engine_open(&options, &side->engine, err);
        if (r < 0)
                return r;
        side->n_slabs_max = n_tokens / ENGINE_PAGE_TOKENS + 1;
        side->slabs = calloc(side->n_slabs_max, sizeof(*side->slabs));
        side->logits = calloc((size_t)CHUNK * vocab_size(side), sizeof(float));
        if (!side->slabs || !side->logits)
                return error_set(err, -ENOMEM, "out of memory");
        r = sequence_new(side->engine, &side->sequence);
        return r == 0 ? 0 : error_set(err, r, "no room for a sequence");
}

static void side_close(struct side *side) {
        sequence_free(side->sequence);
        for (size_t i = 0; i < side->n_slabs; i++)
                free(side->slabs[i]);
        free(side->slabs);
        free(side->logits);
        engine_close(side->engine);
}

static int lend_pages(struct side *side, struct error *err) {
        uint64_t n_full = sequence_position(side->sequence) / ENGINE_PAGE_TOKENS;
        for (; side->n_slabs < n_full; side->n_slabs++) {
                uint8_t *slab = malloc(engine_page_bytes(side->engine));
                if (!slab)
                        return error_set(err, -ENOMEM, "out of memory for pages");
                sequence_save_page(side->sequence, side->n_slabs, slab);
                sequence_lend_page(side->sequence, side->n_slabs, slab);
                side->slabs[side->n_slabs] = slab;
        }
        return 0;
}

static int side_step(struct side *side, const uint32_t *ids, uint32_t n, float *logits,
                     struct error *err) {
        struct batch_part part = { side->sequence, ids, n, n, logits };
        uint64_t start = clock_ns();
        int r = engine_step(side->engine, &part, 1, err);
        if (r == 0)
                r = lend_pages(side, err);
        side->seconds += (double)(clock_ns() - start) / (double)NS_PER_S;
        return r;
}

/* -------- both -------- */

static void compare(struct session *s, uint32_t n) {
        size_t n_logits = (size_t)n * vocab_size(&s->side[RESIDENT]);
        const float *a = s->side[LIMITED].logits, *b = s->side[RESIDENT].logits;
        s->n_compared += n_logits;
        if (memcmp(a, b, n_logits * sizeof(*a)) == 0)
                return;
        for (size_t i = 0; i < n_logits; i++)
                s->n_differing += memcmp(&a[i], &b[i], sizeof(*a)) != 0;
}

/* The next n tokens on both sides, `at_once` a step; then their times and logits are there. */
static int advance(struct session *s, uint32_t n, uint32_t at_once, struct error *err) {
        uint32_t ids[CHUNK], vocab = vocab_size(&s->side[RESIDENT]);
        uint32_t bos = engine_config(s->side[RESIDENT].engine)->bos_id;
        int r = 0;
        for (uint32_t i = 0; i < n; i++)
                ids[i] = kv_bench_token(TEXT, s->position + i, bos, vocab);
        for (unsigned k = 0; k < N_SIDES; k++) {
                struct side *side = &s->side[(k + s->turn) % N_SIDES];
                side->seconds = 0;
                for (uint32_t i = 0; r == 0 && i < n; i += at_once) {
                        uint32_t m = n - i < at_once ? n - i : at_once;
                        r = side_step(side, ids + i, m, side->logits + (size_t)i * vocab, err);
                }
        }
        s->turn++;
        s->position += n;
        if (r == 0)
                compare(s, n);
        return r;
}

static int prefill(struct session *s, uint32_t n_tokens, struct error *err) {
        struct kv_bench *b = s->bench;
        int r = 0;
        while (r == 0 && s->position < n_tokens) {
                uint32_t n = CHUNK - s->position % CHUNK;
                n = n < n_tokens - s->position ? n : n_tokens - s->position;
                r = advance(s, n, n, err);
                if (r < 0)
                        break;
                if (s->position <= b->lengths[0])
                        b->prefill_ms += s->side[RESIDENT].seconds * 1e3;
                series_add(&b->prefill_ratio.value,
                           s->side[RESIDENT].seconds / s->side[LIMITED].seconds);
                series_add(&b->prefill_ratio.reference, 1);
                /* A pool for a much longer session would still hold all of this one. */
                if (s->position >= b->lengths[0] / 2 && s->saves)
                        sequence_spill(s->side[LIMITED].sequence);
                kv_bench_progress("both prompts", s->position, b->lengths[b->n_lengths - 1]);
        }
        return r;
}

static double device_bytes(const struct side *side) {
        struct engine_kv_statistics statistics;
        engine_kv_statistics(side->engine, &statistics);
        return (double)statistics.device_bytes;
}

static int decode(struct session *s, struct error *err) {
        struct kv_bench *b = s->bench;
        uint32_t n = b->n_pair_tokens;
        int r = 0;
        for (unsigned i = 0; r == 0 && i < b->n_pairs; i++) {
                r = advance(s, n, 1, err);
                double limited = n / s->side[LIMITED].seconds,
                       resident = n / s->side[RESIDENT].seconds;
                series_add(&b->decode.value, limited);
                series_add(&b->decode.reference, resident);
                series_add(&b->decode_ratio.value, limited / resident);
                series_add(&b->decode_ratio.reference, 1);
                kv_bench_progress("decoding", i + 1, b->n_pairs);
        }
        return r;
}

/* What went through the hot pools between the two. */
static void add_traffic(struct kv_bench *b, const struct engine *engine,
                        const struct engine_kv_statistics *before, uint32_t position) {
        const struct model_config *c = engine_config(engine);
        struct engine_kv_statistics after;
        engine_kv_statistics(engine, &after);
        double n_tokens = (double)b->n_pairs * b->n_pair_tokens,
               selected = (double)(after.rows_gathered - before->rows_gathered),
               missed = (double)(after.rows_missed - before->rows_missed),
               size = (double)row_bytes(ROW_FP4_LATENT, c->head_dim);
        double n_rows = 0, n_sources = 0;
        for (uint32_t i = 0; i < c->n_layers; i++)
                if (c->layer[i].owns_kv) {
                        n_rows += position / c->layer[i].compress_ratio;
                        n_sources++;
                }
        double fits =
                n_sources * (b->hot_rows > c->index_topk ? b->hot_rows : c->index_topk) / n_rows;
        series_add(&b->hit_rate.value, selected > 0 ? 1 - missed / selected : 1);
        series_add(&b->hit_rate.reference, fits < 1 ? fits : 1);
        series_add(&b->moved_rows.value, missed / n_tokens);
        series_add(&b->moved_rows.reference, selected / n_tokens);
        series_add(&b->moved_bytes.value, missed * size / n_tokens);
        series_add(&b->moved_bytes.reference, selected * size / n_tokens);
}

/* Off the device and back: what an idle session holds there, and the next logits as if it had
 * stayed. */
static int idle(struct session *s, struct error *err) {
        struct side *side = &s->side[LIMITED];
        CLEANUP_FREE uint8_t *state = malloc(engine_state_bytes(side->engine));
        if (!state)
                return error_set(err, -ENOMEM, "out of memory for a state");
        sequence_save_state(side->sequence, state);
        side->sequence = sequence_free(side->sequence);
        series_add(&s->bench->idle.value, device_bytes(side));
        series_add(&s->bench->idle.reference, device_bytes(&s->side[RESIDENT]));
        int r = sequence_new(side->engine, &side->sequence);
        if (r < 0)
                return error_set(err, r, "no room for a sequence");
        r = sequence_restore(side->sequence, (const uint8_t *const *)side->slabs,
                             s->position / ENGINE_PAGE_TOKENS, state, err);
        return r == 0 ? advance(s, 1, 1, err) : r;
}

static double kept_bytes(const struct kv_bench *b, const struct engine *engine) {
        return (double)(engine_page_bytes(engine) * (b->lengths[0] / ENGINE_PAGE_TOKENS) +
                        engine_state_bytes(engine));
}

static int run(struct session *s, struct error *err) {
        struct kv_bench *b = s->bench;
        int r = 0;
        for (unsigned i = 0; r == 0 && i < b->n_lengths; i++) {
                r = prefill(s, b->lengths[i], err);
                series_add(&b->bytes[i].value, device_bytes(&s->side[LIMITED]));
                series_add(&b->bytes[i].reference, device_bytes(&s->side[RESIDENT]));
        }
        const struct engine *engine = s->side[LIMITED].engine;
        struct engine_kv_statistics before;
        engine_kv_statistics(engine, &before);
        b->kept_bytes = kept_bytes(b, engine);
        if (r == 0) {
                kv_bench_print(b);
                r = decode(s, err);
        }
        if (r == 0) {
                add_traffic(b, engine, &before, s->position);
                kv_bench_print(b);
                r = idle(s, err);
        }
        if (r == 0) {
                series_add(&b->differing.value, (double)s->n_differing);
                series_add(&b->differing.reference, (double)s->n_compared);
                kv_bench_print(b);
        }
        return r;
}

int kv_bench_device(struct kv_bench *b, struct error *err) {
        struct session s = { .bench = b };
        /* One more is computed by the session that was idle. */
        uint32_t n_tokens = b->lengths[b->n_lengths - 1] + b->n_pairs * b->n_pair_tokens + 1;
        int r = side_open(&s.side[RESIDENT], b, 0, n_tokens, err);
        if (r == 0)
                r = side_open(&s.side[LIMITED], b,
                              engine_kv_bytes(s.side[RESIDENT].engine, n_tokens, true), n_tokens,
                              err);
        if (r == 0) {
                const struct engine *engine = s.side[LIMITED].engine;
                s.saves = engine_kv_bytes(engine, b->lengths[0], true) <
                        engine_kv_bytes(engine, b->lengths[0], false);
                r = run(&s, err);
        }
        for (unsigned i = 0; i < N_SIDES; i++)
                side_close(&s.side[i]);
        return r;
}

int kv_bench_alone(struct kv_bench *b, struct error *err) {
        struct side side = { .engine = NULL };
        uint32_t ids[CHUNK], n, length = b->lengths[0];
        int r = side_open(&side, b, 0, length, err);
        for (uint32_t at = 0; r == 0 && at < length; at += n) {
                n = length - at < CHUNK ? length - at : CHUNK;
                for (uint32_t i = 0; i < n; i++)
                        ids[i] = kv_bench_token(TEXT, at + i, engine_config(side.engine)->bos_id,
                                                vocab_size(&side));
                r = side_step(&side, ids, n, side.logits, err);
                kv_bench_progress("a prompt by the engine alone", at + n, length);
        }
        b->prefill_ms = side.seconds * 1e3;
        if (r == 0)
                b->kept_bytes = kept_bytes(b, side.engine);
        side_close(&side);
        return r;
}
