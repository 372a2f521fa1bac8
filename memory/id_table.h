/* A hash table from 64-bit numbers to pointers. Open addressing; keys should be well mixed
 * already (hashes) or small and dense (counters): both spread well enough. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct id_table {
        struct id_slot *slots; /* 2^bits, NULL while empty */
        unsigned bits;
        size_t n;
};

void id_table_deinit(
        struct id_table *table); /* NULL-safe fields; what it points at is the caller's */

/* Room for n entries in all, so that as many insertions cannot fail. 0 or -ENOMEM. */
int id_table_reserve(struct id_table *table, size_t n);

void *id_table_get(const struct id_table *table, uint64_t key);        /* NULL = none */
int id_table_set(struct id_table *table, uint64_t key, void *pointer); /* 0 or -ENOMEM; replaces */
void id_table_remove(struct id_table *table, uint64_t key);

/* for (size_t at = 0; (p = id_table_next(table, &at));) : all pointers, in no order. The table must
 * not change meanwhile. */
void *id_table_next(const struct id_table *table, size_t *at);
