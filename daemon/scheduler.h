/* Which tokens the next step computes: a pure function of what is runnable. No I/O, no clock, no
 * allocation.
 *
 * Every runnable request has `n_known` tokens (prompt and generated) of which `position` are
 * computed. One pending token is a decode, more are a prefill. Decodes go first; prefills share the
 * remaining rows, one chunk each, beginning after the request that was served last. Chunks end on
 * absolute multiples of CHUNK_TOKENS or at the last known token, and are never cut for lack of
 * rows: what does not fit waits for the next step. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct schedule_item {
        uint64_t arrival;  /* unique, ascending in the array */
        uint64_t position; /* tokens computed */
        uint64_t n_known;  /* tokens known, > position */
};

struct schedule_pick {
        size_t index; /* into the items */
        uint32_t n;   /* tokens, from `position` */
};

/* Arrival numbers served last; zero-initialise (arrivals start at 1). */
struct schedule_cursor {
        uint64_t decode, prefill;
};

/* Writes at most n_items picks, each item at most once, and returns their number: at least 1 when
 * n_items > 0. The sum of n is at most rows_max, which is at least 2 * CHUNK_TOKENS. When prefills
 * wait, decodes leave them one chunk, so neither starves the other. */
size_t schedule_step(const struct schedule_item *items, size_t n_items, uint32_t rows_max,
                     struct schedule_cursor *cursor, struct schedule_pick *ret);
