/* Runs a layer's attention row by row on all threads. Rows that were selected are read through
 * slots; of sequences that are spilled they are brought to the device first, in tiles of queries
 * whose rows fit the hot pool together. */
#pragma once

#include "engine/step.h"

void tile_buffers(struct workspace *ws, size_t rows);

/* Calls `attend` once for each row of the step. Where the layer attends a stream of KV_SELECTED
 * rows, what the row selected (ws->selected) is then on the device. Several threads. */
void attend_rows(struct step *step, uint32_t layer,
                 void (*attend)(struct step *step, uint32_t layer, uint32_t row,
                                struct worker_scratch *scratch));

/* The same for a layer with several such streams, of which one was selected from. */
void attend_stream(struct step *step, uint32_t layer, int stream,
                   void (*attend)(struct step *step, uint32_t layer, uint32_t row,
                                  struct worker_scratch *scratch));

/* The rows that row r selected of the layer's source, unpacked to scratch->keys; returns how many.
 * For use inside `attend`. */
uint32_t unpack_selected(const struct step *step, uint32_t layer, uint32_t r,
                         struct worker_scratch *scratch);
uint32_t unpack_stream(const struct step *step, int stream, uint32_t r,
                       struct worker_scratch *scratch);
