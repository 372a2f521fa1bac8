#include "engine/bpe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/byte_alphabet.h"
#include "engine/tokenizer.h"

#define BPE_MERGED INT32_MIN
#define RANK_NONE  UINT32_MAX

/* As many merges as ids: each makes one vocabulary entry, and no known file has two ways to the
 * same one. */
#define MERGES_MAX (1u << 20)

/* At load factor 1/2 a run of this length does not happen by chance; a file made to collide is
 * refused instead of costing quadratic time. */
#define PROBES_MAX 512

static size_t slot_of(uint64_t pair, size_t mask) {
        pair ^= pair >> 32;
        pair *= UINT64_C(0xd6e8feb86659fd93);
        pair ^= pair >> 32;
        return (size_t)pair & mask;
}

static const struct bpe_merge *find_merge(const struct bpe *bpe, uint32_t left, uint32_t right) {
        uint64_t pair = (uint64_t)left << 32 | right;
        for (size_t i = slot_of(pair, bpe->mask);; i = (i + 1) & bpe->mask) {
                const struct bpe_merge *merge = &bpe->merges[i];
                if (merge->rank == RANK_NONE)
                        return NULL;
                if (merge->pair == pair)
                        return merge;
        }
}

static int insert_merge(struct bpe *bpe, const struct bpe_merge *merge, struct error *err) {
        size_t i = slot_of(merge->pair, bpe->mask);
        for (unsigned probes = 0; probes < PROBES_MAX; probes++, i = (i + 1) & bpe->mask) {
                if (bpe->merges[i].rank == RANK_NONE) {
                        bpe->merges[i] = *merge;
                        return 0;
                }
                if (bpe->merges[i].pair == merge->pair)
                        return error_set(err, -EINVAL,
                                         "model.merges[%u]: the same as model.merges[%u]",
                                         merge->rank, bpe->merges[i].rank);
        }
        return error_set(err, -EINVAL, "model.merges[%u]: too many merges share a hash slot",
                         merge->rank);
}

/* Both written forms: "a b" and ["a", "b"]. The parts are copied to `ret` as a, 0, b, 0. */
static int read_parts(json_t *merge, size_t index, char **ret, const char **ret_right,
                      struct error *err) {
        const char *left, *right;
        size_t n_left;
        if (json_is_string(merge)) {
                left = json_string_value(merge);
                const char *space = strchr(left, ' ');
                if (!space || strchr(space + 1, ' '))
                        return error_set(err, -EINVAL,
                                         "model.merges[%zu]: not two parts and a space", index);
                n_left = (size_t)(space - left);
                right = space + 1;
        } else {
                left = json_string_value(json_array_get(merge, 0));
                right = json_string_value(json_array_get(merge, 1));
                if (!left || !right || json_array_size(merge) != 2)
                        return error_set(err, -EINVAL, "model.merges[%zu]: not two strings", index);
                n_left = strlen(left);
        }
        /* An empty part would make a merge that yields one of its own inputs. */
        if (n_left == 0 || !*right)
                return error_set(err, -EINVAL, "model.merges[%zu]: an empty part", index);
        char *parts = malloc(n_left + strlen(right) + 2);
        if (!parts)
                return error_set(err, -ENOMEM, "out of memory");
        memcpy(parts, left, n_left);
        parts[n_left] = 0;
        *ret_right = strcpy(parts + n_left + 1, right);
        *ret = parts;
        return 0;
}

static int read_merge(struct bpe *bpe, json_t *vocab, json_t *merge, size_t index,
                      struct error *err) {
        CLEANUP_FREE char *parts = NULL;
        const char *right = NULL;
        int r = read_parts(merge, index, &parts, &right, err);
        if (r < 0)
                return r;
        json_t *left_id = json_object_get(vocab, parts), *right_id = json_object_get(vocab, right);
        if (!left_id || !right_id)
                return error_set(err, -EINVAL,
                                 "model.merges[%zu]: '%.64s' is not in the vocabulary", index,
                                 left_id ? right : parts);
        CLEANUP_FREE char *whole = malloc(strlen(parts) + strlen(right) + 1);
        if (!whole)
                return error_set(err, -ENOMEM, "out of memory");
        stpcpy(stpcpy(whole, parts), right);
        json_t *merged = json_object_get(vocab, whole);
        if (!merged)
                return error_set(err, -EINVAL,
                                 "model.merges[%zu]: '%.64s' is not in the vocabulary", index,
                                 whole);
        return insert_merge(bpe,
                            &(struct bpe_merge){
                                    .pair = (uint64_t)json_integer_value(left_id) << 32 |
                                            (uint64_t)json_integer_value(right_id),
                                    .rank = (uint32_t)index,
                                    .merged = (uint32_t)json_integer_value(merged),
                            },
                            err);
}

