/* How sublayers are joined to the residual streams ws->h [R][hc][D], one way per model.
 *
 *   start   the embedding ws->x fills the streams
 *   enter   before a sublayer: what it reads, ws->x, not yet normed
 *   leave   after it: its output ws->y joins the streams
 *   end     one row after the last layer: what the last norm reads
 *
 * `hc` are the sublayer's own coefficients, where the kind has any. */
#pragma once

#include "engine/attention.h"
#include "engine/step.h"

struct residual_operations {
        void (*start)(struct step *step);
        void (*enter)(struct step *step, const struct hc_weights *hc);
        void (*leave)(struct step *step, const struct hc_weights *hc);
        void (*end)(struct step *step, uint32_t row, float *x);
};

const struct residual_operations *residual_operations(enum residual_kind kind);

void residual_buffers(struct workspace *ws, const struct model_config *config, size_t rows);
void residual_scratch(const struct model_config *config, struct scratch_needs *needs);
