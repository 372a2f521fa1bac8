/* The lightning indexer: which rows of its source a position attends (ws->selected, ascending). */
#pragma once

#include "engine/attention.h"
#include "engine/step.h"

/* Query rows that share one unpacking of the index keys, and keys unpacked at a time: 256 keys of
 * 128 floats are 128 KiB, which stays in the second-level cache. */
#define INDEX_ROWS_TILE 8
#define INDEX_KEYS_TILE 256

void indexer_buffers(struct workspace *ws, const struct model_config *config, size_t rows);
void indexer_scratch(const struct model_config *config, struct scratch_needs *needs);

/* Row r's query ws->index_q, rotated: quantised and dequantised in the format of the layer's keys;
 * its weights ws->index_w: scaled by (heads * head_dim)^-0.5. What is not finite is reported. */
void indexer_quantise_query(struct step *step, uint32_t layer, uint32_t r);

/* The index queries of all rows from ws->qr and ws->x, rotated as compressed rows are at their
 * positions, then (`hadamard`) transformed, and quantised. */
void indexer_project(struct step *step, uint32_t layer, bool hadamard);

/* For all rows, after their queries and the keys of this step: the index_topk best. */
void indexer_select(struct step *step, uint32_t layer);
