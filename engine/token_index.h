/* DeepSeek-V3.2's index: one key for every token, by which the rows are chosen that a token
 * attends.
 *
 * Keys are normed (LayerNorm) projections of a layer's input, queries come from the low-rank query
 * of the layer's attention. Both are rotated on their first channels, in halves, where the heads of
 * the attention are rotated on their last, in pairs; then they go through a Hadamard transform,
 * which changes no product but spreads outliers, and are quantised. */
#pragma once

#include "engine/attention.h"
#include "engine/step.h"

/* Adds the key stream of the layer. */
void token_index_layout(const struct model_config *config, uint32_t layer,
                        struct kv_layout *layout);

void token_index_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

/* Appends this step's keys and chooses the rows of every token (ws->selected). ws->x and ws->qr are
 * the layer's input and low-rank query. */
void token_index_select(struct step *step, uint32_t layer);
