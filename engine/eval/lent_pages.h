/* Copies of a sequence's full pages, lent to it so that its main rows may leave the device when the
 * pool is bounded. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct engine;
struct sequence;

struct lent_pages {
        uint8_t **slab; /* [n] */
        size_t n;
};

/* Room for the pages of n_tokens tokens. 0 or -ENOMEM. */
int lent_pages_init(struct lent_pages *lent, const struct engine *engine, size_t n_tokens);
/* After the sequence was freed. Zeroed: nothing to do. */
void lent_pages_deinit(struct lent_pages *lent);

/* Lends the pages that have become full. 0 or -ENOMEM. */
int lent_pages_extend(struct lent_pages *lent, const struct engine *engine,
                      struct sequence *sequence);
