#include "engine/bpe.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/byte_alphabet.h"
#include "engine/tokenizer.h"
#include "engine/vocabulary.h"

/* As many merges as ids: each makes one vocabulary entry, and no known file has two ways to the
 * same one. */
#define MERGES_MAX (1u << 20)

/* One in 16 pairs or fewer passes the filter by chance; it has 256 KiB for 128,000 merges. */
#define FILTER_BITS_PER_SLOT 8

static int insert_merge(struct bpe *bpe, const struct bpe_merge *merge, struct error *err) {
        size_t hash = bpe_hash(merge->pair), bit = hash & bpe->filter_mask;
        for (unsigned probes = 0; probes < BPE_PROBES_MAX; probes++) {
                struct bpe_merge *slot = &bpe->merges[(hash + probes) & bpe->mask];
                if (slot->rank == BPE_RANK_NONE) {
                        *slot = *merge;
                        bpe->filter[bit / 64] |= UINT64_C(1) << bit % 64;
                        return 0;
                }
                if (slot->pair == merge->pair)
                        return error_set(err, -EINVAL,
                                         "model.merges[%u]: the same as model.merges[%u]",
                                         merge->rank, slot->rank);
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
        bpe->filter_mask = FILTER_BITS_PER_SLOT * capacity - 1;
        bpe->filter = calloc((bpe->filter_mask + 1) / 64, sizeof(*bpe->filter));
        if (!bpe->merges || !bpe->filter)
                return error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < capacity; i++)
                bpe->merges[i] = (struct bpe_merge){ .rank = BPE_RANK_NONE };
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

static void insert_whole(struct bpe *bpe, uint32_t hash, uint32_t id) {
        for (size_t i = 0; i < BPE_PROBES_MAX; i++) {
                struct bpe_whole *whole = &bpe->whole[(hash + i) & bpe->whole_mask];
                if (whole->id == TOKEN_NONE) {
                        *whole = (struct bpe_whole){ hash, id };
                        return;
                }
        }
}

static int is_whole(const struct bpe *bpe, uint32_t id, struct bpe_scratch *scratch,
                    struct token_list *ids, bool *ret) {
        const struct vocabulary_entry *entry = &bpe->vocabulary->entries[id];
        if (bpe->forest.origins) {
                *ret = bpe->forest.whole[id];
                return 0;
        }
        ids->n = 0;
        int r = bpe_encode_by_rank(bpe, scratch, entry->bytes, entry->n_bytes, ids);
        *ret = r == 0 && ids->n == 1 && ids->ids[0] == id;
        return r;
}

/* Most pieces are one token. Finds out which tokens those can be. */
static int find_wholes(struct bpe *bpe, struct error *err) {
        const struct vocabulary *vocabulary = bpe->vocabulary;
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        CLEANUP(bpe_scratch_deinit) struct bpe_scratch scratch = { 0 };
        size_t capacity = 16;
        while (capacity < 2 * (size_t)vocabulary->n_ids)
                capacity *= 2;
        bpe->whole_mask = capacity - 1;
        bpe->whole = malloc(capacity * sizeof(*bpe->whole));
        if (!bpe->whole)
                return error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; i < capacity; i++)
                bpe->whole[i] = (struct bpe_whole){ .id = TOKEN_NONE };
        for (uint32_t id = 0; id < vocabulary->n_ids; id++) {
                const struct vocabulary_entry *entry = &vocabulary->entries[id];
                if (!entry->string || entry->n_bytes == 0 || entry->n_bytes > BPE_SHORT_BYTES)
                        continue;
                bool whole;
                if (is_whole(bpe, id, &scratch, &ids, &whole) < 0)
                        return error_set(err, -ENOMEM, "out of memory");
                if (whole)
                        insert_whole(bpe, piece_hash(entry->bytes, entry->n_bytes), id);
        }
        return 0;
}

int bpe_read(struct bpe *ret, json_t *model, const struct vocabulary *vocabulary,
             struct error *err) {
        int r = check_model(model, err);
        if (r < 0)
                return r;
        json_t *vocab = json_object_get(model, "vocab");
        struct bpe bpe = { .vocabulary = vocabulary };
        r = read_bytes(&bpe, vocab, err);
        if (r == 0)
                r = read_merges(&bpe, vocab, json_object_get(model, "merges"), err);
        if (r == 0 && bpe_forest_build(&bpe.forest, &bpe) < 0)
                r = error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = find_wholes(&bpe, err);
        if (r < 0) {
                bpe_deinit(&bpe);
                return r;
        }
        *ret = bpe;
        return 0;
}

void bpe_deinit(struct bpe *bpe) {
        free(bpe->merges);
        free(bpe->filter);
        free(bpe->whole);
        bpe_forest_deinit(&bpe->forest);
        *bpe = (struct bpe){ 0 };
}
