#include "engine/bpe_forest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "engine/bpe.h"
#include "engine/tokenizer.h"
#include "engine/vocabulary.h"

/* The pair at the seam of two tokens, seen backwards in time: at first the tokens themselves, at
 * last the bytes that meet there. */
struct seam {
        uint32_t left, right;
        uint32_t until; /* the pair existed before the merge of this order */
};

/* One step back: takes the later made of the two apart. False when both are bytes. Of equal ones
 * the left was made first. */
static inline bool seam_back(const struct bpe_origin *origins, struct seam *seam) {
        const struct bpe_origin *left = &origins[seam->left], *right = &origins[seam->right];
        if (left->order > right->order) {
                seam->until = left->order;
                seam->left = left->right;
                return true;
        }
        /* The pair at the seam is further left than what the right token was made from: of equal
         * rank it merges first. */
        seam->until = right->order + 1;
        seam->right = right->left;
        return right->order > 0;
}

static inline bool seam_merges(const struct bpe *bpe, const struct seam *seam) {
        const struct bpe_merge *merge = bpe_find(bpe, seam->left, seam->right);
        return merge && merge->rank + 1 < seam->until;
}

/* Whether nothing crosses the seam before it is what it is now. */
static bool undisturbed(const struct bpe *bpe, const struct bpe_origin *origins, struct seam seam) {
        while (seam_back(origins, &seam))
                if (seam_merges(bpe, &seam))
                        return false;
        return true;
}

static bool stay_apart(const struct bpe *bpe, const struct bpe_origin *origins, uint32_t left,
                       uint32_t right) {
        struct seam seam = { left, right, BPE_ORDER_NONE };
        return !seam_merges(bpe, &seam) && undisturbed(bpe, origins, seam);
}

/* Bytes of a merged token are those of its parts, unless an added token took its place. */
static bool joins(const struct vocabulary *vocabulary, uint32_t left, uint32_t right,
                  uint32_t merged) {
        const struct vocabulary_entry *a = &vocabulary->entries[left],
                                      *b = &vocabulary->entries[right],
                                      *whole = &vocabulary->entries[merged];
        return whole->n_bytes == a->n_bytes + b->n_bytes &&
                memcmp(whole->bytes, a->bytes, a->n_bytes) == 0 &&
                memcmp(whole->bytes + a->n_bytes, b->bytes, b->n_bytes) == 0;
}

/* False when the bytes are not tokens of one byte each. */
static bool plant_bytes(const struct bpe *bpe, struct bpe_forest *forest) {
        for (unsigned byte = 0; byte < 256; byte++) {
                uint32_t id = bpe->byte_ids[byte];
                if (id == TOKEN_NONE)
                        continue;
                const struct vocabulary_entry *entry = &bpe->vocabulary->entries[id];
                if (entry->n_bytes != 1 || (uint8_t)entry->bytes[0] != byte)
                        return false;
                forest->origins[id].order = 0;
                forest->whole[id] = true;
        }
        return true;
}

/* False when two merges make one token, or a token is made before its parts. */
static bool grow(const struct bpe *bpe, const struct bpe_merge *const *by_rank, size_t n,
                 struct bpe_forest *forest) {
        struct bpe_origin *origins = forest->origins;
        for (size_t rank = 0; rank < n; rank++) {
                const struct bpe_merge *merge = by_rank[rank];
                uint32_t left = (uint32_t)(merge->pair >> 32), right = (uint32_t)merge->pair;
                struct bpe_origin *origin = &origins[merge->merged];
                if (origin->order != BPE_ORDER_NONE || origins[left].order > rank ||
                    origins[right].order > rank ||
                    !joins(bpe->vocabulary, left, right, merge->merged))
                        return false;
                origin->order = (uint32_t)rank + 1;
                origin->left = left;
                origin->right = right;
                forest->whole[merge->merged] = forest->whole[left] && forest->whole[right] &&
                        undisturbed(bpe, origins, (struct seam){ left, right, origin->order });
        }
        return true;
}

