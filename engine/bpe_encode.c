/* Three ways to the same ids, by length of the piece: a table of pieces that are one token, a
 * linear search for the lowest rank, and for long pieces a heap that slides over it in windows. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "engine/vocabulary.h"

#define BPE_MERGED INT32_MIN

/* A window's heap stays in the second-level cache. */
#define WINDOW_BYTES 2048u

/* The next window starts this far before the end of one, at a token's start, and again so much
 * further ahead at each failed attempt. Twice what the longest token of DeepSeek has. */
#define OVERLAP_BYTES    256u
#define OVERLAP_ATTEMPTS 6

void bpe_scratch_deinit(struct bpe_scratch *scratch) {
        piece_cache_deinit(&scratch->cache);
        free(scratch->symbols);
        free(scratch->heap);
        free(scratch->window.spans);
        free(scratch->following.spans);
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

static int spans_append(struct bpe_spans *spans, size_t at, uint32_t id) {
        if (spans->n == spans->capacity) {
                size_t capacity = spans->capacity ? 2 * spans->capacity : WINDOW_BYTES;
                struct bpe_span *grown = realloc(spans->spans, capacity * sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                spans->spans = grown;
                spans->capacity = capacity;
        }
        spans->spans[spans->n++] = (struct bpe_span){ at, id };
        return 0;
}

/* The tokens of bytes [at, at + n) of a piece, by themselves. */
static int encode_window(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                         size_t at, size_t n, struct bpe_spans *ret) {
        int r = scratch_reserve(scratch, n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                scratch->symbols[i] = (struct bpe_symbol){
                        .id = bpe->byte_ids[(uint8_t)piece[at + i]],
                        .previous = (int32_t)i - 1,
                        .next = i + 1 < n ? (int32_t)i + 1 : -1,
                };
        scratch->n_heap = 0;
        for (size_t i = 0; i < n; i++)
                offer_pair(bpe, scratch, (int32_t)i);
        while (scratch->n_heap > 0)
                apply(bpe, scratch, heap_pop(scratch));
        ret->n = 0;
        for (int32_t i = 0; i >= 0 && r == 0; i = scratch->symbols[i].next)
                r = spans_append(ret, at + (size_t)i, scratch->symbols[i].id);
        return r;
}

/* Whether two neighbouring tokens, encoded together, stay as they are. */
static int stay_apart(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                      const struct bpe_span *left, const struct bpe_span *right, size_t right_end,
                      bool *ret) {
        struct bpe_spans both = { 0 };
        int r = encode_window(bpe, scratch, piece, left->at, right_end - left->at, &both);
        *ret = r == 0 && both.n == 2 && both.spans[0].id == left->id &&
                both.spans[1].id == right->id && both.spans[1].at == right->at;
        free(both.spans);
        return r;
}

/* Whether `following`, encoded from the start of window.spans[cut] up to `end`, continues the
 * tokens before that. It does when the pair at the seam stays apart; the next token of the window
 * itself does. */
static int continues(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                     size_t end, size_t cut, bool *ret) {
        const struct bpe_span *window = scratch->window.spans;
        const struct bpe_spans *following = &scratch->following;
        size_t right_end = following->n > 1 ? following->spans[1].at : end;
        if (following->spans[0].id == window[cut].id) {
                *ret = true;
                return 0;
        }
        return stay_apart(bpe, scratch, piece, &window[cut - 1], &following->spans[0], right_end,
                          ret);
}

static int append_spans(const struct bpe_spans *spans, size_t n, struct token_list *ids) {
        int r = 0;
        for (size_t i = 0; i < n && r == 0; i++)
                r = token_list_append(ids, &spans->spans[i].id, 1);
        return r;
}

/* Encodes the window behind the current one and makes it the current one, having appended the
 * tokens before it. *ret: false when no seam was found. */
static int slide(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n,
                 size_t end, struct token_list *ids, bool *ret) {
        struct bpe_spans *window = &scratch->window;
        size_t cut = window->n;
        *ret = false;
        for (size_t attempt = 1; attempt <= OVERLAP_ATTEMPTS; attempt++) {
                while (cut > 0 && window->spans[cut - 1].at + attempt * OVERLAP_BYTES > end)
                        cut--;
                if (cut < 2)
                        return 0;
                size_t at = window->spans[--cut].at;
                size_t bytes = n - at < WINDOW_BYTES ? n - at : WINDOW_BYTES;
                int r = encode_window(bpe, scratch, piece, at, bytes, &scratch->following);
                if (r == 0)
                        r = continues(bpe, scratch, piece, at + bytes, cut, ret);
                if (r == 0 && *ret) {
                        r = append_spans(window, cut, ids);
                        struct bpe_spans swap = *window;
                        *window = scratch->following;
                        scratch->following = swap;
                }
                if (r < 0 || *ret)
                        return r;
        }
        return 0;
}

/* Tokens are those of the whole piece exactly when each pair of neighbours, encoded by itself,
 * stays apart: the first merge across a boundary would be the lowest and leftmost in those two as
 * well. So windows can be encoded one after the other where that holds at the seam. Where no seam
 * is found (a file made for it), the piece is encoded in one. */
static int encode_long(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece,
                       size_t n, struct token_list *ids) {
        size_t n_before = ids->n, end = n < WINDOW_BYTES ? n : WINDOW_BYTES;
        int r = encode_window(bpe, scratch, piece, 0, end, &scratch->window);
        while (r == 0 && end < n) {
                bool slid;
                r = slide(bpe, scratch, piece, n, end, ids, &slid);
                if (r == 0 && !slid) {
                        ids->n = n_before;
                        end = n;
                        r = encode_window(bpe, scratch, piece, 0, n, &scratch->window);
                } else if (r == 0) {
                        size_t at = scratch->window.spans[0].at;
                        end = n - at < WINDOW_BYTES ? n : at + WINDOW_BYTES;
                }
        }
        return r < 0 ? r : append_spans(&scratch->window, scratch->window.n, ids);
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
                return encode_long(bpe, scratch, piece, n, ids);
        uint32_t hash = piece_hash(piece, n);
        const struct cached_piece *cached = piece_cache_find(&scratch->cache, hash, piece, n);
        if (cached)
                return token_list_append(ids, cached->ids, cached->n_ids);
        uint32_t found[BPE_SHORT_BYTES];
        size_t n_found = 1;
        found[0] = find_whole(bpe, hash, piece, n);
        if (found[0] == TOKEN_NONE)
                n_found = encode_short(bpe, piece, n, found);
        piece_cache_put(&scratch->cache, hash, piece, n, found, n_found);
        return token_list_append(ids, found, n_found);
}
