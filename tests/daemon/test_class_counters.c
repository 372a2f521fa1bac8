/* What classes are counted to get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "base/clock.h"
#include "daemon/class_counters.h"
#include "daemon/refusal.h"
#include "daemon/request.h"

static void bounds_belong_to_their_buckets(void **state) {
        (void)state;
        struct histogram h = { 0 };
        uint64_t sum = 0;
        for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
                assert_true(i == 0 || histogram_bounds_ns[i] > histogram_bounds_ns[i - 1]);
                histogram_add(&h, histogram_bounds_ns[i]);
                histogram_add(&h, histogram_bounds_ns[i] + 1);
                sum += 2 * histogram_bounds_ns[i] + 1;
        }
        assert_int_equal(h.counts[0], 1);
        for (size_t i = 1; i < HISTOGRAM_BOUNDS; i++)
                assert_int_equal(h.counts[i], 2);
        assert_int_equal(h.counts[HISTOGRAM_BOUNDS], 1);
        assert_int_equal(h.sum_ns, sum);
        assert_int_equal(histogram_bounds_ns[0], NS_PER_MS / 10);
        assert_int_equal(histogram_bounds_ns[HISTOGRAM_BOUNDS - 1], 1000 * NS_PER_S);
}

static int last_of(const ProtobufCEnumDescriptor *descriptor) {
        int last = 0;
        for (unsigned i = 0; i < descriptor->n_values; i++)
                last = descriptor->values[i].value > last ? descriptor->values[i].value : last;
        return last;
}

static void every_end_and_every_refusal_has_a_place(void **state) {
        (void)state;
        assert_int_equal(last_of(&seekd__v1__finish_reason__descriptor), FINISH_REASONS - 1);
        assert_int_equal(last_of(&seekd__v1__error_code__descriptor), ERROR_CODES - 1);
}

static void a_steps_time_is_split_by_what_rows_cost(void **state) {
        (void)state;
        struct class_counters counters[SCHEDULE_CLASSES] = { 0 };
        struct schedule schedule;
        schedule_init(&schedule, 50);
        const struct schedule_item items[] = {
                { .class = SCHEDULE_AGENT, .position = 0, .n_known = 300 },
                { .class = SCHEDULE_TURN, .position = 0, .n_known = 1 },
                { .class = SCHEDULE_TURN, .position = 0, .n_known = 99 },
        };
        const struct schedule_pick picks[] = { { 0, 300 }, { 1, 1 }, { 2, 99 } };
        class_counters_step(counters, &schedule, items, picks, 3, 4000);
        assert_in_range(counters[SCHEDULE_AGENT].engine_ns, 2999, 3000);
        assert_in_range(counters[SCHEDULE_TURN].engine_ns, 999, 1000);
        assert_int_equal(counters[SCHEDULE_INTERACTIVE].engine_ns, 0);
        /* A model that finds rows free of charge: by their number. */
        schedule.cost.weight[1] = schedule.cost.weight[2] = -1;
        class_counters_step(counters, &schedule, items, picks, 3, 4000);
        assert_in_range(counters[SCHEDULE_AGENT].engine_ns, 5998, 6000);
}

static void tokens_are_timed_from_reception_and_from_each_other(void **state) {
        (void)state;
        struct class_counters counters[SCHEDULE_CLASSES] = { 0 };
        const struct class_counters *turn = &counters[SCHEDULE_TURN];
        struct request request = { .received_ns = NS_PER_S, .started_ns = 3 * NS_PER_S };
        class_counters_token(counters, &request, SCHEDULE_TURN, 8 * NS_PER_S);
        assert_int_equal(turn->queue.sum_ns, 2 * NS_PER_S);
        assert_int_equal(turn->first_token.sum_ns, 7 * NS_PER_S);
        assert_int_equal(turn->token.sum_ns, 0);
        request.first_token_ns = request.last_token_ns = 8 * NS_PER_S;
        class_counters_token(counters, &request, SCHEDULE_TURN, 9 * NS_PER_S);
        assert_int_equal(turn->token.sum_ns, NS_PER_S);
        /* Its client did not read for an hour. */
        request.last_token_ns = 9 * NS_PER_S;
        request.unpaused_ns = 3600 * NS_PER_S;
        class_counters_token(counters, &request, SCHEDULE_TURN, 3602 * NS_PER_S);
        assert_int_equal(turn->token.sum_ns, 3 * NS_PER_S);
        assert_int_equal(turn->n_generated_tokens, 3);
        assert_int_equal(turn->first_token.sum_ns, 7 * NS_PER_S);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(bounds_belong_to_their_buckets),
                cmocka_unit_test(every_end_and_every_refusal_has_a_place),
                cmocka_unit_test(a_steps_time_is_split_by_what_rows_cost),
                cmocka_unit_test(tokens_are_timed_from_reception_and_from_each_other),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
