/* Promise: where rows lie changes no bit of a logit, and the device's bytes are counted. Arguments:
 * a model's folder, how many tokens make its limits bind, and "logits" to leave out what any model
 * shows as well. Allocations go through this file (meson.build), so that it can make
 * them fail. */
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
#include "tests/engine/random_floats.h"

#define TEXTS      3
#define TOKENS_MAX 600
#define PAGES_MAX  (TOKENS_MAX / ENGINE_PAGE_TOKENS + 1)

static const char *model_dir;
static uint32_t n_tokens;
static uint32_t text[TEXTS][TOKENS_MAX];
static float *expected[TEXTS]; /* [n_tokens][vocab_size]: alone, without a bound */
static size_t vocab;

/* ---- allocations ---- */

static uint64_t fail_in; /* 1: the next one; 0: none */

static bool fails(void) {
        return fail_in > 0 && --fail_in == 0;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_reallocarray(void *old, size_t n, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_reallocarray(void *old, size_t n, size_t bytes);

void *__wrap_malloc(size_t bytes) {
        return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes) {
        return fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_reallocarray(void *old, size_t n, size_t bytes) {
        return fails() ? NULL : __real_reallocarray(old, n, bytes);
}

/* ---- sequences that lend their pages ---- */

struct run {
        struct engine *engine;
        struct sequence *sequence;
        uint32_t text, done;
        uint64_t n_lent;
        bool lends;
        uint8_t *slab[PAGES_MAX], *state;
        float *logits; /* [n_tokens][vocab] */
};

/* Rows of a step in tests that count bytes: the fewer, the fewer pages wait to be lent. */
#define ROWS 140

static struct engine *open_engine(uint64_t device_kv_bytes, uint32_t hot_rows, unsigned rows) {
        struct engine *engine = NULL;
        struct error err = { 0 };
        struct engine_options options = {
                .model_dir = model_dir,
                .n_threads = 2,
                .device_kv_bytes = device_kv_bytes,
                .hot_rows = hot_rows,
                .batch_rows_max = rows,
        };
        if (engine_open(&options, &engine, &err) < 0)
                fail_msg("%s", err.text);
        return engine;
}

static struct run run_new(struct engine *engine, uint32_t which, bool lends) {
        struct run run = { .engine = engine, .text = which, .lends = lends };
        run.state = malloc(engine_state_bytes(engine));
        run.logits = calloc(n_tokens, vocab * sizeof(float));
        assert_int_equal(sequence_new(engine, &run.sequence), 0);
        return run;
}

static void lend_pages(struct run *run) {
        for (; run->lends && (run->n_lent + 1) * ENGINE_PAGE_TOKENS <= run->done; run->n_lent++) {
                uint8_t *slab = malloc(engine_page_bytes(run->engine));
                sequence_save_page(run->sequence, run->n_lent, slab);
                sequence_lend_page(run->sequence, run->n_lent, slab);
                run->slab[run->n_lent] = slab;
        }
}

static struct batch_part next_part(const struct run *run, uint32_t n) {
        uint32_t left = n_tokens - run->done;
        n = n < left ? n : left;
        return (struct batch_part){ run->sequence, text[run->text] + run->done, n, n,
                                    run->logits + run->done * vocab };
}

static void step_done(struct run *run, uint32_t n) {
        run->done += n;
        assert_int_equal(sequence_position(run->sequence), run->done);
        lend_pages(run);
}

static int try_step(struct run *run, uint32_t n, struct error *err) {
        struct batch_part part = next_part(run, n);
        int r = engine_step(run->engine, &part, 1, err);
        if (r == 0)
                step_done(run, part.n);
        return r;
}

static void run_to(struct run *run, uint32_t end, uint32_t chunk) {
        while (run->done < end) {
                struct error err = { 0 };
                uint32_t left = end - run->done;
                if (try_step(run, chunk < left ? chunk : left, &err) < 0)
                        fail_msg("%s", err.text);
        }
}

/* What of text's logits was computed is what is expected. */
static void check_logits(const struct run *run, uint32_t first) {
        for (uint32_t at = first; at < run->done; at++)
                if (memcmp(run->logits + at * vocab, expected[run->text] + at * vocab,
                           vocab * sizeof(float)) != 0)
                        fail_msg("text %u: the logits at position %u differ", run->text, at);
}

static void run_free(struct run *run) {
        sequence_free(run->sequence);
        for (uint64_t i = 0; i < run->n_lent; i++)
                free(run->slab[i]);
        free(run->state);
        free(run->logits);
}

/* The run's sequence ends; a new one goes on from what was saved of it, in `engine`. */
static int resume(struct run *run, struct engine *engine, struct error *err) {
        if (run->sequence)
                sequence_save_state(run->sequence, run->state);
        sequence_free(run->sequence);
        run->sequence = NULL;
        run->engine = engine;
        int r = sequence_new(engine, &run->sequence);
        if (r == 0)
                r = sequence_restore(run->sequence, (const uint8_t *const *)run->slab, run->n_lent,
                                     run->state, err);
        if (r < 0)
                run->sequence = sequence_free(run->sequence);
        return r;
}

static struct engine_kv_statistics statistics_of(const struct engine *engine) {
        struct engine_kv_statistics statistics;
        engine_kv_statistics(engine, &statistics);
        return statistics;
}

static void close_empty(struct engine *engine) {
        struct engine_kv_statistics statistics = statistics_of(engine);
        assert_int_equal(statistics.device_bytes, 0);
        assert_int_equal(statistics.n_sequences, 0);
        assert_int_equal(statistics.n_spilled, 0);
        engine_close(engine);
}

/* ---- tests ---- */

static void spilling_changes_no_bit(void **state) {
        (void)state;
        struct engine *probe = open_engine(0, 1, ROWS);
        uint32_t topk = engine_config(probe)->index_topk;
        close_empty(probe);
        const uint32_t chunks[] = { n_tokens, 129, 37, 1 };
        const uint32_t hot_rows[] = { topk, topk + 3, 2048 };
        for (unsigned h = 0; h < 3; h++) {
                struct engine *engine = open_engine(0, hot_rows[h], 0);
                for (unsigned c = 0; c < 4; c++) {
                        struct run run = run_new(engine, 0, true);
                        run_to(&run, (h + c) % 3 * n_tokens * 2 / 5, chunks[c]);
                        assert_int_equal(sequence_spill(run.sequence), 0);
                        assert_int_equal(statistics_of(engine).n_spilled, 1);
                        run_to(&run, n_tokens, chunks[c]);
                        check_logits(&run, 0);
                        run_free(&run);
                }
                struct engine_kv_statistics statistics = statistics_of(engine);
                assert_true(statistics.rows_missed > 0);
                assert_true(statistics.rows_gathered > statistics.rows_missed);
                close_empty(engine);
        }
}

/* Layers that attend the same selection gather it once: a decoded token asks for topk rows of each
 * selection at most. */
static void a_selection_is_gathered_once(void **state) {
        (void)state;
        struct engine *engine = open_engine(0, 0, 0);
        const struct model_config *c = engine_config(engine);
        uint32_t n_selections = 0, n_readers = 0;
        for (uint32_t l = 0; l < c->n_layers; l++) {
                bool nsa = c->layer[l].attention == ATTENTION_NSA; /* one for each group */
                n_selections += nsa ? c->n_kv_heads : c->layer[l].owns_index;
                n_readers += c->layer[l].kv_source >= 0;
        }
        /* Layers of V4.1 alone share selections. */
        assert_true(n_readers > n_selections || c->layer[0].attention != ATTENTION_CSA2);
        struct run run = run_new(engine, 0, true);
        assert_int_equal(sequence_spill(run.sequence), 0);
        run_to(&run, n_tokens - 1, 64);
        uint64_t before = statistics_of(engine).rows_gathered;
        run_to(&run, n_tokens, 1);
        uint64_t gathered = statistics_of(engine).rows_gathered - before;
        assert_in_range(gathered, 1, n_selections * c->index_topk);
        run_free(&run);
        close_empty(engine);
}

/* Texts in random parts, under a bound that holds one and a half of them. */
static void pressure_changes_no_bit(void **state) {
        (void)state;
        struct engine *probe = open_engine(0, 1, ROWS);
        uint64_t one = engine_kv_bytes(probe, n_tokens, false),
                 spilled = engine_kv_bytes(probe, n_tokens, true), seed = 11;
        close_empty(probe);
        struct engine *engine = open_engine(one + spilled + (one - spilled) / 2, 1, ROWS);
        struct run run[2] = { run_new(engine, 0, true), run_new(engine, 1, true) };
        while (run[0].done < n_tokens || run[1].done < n_tokens) {
                struct batch_part parts[2];
                uint32_t whose[2], n_parts = 0;
                for (uint32_t i = 0; i < 2; i++) {
                        parts[n_parts] = next_part(&run[i], (uint32_t)(random_next(&seed) % 70));
                        whose[n_parts] = i;
                        n_parts += parts[n_parts].n > 0;
                }
                struct error err = { 0 };
                if (engine_step(engine, parts, n_parts, &err) < 0)
                        fail_msg("%s", err.text);
                for (uint32_t i = 0; i < n_parts; i++)
                        step_done(&run[whose[i]], parts[i].n);
        }
        struct engine_kv_statistics statistics = statistics_of(engine);
        assert_int_equal(statistics.n_spilled, 1); /* and the other is resident */
        assert_true(statistics.device_bytes_max <= one + spilled + (one - spilled) / 2);
        assert_int_equal(statistics.device_bytes,
                         sequence_bytes(run[0].sequence) + sequence_bytes(run[1].sequence));
        for (int i = 0; i < 2; i++) {
                check_logits(&run[i], 0);
                run_free(&run[i]);
        }
        close_empty(engine);
}

static void nothing_moves_while_all_fits(void **state) {
        (void)state;
        struct engine *probe = open_engine(0, 1, ROWS);
        uint64_t two = 2 * engine_kv_bytes(probe, n_tokens, false);
        close_empty(probe);
        struct engine *engine = open_engine(two, 1, ROWS);
        struct run run[2] = { run_new(engine, 0, true), run_new(engine, 1, true) };
        for (int i = 0; i < 2; i++)
                run_to(&run[i], n_tokens, 100);
        struct engine_kv_statistics statistics = statistics_of(engine);
        assert_int_equal(statistics.device_bytes, two);
        assert_int_equal(statistics.spills, 0);
        assert_int_equal(statistics.rows_gathered, 0);
        for (int i = 0; i < 2; i++)
                run_free(&run[i]);
        close_empty(engine);
}

static void restoring_lends(void **state) {
        (void)state;
        struct engine *roomy = open_engine(0, 1, ROWS);
        uint64_t resident = engine_kv_bytes(roomy, n_tokens, false);
        struct engine *narrow = open_engine(resident - 1, 1, ROWS);
        const uint32_t cuts[] = { 127, 128, 200, 3 * ENGINE_PAGE_TOKENS - 1 };
        for (unsigned i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
                uint32_t cut = cuts[i] < n_tokens - 1 ? cuts[i] : n_tokens - 1;
                struct run run = run_new(roomy, 0, true);
                run_to(&run, cut, 64);
                assert_int_equal(resume(&run, roomy, NULL), 0);
                assert_int_equal(statistics_of(roomy).n_spilled, 0);
                run_to(&run, n_tokens - 2, 50);
                assert_int_equal(sequence_spill(run.sequence), 0);
                run_to(&run, n_tokens - 1, 50);
                check_logits(&run, 0);
                assert_int_equal(resume(&run, narrow, NULL), 0);
                run_to(&run, n_tokens, 1);
                check_logits(&run, 0);
                run_free(&run);
        }
        close_empty(roomy);
        close_empty(narrow);
}

/* Beside a sequence that never lends one byte is missing for all rows of the other: that one is
 * spilled from its start. */
static void what_does_not_fit_is_restored_spilled(void **state) {
        (void)state;
        struct engine *roomy = open_engine(0, 1, ROWS);
        uint32_t cut = n_tokens - 10;
        uint64_t room =
                engine_kv_bytes(roomy, n_tokens, false) + engine_kv_bytes(roomy, cut, false) - 1;
        struct run run = run_new(roomy, 0, true);
        run_to(&run, cut, 64);
        struct engine *narrow = open_engine(room, 1, ROWS);
        struct run other = run_new(narrow, 1, false);
        run_to(&other, n_tokens, ROWS);
        assert_int_equal(resume(&run, narrow, NULL), 0);
        assert_int_equal(statistics_of(narrow).n_spilled, 1);
        assert_true(sequence_bytes(run.sequence) <= engine_kv_bytes(narrow, cut, true));
        run_to(&run, n_tokens, 7);
        check_logits(&run, 0);
        check_logits(&other, 0);
        run_free(&run);
        run_free(&other);
        close_empty(roomy);
        close_empty(narrow);
}

static void what_cannot_fit_is_refused_and_nothing_changes(void **state) {
        (void)state;
        struct engine *probe = open_engine(0, 1, ROWS);
        uint64_t one = engine_kv_bytes(probe, n_tokens, false);
        uint64_t bytes = one + engine_kv_bytes(probe, 2 * ENGINE_PAGE_TOKENS, false);
        struct run kept = run_new(probe, 2, true);
        run_to(&kept, n_tokens, 100);
        struct engine *engine = open_engine(bytes, 1, ROWS);
        struct run first = run_new(engine, 0, false), second = run_new(engine, 1, true);
        run_to(&first, n_tokens, 100);
        run_to(&second, 2 * ENGINE_PAGE_TOKENS, 100);

        struct error err = { 0 };
        struct engine_kv_statistics before = statistics_of(engine);
        assert_int_equal(before.device_bytes, bytes);
        assert_int_equal(try_step(&second, ROWS, &err), -ENOSPC);
        assert_non_null(strstr(err.text, "bytes more are needed"));
        struct engine_kv_statistics after = statistics_of(engine);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(resume(&kept, engine, NULL), -ENOSPC);

        sequence_free(first.sequence);
        first.sequence = NULL;
        run_to(&second, n_tokens, ROWS);
        check_logits(&second, 0);
        assert_int_equal(resume(&kept, engine, NULL), 0);
        run_free(&first);
        run_free(&second);
        run_free(&kept);
        close_empty(engine);
        close_empty(probe);
}

/* Bytes of a spilled sequence after each step of `chunk` tokens, one of which starts at a page that
 * lacks one token. Whether engine_kv_bytes() was reached; it is never passed. */
static bool reaches_worst_case(struct engine *engine, uint32_t chunk) {
        struct run run = run_new(engine, 0, true);
        bool reached = false;
        assert_int_equal(sequence_spill(run.sequence), 0);
        for (uint32_t pause = 2 * ENGINE_PAGE_TOKENS - 1; run.done < n_tokens;) {
                uint32_t left = run.done < pause ? pause - run.done : chunk;
                struct batch_part part = next_part(&run, chunk < left ? chunk : left);
                uint32_t end = run.done + part.n;
                assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
                uint64_t bytes = sequence_bytes(run.sequence),
                         most = engine_kv_bytes(engine, end, true);
                /* One that is too short to gain stays resident, unless it was told to spill. */
                if (most < engine_kv_bytes(engine, end, false)) {
                        assert_true(bytes <= most);
                        reached = reached || bytes == most;
                }
                step_done(&run, part.n);
        }
        run_free(&run);
        return reached;
}

static void the_worst_case_is_exact(void **state) {
        (void)state;
        struct engine *engine = open_engine(0, 1, ROWS);
        const uint32_t chunks[] = { 1, 3, 64, 127, ROWS };
        for (unsigned i = 0; i < 5; i++)
                assert_int_equal(reaches_worst_case(engine, chunks[i]), chunks[i] == ROWS);
        struct run run = run_new(engine, 0, false);
        run_to(&run, n_tokens, ROWS);
        assert_int_equal(sequence_bytes(run.sequence), engine_kv_bytes(engine, n_tokens, false));
        run_free(&run);
        close_empty(engine);
}

/* Each allocation of reserving, spilling and restoring fails once; what was refused goes through
 * when it is tried again, with the same logits. */
static void allocations_that_fail_change_nothing(void **state) {
        (void)state;
        uint32_t cut = ENGINE_PAGE_TOKENS + 5, n_failures = 0;
        struct engine *probe = open_engine(0, 1, ROWS);
        uint64_t bytes = engine_kv_bytes(probe, n_tokens, false) +
                engine_kv_bytes(probe, 2 * ENGINE_PAGE_TOKENS, false) - 1;
        close_empty(probe);
        for (uint64_t n = 1;; n++) {
                struct engine *engine = open_engine(bytes, 1, ROWS);
                struct run run = run_new(engine, 0, true), other = run_new(engine, 1, true);
                run_to(&other, n_tokens, ROWS);
                run_to(&run, ENGINE_PAGE_TOKENS - 3, 100);
                int failed = 0;
                struct batch_part part = next_part(&run, 20);
                fail_in = n;
                int r = engine_step(engine, &part, 1, NULL); /* spills `other` */
                fail_in = 0;
                failed += r < 0;
                if (r < 0) {
                        assert_int_equal(r, -ENOMEM);
                        assert_int_equal(sequence_position(run.sequence), run.done);
                        r = engine_step(engine, &part, 1, NULL);
                }
                assert_int_equal(r, 0);
                step_done(&run, part.n);
                run_to(&run, cut + 12, 5);

                fail_in = n;
                r = resume(&run, engine, NULL);
                fail_in = 0;
                failed += r < 0;
                if (r < 0) {
                        assert_int_equal(r, -ENOMEM);
                        assert_int_equal(resume(&run, engine, NULL), 0);
                }
                fail_in = n;
                r = sequence_spill(run.sequence);
                fail_in = 0;
                failed += r < 0;
                run_to(&run, n_tokens, 60);
                run_to(&other, n_tokens, 60);
                check_logits(&run, 0);
                check_logits(&other, 0);
                run_free(&run);
                run_free(&other);
                close_empty(engine);
                n_failures += (uint32_t)failed;
                if (failed == 0)
                        break;
        }
        assert_true(n_failures > 10);
}

static void compute_expected(void) {
        struct engine *engine = open_engine(0, 0, 0);
        uint64_t seed = 1;
        vocab = engine_config(engine)->vocab_size;
        for (uint32_t i = 0; i < TEXTS; i++) {
                for (uint32_t k = 0; k < n_tokens; k++)
                        text[i][k] = k == 0 ? 0 : (uint32_t)(random_next(&seed) % vocab);
                struct run run = run_new(engine, i, false);
                run_to(&run, n_tokens, n_tokens);
                expected[i] = run.logits;
                run.logits = NULL;
                run_free(&run);
        }
        engine_close(engine);
}

int main(int argc, char **argv) {
        const struct CMUnitTest logits[] = {
                cmocka_unit_test(spilling_changes_no_bit),
                cmocka_unit_test(a_selection_is_gathered_once),
                cmocka_unit_test(pressure_changes_no_bit),
                cmocka_unit_test(restoring_lends),
                cmocka_unit_test(what_does_not_fit_is_restored_spilled),
        };
        const struct CMUnitTest bytes[] = {
                cmocka_unit_test(nothing_moves_while_all_fits),
                cmocka_unit_test(what_cannot_fit_is_refused_and_nothing_changes),
                cmocka_unit_test(the_worst_case_is_exact),
                cmocka_unit_test(allocations_that_fail_change_nothing),
        };
        if (argc < 3)
                return 1;
        model_dir = argv[1];
        n_tokens = (uint32_t)strtoul(argv[2], NULL, 10);
        if (n_tokens > TOKENS_MAX || n_tokens < 3 * ENGINE_PAGE_TOKENS)
                return 1;
        compute_expected();
        int failed = cmocka_run_group_tests(logits, NULL, NULL);
        if (argc == 3)
                failed += cmocka_run_group_tests(bytes, NULL, NULL);
        for (uint32_t i = 0; i < TEXTS; i++)
                free(expected[i]);
        return failed;
}
