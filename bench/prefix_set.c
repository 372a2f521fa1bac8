#include "bench/prefix_set.h"

#include <stdio.h>
#include <stdlib.h>

#define SLOTS_MIN 1024

/* Of a list, from that of the list without its last token (splitmix64's finaliser). Never 0, which
 * is an empty slot. */
static uint64_t extend(uint64_t hash, uint32_t id) {
        uint64_t x = hash + id + 0x9e3779b97f4a7c15;
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        x ^= x >> 31;
        return x ? x : 1;
}

/* The slot that has it or is free for it. There is always a free one. */
static uint64_t *find(const struct prefix_set *set, uint64_t hash) {
        size_t at = hash & (set->n_slots - 1);
        while (set->slots[at] != 0 && set->slots[at] != hash)
                at = (at + 1) & (set->n_slots - 1);
        return &set->slots[at];
}

static void grow(struct prefix_set *set) {
        struct prefix_set larger = { .n = set->n,
                                     .n_slots = set->n_slots ? 2 * set->n_slots : SLOTS_MIN };
        larger.slots = calloc(larger.n_slots, sizeof(*larger.slots));
        if (!larger.slots) {
                fprintf(stderr, "seekd-bench: out of memory\n");
                exit(1);
        }
        for (size_t i = 0; i < set->n_slots; i++)
                if (set->slots[i] != 0)
                        *find(&larger, set->slots[i]) = set->slots[i];
        free(set->slots);
        *set = larger;
}

void prefix_set_deinit(struct prefix_set *set) {
        free(set->slots);
        *set = (struct prefix_set){ 0 };
}

uint32_t prefix_set_longest(const struct prefix_set *set, const uint32_t *ids, uint32_t n) {
        uint64_t hash = 0;
        for (uint32_t i = 0; i < n; i++) {
                hash = extend(hash, ids[i]);
                if (set->n == 0 || *find(set, hash) == 0)
                        return i;
        }
        return n;
}

void prefix_set_add(struct prefix_set *set, const uint32_t *ids, uint32_t n) {
        uint64_t hash = 0;
        for (uint32_t i = 0; i < n; i++) {
                if (2 * (set->n + 1) > set->n_slots)
                        grow(set);
                hash = extend(hash, ids[i]);
                uint64_t *slot = find(set, hash);
                set->n += *slot == 0;
                *slot = hash;
        }
}
