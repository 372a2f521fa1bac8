/* Byte-pair encoding of one piece: start from single bytes, then merge the neighbours of lowest
 * rank until none is left.
 *
 * Equal ranks merge left to right. n bytes cost O(n log n): a heap holds the pairs, a linked list
 * the symbols, so that a megabyte without a space stays cheap. struct bpe is immutable after
 * bpe_read(), any thread; a scratch serves one call at a time. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct token_list;
struct vocabulary;

struct bpe_merge {
        uint64_t pair; /* left id << 32 | right id */
        uint32_t rank, merged;
};

struct bpe {
        uint32_t byte_ids[256]; /* TOKEN_NONE for bytes that UTF-8 never holds, where the vocabulary
                                   lacks them */
        struct bpe_merge *merges; /* open addressing, [mask + 1] */
        size_t mask;
};

/* `model`: the "model" object of a tokenizer.json whose "vocab" vocabulary_read() has checked. */
int bpe_read(struct bpe *ret, json_t *model, struct error *err);
void bpe_deinit(struct bpe *bpe);

struct bpe_symbol {
        uint32_t id;
        int32_t previous, next; /* -1 = none; next == BPE_MERGED: swallowed by its left neighbour */
};

struct bpe_candidate {
        uint64_t order; /* rank << 32 | index of the left symbol: lowest first */
        uint32_t merged;
};

/* Grows to the longest piece seen; zero-initialise. */
struct bpe_scratch {
        struct bpe_symbol *symbols;
        struct bpe_candidate *heap;
        size_t n_heap, capacity;
};
void bpe_scratch_deinit(struct bpe_scratch *scratch);

/* Appends the ids of a piece of well-formed UTF-8, at most TOKENIZE_TEXT_MAX bytes. 0 or -ENOMEM.
 */
int bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n,
               struct token_list *ids);
