/* Rows that were used lately, by key: a cache of fixed size, counted in rows.
 *
 * Sets of eight rows, CLOCK inside a set: each row has a mark that use sets; to make room the set's
 * hand goes round, takes marks away and stops at the first row without one. Nothing is allocated
 * after creation, and memory is only touched as rows come. One thread at a time. */
#pragma once

#include <stdint.h>

struct row_cache;

/* Holds n_rows rows of row_bytes, rounded up to whole sets. 0 or -ENOMEM. */
int row_cache_new(uint64_t n_rows, uint32_t row_bytes, struct row_cache **ret);
struct row_cache *row_cache_free(struct row_cache *cache); /* NULL-safe, returns NULL */

/* Keys are below 2^63 - 1 in all calls. */

/* Begins to bring what row_cache_find() will look at: to be called for many keys before the first
 * of them is looked up. */
void row_cache_expect(const struct row_cache *cache, uint64_t key);

/* The row, and marks it; NULL when it is not there. Valid until the next row_cache_put(). */
const uint8_t *row_cache_find(struct row_cache *cache, uint64_t key);

/* Keeps a copy; the one with the same key, if any, is replaced. */
void row_cache_put(struct row_cache *cache, uint64_t key, const uint8_t *row);

uint64_t row_cache_capacity(const struct row_cache *cache); /* rows */
