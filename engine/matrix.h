/* A weight matrix as it lies in the checkpoint. Plain values; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats.h"

/* [n][k]:
 *
 *   format       data                                          scales (ue8m0, see formats.h)
 *   WEIGHT_F32   float [n][k]                                  none
 *   WEIGHT_BF16  uint16_t [n][k]                               none
 *   WEIGHT_FP8   e4m3 codes [n][k]                             [ceil(n/32)][ceil(k/32)], one a tile
 *   WEIGHT_FP4   e2m1 codes [n][k/2], low nibble the even k    [n][k/32], one a row's 32 values
 *
 * A quantised weight is the value of its code times its scale: a float exactly, or infinity where a
 * scale near 2^127 takes it out of range. */
struct matrix {
        const void *data;
        const uint8_t *scales;
        uint32_t n, k;
        enum weight_format format;
        bool fp8_input; /* the product's input rows are quantised first, as by ROW_FP8 */
};

static inline size_t matrix_row_bytes(const struct matrix *w) {
        switch (w->format) {
        case WEIGHT_F32: return w->k * sizeof(float);
        case WEIGHT_BF16: return w->k * sizeof(uint16_t);
        case WEIGHT_FP8: return w->k;
        case WEIGHT_FP4: return w->k / 2;
        }
        return 0;
}

/* Scales of row `row`, one per WEIGHT_BLOCK values. */
static inline const uint8_t *matrix_row_scales(const struct matrix *w, uint32_t row) {
        size_t blocks = (w->k + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK;
        return w->scales + (w->format == WEIGHT_FP8 ? row / WEIGHT_BLOCK : row) * blocks;
}

/* Codes and scales. */
static inline uint64_t matrix_bytes(const struct matrix *w) {
        uint64_t blocks = (w->k + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK,
                 codes = w->n * matrix_row_bytes(w);
        switch (w->format) {
        case WEIGHT_FP8: return codes + (w->n + WEIGHT_BLOCK - 1) / WEIGHT_BLOCK * blocks;
        case WEIGHT_FP4: return codes + w->n * blocks;
        default: return codes;
        }
}

/* Rows [first, first + n) as a matrix of their own; for WEIGHT_FP8 `first` is a multiple of 32. */
static inline struct matrix matrix_rows(const struct matrix *w, uint32_t first, uint32_t n) {
        struct matrix rows = *w;
        rows.data = (const uint8_t *)w->data + first * matrix_row_bytes(w);
        if (w->scales)
                rows.scales = matrix_row_scales(w, first);
        rows.n = n;
        return rows;
}
