#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/topk.h"
#include "tests/engine/random_floats.h"

/* How many entries come before i in (score descending, index ascending). */
static uint32_t rank_of(const float *score, uint32_t n, uint32_t i) {
        uint32_t rank = 0;
        for (uint32_t j = 0; j < n; j++)
                rank += score[j] > score[i] || (score[j] == score[i] && j < i);
        return rank;
}

static void selection_equals_ranking_with_many_ties(void **state) {
        (void)state;
        uint64_t seed = 3, scratch[257];
        float score[257];
        uint32_t index[257];
        for (int round = 0; round < 2000; round++) {
                uint32_t n = (uint32_t)(random_next(&seed) % 257),
                         k = (uint32_t)(random_next(&seed) % 70), expected = 0;
                for (uint32_t i = 0; i < n; i++) {
                        int draw = (int)(random_next(&seed) % 12);
                        score[i] = draw == 0 ? -INFINITY
                                : draw == 1  ? -0.0f
                                : draw == 2  ? 0.0f
                                             : (float)(draw % 5) - 2.0f;
                }
                uint32_t found = topk_select(score, n, k, scratch, index);
                for (uint32_t i = 0; i < n; i++)
                        if (score[i] > -INFINITY && rank_of(score, n, i) < k) {
                                assert_true(expected < found);
                                assert_int_equal(index[expected++], i);
                        }
                assert_int_equal(found, expected);
        }
}

static void infinity_is_selected_first(void **state) {
        (void)state;
        float score[4] = { 1, INFINITY, 2, 3 };
        uint32_t index[4];
        uint64_t scratch[4];
        assert_int_equal(topk_select(score, 4, 2, scratch, index), 2);
        assert_int_equal(index[0], 1);
        assert_int_equal(index[1], 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(selection_equals_ranking_with_many_ties),
                cmocka_unit_test(infinity_is_selected_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
