/* Both regions as both sides see them, in one process. D's writable map doubles as the hand of a
 * hostile writer. */
#pragma once

#include "proto/region.h"
#include "proto/ring.h"

#include <stdint.h>
#include <string.h>

struct region_pair {
        struct region d;        /* daemon: writable */
        struct region c;        /* daemon: read-only */
        struct region d_client; /* client: read-only */
        struct region c_client; /* client: writable */
        int fd_d;
        int fd_c;
};

void region_pair_init(struct region_pair *pair, uint64_t d_data_bytes, uint64_t c_data_bytes);
void region_pair_deinit(struct region_pair *pair);

/* Overwrites the record header at ring position `pos` of `region`'s writable map. */
static inline void forge_record(const struct region *region, uint64_t pos,
                                struct ring_record record) {
        memcpy(region->map + region->data_off + (pos & (region->data_bytes - 1)), &record,
               sizeof(record));
}

static inline void forge_word(const struct region *region, uint32_t off, uint64_t value) {
        atomic_store_explicit(region_word(region, off), value, memory_order_release);
}

/* A reproducible stream of numbers (xorshift64*); the seed is not 0. */
static inline uint64_t random_next(uint64_t *state) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * 0x2545f4914f6cdd1dULL;
}
