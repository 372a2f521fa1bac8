/* Weights of every format as floats in natural order, for code that meets them more than once. */
#pragma once

#include <string.h>

#include "engine/cpu/codes.h"
#include "engine/matrix.h"

/* Sixteen codes of one scale. In two steps: the two factors' product may overflow. */
static inline lanes decode_e4m3_lanes(const uint8_t *codes, float scale) {
        lanes v = lanes_mul(lanes_load_e4m3(codes), lanes_set(1.0f / E4M3_WORD));
        return lanes_mul(v, lanes_set(scale));
}

/* Codes [first, first + n) of a row. A NaN code makes the first value NaN: sums over the row are,
 * and where the row is one term of many sums, one of them is, which ends the step as well. */
static inline void decode_e4m3(const struct matrix *w, uint32_t row, uint32_t first, uint32_t n,
                               float *ret) {
        const uint8_t *codes = (const uint8_t *)w->data + (size_t)row * w->k + first;
        unsigned shift = (unsigned)__builtin_ctz(w->tile);
        __m128i max = _mm_setzero_si128();
        for (uint32_t i = 0; i < n; i += LANES) {
                uint32_t block = (first + i) >> shift;
                float scale = w->format == WEIGHT_FP8
                        ? ue8m0_values[matrix_row_scales(w, row)[block]]
                        : matrix_row_float_scales(w, row)[block];
                lanes_store(ret + i, decode_e4m3_lanes(codes + i, scale));
                max = e4m3_nan_max(max, codes + i);
        }
        if (e4m3_is_nan(max))
                ret[0] = NAN;
}

static inline void decode_e2m1(const struct matrix *w, uint32_t row, uint32_t first, uint32_t n,
                               float *ret) {
        const uint8_t *codes = (const uint8_t *)w->data + row * matrix_row_bytes(w) + first / 2;
        const uint8_t *scales = matrix_row_scales(w, row) + first / WEIGHT_BLOCK;
        for (uint32_t i = 0; i < n; i += WEIGHT_BLOCK) {
                lanes v[2];
                lanes_load_e2m1(codes + i / 2, scales[i / WEIGHT_BLOCK], v);
                lanes_store(ret + i, v[0]);
                lanes_store(ret + i + LANES, v[1]);
        }
}

/* Weights [first, first + n) of one row as floats; n a multiple of 16, `first` of 32, FP4: both. */
static inline void decode(const struct matrix *w, uint32_t row, uint32_t first, uint32_t n,
                          float *ret) {
        const uint8_t *bytes = (const uint8_t *)w->data + row * matrix_row_bytes(w);
        switch (w->format) {
        case WEIGHT_F32:
                memcpy(ret, (const float *)(const void *)bytes + first, n * sizeof(float));
                break;
        case WEIGHT_BF16:
                for (uint32_t i = 0; i < n; i += LANES)
                        lanes_store(
                                ret + i,
                                lanes_load_bf16((const uint16_t *)(const void *)bytes + first + i));
                break;
        case WEIGHT_FP8:
        case WEIGHT_FP8_F32: decode_e4m3(w, row, first, n, ret); break;
        case WEIGHT_FP4: decode_e2m1(w, row, first, n, ret); break;
        }
}
