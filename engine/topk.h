/* The k largest of n scores: ties go to the lower index, -0 equals +0. Pure function of its inputs;
 * any thread. */
#pragma once

#include <stdint.h>

/* Writes the indices of the k best scores, ascending, to ret_index and returns how many: min(k,
 * scores above -infinity). `scratch`: n elements. Scores are not NaN. */
uint32_t topk_select(const float *score, uint32_t n, uint32_t k, uint64_t *scratch,
                     uint32_t *ret_index);
