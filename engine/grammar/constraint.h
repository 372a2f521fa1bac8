/* Where one generation stands in its grammar, and which tokens may come next.
 *
 * A function of grammar, vocabulary and the tokens accepted so far: nothing else changes a mask.
 * One thread at a time; memory bounded by CONSTRAINT_BYTES_MAX. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct constraint;
struct error;
struct grammar;
struct mask_trie;

/* Borrows both until constraint_free(). -ENOTSUP names a special token that the grammar needs and
 * the tokenizer does not have; -ENOMEM. */
int constraint_new(const struct grammar *grammar, const struct mask_trie *trie,
                   struct constraint **ret, struct error *err);
struct constraint *constraint_free(struct constraint *constraint); /* NULL-safe, returns NULL */

/* The tokens that may come next: bit (id % 64) of word (id / 64), one word for each 64 ids of the
 * vocabulary. NULL: all of them. The end-of-sequence token is among them exactly when the text so
 * far is complete. Owned by the constraint, until the next call. -EILSEQ when nothing may come
 * (after the end), -ENOMEM. */
int constraint_mask(struct constraint *constraint, const uint64_t **ret);

/* Takes the token that was drawn. -EILSEQ when it may not come (nothing changed), -ENOMEM. */
int constraint_accept(struct constraint *constraint, uint32_t id);
