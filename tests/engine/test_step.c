/* Promise: logits are a function of model and tokens alone. A small model (argv[1]), all of whose
 * limits bind within 200 tokens, and the hashes of its logits: BF16, float32. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/numerics.h"
#include "tests/engine/random_floats.h"

#define N_TOKENS 200

static const char *model_dir;
static uint64_t pinned[2]; /* by compute mode */
static uint32_t tokens[3][N_TOKENS];

static struct engine *open_engine(enum compute compute, enum backend_kind backend,
                                  unsigned threads) {
        struct engine *engine = NULL;
        struct error err = { 0 };
        struct engine_options options = {
                .model_dir = model_dir, .compute = compute, .backend = backend, .n_threads = threads
        };
        if (engine_open(&options, &engine, &err) < 0)
                fail_msg("%s", err.text);
        return engine;
}

static float *run_alone(struct engine *engine, const uint32_t *ids, uint32_t chunk) {
        uint32_t v = engine_config(engine)->vocab_size;
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        struct sequence *s;
        assert_int_equal(sequence_new(engine, &s), 0);
        for (uint32_t at = 0; at < N_TOKENS; at += chunk) {
                uint32_t n = N_TOKENS - at < chunk ? N_TOKENS - at : chunk;
                struct batch_part part = { s, ids + at, n, n, logits + (size_t)at * v };
                assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
        }
        assert_int_equal(sequence_position(s), N_TOKENS);
        sequence_free(s);
        return logits;
}

static size_t logits_bytes(const struct engine *engine) {
        return (size_t)N_TOKENS * engine_config(engine)->vocab_size * sizeof(float);
}

static void chunking_changes_no_bit(void **state) {
        (void)state;
        for (int compute = COMPUTE_BF16; compute <= COMPUTE_F32; compute++) {
                struct engine *engine = open_engine((enum compute)compute, BACKEND_AUTO, 1);
                float *whole = run_alone(engine, tokens[0], N_TOKENS);
                const uint32_t chunks[] = { 1, 2, 7, 64, 128 };
                for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++) {
                        float *other = run_alone(engine, tokens[0], chunks[i]);
                        assert_memory_equal(whole, other, logits_bytes(engine));
                        free(other);
                }
                free(whole);
                engine_close(engine);
        }
}

static void backends_and_threads_change_no_bit(void **state) {
        (void)state;
        struct engine *plain = open_engine(COMPUTE_BF16, BACKEND_REFERENCE, 1);
        struct engine *threads = open_engine(COMPUTE_BF16, BACKEND_AUTO, 3);
        float *a = run_alone(plain, tokens[0], 50), *b = run_alone(threads, tokens[0], N_TOKENS);
        assert_memory_equal(a, b, logits_bytes(plain));
        free(a), free(b);
        engine_close(plain);
        engine_close(threads);
}

static void batching_changes_no_bit(void **state) {
        (void)state;
        struct engine *engine = open_engine(COMPUTE_BF16, BACKEND_AUTO, 2);
        uint32_t v = engine_config(engine)->vocab_size, done[3] = { 0 };
        uint64_t seed = 5;
        float *alone[3], *together[3];
        struct sequence *s[3];
        for (int i = 0; i < 3; i++) {
                alone[i] = run_alone(engine, tokens[i], 64);
                together[i] = calloc((size_t)N_TOKENS * v, sizeof(float));
                assert_int_equal(sequence_new(engine, &s[i]), 0);
        }
        for (;;) { /* parts of random sizes, some sequences absent from a step */
                struct batch_part parts[3];
                size_t n_parts = 0;
                for (int i = 0; i < 3; i++) {
                        uint32_t n = (uint32_t)(random_next(&seed) % 30), left = N_TOKENS - done[i];
                        n = n < left ? n : left;
                        if (n == 0)
                                continue;
                        parts[n_parts++] = (struct batch_part){ s[i], tokens[i] + done[i], n, n,
                                                                together[i] + (size_t)done[i] * v };
                        done[i] += n;
                }
                assert_int_equal(engine_step(engine, parts, n_parts, NULL), 0);
                if (done[0] + done[1] + done[2] == 3 * N_TOKENS)
                        break;
        }
        for (int i = 0; i < 3; i++) {
                assert_memory_equal(alone[i], together[i], logits_bytes(engine));
                sequence_free(s[i]);
                free(alone[i]), free(together[i]);
        }
        engine_close(engine);
}

