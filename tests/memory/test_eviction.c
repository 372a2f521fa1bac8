/* What goes first when room is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdlib.h>

#include "memory/eviction.h"
#include "tests/memory/store_fixture.h"

#define HALF_LIFE_S 3600.0

static size_t order[1000], n_order;
static uint64_t freed;

static void choose(const struct eviction_item *items, size_t n, uint64_t wanted) {
        assert_int_equal(eviction_choose(items, n, HALF_LIFE_S, wanted, order, &n_order, &freed),
                         0);
}

/* 100 bytes, 10 ms, hanging on nothing. */
static struct eviction_item plain(uint64_t number) {
        return (struct eviction_item){
                .number = number, .parent = EVICTION_NO_PARENT, .bytes = 100, .recompute_ms = 10
        };
}

static void the_value_is_milliseconds_per_byte_and_halves_with_time(void **state) {
        (void)state;
        struct eviction_item item = plain(1);
        assert_float_equal(eviction_value(&item, HALF_LIFE_S), 0.1, 1e-12);
        item.idle_s = 2 * HALF_LIFE_S;
        assert_float_equal(eviction_value(&item, HALF_LIFE_S), 0.025, 1e-12);
        item.uses = 3;
        assert_float_equal(eviction_value(&item, HALF_LIFE_S), 0.1, 1e-12);
        item.bytes = 200;
        assert_float_equal(eviction_value(&item, HALF_LIFE_S), 0.05, 1e-12);
        item.idle_s = -5;
        assert_float_equal(eviction_value(&item, HALF_LIFE_S), 0.2, 1e-12);
}

static void the_least_valuable_goes_first_and_no_more_than_needed(void **state) {
        (void)state;
        struct eviction_item items[4] = { plain(1), plain(2), plain(3), plain(4) };
        items[0].uses = 5;
        items[1].idle_s = 1000;
        items[2].idle_s = 500;
        items[3].recompute_ms = 1000;
        choose(items, 4, 150);
        assert_int_equal(n_order, 2);
        assert_int_equal(freed, 200);
        assert_int_equal(order[0], 1);
        assert_int_equal(order[1], 2);
        choose(items, 4, 0);
        assert_int_equal(n_order, 0);
        choose(items, 4, UINT64_MAX);
        assert_int_equal(n_order, 4);
        assert_int_equal(order[3], 3);
        choose(NULL, 0, 100);
        assert_int_equal(n_order, 0);
}

static void of_equals_the_older_goes(void **state) {
        (void)state;
        struct eviction_item items[3] = { plain(9), plain(2), plain(5) };
        choose(items, 3, 300);
        assert_int_equal(order[0], 1);
        assert_int_equal(order[1], 2);
        assert_int_equal(order[2], 0);
}

static void leaves_go_before_what_they_hang_on(void **state) {
        (void)state;
        struct eviction_item items[3] = { plain(1), plain(2), plain(3) };
        items[1].parent = 0;
        items[2].parent = 1;
        items[0].idle_s = items[1].idle_s = 1e6; /* worth nothing, but others need them */
        choose(items, 3, 300);
        assert_int_equal(order[0], 2);
        assert_int_equal(order[1], 1);
        assert_int_equal(order[2], 0);
}

static void superseded_goes_first_held_never(void **state) {
        (void)state;
        struct eviction_item items[4] = { plain(1), plain(2), plain(3), plain(4) };
        items[0].held = true;
        items[1].superseded = true;
        items[1].uses = 1000;
        items[2].parent = 3;
        items[2].held = true; /* and so does its ancestor */
        choose(items, 4, UINT64_MAX);
        assert_int_equal(n_order, 1);
        assert_int_equal(order[0], 1);
        assert_int_equal(freed, 100);
}

static void loops_stay(void **state) {
        (void)state;
        struct eviction_item items[3] = { plain(1), plain(2), plain(3) };
        items[0].parent = 1;
        items[1].parent = 0;
        items[2].parent = 2;
        choose(items, 3, UINT64_MAX);
        assert_int_equal(n_order, 0);
}

/* Any forest: the rules hold, and the choice does not depend on the order of the list. */
static void the_rules_hold_for_random_forests(void **state) {
        (void)state;
        uint64_t random = 7;
        for (int round = 0; round < 300; round++) {
                struct eviction_item items[200];
                size_t n = 1 + next_random(&random) % 200;
                for (size_t i = 0; i < n; i++) {
                        items[i] = plain(i + 1);
                        if (i > 0 && next_random(&random) % 4)
                                items[i].parent = next_random(&random) % i;
                        items[i].bytes = 1 + next_random(&random) % 1000;
                        items[i].idle_s = (double)(next_random(&random) % 100000);
                        items[i].uses = (uint32_t)(next_random(&random) % 4);
                        items[i].held = next_random(&random) % 10 == 0;
                        items[i].superseded = next_random(&random) % 10 == 0;
                }
                uint64_t wanted = next_random(&random) % 50000, sum = 0;
                choose(items, n, wanted);
                bool gone[200] = { false };
                for (size_t k = 0; k < n_order; k++) {
                        assert_true(sum < wanted); /* none too many */
                        assert_false(gone[order[k]] || items[order[k]].held);
                        gone[order[k]] = true;
                        sum += items[order[k]].bytes;
                        for (size_t i = 0; i < n; i++)
                                if (items[i].parent == order[k])
                                        assert_true(gone[i]);
                }
                assert_int_equal(sum, freed);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_value_is_milliseconds_per_byte_and_halves_with_time),
                cmocka_unit_test(the_least_valuable_goes_first_and_no_more_than_needed),
                cmocka_unit_test(of_equals_the_older_goes),
                cmocka_unit_test(leaves_go_before_what_they_hang_on),
                cmocka_unit_test(superseded_goes_first_held_never),
                cmocka_unit_test(loops_stay),
                cmocka_unit_test(the_rules_hold_for_random_forests),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
