/* Products with a matrix from its other side, bit-equal to reference.c: every output is a sum over
 * the matrix' rows, so that sixteen outputs share a register and a lane of the contract is one
 * accumulator for all of them. */
#include "engine/cpu/decode.h"
#include "engine/cpu/reference.h"
#include "engine/cpu/vector.h"
#include "engine/numerics.h"

/* Columns decoded together: with 128 rows, a head's up-projection in the released models, 32 KiB of
 * floats, which stay in a second-level cache while all inputs meet them. */
#define STRIP 64

/* The contract's final tree, for sixteen outputs side by side. */
static inline lanes tree(const lanes lane[LANES]) {
        lanes s8[8], s4[4];
        for (int i = 0; i < 8; i++)
                s8[i] = lanes_add(lane[2 * i], lane[2 * i + 1]);
        for (int i = 0; i < 4; i++)
                s4[i] = lanes_add(s8[i], s8[i + 4]);
        return lanes_add(lanes_add(s4[0], s4[2]), lanes_add(s4[1], s4[3]));
}

/* Sixteen outputs of one input x over n rows, STRIP floats apart. Four lanes at a time hide the
 * latency of the additions. */
static inline lanes sums(const float *panel, const float *x, uint32_t n) {
        lanes lane[LANES];
        for (uint32_t first = 0; first < LANES; first += 4) {
                lanes sum[4] = { lanes_zero(), lanes_zero(), lanes_zero(), lanes_zero() };
                for (uint32_t i = first; i < n; i += LANES)
                        for (uint32_t t = 0; t < 4 && i + t < n; t++)
                                sum[t] = lanes_fma(lanes_load(panel + (size_t)(i + t) * STRIP),
                                                   lanes_set(x[i + t]), sum[t]);
                for (uint32_t t = 0; t < 4; t++)
                        lane[first + t] = sum[t];
        }
        return tree(lane);
}

static void one_strip(const struct matmul *m, uint32_t first, uint32_t n_columns) {
        float *panel = m->scratch;
        for (uint32_t i = 0; i < m->w.n; i++)
                decode(&m->w, i, first, n_columns, panel + (size_t)i * STRIP);
        for (uint32_t r = 0; r < m->n_rows; r++) {
                float *y = m->y + r * m->y_stride + first;
                for (uint32_t j = 0; j < n_columns; j += LANES)
                        lanes_store(y + j, sums(panel + j, m->x + r * m->x_stride, m->w.n));
                for (uint32_t j = 0; m->round && j < n_columns; j++)
                        y[j] = bf16_round(y[j]);
        }
}

void VECTOR(matmul_transposed)(const struct matmul *m, uint32_t first, uint32_t last) {
        if (m->w.k % WEIGHT_BLOCK != 0 || first % WEIGHT_BLOCK != 0 || last % WEIGHT_BLOCK != 0 ||
            (size_t)m->w.n * STRIP > MATMUL_PANEL) {
                backend_reference.matmul_transposed(m, first, last);
                return;
        }
        for (uint32_t j = first; j < last; j += STRIP)
                one_strip(m, j, last - j < STRIP ? last - j : STRIP);
}
