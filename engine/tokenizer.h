/* Text <-> token ids: byte-level BPE as described by a Hugging Face tokenizer.json.
 *
 * Immutable after tokenizer_open(); any thread. Text never parses to special tokens unless asked
 * (design: an agent's file that contains "<|User|>" must stay text). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct tokenizer;

#define TOKEN_NONE UINT32_MAX

/* Longest text per call: a full context of a million tokens of 16 bytes is 16 MiB. Beside the ids a
 * call needs a bit for each byte of its longest piece and at most 1 MiB; with a file whose merges
 * training would not write (bpe_forest.h) 44 bytes for each byte of the longest piece, and with
 * patterns other than DeepSeek's 16 for each piece. */
#define TOKENIZE_TEXT_MAX (64u << 20)

/* Reads DIR/tokenizer.json. What would change the ids and is not supported is -EINVAL naming the
 * field; a file that contradicts itself is -EINVAL naming the entry. */
int tokenizer_open(const char *dir, struct tokenizer **ret, struct error *err);
/* The same from memory; `file` names it in messages. */
int tokenizer_parse(const char *file, const char *json, size_t n, struct tokenizer **ret,
                    struct error *err);
struct tokenizer *tokenizer_close(struct tokenizer *tokenizer); /* NULL-safe, returns NULL */

/* Number of ids: one more than the largest. */
uint32_t tokenizer_n_ids(const struct tokenizer *tokenizer);

enum tokenize_flags {
        /* Recognise the added tokens that the file marks special. Added tokens not marked special
         * are recognised without it, as in Hugging Face tokenizers: <think>, and in DeepSeek's
         * own file even <｜User｜> and <｜fim▁hole｜>. */
        TOKENIZE_SPECIAL = 1 << 0,
        /* Recognise no added token at all: what a message, a prompt or a file says stays text. */
        TOKENIZE_LITERAL = 1 << 1,
};

/* Growable list of ids; zero-initialise, free with token_list_deinit(). */
struct token_list {
        uint32_t *ids;
        size_t n, capacity;
};
int token_list_append(struct token_list *list, const uint32_t *ids, size_t n); /* 0 or -ENOMEM */
void token_list_deinit(struct token_list *list);

/* Appends the ids of `text` (n bytes, no BOS added); on an error the list is as it was. Invalid
 * UTF-8: -EILSEQ, message with the byte offset. More than TOKENIZE_TEXT_MAX bytes: -E2BIG. */
int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n, unsigned flags,
                     struct token_list *ids, struct error *err);

/* The bytes of one id (not 0-terminated, owned by the tokenizer); NULL for an id that has none. A
 * special token's bytes are its written form. */
const char *tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id, size_t *ret_n);

/* The most bytes that one id stands for. */
size_t tokenizer_bytes_max(const struct tokenizer *tokenizer);

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id);

/* Id of an added token by its written form, TOKEN_NONE if there is none: tokenizer_added(t,
 * "<｜fim▁begin｜>"). */
uint32_t tokenizer_added(const struct tokenizer *tokenizer, const char *text);

/* The string as it stands in the vocabulary (byte alphabet not undone); NULL for an unused id. For
 * the Engram map. */
const char *tokenizer_vocab_string(const struct tokenizer *tokenizer, uint32_t id);
