/* A weight matrix as it lies in the checkpoint. Plain values; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats.h"

/* [n][k], T = `tile`:
 *
 *   format          data                                        scales
 *   WEIGHT_F32      float [n][k]                                none
 *   WEIGHT_BF16     uint16_t [n][k]                             none
 *   WEIGHT_FP8      e4m3 codes [n][k]                           ue8m0 [ceil(n/T)][ceil(k/T)]
 *   WEIGHT_FP8_F32  e4m3 codes [n][k]                           float [ceil(n/T)][ceil(k/T)]
 *   WEIGHT_FP4      e2m1 codes [n][k/2], low nibble the even k  ue8m0 [n][k/32]
 *
 * Edge tiles may be partly filled. A weight with ue8m0 scales is the value of its code times its
 * scale: a float exactly, or infinity where a scale near 2^127 takes it out of range. With float
 * scales it is that product rounded to float once. */
struct matrix {
        const void *data;
        const void *scales;
        uint32_t n, k;
        enum weight_format format;
        /* The product's input rows are quantised first (backend.h: fp8_round), in blocks of as many
         * values; 0: they are not. */
        uint32_t input_block;

        /* FP8 only: rows and columns that share a scale, a power of two from WEIGHT_BLOCK on; and
         * which row of its tile row 0 is (matrix_rows() may cut tiles open). */
        uint32_t tile, tile_row;
};

static inline bool matrix_is_fp8(const struct matrix *w) {
        return w->format == WEIGHT_FP8 || w->format == WEIGHT_FP8_F32;
}

static inline size_t matrix_row_bytes(const struct matrix *w) {
        switch (w->format) {
        case WEIGHT_F32: return w->k * sizeof(float);
        case WEIGHT_BF16: return w->k * sizeof(uint16_t);
        case WEIGHT_FP8:
        case WEIGHT_FP8_F32: return w->k;
        case WEIGHT_FP4: return w->k / 2;
        }
        return 0;
}

/* Scales that a row reads, one for each block of its values. */
static inline size_t matrix_row_blocks(const struct matrix *w) {
        uint32_t block = matrix_is_fp8(w) ? w->tile : WEIGHT_BLOCK;
        return (w->k + block - 1) / block;
}

/* Where those of row `row` begin. */
static inline size_t matrix_first_scale(const struct matrix *w, uint32_t row) {
        return (matrix_is_fp8(w) ? (w->tile_row + row) / w->tile : row) * matrix_row_blocks(w);
}

static inline const uint8_t *matrix_row_scales(const struct matrix *w, uint32_t row) {
        return (const uint8_t *)w->scales + matrix_first_scale(w, row);
}

static inline const float *matrix_row_float_scales(const struct matrix *w, uint32_t row) {
        return (const float *)w->scales + matrix_first_scale(w, row);
}

/* Scales of all rows, of which there is at least one. */
static inline size_t matrix_n_scales(const struct matrix *w) {
        return matrix_first_scale(w, w->n - 1) + matrix_row_blocks(w);
}

/* Codes and scales. */
static inline uint64_t matrix_bytes(const struct matrix *w) {
        uint64_t codes = w->n * matrix_row_bytes(w);
        switch (w->format) {
        case WEIGHT_FP8:
        case WEIGHT_FP4: return codes + matrix_n_scales(w);
        case WEIGHT_FP8_F32: return codes + matrix_n_scales(w) * sizeof(float);
        default: return codes;
        }
}

/* Rows [first, first + n) as a matrix of their own. */
static inline struct matrix matrix_rows(const struct matrix *w, uint32_t first, uint32_t n) {
        struct matrix rows = *w;
        rows.data = (const uint8_t *)w->data + first * matrix_row_bytes(w);
        if (w->format == WEIGHT_FP8_F32)
                rows.scales = matrix_row_float_scales(w, first);
        else if (w->scales)
                rows.scales = matrix_row_scales(w, first);
        rows.tile_row = matrix_is_fp8(w) ? (w->tile_row + first) % w->tile : 0;
        rows.n = n;
        return rows;
}
