/* Ways to the same ids: a table of pieces that are one token, the cache of the call, the forest
 * from left to right; and for files without a forest merging by rank, with a linear search for the
 * lowest in short pieces, a heap in long ones. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "engine/vocabulary.h"

#define BPE_MERGED INT32_MIN

void bpe_scratch_deinit(struct bpe_scratch *scratch) {
        piece_cache_deinit(&scratch->cache);
        free(scratch->symbols);
        free(scratch->heap);
        free(scratch->dead);
        *scratch = (struct bpe_scratch){ 0 };
}

/* What the pair of neighbours i and i + 1 merges to. */
struct short_pair {
        uint32_t rank, merged;
};

static struct short_pair short_pair(const struct bpe *bpe, uint32_t left, uint32_t right) {
        const struct bpe_merge *merge = bpe_find(bpe, left, right);
        return merge ? (struct short_pair){ merge->rank, merge->merged }
                     : (struct short_pair){ BPE_RANK_NONE, 0 };
}

/* `ids`: [BPE_SHORT_BYTES]. Returns how many of them are the piece's. */
static size_t encode_short(const struct bpe *bpe, const char *piece, size_t n, uint32_t *ids) {
        struct short_pair pairs[BPE_SHORT_BYTES];
        for (size_t i = 0; i < n; i++)
                ids[i] = bpe->byte_ids[(uint8_t)piece[i]];
        for (size_t i = 0; i + 1 < n; i++)
                pairs[i] = short_pair(bpe, ids[i], ids[i + 1]);
        while (n > 1) {
                size_t lowest = 0;
                for (size_t i = 1; i + 1 < n; i++)
                        if (pairs[i].rank < pairs[lowest].rank)
                                lowest = i;
                if (pairs[lowest].rank == BPE_RANK_NONE)
                        break;
                ids[lowest] = pairs[lowest].merged;
                n--;
                memmove(ids + lowest + 1, ids + lowest + 2, (n - lowest - 1) * sizeof(*ids));
                if (lowest + 1 < n) {
                        memmove(pairs + lowest + 1, pairs + lowest + 2,
                                (n - lowest - 2) * sizeof(*pairs));
                        pairs[lowest] = short_pair(bpe, ids[lowest], ids[lowest + 1]);
                }
                if (lowest > 0)
                        pairs[lowest - 1] = short_pair(bpe, ids[lowest - 1], ids[lowest]);
        }
        return n;
}

static int scratch_reserve(struct bpe_scratch *scratch, size_t n) {
        if (n <= scratch->capacity)
                return 0;
        free(scratch->symbols);
        free(scratch->heap);
        scratch->capacity = 0;
        scratch->symbols = malloc(n * sizeof(*scratch->symbols));
        /* n - 1 pairs at first, and each of at most n - 1 merges adds two. */
        scratch->heap = malloc(3 * n * sizeof(*scratch->heap));
        if (!scratch->symbols || !scratch->heap)
                return -ENOMEM;
        scratch->capacity = n;
        return 0;
}

static void heap_push(struct bpe_scratch *scratch, uint64_t order) {
        size_t at = scratch->n_heap++;
        while (at > 0 && scratch->heap[(at - 1) / 2] > order) {
                scratch->heap[at] = scratch->heap[(at - 1) / 2];
                at = (at - 1) / 2;
        }
        scratch->heap[at] = order;
}

static uint64_t heap_pop(struct bpe_scratch *scratch) {
        uint64_t *heap = scratch->heap;
        uint64_t first = heap[0], last = heap[--scratch->n_heap];
        size_t n = scratch->n_heap, at = 0;
        for (;;) {
                size_t child = 2 * at + 1;
                if (child >= n)
                        break;
                if (child + 1 < n && heap[child + 1] < heap[child])
                        child++;
                if (heap[child] >= last)
                        break;
                heap[at] = heap[child];
                at = child;
        }
        heap[at] = last;
        return first;
}

static void offer_pair(const struct bpe *bpe, struct bpe_scratch *scratch, int32_t at) {
        if (at < 0)
                return;
        struct bpe_symbol *left = &scratch->symbols[at];
        const struct bpe_merge *merge =
                left->next < 0 ? NULL : bpe_find(bpe, left->id, scratch->symbols[left->next].id);
        left->rank = merge ? merge->rank : BPE_RANK_NONE;
        left->merged = merge ? merge->merged : TOKEN_NONE;
        if (merge)
                heap_push(scratch, (uint64_t)merge->rank << 32 | (uint32_t)at);
}

