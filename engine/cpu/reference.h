/* Reference operations that vector backends use as they are: a few values per row, nothing to gain.
 */
#pragma once

#include "engine/backend.h"

void reference_rope(float *x, uint32_t n_vectors, uint32_t dim, const float *cos, const float *sin,
                    uint32_t n_pairs, bool inverse, bool round);
void reference_hadamard(float *x, uint32_t n_vectors, uint32_t dim, bool round);
void reference_layernorm(const float *x, const float *weight, const float *bias, uint32_t n,
                         float eps, bool round, float *y);
void reference_rope_half(float *x, uint32_t n_vectors, uint32_t dim, const float *cos,
                         const float *sin, uint32_t n_pairs, bool round);
void reference_pool_pair(const float *value0, const float *gate0, const float *value1,
                         const float *gate1, uint32_t n, bool round, float *y);
void reference_pool_add(float *state, const float *value, const float *gate, const float *bias,
                        uint32_t n);
void reference_pool_close(const float *state, uint32_t n, bool round, float *y);
void reference_router_scores(const float *z, uint32_t n, float *score);
void reference_add(float *y, const float *x, uint32_t n, bool round);

/* hc_pre and hc_mixes once the norm r = rsqrt(mean(x^2) + eps) is known. */
void reference_hc_pre(const struct hc_mixes *c, const float *fx, float r, float *pre);
void reference_hc_coefficients(const struct hc_mixes *c, const float *fx, float r, float *pre,
                               float *post, float *comb);
