/* The compressed token map: ids whose texts are alike share a number.
 *
 * Engram hashes these numbers instead of token ids, so that " The", "the" and "THE" find the same
 * rows. Alike: equal after NFKC, NFD, removal of all marks, lower-casing and white-space folding.
 * Numbers are handed out in the order of the ids.
 *
 * Hugging Face's normalizers (tokenizers 0.23.3), with which such maps are made, know marks and
 * compositions up to Unicode 9, utf8proc 2.8 up to Unicode 14: they disagree on 546 of all
 * 1,112,064 characters, which vocabularies hardly spell out. Where one shares a number in one map
 * and not in the other, the sizes differ, and engram_hash_init() checks the size against the
 * configuration. Any thread. */
#pragma once

#include <stdint.h>

struct error;
struct tokenizer;

/* `ret_map`: [tokenizer_n_ids()], to be freed by the caller; every number is below `*ret_n`. */
int token_map_build(const struct tokenizer *tokenizer, uint32_t **ret_map, uint32_t *ret_n,
                    struct error *err);
