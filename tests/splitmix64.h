/* Random choices that a seed repeats, on every machine. */
#pragma once

#include <stdint.h>

/* The next of splitmix64's numbers. */
static inline uint64_t next_random(uint64_t *state) {
        uint64_t z = *state += 0x9e3779b97f4a7c15ULL;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        return z ^ z >> 31;
}

/* From [low, high]. */
static inline uint32_t random_between(uint64_t *state, uint32_t low, uint32_t high) {
        return low + (uint32_t)(next_random(state) % (high - low + 1));
}
