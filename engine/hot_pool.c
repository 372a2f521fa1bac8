#include "engine/hot_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_ROWS 64

int hot_pool_init(struct hot_pool *pool, uint32_t n_slots) {
        *pool = (struct hot_pool){ .n_slots = n_slots, .first_missing = UINT32_MAX };
        pool->slot = calloc(n_slots, sizeof(*pool->slot));
        return pool->slot ? 0 : -ENOMEM;
}

void hot_pool_deinit(struct hot_pool *pool) {
        free(pool->slot);
        free(pool->place);
        free(pool->missing);
        *pool = (struct hot_pool){ 0 };
}

int hot_pool_grow(struct hot_pool *pool, uint64_t n_rows) {
        if (n_rows <= pool->n_rows)
                return 0;
        size_t n_words = (n_rows + WORD_ROWS - 1) / WORD_ROWS, n = n_words * WORD_ROWS;
        uint32_t *place = reallocarray(pool->place, n, sizeof(*place));
        if (!place)
                return -ENOMEM;
        pool->place = place;
        uint64_t *missing = reallocarray(pool->missing, n_words, sizeof(*missing));
        if (!missing)
                return -ENOMEM;
        pool->missing = missing;
        memset(place + pool->n_rows, 0, (n - pool->n_rows) * sizeof(*place));
        memset(missing + pool->n_rows / WORD_ROWS, 0,
               (n_words - pool->n_rows / WORD_ROWS) * sizeof(*missing));
        pool->n_rows = (uint32_t)n;
        return 0;
}

void hot_pool_begin_tile(struct hot_pool *pool) {
        assert(pool->first_missing == UINT32_MAX);
        pool->tile++;
        pool->n_tile = 0;
}

static bool in_tile(const struct hot_pool *pool, uint32_t row) {
        uint32_t place = pool->place[row];
        return place > 0 && pool->slot[place - 1].tile == pool->tile;
}

static void use(struct hot_pool *pool, uint32_t slot) {
        pool->slot[slot].used = true;
        pool->slot[slot].tile = pool->tile;
        pool->n_tile++;
}

/* A slot that the tile does not use. There is one: the tile's rows were counted. */
static uint32_t free_slot(struct hot_pool *pool) {
        assert(pool->n_tile < pool->n_slots);
        for (;;) {
                uint32_t at = pool->hand;
                struct hot_slot *slot = &pool->slot[at];
                pool->hand = at + 1 < pool->n_slots ? at + 1 : 0;
                if (slot->taken && slot->tile == pool->tile)
                        continue;
                if (!slot->used)
                        return at;
                slot->used = false;
        }
}

static void give_slot(struct hot_pool *pool, uint32_t row) {
        uint32_t at = free_slot(pool), word = row / WORD_ROWS;
        struct hot_slot *slot = &pool->slot[at];
        if (slot->taken)
                pool->place[slot->row] = 0;
        slot->row = row;
        slot->taken = true;
        use(pool, at);
        pool->place[row] = at + 1;
        pool->missing[word] |= UINT64_C(1) << row % WORD_ROWS;
        if (pool->first_missing == UINT32_MAX)
                pool->first_missing = pool->last_missing = word;
        pool->first_missing = word < pool->first_missing ? word : pool->first_missing;
        pool->last_missing = word > pool->last_missing ? word : pool->last_missing;
}

bool hot_pool_add(struct hot_pool *pool, const uint32_t *rows, uint32_t n) {
        uint32_t n_new = 0;
        for (uint32_t i = 0; i < n; i++) {
                assert(rows[i] < pool->n_rows);
                n_new += !in_tile(pool, rows[i]);
        }
        if (n_new > pool->n_slots - pool->n_tile)
                return false;
        /* First those that are there, so that none of them has to give way to another. */
        for (uint32_t i = 0; i < n; i++)
                if (pool->place[rows[i]] > 0 && !in_tile(pool, rows[i]))
                        use(pool, pool->place[rows[i]] - 1);
        for (uint32_t i = 0; i < n; i++)
                if (pool->place[rows[i]] == 0)
                        give_slot(pool, rows[i]);
        return true;
}

bool hot_pool_next_missing(struct hot_pool *pool, uint32_t *ret_row, uint32_t *ret_slot) {
        for (; pool->first_missing <= pool->last_missing; pool->first_missing++) {
                uint64_t *word = &pool->missing[pool->first_missing];
                if (*word == 0)
                        continue;
                *ret_row = pool->first_missing * WORD_ROWS + (uint32_t)__builtin_ctzll(*word);
                *ret_slot = hot_pool_slot(pool, *ret_row);
                *word &= *word - 1;
                return true;
        }
        pool->first_missing = UINT32_MAX;
        pool->last_missing = 0;
        return false;
}
