/* The compressed token map: ids whose texts are alike share a number.
 *
 * Engram hashes these numbers instead of token ids, so that " The", "the" and "THE" find the same
 * rows. Alike: equal after NFKC, NFD, removal of all marks, lower-casing and white-space folding.
 * Numbers are handed out in the order of the ids.
 *
 * The library that made the released maps knows marks and compositions up to Unicode 9, utf8proc
 * (2.8: Unicode 14) newer ones as well: they disagree on 546 characters of all 1,112,064, of
 * scripts that vocabularies do not spell out. One that did would show in the size of the map, which
 * the configuration states and engram_hash_init() checks. Any thread. */
#pragma once

#include <stdint.h>

struct error;
struct tokenizer;

/* `ret_map`: [tokenizer_n_ids()], to be freed by the caller; every number is below `*ret_n`. */
int token_map_build(const struct tokenizer *tokenizer, uint32_t **ret_map, uint32_t *ret_n,
                    struct error *err);
