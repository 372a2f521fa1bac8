/* Added tokens: fixed strings that become one id before the text is cut into pieces.
 *
 * The rule of Hugging Face tokenizers: the leftmost match wins, of those the longest; tokens with
 * "normalized": true are looked for afterwards, in what the others left. A special token that is
 * not asked for is found all the same and its text then passed on as text, so no other token is
 * recognised inside it. Immutable after added_tokens_read(); any thread. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct vocabulary;

/* The longest released one has 27; bounds what a text can cost per byte. */
#define ADDED_TOKEN_BYTES_MAX 256

struct added_token {
        const char *text; /* owned by the vocabulary */
        size_t n;
        uint32_t id;
        bool special;
};

/* Sorted by bytes. */
struct added_token_set {
        struct added_token *tokens;
        size_t n;
        bool starts[256]; /* first bytes that occur */
};

enum added_pass { ADDED_FIRST, ADDED_NORMALIZED, ADDED_PASSES };

struct added_tokens {
        struct added_token_set pass[ADDED_PASSES];
};

/* `json`: the "added_tokens" that vocabulary_read() has checked, or NULL. */
int added_tokens_read(struct added_tokens *ret, json_t *json, const struct vocabulary *vocabulary,
                      struct error *err);
void added_tokens_deinit(struct added_tokens *added);

/* The next match at or behind `from`; NULL if there is none. */
const struct added_token *added_tokens_find(const struct added_token_set *set, const char *text,
                                            size_t n, size_t from, size_t *ret_at);

/* By written form; NULL if there is none. */
const struct added_token *added_tokens_lookup(const struct added_tokens *added, const char *text);
