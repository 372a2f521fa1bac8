/* The compressed token map: ids whose texts are alike share a number.
 *
 * Engram hashes these numbers instead of token ids, so that " The", "the" and "THE" find the same
 * rows. Alike: equal after NFKC, NFD, removal of all marks, lower-casing and white-space folding.
 * Numbers are handed out in the order of the ids. Any thread. */
#pragma once

#include <stdint.h>

struct error;
struct tokenizer;

/* `ret_map`: [tokenizer_n_ids()], to be freed by the caller; every number is below `*ret_n`. */
int token_map_build(const struct tokenizer *tokenizer, uint32_t **ret_map, uint32_t *ret_n,
                    struct error *err);
