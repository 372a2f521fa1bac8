/* Which states stay along a chain that grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <string.h>

#include "memory/thinning.h"

static uint64_t seed = 11;

static uint32_t draw(uint32_t n) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(seed >> 33) % n;
}

/* Removes what goes. Returns how many are left. */
static size_t thin(struct thinning_state *state, size_t n) {
        size_t left = 0;
        thinning_choose(state, n);
        for (size_t i = 0; i < n; i++)
                if (!state[i].goes)
                        state[left++] = state[i];
        return left;
}

static void few_states_stay(void **unused) {
        (void)unused;
        struct thinning_state state[THINNING_NEWEST];
        for (size_t n = 0; n <= THINNING_NEWEST; n++) {
                memset(state, 0, sizeof(state));
                for (uint32_t i = 0; i < n; i++)
                        state[i].position = 100 + i;
                assert_int_equal(thin(state, n), n);
        }
}

static void the_oldest_the_newest_and_the_needed_stay(void **unused) {
        (void)unused;
        struct thinning_state state[50] = { 0 };
        for (uint32_t i = 0; i < 50; i++) {
                state[i].position = 1000 + 128 * i;
                state[i].needed = i % 7 == 3;
        }
        thinning_choose(state, 50);
        assert_false(state[0].goes);
        for (size_t i = 0; i < 50; i++)
                if (state[i].needed || i >= 50 - THINNING_NEWEST)
                        assert_false(state[i].goes);
        assert_true(state[1].goes || state[2].goes);
}

/* A session of thousands of turns: at each of them, going back by d tokens costs at most d, or what
 * lay between two states when they were written; and the number of states grows with the logarithm.
 */
static void going_back_costs_no_more_than_the_way(void **unused) {
        (void)unused;
        struct thinning_state state[100] = { 0 };
        uint32_t written[4000];
        size_t n = 0, n_max = 0;
        uint32_t position = 0, step_max = 0;
        for (size_t turn = 0; turn < 4000; turn++) {
                uint32_t step = 1 + draw(draw(20) ? 300 : 5000);
                position += step;
                step_max = step > step_max ? step : step_max;
                written[turn] = position;
                state[n++] = (struct thinning_state){ .position = position };
                n = thin(state, n);
                n_max = n > n_max ? n : n_max;
                assert_int_equal(state[n - 1].position, position);
                for (int probe = 0; probe < 20; probe++) {
                        uint32_t back = draw(position), to = position - back, before = 0,
                                 at_best = 0;
                        for (size_t i = 0; i < n; i++)
                                if (state[i].position <= to)
                                        before = state[i].position;
                        for (size_t i = 0; i <= turn; i++)
                                if (written[i] <= to)
                                        at_best = written[i];
                        assert_true(to - before <= back || before == at_best);
                }
        }
        assert_in_range(n_max, 10, 2 * 21 + THINNING_NEWEST); /* 2^21 > 4000 turns x 530 tokens */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(few_states_stay),
                cmocka_unit_test(the_oldest_the_newest_and_the_needed_stay),
                cmocka_unit_test(going_back_costs_no_more_than_the_way),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
