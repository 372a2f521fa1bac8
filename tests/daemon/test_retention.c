/* For how long a sequence waits on the device for a tool, and which one goes when room is needed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "daemon/retention.h"
#include "daemon/tool_pauses.h"

#define S NS_PER_S

/* -- what is learned -----------------------------------------------------------------------------
 */

static const uint32_t ids[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

struct desk {
        struct tool_pauses *pauses;
        uint64_t now_ns;
};

static struct desk desk_new(void) {
        struct desk desk = { calloc(1, sizeof(*desk.pauses)), 1000 * S };
        assert_non_null(desk.pauses);
        return desk;
}

/* A turn of n tokens ends with the tool's call, and the next one comes after `ns`. */
static void pause_for(struct desk *desk, uint32_t uid, uint64_t tool, uint64_t ns) {
        tool_pauses_begin(desk->pauses, uid, "s", ids, 4, tool, desk->now_ns);
        desk->now_ns += ns;
        tool_pauses_end(desk->pauses, uid, "s", ids, 8, desk->now_ns);
}

static uint64_t bound(const struct desk *desk, uint32_t uid, uint64_t tool) {
        return tool_pauses_bound_ns(desk->pauses, uid, tool);
}

static void a_tool_is_waited_for_as_long_as_it_usually_takes(void **state) {
        (void)state;
        struct desk desk = desk_new();
        assert_int_equal(bound(&desk, 1, 7), PAUSE_UNKNOWN_NS);
        pause_for(&desk, 1, 7, 4 * S);
        assert_int_equal(bound(&desk, 1, 7), 6 * S);
        assert_int_equal(bound(&desk, 1, 8), PAUSE_UNKNOWN_NS); /* another tool, */
        assert_int_equal(bound(&desk, 2, 7), PAUSE_UNKNOWN_NS); /* and another user's */
        for (unsigned i = 0; i < 4; i++)
                pause_for(&desk, 1, 7, 2 * S);
        assert_int_equal(bound(&desk, 1, 7), 3 * S); /* four of five took no longer than 2 s */
        pause_for(&desk, 1, 7, 100 * S);
        assert_int_equal(bound(&desk, 1, 7), 6 * S); /* two of six did */
        for (unsigned i = 0; i < PAUSES_REMEMBERED; i++)
                pause_for(&desk, 1, 7, 20 * S);
        assert_int_equal(bound(&desk, 1, 7), 30 * S); /* what was before is forgotten */
        free(desk.pauses);
}

static void bounds_have_bounds(void **state) {
        (void)state;
        struct desk desk = desk_new();
        pause_for(&desk, 1, 7, 1);
        assert_int_equal(bound(&desk, 1, 7), PAUSE_LEAST_NS);
        pause_for(&desk, 1, 8, 201 * S); /* half more would be too long to wait for */
        assert_int_equal(bound(&desk, 1, 8), PAUSE_LEAST_NS);
        pause_for(&desk, 1, 9, 200 * S);
        assert_int_equal(bound(&desk, 1, 9), PAUSE_MOST_NS);
        free(desk.pauses);
}

static void a_pause_ends_with_a_prompt_that_goes_on(void **state) {
        (void)state;
        struct desk desk = desk_new();
        const uint32_t other[] = { 0, 1, 2, 9, 4 };
        tool_pauses_begin(desk.pauses, 1, "s", ids, 4, 7, desk.now_ns);
        uint64_t later_ns = desk.now_ns + 2 * S;
        tool_pauses_end(desk.pauses, 1, "s", other, 5, later_ns); /* other tokens, */
        tool_pauses_end(desk.pauses, 1, "t", ids, 8, later_ns);   /* another subject, */
        tool_pauses_end(desk.pauses, 2, "s", ids, 8, later_ns);   /* another user, */
        tool_pauses_end(desk.pauses, 1, "s", ids, 3, later_ns);   /* too short */
        assert_int_equal(desk.pauses->n_open, 1);
        assert_int_equal(bound(&desk, 1, 7), PAUSE_UNKNOWN_NS);
        tool_pauses_begin(desk.pauses, 1, "s", ids, 6, 8, desk.now_ns); /* behind the other one */
        tool_pauses_end(desk.pauses, 1, "s", ids, 6, later_ns);
        assert_int_equal(desk.pauses->n_open, 0);
        assert_int_equal(bound(&desk, 1, 7), 3 * S);
        assert_int_equal(bound(&desk, 1, 8), 3 * S);
        free(desk.pauses);
}

static void who_does_not_come_back_was_away_for_long(void **state) {
        (void)state;
        struct desk desk = desk_new();
        tool_pauses_begin(desk.pauses, 1, "s", ids, 4, 7, desk.now_ns);
        tool_pauses_end(desk.pauses, 2, "s", ids, 4, desk.now_ns + PAUSE_MOST_NS + 1);
        assert_int_equal(desk.pauses->n_open, 0);
        assert_int_equal(bound(&desk, 1, 7), PAUSE_LEAST_NS);
        free(desk.pauses);
}

static void tables_are_bounded_and_users_have_their_own(void **state) {
        (void)state;
        struct desk desk = desk_new();
        pause_for(&desk, 2, 1, 4 * S);
        for (uint64_t tool = 0; tool < 2 * TOOLS_MAX; tool++)
                pause_for(&desk, 1, tool, 2 * S);
        assert_int_equal(desk.pauses->n_tools, TOOLS_PER_USER_MAX + 1);
        assert_int_equal(bound(&desk, 2, 1), 6 * S);
        assert_int_equal(bound(&desk, 1, 2 * TOOLS_MAX - 1), 3 * S);
        tool_pauses_begin(desk.pauses, 2, "s", ids, 4, 1, desk.now_ns);
        for (unsigned i = 0; i < 2 * OPEN_MAX; i++)
                tool_pauses_begin(desk.pauses, 1, "s", ids, 4, 7, desk.now_ns);
        assert_int_equal(desk.pauses->n_open, OPEN_PER_USER_MAX + 1);
        for (uint32_t uid = 10; uid < 10 + 2 * OPEN_MAX; uid++) {
                tool_pauses_begin(desk.pauses, uid, "s", ids, 4, 7, desk.now_ns);
                pause_for(&desk, uid, 7, S);
        }
        assert_true(desk.pauses->n_open <= OPEN_MAX);
        assert_int_equal(desk.pauses->n_tools, TOOLS_MAX);

        pause_for(&desk, 1, 7, 2 * S);
        tool_pauses_begin(desk.pauses, 1, "s", ids, 4, 7, desk.now_ns);
        tool_pauses_forget(desk.pauses, 1);
        assert_int_equal(bound(&desk, 1, 7), PAUSE_UNKNOWN_NS);
        for (unsigned i = 0; i < desk.pauses->n_open; i++)
                assert_int_not_equal(desk.pauses->open[i].uid, 1);
        free(desk.pauses);
}

/* -- who goes ------------------------------------------------------------------------------------
 */

#define NONE SIZE_MAX

static void the_order_in_which_they_go(void **state) {
        (void)state;
        const struct retained all[] = {
                { 1, 90 * S }, { 1, 0 }, { 1, 40 * S }, { 1, 95 * S }, { 1, 0 }, { 1, 30 * S },
        };
        bool gone[6] = { false };
        struct retained left[6];
        const size_t expected[] = { 5, 2, 1, 4, 3, 0 };
        for (size_t k = 0; k < 6; k++) {
                size_t number[6], n = 0;
                for (size_t i = 0; i < 6; i++)
                        if (!gone[i]) {
                                number[n] = i;
                                left[n++] = all[i];
                        }
                size_t i = retention_choose(left, n, NONE, 50 * S);
                assert_true(i < n);
                assert_int_equal(number[i], expected[k]);
                gone[number[i]] = true;
        }
        assert_int_equal(retention_choose(left, 0, NONE, 0), NONE);
}

static void nobody_loses_to_a_user_with_more_than_a_share(void **state) {
        (void)state;
        const struct retained many[] = {
                { 2, 0 }, { 1, 90 * S }, { 1, 80 * S }, { 1, 70 * S }, { 2, 0 },
        };
        assert_int_equal(retention_choose(many, 5, NONE, 50 * S), 0); /* 3 of 5: the share */
        const struct retained more[] = {
                { 2, 0 }, { 1, 90 * S }, { 1, 80 * S }, { 1, 70 * S }, { 1, 0 }, { 2, 0 },
        };
        assert_int_equal(retention_choose(more, 6, NONE, 50 * S), 4); /* of these first the idle */
        assert_int_equal(retention_choose(more, 6, 4, 50 * S), 1);
}

static void what_is_excepted_stays(void **state) {
        (void)state;
        const struct retained two[] = { { 1, 0 }, { 1, 90 * S } };
        assert_int_equal(retention_choose(two, 2, 0, 50 * S), 1);
        assert_int_equal(retention_choose(two, 1, 0, 50 * S), NONE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_tool_is_waited_for_as_long_as_it_usually_takes),
                cmocka_unit_test(bounds_have_bounds),
                cmocka_unit_test(a_pause_ends_with_a_prompt_that_goes_on),
                cmocka_unit_test(who_does_not_come_back_was_away_for_long),
                cmocka_unit_test(tables_are_bounded_and_users_have_their_own),
                cmocka_unit_test(the_order_in_which_they_go),
                cmocka_unit_test(nobody_loses_to_a_user_with_more_than_a_share),
                cmocka_unit_test(what_is_excepted_stays),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
