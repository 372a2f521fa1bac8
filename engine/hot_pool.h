/* Which rows of one source are in which slots of its hot pool. Bookkeeping only: whoever owns the
 * slots copies the rows.
 *
 * Rows are asked for in tiles: the queries of a tile run after all of their rows have slots, so a
 * slot that the current tile uses is not given to another row. Among the others a clock decides:
 * its hand passes a slot that was used since it last came by, and takes the first that was not.
 * Not thread-safe; lookups (hot_pool_slot()) may run on several threads between changes. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct hot_slot {
        uint32_t row;
        bool taken;    /* holds a row */
        bool used;     /* since the hand last came by */
        uint64_t tile; /* the last that used it */
};

struct hot_pool {
        uint32_t n_slots, n_rows;
        struct hot_slot *slot; /* [n_slots] */
        uint32_t *place;       /* [n_rows] slot + 1, 0: in none */
        uint64_t *missing;     /* [n_rows / 64] bit set: has a slot, but was not copied to it yet */
        uint32_t first_missing, last_missing; /* words that may have bits; first > last: none */
        uint64_t tile;
        uint32_t n_tile; /* slots that the current tile uses */
        uint32_t hand;
};

int hot_pool_init(struct hot_pool *pool, uint32_t n_slots); /* 0 or -ENOMEM */
void hot_pool_deinit(struct hot_pool *pool);                /* zeroed: nothing to do */

/* Row numbers below n_rows may be added from now on. 0 or -ENOMEM. */
int hot_pool_grow(struct hot_pool *pool, uint64_t n_rows);

void hot_pool_begin_tile(struct hot_pool *pool);

/* Adds a query's rows (different ones, at most n_slots) to the tile: each has a slot then. False
 * and nothing changed when the tile would need more slots than there are; never as the first of a
 * tile. */
bool hot_pool_add(struct hot_pool *pool, const uint32_t *rows, uint32_t n);

/* The rows of the tile that must be copied to their slots, ascending, each once. False: no more.
 * To be drained before the next tile begins. */
bool hot_pool_next_missing(struct hot_pool *pool, uint32_t *ret_row, uint32_t *ret_slot);

/* The slot of a row of the current tile. */
static inline uint32_t hot_pool_slot(const struct hot_pool *pool, uint32_t row) {
        assert(row < pool->n_rows && pool->place[row] > 0);
        return pool->place[row] - 1;
}