static int read_merges(struct bpe *bpe, json_t *vocab, json_t *merges, struct error *err) {
        if (!json_is_array(merges))
                return error_set(err, -EINVAL, "model.merges: not an array");
        size_t n = json_array_size(merges), capacity = 16;
        if (n > MERGES_MAX)
                return error_set(err, -EINVAL, "model.merges: %zu entries, at most %u", n,
                                 MERGES_MAX);
        while (capacity < 2 * n)
                capacity *= 2;
        bpe->mask = capacity - 1;
        bpe->merges = malloc(capacity * sizeof(*bpe->merges));
        if (!bpe->merges)
                return error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < capacity; i++)
                bpe->merges[i] = (struct bpe_merge){ .rank = RANK_NONE };
        size_t i;
        json_t *merge;
        json_array_foreach(merges, i, merge) {
                int r = read_merge(bpe, vocab, merge, i, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool byte_occurs_in_utf8(unsigned byte) {
        return byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
}

static int read_bytes(struct bpe *bpe, json_t *vocab, struct error *err) {
        for (unsigned byte = 0; byte < 256; byte++) {
                char character[3];
                byte_alphabet_write((uint8_t)byte, character);
                json_t *id = json_object_get(vocab, character);
                if (!id && byte_occurs_in_utf8(byte))
                        return error_set(err, -EINVAL,
                                         "model.vocab: no entry for byte 0x%02x ('%s')", byte,
                                         character);
                bpe->byte_ids[byte] = id ? (uint32_t)json_integer_value(id) : TOKEN_NONE;
        }
        return 0;
}

/* Options of Hugging Face's BPE that change the ids; absent, null, false, 0 and "" mean the same.
 */
static int check_model(json_t *model, struct error *err) {
        const char *type = json_string_value(json_object_get(model, "type"));
        if (!type || strcmp(type, "BPE") != 0)
                return error_set(err, -EINVAL, "model.type: '%s', only BPE is supported",
                                 type ? type : "missing");
        static const char *const silent[] = { "type", "vocab", "merges", "fuse_unk" };
        static const char *const unsupported[] = {
                "dropout",       "unk_token",    "continuing_subword_prefix", "end_of_word_suffix",
                "byte_fallback", "ignore_merges"
        };
        const char *key;
        json_t *value;
        json_object_foreach(model, key, value) {
                bool known = false;
                for (size_t i = 0; i < sizeof(silent) / sizeof(*silent); i++)
                        known = known || strcmp(key, silent[i]) == 0;
                if (known)
                        continue;
                for (size_t i = 0; i < sizeof(unsupported) / sizeof(*unsupported); i++)
                        known = known || strcmp(key, unsupported[i]) == 0;
                bool off = json_is_null(value) || json_is_false(value) ||
                        (json_is_number(value) && json_number_value(value) == 0) ||
                        (json_is_string(value) && json_string_length(value) == 0);
                if (!known || !off)
                        return error_set(err, -EINVAL, "model.%.64s: not supported", key);
        }
        return 0;
}

int bpe_read(struct bpe *ret, json_t *model, struct error *err) {
        int r = check_model(model, err);
        if (r < 0)
                return r;
        json_t *vocab = json_object_get(model, "vocab");
        struct bpe bpe = { 0 };
        r = read_bytes(&bpe, vocab, err);
        if (r == 0)
                r = read_merges(&bpe, vocab, json_object_get(model, "merges"), err);
        if (r < 0) {
                bpe_deinit(&bpe);
                return r;
        }
        *ret = bpe;
        return 0;
}

void bpe_deinit(struct bpe *bpe) {
        free(bpe->merges);
        *bpe = (struct bpe){ 0 };
}

void bpe_scratch_deinit(struct bpe_scratch *scratch) {
        free(scratch->symbols);
        free(scratch->heap);
        *scratch = (struct bpe_scratch){ 0 };
}

static int scratch_reserve(struct bpe_scratch *scratch, size_t n) {
        if (n <= scratch->capacity)
                return 0;
        size_t capacity = scratch->capacity ? scratch->capacity : 64;
        while (capacity < n)
                capacity *= 2;
        bpe_scratch_deinit(scratch);
        scratch->symbols = malloc(capacity * sizeof(*scratch->symbols));
        /* n - 1 pairs at first, and each of at most n - 1 merges adds two. */
        scratch->heap = malloc(3 * capacity * sizeof(*scratch->heap));
        if (!scratch->symbols || !scratch->heap) {
                bpe_scratch_deinit(scratch);
                return -ENOMEM;
        }
        scratch->capacity = capacity;
        return 0;
}

static void heap_push(struct bpe_scratch *scratch, struct bpe_candidate candidate) {
        size_t at = scratch->n_heap++;
        while (at > 0 && scratch->heap[(at - 1) / 2].order > candidate.order) {
                scratch->heap[at] = scratch->heap[(at - 1) / 2];
                at = (at - 1) / 2;
        }
        scratch->heap[at] = candidate;
}

static struct bpe_candidate heap_pop(struct bpe_scratch *scratch) {
        struct bpe_candidate *heap = scratch->heap;
        struct bpe_candidate first = heap[0], last = heap[--scratch->n_heap];
        size_t n = scratch->n_heap, at = 0;
        for (;;) {
                size_t child = 2 * at + 1;
                if (child >= n)
                        break;
                if (child + 1 < n && heap[child + 1].order < heap[child].order)
                        child++;
                if (heap[child].order >= last.order)
                        break;
                heap[at] = heap[child];
                at = child;
        }
        heap[at] = last;
        return first;
}

static void offer_pair(const struct bpe *bpe, struct bpe_scratch *scratch, int32_t left) {
        int32_t right = left < 0 ? -1 : scratch->symbols[left].next;
        if (right < 0)
                return;
        const struct bpe_merge *merge =
                find_merge(bpe, scratch->symbols[left].id, scratch->symbols[right].id);
        if (merge)
                heap_push(scratch,
                          (struct bpe_candidate){ (uint64_t)merge->rank << 32 | (uint32_t)left,
                                                  merge->merged });
}

static void apply(const struct bpe *bpe, struct bpe_scratch *scratch,
                  const struct bpe_candidate *candidate) {
        int32_t at = (int32_t)(uint32_t)candidate->order;
        struct bpe_symbol *symbols = scratch->symbols, *left = &symbols[at];
        if (left->next < 0) /* swallowed, or now the last */
                return;
        struct bpe_symbol *right = &symbols[left->next];
        /* The pair may have changed since it was offered. */
        const struct bpe_merge *merge = find_merge(bpe, left->id, right->id);
        if (!merge || merge->merged != candidate->merged)
                return;
        left->id = candidate->merged;
        left->next = right->next;
        right->next = BPE_MERGED;
        if (left->next >= 0)
                symbols[left->next].previous = at;
        offer_pair(bpe, scratch, left->previous);
        offer_pair(bpe, scratch, at);
}

int bpe_encode(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n,
               struct token_list *ids) {
        if (n == 0)
                return 0;
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
        for (size_t i = 0; i + 1 < n; i++)
                offer_pair(bpe, scratch, (int32_t)i);
        while (scratch->n_heap > 0) {
                struct bpe_candidate candidate = heap_pop(scratch);
                apply(bpe, scratch, &candidate);
        }
        for (int32_t i = 0; i >= 0 && r == 0; i = scratch->symbols[i].next)
                r = token_list_append(ids, &scratch->symbols[i].id, 1);
        return r;
}
