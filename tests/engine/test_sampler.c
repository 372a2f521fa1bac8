/* The sampler: greedy choice, the filters in their order, and draws that follow the exact
 * probabilities. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/philox.h"
#include "engine/sampler.h"

static void test_philox_gives_its_published_answers(void **state) {
        (void)state;
        /* Random123, kat_vectors: counter, key, result. */
        static const uint32_t cases[][10] = {
                { 0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
                { UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                  0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
                { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0,
                  0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                uint32_t random[4];
                philox4x32(cases[i], cases[i] + 4, random);
                assert_memory_equal(random, cases[i] + 6, sizeof(random));
        }
}

static uint32_t draw_once(const float *logits, uint32_t n, const struct sampling *sampling,
                          uint64_t position, float *ret_logprob) {
        struct sampler *sampler;
        assert_int_equal(sampler_new(n, &sampler), 0);
        uint32_t id = sampler_draw(sampler, logits, NULL, sampling, position, ret_logprob);
        sampler_free(sampler);
        return id;
}

static void test_greedy_takes_the_likeliest_and_of_equals_the_lowest(void **state) {
        (void)state;
        const float logits[] = { -1, 2, 5, -3, 5, 0 }, zeros[] = { -0.0f, 0.0f, -0.0f };
        float logprob;
        assert_int_equal(draw_once(logits, 6, &SAMPLING_DEFAULT, 7, &logprob), 2);
        double sum = 0;
        for (unsigned i = 0; i < 6; i++)
                sum += exp((double)logits[i]);
        assert_true(fabs((double)logprob - (5 - log(sum))) < 1e-6);
        assert_int_equal(draw_once(zeros, 3, &SAMPLING_DEFAULT, 0, NULL), 0);
}

static void test_logprob_is_that_of_the_plain_softmax(void **state) {
        (void)state;
        const float logits[] = { 1, 3, 2 };
        const struct sampling sampling = { .temperature = 0.5f, .top_k = 1, .top_p = 1 };
        float logprob;
        assert_int_equal(draw_once(logits, 3, &sampling, 0, &logprob), 1);
        assert_true(fabs((double)logprob + log(1 + exp(-1) + exp(-2))) < 1e-6);
}

static void test_parameters_out_of_range_are_refused_by_name(void **state) {
        (void)state;
        static const struct {
                struct sampling sampling;
                const char *field;
        } cases[] = {
                { { .temperature = -1, .top_p = 1 }, "temperature" },
                { { .temperature = 101, .top_p = 1 }, "temperature" },
                { { .temperature = NAN, .top_p = 1 }, "temperature" },
                { { .temperature = INFINITY, .top_p = 1 }, "temperature" },
                { { .temperature = 1, .top_p = 1.5f }, "top_p" },
                { { .temperature = 1, .top_p = -0.5f }, "top_p" },
                { { .temperature = 1, .top_p = 1, .min_p = NAN }, "min_p" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct error err = { 0 };
                assert_int_equal(sampling_check(&cases[i].sampling, &err), -EINVAL);
                assert_non_null(strstr(err.text, cases[i].field));
        }
        assert_int_equal(sampling_check(&SAMPLING_DEFAULT, NULL), 0);
}

/* The definition, spelt out with a full sort. */
struct ranked {
        float logit;
        uint32_t id;
        double p;
};

static int compare(const void *a, const void *b) {
        const struct ranked *x = a, *y = b;
        if (x->logit > y->logit || x->logit < y->logit)
                return x->logit > y->logit ? -1 : 1;
        return x->id < y->id ? -1 : 1;
}

/* Returns how many tokens are kept; `ranked` holds them in order, with their probabilities. */
static uint32_t define(const float *logits, uint32_t n, const struct sampling *sampling,
                       struct ranked *ranked) {
        for (uint32_t id = 0; id < n; id++)
                ranked[id] = (struct ranked){ .logit = logits[id], .id = id };
        qsort(ranked, n, sizeof(*ranked), compare);
        if (sampling->top_k > 0 && sampling->top_k < n)
                n = sampling->top_k;
        double total = 0, mass = 0;
        for (uint32_t i = 0; i < n; i++)
                ranked[i].p = exp(((double)ranked[i].logit - (double)ranked[0].logit) /
                                  (double)sampling->temperature);
        for (uint32_t i = 0; i < n; i++)
                total += ranked[i].p;
        uint32_t n_kept = 0;
        while (n_kept < n &&
               (n_kept == 0 || sampling->top_p >= 1 || mass < (double)sampling->top_p * total))
                mass += ranked[n_kept++].p;
        while (ranked[n_kept - 1].p < (double)sampling->min_p * ranked[0].p)
                n_kept--;
        total = 0;
        for (uint32_t i = 0; i < n_kept; i++)
                total += ranked[i].p;
        for (uint32_t i = 0; i < n_kept; i++)
                ranked[i].p /= total;
        return n_kept;
}

static uint32_t defined_draw(const struct ranked *ranked, uint32_t n_kept, uint64_t seed,
                             uint64_t position) {
        uint32_t random[4];
        philox4x32((const uint32_t[]){ (uint32_t)position, (uint32_t)(position >> 32), 0, 0 },
                   (const uint32_t[]){ (uint32_t)seed, (uint32_t)(seed >> 32) }, random);
        double u = (double)(((uint64_t)random[1] << 32 | random[0]) >> 11) * 0x1p-53, sum = 0;
        for (uint32_t i = 0; i < n_kept; i++) {
                sum += ranked[i].p;
                if (sum > u)
                        return ranked[i].id;
        }
        return ranked[n_kept - 1].id;
}

static const struct sampling mixes[] = {
        { .temperature = 1, .top_p = 1, .seed = 1 },
        { .temperature = 0.7f, .top_p = 1, .seed = 2 },
        { .temperature = 2, .top_k = 5, .top_p = 1, .seed = 3 },
        { .temperature = 1, .top_p = 0.8f, .seed = 4 },
        { .temperature = 1, .top_p = 1, .min_p = 0.1f, .seed = 5 },
        { .temperature = 1.5f, .top_k = 9, .top_p = 0.9f, .min_p = 0.05f, .seed = UINT64_MAX },
        { .temperature = 1, .top_k = 3, .top_p = 0.5f, .seed = 7 },
        { .temperature = 1, .top_p = 0, .seed = 8 },
        { .temperature = 1, .top_p = 0.99f, .min_p = 1, .seed = 9 },
        { .temperature = 1e-30f, .top_p = 0.5f, .seed = 10 },
        { .temperature = 100, .top_k = UINT32_MAX, .top_p = 0.999f, .seed = UINT64_C(1) << 40 },
};

static void test_draws_follow_the_exact_probabilities(void **state) {
        (void)state;
        enum { N = 16, DRAWS = 200000 };
        const float logits[N] = { 0.5f, 2,  -1,    0,    2,     3, -4, 1,
                                  1.5f, -2, 0.25f, 2.5f, -0.5f, 1, -8, 0.75f };
        struct sampler *sampler;
        assert_int_equal(sampler_new(N, &sampler), 0);
        for (size_t m = 0; m < sizeof(mixes) / sizeof(*mixes); m++) {
                struct ranked ranked[N];
                uint32_t counts[N] = { 0 }, n_kept = define(logits, N, &mixes[m], ranked);
                for (uint64_t position = 0; position < DRAWS; position++)
                        counts[sampler_draw(sampler, logits, NULL, &mixes[m], position, NULL)]++;
                double chi_square = 0, n_seen = 0;
                for (uint32_t i = 0; i < n_kept; i++) {
                        double expected = ranked[i].p * DRAWS,
                               off = counts[ranked[i].id] - expected;
                        n_seen += counts[ranked[i].id];
                        if (expected > 0)
                                chi_square += off * off / expected;
                }
                /* No dropped token was drawn; and for up to 15 degrees of freedom, chance exceeds
                 * 50 once in 10^5 seeds, so these seeds tell a wrong distribution from a right one.
                 */
                assert_true(n_seen == DRAWS);
                assert_true(chi_square < 50);
        }
        sampler_free(sampler);
}

static void test_draws_are_those_of_the_definition(void **state) {
        (void)state;
        enum { N = 3000 };
        struct sampler *sampler;
        assert_int_equal(sampler_new(N, &sampler), 0);
        float *logits = malloc(N * sizeof(*logits));
        struct ranked *ranked = malloc(N * sizeof(*ranked));
        assert_true(logits && ranked);
        uint64_t random = 11;
        for (unsigned round = 0; round < 12; round++) {
                /* Coarse logits in half of the rounds, so that ties are everywhere. */
                for (uint32_t id = 0; id < N; id++) {
                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
                        float x = (float)(random >> 40) * 0x1p-24f;
                        logits[id] = round % 2 ? x * 12 - 6 : floorf(x * 8);
                }
                for (size_t m = 0; m < sizeof(mixes) / sizeof(*mixes); m++) {
                        uint32_t n_kept = define(logits, N, &mixes[m], ranked);
                        for (uint64_t position = 0; position < 30; position++)
                                assert_int_equal(sampler_draw(sampler, logits, NULL, &mixes[m],
                                                              position << 31, NULL),
                                                 defined_draw(ranked, n_kept, mixes[m].seed,
                                                              position << 31));
                }
        }
        free(ranked);
        free(logits);
        sampler_free(sampler);
}

static void test_a_draw_depends_on_nothing_before_it(void **state) {
        (void)state;
        const float logits[] = { 1, 1.5f, 0.5f, 2, 0 };
        const struct sampling sampling = { .temperature = 1, .top_p = 0.95f, .seed = 42 };
        struct sampler *sampler;
        assert_int_equal(sampler_new(5, &sampler), 0);
        uint32_t forward[64];
        for (uint64_t position = 0; position < 64; position++)
                forward[position] = sampler_draw(sampler, logits, NULL, &sampling, position, NULL);
        for (uint64_t position = 64; position-- > 0;)
                assert_int_equal(draw_once(logits, 5, &sampling, position, NULL),
                                 forward[position]);
        /* The next position of the same seed is another draw. */
        bool varies = false;
        for (unsigned i = 1; i < 64; i++)
                varies = varies || forward[i] != forward[0];
        assert_true(varies);
        sampler_free(sampler);
}

/* A mask is the vocabulary without the others: the same draws as if only the allowed tokens were
 * there, and those of no mask when all are. */
static void test_a_mask_takes_the_others_out(void **state) {
        (void)state;
        enum { N = 1000 };
        struct sampler *sampler;
        assert_int_equal(sampler_new(N, &sampler), 0);
        float logits[N], kept[N];
        uint32_t ids[N];
        uint64_t random = 5;
        for (unsigned round = 0; round < 8; round++) {
                uint64_t all[(N + 63) / 64], some[(N + 63) / 64] = { 0 };
                memset(all, 0xff, sizeof(all));
                uint32_t n_kept = 0;
                for (uint32_t id = 0; id < N; id++) {
                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
                        logits[id] = (float)(random >> 40) * 0x1p-22f;
                        /* From one token of five hundred to all but a few. */
                        if ((random >> 20) % 512 >= 2u << round && n_kept + 1 < N - id)
                                continue;
                        some[id / 64] |= UINT64_C(1) << id % 64;
                        ids[n_kept] = id;
                        kept[n_kept++] = logits[id];
                }
                for (size_t m = 0; m < sizeof(mixes) / sizeof(*mixes); m++)
                        for (uint64_t position = 0; position < 30; position++) {
                                float logprob, masked_logprob;
                                uint32_t id = sampler_draw(sampler, logits, NULL, &mixes[m],
                                                           position, &logprob);
                                assert_int_equal(sampler_draw(sampler, logits, all, &mixes[m],
                                                              position, &masked_logprob),
                                                 id);
                                assert_memory_equal(&logprob, &masked_logprob, sizeof(logprob));
                                id = sampler_draw(sampler, logits, some, &mixes[m], position,
                                                  &masked_logprob);
                                assert_int_equal(
                                        id,
                                        ids[draw_once(kept, n_kept, &mixes[m], position, NULL)]);
                        }
        }
        /* The log probability stays that of all tokens. */
        const float three[] = { 1, 3, 2 };
        const uint64_t first_and_last = 5;
        float logprob;
        assert_int_equal(sampler_draw(sampler, logits, (const uint64_t[(N + 63) / 64]){ 1 },
                                      &mixes[0], 0, NULL),
                         0);
        sampler_free(sampler);
        assert_int_equal(sampler_new(3, &sampler), 0);
        assert_int_equal(
                sampler_draw(sampler, three, &first_and_last, &SAMPLING_DEFAULT, 0, &logprob), 2);
        assert_true(fabs((double)logprob + log(1 + exp(1) + exp(-1))) < 1e-6);
        sampler_free(sampler);
}

static void test_a_vocabulary_of_one_always_draws_it(void **state) {
        (void)state;
        const float logit = -3;
        float logprob;
        for (size_t m = 0; m < sizeof(mixes) / sizeof(*mixes); m++)
                assert_int_equal(draw_once(&logit, 1, &mixes[m], m, &logprob), 0);
        assert_true(logprob >= 0 && logprob <= 0);
        struct sampler *sampler;
        assert_int_equal(sampler_new(0, &sampler), -EINVAL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_philox_gives_its_published_answers),
                cmocka_unit_test(test_greedy_takes_the_likeliest_and_of_equals_the_lowest),
                cmocka_unit_test(test_logprob_is_that_of_the_plain_softmax),
                cmocka_unit_test(test_parameters_out_of_range_are_refused_by_name),
                cmocka_unit_test(test_draws_follow_the_exact_probabilities),
                cmocka_unit_test(test_draws_are_those_of_the_definition),
                cmocka_unit_test(test_a_draw_depends_on_nothing_before_it),
                cmocka_unit_test(test_a_mask_takes_the_others_out),
                cmocka_unit_test(test_a_vocabulary_of_one_always_draws_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
