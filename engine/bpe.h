/* Byte-pair encoding of one piece: start from single bytes, then merge the neighbours of lowest
 * rank until none is left; equal ranks merge left to right.
 *
 * The merges are here, the work in bpe_encode.c. struct bpe is immutable after bpe_read(), any
 * thread; a scratch serves one call at a time. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/bpe_forest.h"
#include "engine/piece_cache.h"

struct error;
struct token_list;
struct vocabulary;

#define BPE_RANK_NONE UINT32_MAX

struct bpe_merge {
        uint64_t pair; /* left id << 32 | right id */
        uint32_t rank, merged;
};

/* A token whose bytes, encoded as a piece, are that one token. */
struct bpe_whole {
        uint32_t hash, id;
};

struct bpe {
        uint32_t byte_ids[256]; /* TOKEN_NONE for bytes that UTF-8 never holds, where the vocabulary
                                   lacks them */
        struct bpe_merge *merges; /* open addressing, [mask + 1]; rank BPE_RANK_NONE: empty */
        size_t mask;
        uint64_t *filter; /* a bit for each hash of a merge, [(filter_mask + 1) / 64]: small enough
                             for a cache, and most pairs are none */
        size_t filter_mask;
        const struct vocabulary *vocabulary;
        struct bpe_forest forest;
        struct bpe_whole *whole; /* open addressing, [whole_mask + 1]; id TOKEN_NONE: empty */
        size_t whole_mask;
};

/* Every entry lies within so many slots of its hash. At load factor 1/2 no run of this length
 * happens by chance; a file made to collide costs no more than this for each look-up. */
#define BPE_PROBES_MAX 512

/* `model`: the "model" object of a tokenizer.json whose "vocab" vocabulary_read() has checked and
 * made `vocabulary` from, which must outlive `ret`. */
int bpe_read(struct bpe *ret, json_t *model, const struct vocabulary *vocabulary,
             struct error *err);
void bpe_deinit(struct bpe *bpe);

static inline size_t bpe_hash(uint64_t pair) {
        pair ^= pair >> 32;
        pair *= UINT64_C(0xd6e8feb86659fd93);
        return (size_t)(pair ^ pair >> 32);
}

static inline const struct bpe_merge *bpe_find(const struct bpe *bpe, uint32_t left,
                                               uint32_t right) {
        uint64_t pair = (uint64_t)left << 32 | right;
        size_t hash = bpe_hash(pair), bit = hash & bpe->filter_mask;
        if (!(bpe->filter[bit / 64] >> bit % 64 & 1))
                return NULL;
        for (size_t i = 0; i < BPE_PROBES_MAX; i++) {
                const struct bpe_merge *merge = &bpe->merges[(hash + i) & bpe->mask];
                if (merge->pair == pair && merge->rank != BPE_RANK_NONE)
                        return merge;
                if (merge->rank == BPE_RANK_NONE)
                        break;
        }
        return NULL;
}

/* Up to here a linear search for the lowest rank beats a heap, and whole tokens are looked up. */
#define BPE_SHORT_BYTES 48

/* One byte or what it has merged with. */
struct bpe_symbol {
        uint32_t id;
        int32_t previous, next; /* -1 = none; next == BPE_MERGED: swallowed by its left neighbour */
        uint32_t rank, merged;  /* of the pair with the next symbol; rank BPE_RANK_NONE: no merge */
};

/* Zero-initialise; grows to the longest piece. */
struct bpe_scratch {
        struct piece_cache cache;
        uint64_t *dead; /* for bpe_forest_encode(), [dead_capacity] */
        size_t dead_capacity;
        struct bpe_symbol *symbols;
        uint64_t *heap; /* rank << 32 | index of the left symbol: lowest first */
        size_t n_heap, capacity;
};
void bpe_scratch_deinit(struct bpe_scratch *scratch);

/* By merging alone, as the definition says; without table, cache and forest. n >= 1. */
int bpe_encode_by_rank(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                       size_t n, struct token_list *ids);

/* Appends the ids of a piece of well-formed UTF-8, at most TOKENIZE_TEXT_MAX bytes. 0 or -ENOMEM.
 */
int bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n,
               struct token_list *ids);
