/* The step scheduler: what it promises, on fixed cases and on random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <string.h>

#include "daemon/limits.h"
#include "daemon/scheduler.h"

#define ITEMS_MAX 64

static void decodes_come_before_prefills(void **state) {
        (void)state;
        struct schedule_item items[] = { { 1, 0, 300 }, { 2, 50, 51 }, { 3, 0, 40 }, { 4, 7, 8 } };
        struct schedule_cursor cursor = { 0 };
        struct schedule_pick picks[4];

        assert_int_equal(schedule_step(items, 4, 512, &cursor, picks), 4);
        assert_int_equal(picks[0].index, 1);
        assert_int_equal(picks[0].n, 1);
        assert_int_equal(picks[1].index, 3);
        assert_int_equal(picks[2].index, 0);
        assert_int_equal(picks[2].n, 128);
        assert_int_equal(picks[3].index, 2);
        assert_int_equal(picks[3].n, 40);
}

static void chunks_end_on_absolute_multiples_of_128(void **state) {
        (void)state;
        struct schedule_item items[] = { { 1, 100, 600 }, { 2, 256, 600 }, { 3, 510, 530 } };
        struct schedule_cursor cursor = { 0 };
        struct schedule_pick picks[3];

        assert_int_equal(schedule_step(items, 3, 512, &cursor, picks), 3);
        assert_int_equal(picks[0].n, 28);
        assert_int_equal(picks[1].n, 128);
        assert_int_equal(picks[2].n, 2);
}

static void prefills_take_turns_when_rows_are_short(void **state) {
        (void)state;
        struct schedule_item items[] = { { 1, 0, 1000 }, { 2, 0, 1000 }, { 3, 0, 1000 } };
        struct schedule_cursor cursor = { 0 };
        struct schedule_pick picks[3];
        unsigned served[3] = { 0 };

        for (unsigned step = 0; step < 3; step++) {
                size_t n = schedule_step(items, 3, 2 * CHUNK_TOKENS, &cursor, picks);
                assert_int_equal(n, 2);
                for (size_t i = 0; i < n; i++)
                        served[picks[i].index]++;
        }
        assert_int_equal(served[0], 2);
        assert_int_equal(served[1], 2);
        assert_int_equal(served[2], 2);
}

static void a_chunk_that_does_not_fit_is_not_overtaken(void **state) {
        (void)state;
        struct schedule_item items[] = { { 1, 0, 100 }, { 2, 0, 128 }, { 3, 0, 128 }, { 4, 0, 2 } };
        struct schedule_cursor cursor = { 0 };
        struct schedule_pick picks[4];

        assert_int_equal(schedule_step(items, 4, 256, &cursor, picks),
                         2); /* 100 + 128, then 128 > 28 */
        assert_int_equal(schedule_step(items, 4, 256, &cursor, picks), 3);
        assert_int_equal(picks[0].index, 2);
}

static uint64_t next_random(uint64_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        return *seed;
}

/* Everything that is runnable is served within a bounded number of steps, whatever the mix. */
static void nobody_starves(void **state) {
        (void)state;
        uint64_t seed = 88172645463325252ULL;
        for (unsigned round = 0; round < 200; round++) {
                size_t n_items = 1 + next_random(&seed) % ITEMS_MAX;
                uint32_t rows_max = 2 * CHUNK_TOKENS + (uint32_t)(next_random(&seed) % 300);
                struct schedule_item items[ITEMS_MAX];
                unsigned waited[ITEMS_MAX] = { 0 };
                for (size_t i = 0; i < n_items; i++) {
                        uint64_t position = next_random(&seed) % 1000;
                        uint64_t pending =
                                next_random(&seed) % 2 ? 1 : 2 + next_random(&seed) % 1000;
                        items[i] = (struct schedule_item){ i + 1, position, position + pending };
                }
                struct schedule_cursor cursor = { 0 };
                for (unsigned step = 0; step < 200; step++) {
                        struct schedule_pick picks[ITEMS_MAX];
                        size_t n = schedule_step(items, n_items, rows_max, &cursor, picks);
                        assert_true(n >= 1);
                        uint64_t rows = 0;
                        for (size_t i = 0; i < n_items; i++)
                                waited[i]++;
                        for (size_t k = 0; k < n; k++) {
                                struct schedule_item *item = &items[picks[k].index];
                                assert_true(waited[picks[k].index] > 0); /* at most once per step */
                                assert_true(picks[k].n >= 1 &&
                                            picks[k].n <= item->n_known - item->position);
                                waited[picks[k].index] = 0;
                                rows += picks[k].n;
                                item->position += picks[k].n;
                                assert_true(item->position == item->n_known ||
                                            item->position % CHUNK_TOKENS == 0);
                                if (item->position == item->n_known)
                                        item->n_known += next_random(&seed) % 8 ? 1 : 200;
                        }
                        assert_true(rows <= rows_max);
                        for (size_t i = 0; i < n_items; i++)
                                assert_true(waited[i] <= ITEMS_MAX);
                }
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(decodes_come_before_prefills),
                cmocka_unit_test(chunks_end_on_absolute_multiples_of_128),
                cmocka_unit_test(prefills_take_turns_when_rows_are_short),
                cmocka_unit_test(a_chunk_that_does_not_fit_is_not_overtaken),
                cmocka_unit_test(nobody_starves),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
