/* DeepSeek-V4's compressed rows: `compress_ratio` tokens are pooled into one row by a softmax over
 * their gates, per channel, and in layers that select, into one index key as well.
 *
 * Layers that select have rows that overlap: a token has two values and gates, one for the row that
 * it is in and one for the next, so that a row pools twice as many tokens as it stands for. Rows
 * that are open wait in the frontier, folded (backend.h: pool_add): the current one, and where rows
 * overlap the next. */
#pragma once

#include "engine/step.h"

/* Floats of the open rows of a layer. */
size_t pooled_rows_state(const struct model_config *config, uint32_t layer);

void pooled_rows_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

/* Pools ws->x, this step's rows, and appends what they close to the layer's streams. */
void pooled_rows_append(struct step *step, uint32_t layer);
