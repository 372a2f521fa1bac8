/* Attention in which one row of KV is key and value of all heads, over a sliding window and rows
 * that were compressed from longer ago, in one softmax with a sink per head: DeepSeek-V4 and V4.1.
 *
 * The value is the rotated key, so that the output is rotated back at the query's position; the
 * output's heads are projected in groups. */
#pragma once

#include "engine/attention.h"
#include "engine/step.h"

void shared_kv_buffers(struct workspace *ws, const struct engine *engine, size_t rows);

/* For at most `n_rows` compressed rows a query, unpacked. */
void shared_kv_scratch(const struct model_config *config, size_t n_rows,
                       struct scratch_needs *needs);

/* ws->x to queries ws->q, what index queries are made of (ws->qr), and this step's window rows.
 * `head_norm`: each head's query is normed, without weights. */
void shared_kv_project(struct step *step, uint32_t layer, bool head_norm);

/* Row r's output ws->o from its window and n unpacked rows. `attend`: room for n_heads * (window +
 * n + 16) floats. */
void shared_kv_attend(struct step *step, uint32_t layer, uint32_t r, const float *rows, uint32_t n,
                      float *attend);

/* ws->o to ws->y. */
void shared_kv_output(struct step *step, uint32_t layer);
