/* How each token arises from its parts, and the encoding that this allows: from left to right, one
 * token at a time, in linear time and without scratch that grows with the text but a bit a byte.
 *
 * A sequence of tokens is the encoding of its text exactly when each token is the encoding of its
 * own bytes ("whole") and each pair of neighbours, encoded by itself, stays apart: the first merge
 * that crosses a boundary would be the lowest and leftmost in those two as well. There is one
 * encoding, so any such sequence is it. It is searched for with the longest whole token first.
 * Whether two tokens stay apart follows from the merges along the seam alone.
 *
 * That needs a file in which every token comes from one merge, of a higher rank than the merges
 * that make its parts. All that training writes are such; others have no forest. Immutable, any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/token_trie.h"

struct bpe;
struct token_list;

struct bpe_origin {
        uint32_t order;       /* 0: a byte; rank of the merge that makes it + 1; BPE_ORDER_NONE */
        uint32_t left, right; /* what that merge joins */
        uint32_t n_bytes;
};

#define BPE_ORDER_NONE UINT32_MAX /* no merge makes it: text never encodes to it */

struct bpe_forest {
        struct bpe_origin *origins; /* [n_ids]; NULL: the file has no forest */
        bool *whole;                /* [n_ids] */
        uint32_t *shorter; /* [n_ids]: the longest whole token that a whole one starts with, itself
                              apart; TOKEN_NONE */
        struct token_trie trie; /* of the whole tokens */
};

/* From bytes and merges of `bpe`. 0 with forest.origins NULL for a file that has none; -ENOMEM. */
int bpe_forest_build(struct bpe_forest *ret, const struct bpe *bpe);
void bpe_forest_deinit(struct bpe_forest *forest);

/* Appends the ids of a piece. `dead`: (n + 64) / 64 words of scratch. -ENOENT when the piece holds
 * a byte that is no token, the list then being as it was; -ENOMEM. */
int bpe_forest_encode(const struct bpe *bpe, const char *piece, size_t n, uint64_t *dead,
                      struct token_list *ids);
