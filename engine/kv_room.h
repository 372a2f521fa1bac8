/* Room in the device pool: nothing moves while all fits; when something does not, sequences are
 * spilled until it does.
 *
 * Whole sequences are spilled, the one that frees most first: the fewest sequences then pay for
 * gathering, a long one pays least for it (its hot pool is the smallest share of what it gave up),
 * and a page table stays one decision, not one for each page. Room that appears later brings no
 * rows back: what a spilled sequence attends is mostly in its hot pool already, so there is little
 * to win, and rows that go back and forth would cost each time. It is resident again when it is
 * next restored with room. */
#pragma once

#include <stdint.h>

struct engine;
struct error;

/* Spills until `bytes` more fit. 0; -ENOSPC: not even then, nothing was changed; -ENOMEM: some may
 * have been spilled, which changes no result. */
int kv_room_make(struct engine *engine, uint64_t bytes, struct error *err);
