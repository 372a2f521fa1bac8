/* Rotary position tables: one frequency per channel pair, cosine and sine per position.
 * Pure; any thread. */
#pragma once

#include <stdint.h>

#include "engine/model_config.h"

struct rope_frequencies {
        uint32_t n_pairs;
        float *frequency[N_ROPE_KINDS]; /* [n_pairs] radians per position; the first owns all */
};

int rope_frequencies_init(struct rope_frequencies *ret,
                          const struct model_config *config); /* 0 or -ENOMEM */
void rope_frequencies_deinit(struct rope_frequencies *frequencies);

/* cos and sin of position * frequency[i]; the product is rounded to float32 first, as the released
 * code does. */
void rope_table(const float *frequency, uint32_t n_pairs, uint64_t position, float *ret_cos,
                float *ret_sin);
