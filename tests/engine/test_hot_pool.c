/* Promise: every row of a tile has a slot of its own, which it keeps until the next tile, and what
 * must be copied there is named once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/hot_pool.h"
#include "tests/engine/random_floats.h"

#define N_ROWS 500

/* Copies what is missing; `held` is what each slot holds. */
static uint32_t fill(struct hot_pool *pool, uint32_t *held) {
        uint32_t row, slot, n = 0, last = 0;
        for (; hot_pool_next_missing(pool, &row, &slot); n++) {
                assert_true(n == 0 || row > last);
                held[slot] = last = row;
        }
        return n;
}

/* `n` different rows, ascending, most of them near `center`. */
static void choose_rows(uint64_t *seed, uint32_t n, uint32_t *ret) {
        bool chosen[N_ROWS] = { false };
        uint32_t center = (uint32_t)(random_next(seed) % N_ROWS);
        for (uint32_t i = 0; i < n;) {
                uint32_t row = (center + (uint32_t)(random_next(seed) % (3 * n))) % N_ROWS;
                i += !chosen[row];
                chosen[row] = true;
        }
        for (uint32_t row = 0, i = 0; row < N_ROWS; row++)
                if (chosen[row])
                        ret[i++] = row;
}

static void rows_of_a_tile_keep_their_slots(void **state) {
        (void)state;
        uint64_t seed = 3;
        for (uint32_t n_slots = 16; n_slots < 60; n_slots += 7) {
                struct hot_pool pool;
                uint32_t held[64], rows[16][16], n_queries;
                memset(held, 0xFF, sizeof(held));
                assert_int_equal(hot_pool_init(&pool, n_slots), 0);
                assert_int_equal(hot_pool_grow(&pool, N_ROWS / 2), 0);
                assert_int_equal(hot_pool_grow(&pool, N_ROWS), 0);
                for (int tile = 0; tile < 300; tile++) {
                        hot_pool_begin_tile(&pool);
                        for (n_queries = 0; n_queries < 16; n_queries++) {
                                choose_rows(&seed, 16, rows[n_queries]);
                                if (!hot_pool_add(&pool, rows[n_queries], 16))
                                        break;
                        }
                        assert_true(n_queries > 0);
                        assert_true(pool.n_tile <= n_slots);
                        fill(&pool, held);
                        for (uint32_t q = 0; q < n_queries; q++)
                                for (int i = 0; i < 16; i++)
                                        assert_int_equal(held[hot_pool_slot(&pool, rows[q][i])],
                                                         rows[q][i]);
                }
                hot_pool_deinit(&pool);
        }
}

static void a_tile_ends_where_the_slots_do(void **state) {
        (void)state;
        struct hot_pool pool;
        uint32_t held[4];
        assert_int_equal(hot_pool_init(&pool, 4), 0);
        assert_int_equal(hot_pool_grow(&pool, 100), 0);
        hot_pool_begin_tile(&pool);
        assert_true(hot_pool_add(&pool, (uint32_t[]){ 1, 2, 3 }, 3));
        assert_true(hot_pool_add(&pool, (uint32_t[]){ 1, 3, 70 }, 3));
        assert_false(hot_pool_add(&pool, (uint32_t[]){ 2, 71 }, 2));
        assert_true(hot_pool_add(&pool, (uint32_t[]){ 2, 3, 70 }, 3));
        assert_int_equal(fill(&pool, held), 4);

        hot_pool_begin_tile(&pool); /* what is there is not copied again */
        assert_true(hot_pool_add(&pool, (uint32_t[]){ 3, 70, 71 }, 3));
        assert_int_equal(fill(&pool, held), 1);
        assert_int_equal(held[hot_pool_slot(&pool, 70)], 70);
        hot_pool_deinit(&pool);
}

static void rows_in_use_outlive_the_others(void **state) {
        (void)state;
        struct hot_pool pool;
        uint32_t held[8], n_missed = 0;
        assert_int_equal(hot_pool_init(&pool, 8), 0);
        assert_int_equal(hot_pool_grow(&pool, 1000), 0);
        for (uint32_t tile = 0; tile < 100; tile++) {
                hot_pool_begin_tile(&pool);
                assert_true(hot_pool_add(&pool, (uint32_t[]){ 5, 6, 100 + tile }, 3));
                n_missed += fill(&pool, held);
        }
        assert_int_equal(n_missed, 102);
        hot_pool_deinit(&pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rows_of_a_tile_keep_their_slots),
                cmocka_unit_test(a_tile_ends_where_the_slots_do),
                cmocka_unit_test(rows_in_use_outlive_the_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
