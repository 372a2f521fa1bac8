/* How long it will take, by numbers that are easy to follow: a row costs a millisecond. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "daemon/estimate.h"

static void assert_ms(double expected, double ms) {
        assert_true(ms > expected - 0.01 && ms < expected + 0.01);
}

static struct cost_model one_ms_a_row(void) {
        struct cost_model cost;
        cost_model_init(&cost);
        cost.weight[0] = 0;
        cost.weight[1] = 128; /* of 128 rows */
        cost.n_steps = 1;
        return cost;
}

static void a_prompt_goes_on_at_its_own_pace(void **state) {
        (void)state;
        struct cost_model cost = one_ms_a_row();
        /* 100 of 300 rows took ten times what they cost alone; what was kept took no time. */
        assert_ms(2000, estimate_prefill(&cost, 700, 800, 1000, 1000));
        assert_ms(0, estimate_prefill(&cost, 700, 1000, 1000, 1000));
        /* Rows further back cost more: 100 at 0 took 100 ms, 100 at 100 take 250. */
        cost.weight[2] = 128 * 4096 * 0.01;
        assert_ms(100 * (100 + 0.01 * 14950) / (100 + 0.01 * 4950),
                  estimate_prefill(&cost, 0, 100, 200, 100));
}

static void before_it_has_moved_a_prompt_is_taken_to_be_alone(void **state) {
        (void)state;
        struct cost_model cost = one_ms_a_row();
        assert_ms(300, estimate_prefill(&cost, 700, 700, 1000, 50));
        cost.n_steps = 0;
        assert_true(estimate_prefill(&cost, 700, 700, 1000, 50) == ESTIMATE_UNKNOWN);
}

static void the_rest_takes_as_long_as_what_was(void **state) {
        (void)state;
        assert_ms(900, estimate_rest(10, 100, 100));
        assert_ms(0, estimate_rest(100, 100, 100));
        assert_true(estimate_rest(0, 100, 100) == ESTIMATE_UNKNOWN);
        assert_true(estimate_rest(10, 100, 0) == ESTIMATE_UNKNOWN);
}

static void a_place_goes_to_the_next_when_one_ends(void **state) {
        (void)state;
        struct estimate_queue queue = { .n = 0 };
        assert_true(estimate_next(&queue, 1, 1) == ESTIMATE_UNKNOWN);
        estimate_holder(&queue, 0, 50);
        estimate_holder(&queue, 30, 40);               /* ends at 70, its prompt is read at 30 */
        assert_ms(50, estimate_next(&queue, 10, 100)); /* read at 60, ends at 160 */
        assert_ms(70, estimate_next(&queue, 200, 5));  /* read at 270, ends at 275 */
        assert_ms(160, estimate_next(&queue, 10, 1));  /* read behind that: ends at 281 */
        assert_ms(275, estimate_next(&queue, 0, 0));
        assert_ms(280, estimate_next(&queue, 0, 0));
}

static void more_holders_than_places_are_not_a_fault(void **state) {
        (void)state;
        struct estimate_queue queue = { .n = 0 };
        for (unsigned i = 0; i < ESTIMATE_HOLDERS_MAX + 5; i++)
                estimate_holder(&queue, 0, 1000 - i);
        assert_int_equal(queue.n, ESTIMATE_HOLDERS_MAX);
        assert_ms(1000 - ESTIMATE_HOLDERS_MAX + 1, estimate_next(&queue, 0, 0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_prompt_goes_on_at_its_own_pace),
                cmocka_unit_test(before_it_has_moved_a_prompt_is_taken_to_be_alone),
                cmocka_unit_test(the_rest_takes_as_long_as_what_was),
                cmocka_unit_test(a_place_goes_to_the_next_when_one_ends),
                cmocka_unit_test(more_holders_than_places_are_not_a_fault),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
