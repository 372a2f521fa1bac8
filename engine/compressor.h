/* V4.1's compressor of a layer that owns KV: one latent row and one index key per compress_ratio
 * tokens, 1 or 2. */
#pragma once

#include "engine/step.h"

void compressor_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

/* Appends the rows that close in this step. */
void compressor_append(struct step *step, uint32_t layer);
