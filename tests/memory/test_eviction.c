/* What goes first: properties of the score, and who makes room for whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

#include "memory/eviction.h"

#define TIER 1e9

static uint64_t state = 7;

static uint32_t draw(uint32_t n) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(state >> 33) % n;
}

static struct eviction_input any(void) {
        return (struct eviction_input){
                .cost_ms = 0.01 * (1 + draw(1000000)),
                .bytes = 1 + draw(1U << 30),
                .used = (uint64_t)draw(1U << 30) * draw(1000),
                .hits = draw(4) ? draw(10) : draw(1U << 30),
        };
}

static double score(struct eviction_input input) {
        return eviction_score(&input, TIER);
}

static void a_score_is_monotone_in_each_input(void **unused) {
        (void)unused;
        for (int i = 0; i < 10000; i++) {
                struct eviction_input a = any(), b = a;
                b.cost_ms *= 1.5;
                assert_true(score(b) > score(a));
                b = a;
                b.bytes += b.bytes / 2 + 1;
                assert_true(score(b) < score(a));
                b = a;
                b.used += 1000000;
                assert_true(score(b) > score(a));
                b = a;
                b.hits += b.hits / 8 + 1;
                assert_true(score(b) > score(a));
                b = a;
                b.superseded = true;
                assert_true(score(b) < score(a) && score(b) == -INFINITY);
                b.pinned = true;
                assert_true(score(b) == INFINITY);
                b = any();
                b.cost_ms = 0;
                assert_true(score(b) < score(a));
        }
}

/* The rule in words: twice the hits, cost or density make up for one turnover of the tier. */
static void a_doubling_is_worth_a_turnover(void **unused) {
        (void)unused;
        struct eviction_input a = { .cost_ms = 10, .bytes = 1000, .used = 0, .hits = 1 }, b = a;
        b.used = (uint64_t)TIER;
        b.cost_ms /= 2;
        assert_float_equal(score(a), score(b), 1e-9);
        b.cost_ms = a.cost_ms;
        b.hits = 0;
        assert_float_equal(score(a), score(b), 1e-9);
        b.hits = 1;
        b.bytes *= 2;
        assert_float_equal(score(a), score(b), 1e-9);
}

/* A score is computed once: it orders any two as their worths are ordered at any later time. */
static void the_order_does_not_depend_on_when_it_is_asked(void **unused) {
        (void)unused;
        for (int i = 0; i < 10000; i++) {
                struct eviction_input in[2] = { any(), any() };
                double now = 2e12, worth[2];
                for (int k = 0; k < 2; k++)
                        worth[k] = log2(in[k].cost_ms / (double)in[k].bytes) +
                                log2(1.0 + in[k].hits) - (now - (double)in[k].used) / TIER;
                if (fabs(worth[0] - worth[1]) > 1e-6)
                        assert_true((worth[0] < worth[1]) == (score(in[0]) < score(in[1])));
        }
}

static void who_has_more_than_a_share_makes_room(void **unused) {
        (void)unused;
        struct eviction_owner o[3] = { { 10, 5 }, { 60, 9 }, { 30, 1 } };
        assert_int_equal(eviction_owner(o, 3, 0, 5, 100, 0), 1);
        assert_int_equal(eviction_owner(o, 3, 1, 5, 100, 0), 1);
        /* Of two who have too much, the one that loses less. */
        o[0].bytes = 40, o[1].bytes = 40, o[2].bytes = 20;
        assert_int_equal(eviction_owner(o, 3, 2, 5, 100, 0), 0);
        /* Nothing of theirs may go: the asking one's own, else nothing. */
        o[0].score = o[1].score = INFINITY;
        assert_int_equal(eviction_owner(o, 3, 2, 5, 100, 0), 2);
        o[2].score = INFINITY;
        assert_int_equal(eviction_owner(o, 3, 2, 5, 100, 0), EVICTION_NOBODY);
        /* Over its own limit, somebody makes room for himself alone. */
        o[0].score = 1, o[1].score = 2;
        assert_int_equal(eviction_owner(o, 3, 1, 5, 100, 42), 1);
        o[1].score = INFINITY;
        assert_int_equal(eviction_owner(o, 3, 1, 5, 100, 42), EVICTION_NOBODY);
        assert_int_equal(eviction_owner(o, 1, 0, 5, 40, 0), 0);
}

static void nobody_loses_his_share_to_another(void **unused) {
        (void)unused;
        for (int round = 0; round < 10000; round++) {
                struct eviction_owner o[8];
                size_t n = 1 + draw(8), asking = draw((uint32_t)n);
                uint64_t bytes_max = 0;
                for (size_t i = 0; i < n; i++) {
                        o[i].bytes = draw(1000);
                        o[i].score = draw(3) ? (double)draw(100) : INFINITY;
                        bytes_max += o[i].bytes;
                }
                size_t loser = eviction_owner(o, n, asking, 1 + draw(100), bytes_max,
                                              draw(2) ? draw(1000) : 0);
                if (loser == EVICTION_NOBODY)
                        continue;
                assert_true(o[loser].score < INFINITY);
                assert_true(loser == asking || o[loser].bytes > bytes_max / n);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_score_is_monotone_in_each_input),
                cmocka_unit_test(a_doubling_is_worth_a_turnover),
                cmocka_unit_test(the_order_does_not_depend_on_when_it_is_asked),
                cmocka_unit_test(who_has_more_than_a_share_makes_room),
                cmocka_unit_test(nobody_loses_his_share_to_another),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
