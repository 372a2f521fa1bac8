/* Which beginnings of token lists have been seen: what a cache that forgets nothing and keeps every
 * single token would have of a prompt. By 64-bit hashes; with the millions of prefixes of a run,
 * two of them meet once in a million runs. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct prefix_set { /* zeroed: empty */
        uint64_t *slots;
        size_t n, n_slots;
};

void prefix_set_deinit(struct prefix_set *set);

/* Tokens of the longest beginning that was added before, at most n. */
uint32_t prefix_set_longest(const struct prefix_set *set, const uint32_t *ids, uint32_t n);

/* Adds every beginning; ends the program when out of memory. */
void prefix_set_add(struct prefix_set *set, const uint32_t *ids, uint32_t n);