static int plant_trie(struct bpe_forest *forest, const struct vocabulary *vocabulary) {
        CLEANUP_FREE struct trie_token *tokens = calloc(vocabulary->n_ids, sizeof(*tokens));
        size_t n = 0;
        if (!tokens)
                return -ENOMEM;
        for (uint32_t id = 0; id < vocabulary->n_ids; id++) {
                const struct vocabulary_entry *entry = &vocabulary->entries[id];
                if (forest->whole[id])
                        tokens[n++] = (struct trie_token){ entry->bytes, entry->n_bytes, id };
        }
        int r = token_trie_build(&forest->trie, tokens, n);
        for (size_t i = 0; i < n && r == 0; i++)
                forest->shorter[tokens[i].id] =
                        token_trie_longest(&forest->trie, tokens[i].bytes, tokens[i].n - 1);
        return r;
}

static int build(struct bpe_forest *forest, const struct bpe *bpe) {
        uint32_t n_ids = bpe->vocabulary->n_ids;
        size_t n_merges = 0;
        CLEANUP_FREE const struct bpe_merge **by_rank = calloc(bpe->mask + 1, sizeof(*by_rank));
        forest->origins = malloc(n_ids * sizeof(*forest->origins));
        forest->whole = calloc(n_ids, sizeof(*forest->whole));
        forest->shorter = calloc(n_ids, sizeof(*forest->shorter));
        if (!by_rank || !forest->origins || !forest->whole || !forest->shorter)
                return -ENOMEM;
        for (uint32_t id = 0; id < n_ids; id++)
                forest->origins[id] = (struct bpe_origin){
                        .order = BPE_ORDER_NONE,
                        .n_bytes = bpe->vocabulary->entries[id].n_bytes,
                };
        for (size_t i = 0; i <= bpe->mask; i++) {
                if (bpe->merges[i].rank == BPE_RANK_NONE)
                        continue;
                by_rank[bpe->merges[i].rank] = &bpe->merges[i];
                n_merges++;
        }
        if (!plant_bytes(bpe, forest) || !grow(bpe, by_rank, n_merges, forest))
                return -EINVAL;
        return plant_trie(forest, bpe->vocabulary);
}

int bpe_forest_build(struct bpe_forest *ret, const struct bpe *bpe) {
        struct bpe_forest forest = { 0 };
        int r = build(&forest, bpe);
        if (r < 0)
                bpe_forest_deinit(&forest);
        *ret = forest;
        return r == -ENOMEM ? r : 0;
}

void bpe_forest_deinit(struct bpe_forest *forest) {
        free(forest->origins);
        free(forest->whole);
        free(forest->shorter);
        token_trie_deinit(&forest->trie);
        *forest = (struct bpe_forest){ 0 };
}

static inline bool is_dead(const uint64_t *dead, size_t at) {
        return dead[at / 64] >> at % 64 & 1;
}

/* A place is dead when the encoding up to there has no continuation: since that encoding is the
 * only one, no token of the whole piece ends there. So each place is reached once at most. */
int bpe_forest_encode(const struct bpe *bpe, const char *piece, size_t n, uint64_t *dead,
                      struct token_list *ids) {
        const struct bpe_origin *origins = bpe->forest.origins;
        const struct token_trie *trie = &bpe->forest.trie;
        size_t n_before = ids->n, at = 0;
        memset(dead, 0, (n + 64) / 64 * sizeof(*dead));
        uint32_t token = token_trie_longest(trie, piece, n);
        while (at < n) {
                while (token != TOKEN_NONE &&
                       (is_dead(dead, at + origins[token].n_bytes) ||
                        (ids->n > n_before &&
                         !stay_apart(bpe, origins, ids->ids[ids->n - 1], token))))
                        token = bpe->forest.shorter[token];
                if (token != TOKEN_NONE) {
                        if (token_list_append(ids, &token, 1) < 0)
                                return -ENOMEM;
                        at += origins[token].n_bytes;
                        token = token_trie_longest(trie, piece + at, n - at);
                        continue;
                }
                if (ids->n == n_before)
                        return -ENOENT;
                dead[at / 64] |= UINT64_C(1) << at % 64;
                token = ids->ids[--ids->n];
                at -= origins[token].n_bytes;
                token = bpe->forest.shorter[token];
        }
        return 0;
}