/* The first `cut` tokens, then what is saved of them, in a new sequence the rest. */
static float *run_resumed(struct engine *engine, const uint32_t *ids, uint32_t cut) {
        uint32_t v = engine_config(engine)->vocab_size, n_pages = cut / ENGINE_PAGE_TOKENS;
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        uint8_t *page[N_TOKENS / ENGINE_PAGE_TOKENS + 1],
                *saved = malloc(engine_state_bytes(engine));
        struct sequence *s;
        assert_int_equal(sequence_new(engine, &s), 0);
        struct batch_part first = { s, ids, cut, cut, logits };
        assert_int_equal(engine_step(engine, &first, 1, NULL), 0);
        for (uint32_t i = 0; i < n_pages; i++) {
                page[i] = malloc(engine_page_bytes(engine));
                sequence_save_page(s, i, page[i]);
        }
        sequence_save_state(s, saved);
        sequence_free(s);

        assert_int_equal(sequence_new(engine, &s), 0);
        assert_int_equal(sequence_restore(s, (const uint8_t *const *)page, n_pages, saved, NULL),
                         0);
        assert_int_equal(sequence_position(s), cut);
        uint32_t left = N_TOKENS - cut;
        struct batch_part rest = { s, ids + cut, left, left, logits + (size_t)cut * v };
        assert_int_equal(engine_step(engine, &rest, 1, NULL), 0);
        sequence_free(s);
        for (uint32_t i = 0; i < n_pages; i++)
                free(page[i]);
        free(saved);
        return logits;
}

static void restoring_changes_no_bit(void **state) {
        (void)state;
        struct engine *engine = open_engine(COMPUTE_BF16, BACKEND_AUTO, 1);
        float *whole = run_alone(engine, tokens[0], N_TOKENS);
        const uint32_t cuts[] = { 1, 2, 7, 127, 128, 129, 130, 191 };
        for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
                float *resumed = run_resumed(engine, tokens[0], cuts[i]);
                assert_memory_equal(whole, resumed, logits_bytes(engine));
                free(resumed);
        }
        free(whole);
        engine_close(engine);
}

/* All ids in chunks; each page is lent once it is full, and the sequence spilled at `spill_at`. */
static float *run_lent(struct engine *engine, const uint32_t *ids, uint32_t chunk,
                       uint32_t spill_at) {
        uint32_t v = engine_config(engine)->vocab_size;
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        uint8_t *slabs = malloc(N_TOKENS / ENGINE_PAGE_TOKENS * engine_page_bytes(engine));
        uint64_t n_lent = 0;
        struct sequence *s;
        assert_int_equal(sequence_new(engine, &s), 0);
        for (uint32_t at = 0; at < N_TOKENS; at += chunk) {
                uint32_t n = N_TOKENS - at < chunk ? N_TOKENS - at : chunk;
                struct batch_part part = { s, ids + at, n, n, logits + (size_t)at * v };
                assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
                for (; (n_lent + 1) * ENGINE_PAGE_TOKENS <= sequence_position(s); n_lent++) {
                        uint8_t *slab = slabs + n_lent * engine_page_bytes(engine);
                        sequence_save_page(s, n_lent, slab);
                        sequence_lend_page(s, n_lent, slab);
                }
                if (at <= spill_at)
                        assert_int_equal(sequence_spill(s), 0);
        }
        sequence_free(s);
        free(slabs);
        return logits;
}

static void spilling_changes_no_bit(void **state) {
        (void)state;
        struct engine *engine = open_engine(COMPUTE_BF16, BACKEND_AUTO, 2);
        float *whole = run_alone(engine, tokens[0], N_TOKENS);
        const uint32_t chunks[] = { 1, 7, 64 };
        for (size_t i = 0; i < sizeof(chunks) / sizeof(*chunks); i++) {
                for (uint32_t spill_at = 0; spill_at < N_TOKENS; spill_at += 140) {
                        float *other = run_lent(engine, tokens[0], chunks[i], spill_at);
                        assert_memory_equal(whole, other, logits_bytes(engine));
                        free(other);
                }
        }
        struct engine_kv_statistics statistics;
        engine_kv_statistics(engine, &statistics);
        assert_int_equal(statistics.spills, 6);
        assert_int_equal(statistics.device_bytes, 0);
        free(whole);
        engine_close(engine);
}

