#include "memory/id_table.h"

#include <errno.h>
#include <stdlib.h>

struct id_slot {
        uint64_t key;
        void *pointer; /* NULL = free */
};

#define BITS_MIN 6

static size_t mask_of(const struct id_table *table) {
        return ((size_t)1 << table->bits) - 1;
}

/* Fibonacci hashing: the high bits of the product depend on all bits of the key. */
static size_t home_of(const struct id_table *table, uint64_t key) {
        return (size_t)((key * 0x9e3779b97f4a7c15ULL) >> (64 - table->bits));
}

/* Where the key is, or the free slot where it would go. */
static size_t find(const struct id_table *table, uint64_t key) {
        size_t at = home_of(table, key);
        while (table->slots[at].pointer && table->slots[at].key != key)
                at = (at + 1) & mask_of(table);
        return at;
}

void id_table_deinit(struct id_table *table) {
        free(table->slots);
        *table = (struct id_table){ 0 };
}

int id_table_reserve(struct id_table *table, size_t n) {
        unsigned bits = table->slots ? table->bits : BITS_MIN;
        while (n > ((size_t)1 << bits) / 4 * 3) /* three quarters full at most */
                bits++;
        if (table->slots && bits == table->bits)
                return 0;
        struct id_table grown = { .bits = bits, .n = table->n };
        grown.slots = calloc((size_t)1 << bits, sizeof(*grown.slots));
        if (!grown.slots)
                return -ENOMEM;
        for (size_t i = 0; table->slots && i <= mask_of(table); i++)
                if (table->slots[i].pointer)
                        grown.slots[find(&grown, table->slots[i].key)] = table->slots[i];
        free(table->slots);
        *table = grown;
        return 0;
}

void *id_table_get(const struct id_table *table, uint64_t key) {
        return table->slots ? table->slots[find(table, key)].pointer : NULL;
}

int id_table_set(struct id_table *table, uint64_t key, void *pointer) {
        int r = id_table_reserve(table, table->n + 1);
        if (r < 0)
                return r;
        struct id_slot *slot = &table->slots[find(table, key)];
        table->n += !slot->pointer;
        *slot = (struct id_slot){ key, pointer };
        return 0;
}

/* Slots after a gap move back unless that would put them before their home: no tombstones. */
void id_table_remove(struct id_table *table, uint64_t key) {
        if (!table->slots)
                return;
        size_t gap = find(table, key), mask = mask_of(table);
        if (!table->slots[gap].pointer)
                return;
        for (size_t at = (gap + 1) & mask; table->slots[at].pointer; at = (at + 1) & mask) {
                size_t home = home_of(table, table->slots[at].key);
                if (((at - home) & mask) >= ((at - gap) & mask)) {
                        table->slots[gap] = table->slots[at];
                        gap = at;
                }
        }
        table->slots[gap] = (struct id_slot){ 0 };
        table->n--;
}

void *id_table_next(const struct id_table *table, size_t *at) {
        while (table->slots && *at <= mask_of(table)) {
                void *pointer = table->slots[(*at)++].pointer;
                if (pointer)
                        return pointer;
        }
        return NULL;
}
