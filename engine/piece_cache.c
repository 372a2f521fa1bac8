#include "engine/piece_cache.h"

#include <stdlib.h>

/* One entry for each so many bytes of text: zeroing it costs less than the encoding it may save. */
#define TEXT_BYTES_PER_PIECE 16

/* 1 MiB: what stays in a core's second-level cache beside the merges that are used most. */
#define CACHED_PIECES_MAX 16384u
#define CACHED_PIECES_MIN 64u

_Static_assert(sizeof(struct cached_piece) == 64, "an entry is one cache line");

void piece_cache_init(struct piece_cache *cache, size_t n) {
        size_t wanted = n / TEXT_BYTES_PER_PIECE, capacity = CACHED_PIECES_MIN;
        *cache = (struct piece_cache){ 0 };
        if (wanted < CACHED_PIECES_MIN)
                return;
        while (capacity < wanted && capacity < CACHED_PIECES_MAX)
                capacity *= 2;
        cache->pieces = aligned_alloc(64, capacity * sizeof(*cache->pieces));
        if (!cache->pieces)
                return;
        memset(cache->pieces, 0, capacity * sizeof(*cache->pieces));
        cache->mask = capacity - 1;
}

void piece_cache_deinit(struct piece_cache *cache) {
        free(cache->pieces);
        *cache = (struct piece_cache){ 0 };
}

void piece_cache_put(struct piece_cache *cache, uint32_t hash, const char *piece, size_t n,
                     const uint32_t *ids, size_t n_ids) {
        if (!cache->pieces || n > CACHED_BYTES_MAX || n_ids > CACHED_IDS_MAX)
                return;
        struct cached_piece *cached = &cache->pieces[hash & cache->mask];
        cached->hash = hash;
        cached->n_bytes = (uint8_t)n;
        cached->n_ids = (uint8_t)n_ids;
        memcpy(cached->bytes, piece, n);
        memcpy(cached->ids, ids, n_ids * sizeof(*ids));
}