static void a_state_of_another_position_is_refused(void **state) {
        (void)state;
        struct engine *engine = open_engine(COMPUTE_BF16, BACKEND_AUTO, 1);
        uint8_t *saved = malloc(engine_state_bytes(engine));
        struct sequence *s, *other;
        struct error err = { 0 };
        assert_int_equal(sequence_new(engine, &s), 0);
        assert_int_equal(sequence_new(engine, &other), 0);
        struct batch_part part = { s, tokens[0], 130, 0, NULL };
        assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
        sequence_save_state(s, saved);
        assert_int_equal(sequence_restore(other, NULL, 0, saved, &err), -EINVAL);
        assert_non_null(strstr(err.text, "position 130"));
        assert_int_equal(sequence_restore(s, NULL, 1, saved, &err), -EINVAL);
        sequence_free(s);
        sequence_free(other);
        free(saved);
        engine_close(engine);
}

/* FNV-1a, 64 bits. */
static uint64_t hash_of(const void *data, size_t n) {
        const uint8_t *bytes = data;
        uint64_t h = 0xCBF29CE484222325;
        for (size_t i = 0; i < n; i++)
                h = (h ^ bytes[i]) * 0x100000001B3;
        return h;
}

/* Fails when numerics change: then give NUMERICS_VERSION a new number here and pin the hashes that
 * are printed in meson.build. */
static void logits_are_those_of_this_numerics_version(void **state) {
        (void)state;
        _Static_assert(NUMERICS_VERSION == 1, "pin the new version's hashes");
        for (int compute = COMPUTE_BF16; compute <= COMPUTE_F32; compute++) {
                struct engine *engine = open_engine((enum compute)compute, BACKEND_AUTO, 1);
                float *logits = run_alone(engine, tokens[0], N_TOKENS);
                uint64_t hash = hash_of(logits, logits_bytes(engine));
                if (hash != pinned[compute])
                        fail_msg("compute mode %d: hash 0x%016llX", compute,
                                 (unsigned long long)hash);
                free(logits);
                engine_close(engine);
        }
}

static void refusals_name_the_part_and_change_nothing(void **state) {
        (void)state;
        struct engine *engine = open_engine(COMPUTE_BF16, BACKEND_AUTO, 1);
        struct error err = { 0 };
        struct sequence *s;
        uint32_t bad[2] = { 5, engine_config(engine)->vocab_size };
        float *logits = calloc(engine_config(engine)->vocab_size, sizeof(float));
        assert_int_equal(sequence_new(engine, &s), 0);

        struct batch_part part = { s, bad, 2, 1, logits };
        assert_int_equal(engine_step(engine, &part, 1, &err), -EINVAL);
        assert_non_null(strstr(err.text, "part 0: token 1"));
        part.n = 0;
        assert_int_equal(engine_step(engine, &part, 1, &err), -EINVAL);
        part.n = engine_batch_rows_max(engine) + 1;
        assert_int_equal(engine_step(engine, &part, 1, &err), -EINVAL);
        part.n = 1;
        part.n_logits = 2;
        assert_int_equal(engine_step(engine, &part, 1, &err), -EINVAL);
        assert_int_equal(sequence_position(s), 0);

        sequence_free(s);
        free(logits);
        engine_close(engine);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(chunking_changes_no_bit),
                cmocka_unit_test(backends_and_threads_change_no_bit),
                cmocka_unit_test(batching_changes_no_bit),
                cmocka_unit_test(restoring_changes_no_bit),
                cmocka_unit_test(spilling_changes_no_bit),
                cmocka_unit_test(a_state_of_another_position_is_refused),
                cmocka_unit_test(logits_are_those_of_this_numerics_version),
                cmocka_unit_test(refusals_name_the_part_and_change_nothing),
        };
        uint64_t seed = 1;
        if (argc != 4)
                return 1;
        model_dir = argv[1];
        pinned[COMPUTE_BF16] = strtoull(argv[2], NULL, 16);
        pinned[COMPUTE_F32] = strtoull(argv[3], NULL, 16);
        for (int i = 0; i < 3; i++)
                for (int j = 0; j < N_TOKENS; j++)
                        tokens[i][j] = j == 0 ? 0 : (uint32_t)(random_next(&seed) % 300);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