static void apply(const struct bpe *bpe, struct bpe_scratch *scratch, uint64_t order) {
        int32_t at = (int32_t)(uint32_t)order;
        struct bpe_symbol *symbols = scratch->symbols, *left = &symbols[at];
        /* Swallowed meanwhile, or its pair is another one now. */
        if (left->next < 0 || left->rank != order >> 32)
                return;
        struct bpe_symbol *right = &symbols[left->next];
        left->id = left->merged;
        left->next = right->next;
        right->next = BPE_MERGED;
        if (left->next >= 0)
                symbols[left->next].previous = at;
        offer_pair(bpe, scratch, left->previous);
        offer_pair(bpe, scratch, at);
}

static int encode_by_heap(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                          size_t n, struct token_list *ids) {
        int r = scratch_reserve(scratch, n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                scratch->symbols[i] = (struct bpe_symbol){
                        .id = bpe->byte_ids[(uint8_t)piece[i]],
                        .previous = (int32_t)i - 1,
                        .next = i + 1 < n ? (int32_t)i + 1 : -1,
                };
        scratch->n_heap = 0;
        for (size_t i = 0; i < n; i++)
                offer_pair(bpe, scratch, (int32_t)i);
        while (scratch->n_heap > 0)
                apply(bpe, scratch, heap_pop(scratch));
        for (int32_t i = 0; i >= 0 && r == 0; i = scratch->symbols[i].next)
                r = token_list_append(ids, &scratch->symbols[i].id, 1);
        return r;
}

static int encode_by_forest(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                            size_t n, struct token_list *ids) {
        size_t words = (n + 64) / 64;
        if (words > scratch->dead_capacity) {
                free(scratch->dead);
                scratch->dead = malloc(words * sizeof(*scratch->dead));
                scratch->dead_capacity = scratch->dead ? words : 0;
                if (!scratch->dead)
                        return -ENOMEM;
        }
        return bpe_forest_encode(bpe, piece, n, scratch->dead, ids);
}

int bpe_encode_by_rank(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                       size_t n, struct token_list *ids) {
        if (n > BPE_SHORT_BYTES)
                return encode_by_heap(bpe, scratch, piece, n, ids);
        uint32_t found[BPE_SHORT_BYTES];
        return token_list_append(ids, found, encode_short(bpe, piece, n, found));
}

/* Without the table and the cache. */
static int encode_anew(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                       size_t n, struct token_list *ids) {
        int r = -ENOENT;
        if (bpe->forest.origins)
                r = encode_by_forest(bpe, scratch, piece, n, ids);
        return r == -ENOENT ? bpe_encode_by_rank(bpe, scratch, piece, n, ids) : r;
}

/* The id that the whole piece is, or TOKEN_NONE. */
static uint32_t find_whole(const struct bpe *bpe, uint32_t hash, const char *piece, size_t n) {
        for (size_t i = 0; i < BPE_PROBES_MAX; i++) {
                const struct bpe_whole *whole = &bpe->whole[(hash + i) & bpe->whole_mask];
                if (whole->id == TOKEN_NONE)
                        break;
                const struct vocabulary_entry *entry = &bpe->vocabulary->entries[whole->id];
                if (whole->hash == hash && entry->n_bytes == n &&
                    memcmp(entry->bytes, piece, n) == 0)
                        return whole->id;
        }
        return TOKEN_NONE;
}

int bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n,
               struct token_list *ids) {
        if (n == 0)
                return 0;
        if (n == 1)
                return token_list_append(ids, &bpe->byte_ids[(uint8_t)piece[0]], 1);
        if (n > BPE_SHORT_BYTES)
                return encode_anew(bpe, scratch, piece, n, ids);
        uint32_t hash = piece_hash(piece, n);
        const struct cached_piece *cached = piece_cache_find(&scratch->cache, hash, piece, n);
        if (cached)
                return token_list_append(ids, cached->ids, cached->n_ids);
        size_t n_before = ids->n;
        uint32_t whole = find_whole(bpe, hash, piece, n);
        int r = whole == TOKEN_NONE ? encode_anew(bpe, scratch, piece, n, ids)
                                    : token_list_append(ids, &whole, 1);
        if (r == 0)
                piece_cache_put(&scratch->cache, hash, piece, n, ids->ids + n_before,
                                ids->n - n_before);
        return r;
}
