/* The trace that seekd-bench agents plays, and what a cache could have of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <string.h>

#include "bench/agent_trace.h"
#include "bench/prefix_set.h"
#include "client/seekd.h"

static const struct agent_trace trace = {
        .seed = 7, .scale = 16, .pause_ms = 500, .bos_id = 1, .vocab_size = 4096
};

#define TURNS 64

static bool same(const struct trace_step *a, const struct trace_step *b) {
        return a->base == b->base && a->service == b->service && a->n_new == b->n_new &&
                a->n_answer == b->n_answer && a->pause_ms == b->pause_ms;
}

static void a_seed_gives_one_trace(void **state) {
        (void)state;
        struct agent_trace other = trace;
        unsigned n_different = 0;
        other.seed++;
        for (unsigned turn = 0; turn < TURNS; turn++) {
                struct trace_step a = agent_trace_step(&trace, TRACE_AGENT, 3, turn),
                                  again = agent_trace_step(&trace, TRACE_AGENT, 3, turn),
                                  b = agent_trace_step(&other, TRACE_AGENT, 3, turn),
                                  c = agent_trace_step(&trace, TRACE_AGENT, 4, turn);
                assert_true(same(&a, &again));
                n_different += !same(&a, &b) && !same(&a, &c);
        }
        assert_true(n_different > TURNS / 2);
}

static void a_session_is_tasks_with_a_sub_agent(void **state) {
        (void)state;
        bool forked = false;
        unsigned n_forks = 0, n_turns = 0;
        for (unsigned turn = 0; turn < TURNS; turn++) {
                struct trace_step step = agent_trace_step(&trace, TRACE_AGENT, 0, turn);
                assert_int_equal(step.base == TRACE_FRESH, turn % 32 == 0);
                assert_true(step.n_new >= 1 && step.n_answer >= 2 && step.pause_ms > 0);
                assert_true(step.n_new <= 8 * 1200 / 16 && step.n_answer <= 8 * 250 / 16 + 1);
                assert_true(step.base != TRACE_FORK || !forked);
                assert_true(step.base != TRACE_JOIN || forked);
                assert_true(step.service == SEEKD_CLASS_TURN || step.service == SEEKD_CLASS_AGENT);
                assert_true(step.service == SEEKD_CLASS_AGENT || !forked);
                forked = step.base == TRACE_FORK || (forked && step.base != TRACE_JOIN);
                n_forks += step.base == TRACE_FORK;
                n_turns += step.service == SEEKD_CLASS_TURN;
        }
        assert_int_equal(n_forks, TURNS / 8);
        assert_int_equal(n_turns, TURNS / 8);
}

static void what_is_common_is_the_same_and_what_is_new_is_not(void **state) {
        (void)state;
        unsigned n_equal = 0, n_common = agent_trace_n_common(&trace, TRACE_AGENT);
        assert_int_equal(n_common, 594); /* 9500 / 16 */
        assert_int_equal(agent_trace_common(&trace, TRACE_AGENT, 0), 1);
        assert_int_equal(agent_trace_common(&trace, TRACE_TITLE, 0), 1);
        for (uint32_t i = 1; i < n_common; i++) {
                uint32_t id = agent_trace_new(&trace, TRACE_AGENT, 0, 0, i);
                assert_true(id < trace.vocab_size);
                n_equal += id == agent_trace_new(&trace, TRACE_AGENT, 1, 0, i);
                n_equal += id == agent_trace_new(&trace, TRACE_AGENT, 0, 1, i);
                n_equal += id == agent_trace_common(&trace, TRACE_AGENT, i);
        }
        assert_true(n_equal < 10);
}

static void the_longest_beginning_is_found(void **state) {
        (void)state;
        static uint32_t ids[5000], branch[5000];
        struct prefix_set set = { 0 };
        for (uint32_t i = 0; i < 5000; i++)
                ids[i] = agent_trace_new(&trace, TRACE_AGENT, 0, 0, i);
        memcpy(branch, ids, sizeof(ids));
        branch[1234]++;
        assert_int_equal(prefix_set_longest(&set, ids, 5000), 0);
        prefix_set_add(&set, ids, 4000);
        assert_int_equal(prefix_set_longest(&set, ids, 5000), 4000);
        assert_int_equal(prefix_set_longest(&set, ids, 17), 17);
        assert_int_equal(prefix_set_longest(&set, branch, 5000), 1234);
        prefix_set_add(&set, branch, 5000);
        assert_int_equal(prefix_set_longest(&set, branch, 5000), 5000);
        assert_int_equal(prefix_set_longest(&set, ids, 5000), 4000);
        assert_int_equal(prefix_set_longest(&set, ids + 1, 100), 0);
        prefix_set_deinit(&set);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_seed_gives_one_trace),
                cmocka_unit_test(a_session_is_tasks_with_a_sub_agent),
                cmocka_unit_test(what_is_common_is_the_same_and_what_is_new_is_not),
                cmocka_unit_test(the_longest_beginning_is_found),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
