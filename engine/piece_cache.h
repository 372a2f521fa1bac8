/* Pieces that were encoded a moment ago, and their ids: text repeats its words.
 *
 * Serves one call of tokenizer_encode() and dies with it, so the tokenizer itself stays immutable
 * and no text outlives its call. Bounded: a new piece takes the place of another with the same
 * hash. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* An entry fills one cache line. */
#define CACHED_BYTES_MAX 26
#define CACHED_IDS_MAX   8

struct cached_piece {
        uint32_t hash;
        uint8_t n_bytes, n_ids; /* n_bytes 0: empty */
        char bytes[CACHED_BYTES_MAX];
        uint32_t ids[CACHED_IDS_MAX];
};

/* Zeroed: no cache, nothing is found and nothing kept. */
struct piece_cache {
        struct cached_piece *pieces; /* [mask + 1] */
        size_t mask;
};

/* Makes a cache that suits a text of n bytes; none for short texts, and none when out of memory. */
void piece_cache_init(struct piece_cache *cache, size_t n);
void piece_cache_deinit(struct piece_cache *cache);

/* Of n >= 1 bytes; says nothing about hostile texts, which can make pieces collide. */
static inline uint32_t piece_hash(const char *piece, size_t n) {
        uint64_t first = 0, last = 0, hash = n * UINT64_C(0x9e3779b97f4a7c15);
        if (n >= 8) {
                for (size_t at = 8; at + 8 < n; at += 8) {
                        memcpy(&first, piece + at, 8);
                        hash = (hash ^ first) * UINT64_C(0xd6e8feb86659fd93);
                        hash ^= hash >> 32;
                }
                memcpy(&first, piece, 8);
                memcpy(&last, piece + n - 8, 8);
        } else if (n >= 4) {
                memcpy(&first, piece, 4);
                memcpy(&last, piece + n - 4, 4);
        } else {
                first = (uint8_t)piece[0];
                last = (uint64_t)(uint8_t)piece[n / 2] << 8 | (uint8_t)piece[n - 1];
        }
        hash = (hash ^ first) * UINT64_C(0xd6e8feb86659fd93);
        hash = (hash ^ hash >> 32 ^ last) * UINT64_C(0xd6e8feb86659fd93);
        return (uint32_t)(hash >> 32);
}

static inline bool piece_is(const struct cached_piece *cached, uint32_t hash, const char *piece,
                            size_t n) {
        return cached->hash == hash && cached->n_bytes == n && memcmp(cached->bytes, piece, n) == 0;
}

/* NULL when it is not there. */
static inline const struct cached_piece *
piece_cache_find(const struct piece_cache *cache, uint32_t hash, const char *piece, size_t n) {
        if (!cache->pieces)
                return NULL;
        const struct cached_piece *cached = &cache->pieces[hash & cache->mask];
        return piece_is(cached, hash, piece, n) ? cached : NULL;
}

/* Pieces of more bytes or ids than an entry holds are not kept. */
void piece_cache_put(struct piece_cache *cache, uint32_t hash, const char *piece, size_t n,
                     const uint32_t *ids, size_t n_ids);
