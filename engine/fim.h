/* Fill in the middle: a prefix and a suffix rendered with the model's own tokens, so that what it
 * generates next belongs between them: begin, prefix, hole, suffix, end. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct error;
struct token_list;
struct tokenizer;

/* Whether the tokenizer has the three tokens. */
bool fim_supported(const struct tokenizer *tokenizer);

/* Appends the ids (no BOS). Text in prefix and suffix never becomes a special token. -ENOTSUP when
 * the tokenizer lacks the tokens; -EILSEQ for invalid UTF-8, the message says in which half and at
 * which byte; -ENOMEM. */
int fim_encode(const struct tokenizer *tokenizer, const char *prefix, size_t n_prefix,
               const char *suffix, size_t n_suffix, struct token_list *ids, struct error *err);
