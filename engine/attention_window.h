/* Sliding windows: every position sees the last `window` positions, itself included. A window is a
 * ring of packed rows in the frontier; slot = position mod window. A step packs its own rows beside
 * it, unpacks old ones and its own for all to read, and stores its last rows when all have read. */
#pragma once

#include "engine/step.h"

void window_buffers(struct workspace *ws, const struct engine *engine, size_t rows);

/* Row r's vector, as it is kept: ws->window_rows. */
void window_pack(struct step *step, uint32_t layer, uint32_t r, float *x);

/* After the rows of all parts were packed: ws->window_keys. */
void window_unpack(struct step *step, uint32_t layer);

/* Row r's window, ascending, its own vector last: where it begins, and how many there are. */
const float *window_of_row(const struct step *step, uint32_t r, uint32_t *ret_n);

/* After all rows have read it. */
void window_store(struct step *step, uint32_t layer);
