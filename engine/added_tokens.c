#include "engine/added_tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/vocabulary.h"

static int compare(const void *a, const void *b) {
        const struct added_token *x = a, *y = b;
        return strcmp(x->text, y->text);
}

/* Options that make a token match more or less than its text. */
static int check_options(json_t *token, size_t index, struct error *err) {
        static const char *const off[] = { "single_word", "lstrip", "rstrip" };
        for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++) {
                json_t *value = json_object_get(token, off[i]);
                if (value && !json_is_false(value))
                        return error_set(err, -EINVAL,
                                         "added_tokens[%zu]: %s: only false is supported", index,
                                         off[i]);
        }
        static const char *const flags[] = { "special", "normalized" };
        for (size_t i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
                json_t *value = json_object_get(token, flags[i]);
                if (value && !json_is_boolean(value))
                        return error_set(err, -EINVAL, "added_tokens[%zu]: %s: not true or false",
                                         index, flags[i]);
        }
        return 0;
}

static int read_token(struct added_tokens *added, json_t *json, size_t index,
                      const struct vocabulary *vocabulary, struct error *err) {
        int r = check_options(json, index, err);
        if (r < 0)
                return r;
        uint32_t id = (uint32_t)json_integer_value(json_object_get(json, "id"));
        const struct vocabulary_entry *entry = &vocabulary->entries[id];
        if (entry->n_bytes > ADDED_TOKEN_BYTES_MAX)
                return error_set(err, -EINVAL, "added_tokens[%zu]: %u bytes, at most %d", index,
                                 entry->n_bytes, ADDED_TOKEN_BYTES_MAX);
        /* Without the field: special tokens are never normalised, others are. */
        json_t *normalized = json_object_get(json, "normalized");
        bool late = normalized ? json_is_true(normalized) : !entry->special;
        struct added_token_set *set = &added->pass[late ? ADDED_NORMALIZED : ADDED_FIRST];
        set->starts[(uint8_t)entry->string[0]] = true;
        set->tokens[set->n++] = (struct added_token){
                .text = entry->string,
                .n = entry->n_bytes,
                .id = id,
                .special = entry->special,
        };
        return 0;
}

static int check_duplicates(const struct added_tokens *added, struct error *err) {
        for (unsigned pass = 0; pass < ADDED_PASSES; pass++) {
                const struct added_token_set *set = &added->pass[pass];
                for (size_t i = 0; i < set->n; i++) {
                        const char *text = set->tokens[i].text;
                        if ((i > 0 && strcmp(set->tokens[i - 1].text, text) == 0) ||
                            (pass > 0 &&
                             bsearch(&set->tokens[i], added->pass[0].tokens, added->pass[0].n,
                                     sizeof(*set->tokens), compare)))
                                return error_set(err, -EINVAL, "added_tokens: '%.64s' twice", text);
                }
        }
        return 0;
}

int added_tokens_read(struct added_tokens *ret, json_t *json, const struct vocabulary *vocabulary,
                      struct error *err) {
        struct added_tokens added = { 0 };
        int r = 0;
        for (unsigned pass = 0; pass < ADDED_PASSES && r == 0; pass++) {
                added.pass[pass].tokens =
                        calloc(json_array_size(json) + 1, sizeof(struct added_token));
                if (!added.pass[pass].tokens)
                        r = error_set(err, -ENOMEM, "out of memory");
        }
        for (size_t i = 0; i < json_array_size(json) && r == 0; i++)
                r = read_token(&added, json_array_get(json, i), i, vocabulary, err);
        if (r == 0) {
                for (unsigned pass = 0; pass < ADDED_PASSES; pass++)
                        qsort(added.pass[pass].tokens, added.pass[pass].n,
                              sizeof(struct added_token), compare);
                r = check_duplicates(&added, err);
        }
        if (r < 0) {
                added_tokens_deinit(&added);
                return r;
        }
        *ret = added;
        return 0;
}

void added_tokens_deinit(struct added_tokens *added) {
        for (unsigned pass = 0; pass < ADDED_PASSES; pass++)
                free(added->pass[pass].tokens);
        *added = (struct added_tokens){ 0 };
}

/* First token in [low, high) whose byte `depth` is not below `byte`; all of them share the bytes
 * before. */
static size_t lower_bound(const struct added_token *tokens, size_t low, size_t high, size_t depth,
                          unsigned byte) {
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if ((uint8_t)tokens[middle].text[depth] < byte)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static const struct added_token *longest_at(const struct added_token_set *set, const char *text,
                                            size_t n) {
        const struct added_token *longest = NULL;
        size_t low = 0, high = set->n;
        for (size_t depth = 0; depth < n; depth++) {
                unsigned byte = (uint8_t)text[depth];
                if (byte == 0) /* no token holds one: it would look like a token's end */
                        break;
                low = lower_bound(set->tokens, low, high, depth, byte);
                high = lower_bound(set->tokens, low, high, depth, byte + 1);
                if (low == high)
                        break;
                if (set->tokens[low].n == depth + 1)
                        longest = &set->tokens[low];
        }
        return longest;
}

const struct added_token *added_tokens_find(const struct added_token_set *set, const char *text,
                                            size_t n, size_t from, size_t *ret_at) {
        for (size_t at = from; at < n; at++) {
                if (!set->starts[(uint8_t)text[at]])
                        continue;
                const struct added_token *token = longest_at(set, text + at, n - at);
                if (token) {
                        *ret_at = at;
                        return token;
                }
        }
        return NULL;
}

const struct added_token *added_tokens_lookup(const struct added_tokens *added, const char *text) {
        struct added_token key = { .text = text };
        for (unsigned pass = 0; pass < ADDED_PASSES; pass++) {
                const struct added_token_set *set = &added->pass[pass];
                const struct added_token *token =
                        bsearch(&key, set->tokens, set->n, sizeof(*set->tokens), compare);
                if (token)
                        return token;
        }
        return NULL;
}
