/* Matrix products of several rows of input with BF16 or float32, bit-equal to reference.c: tiles of
 * rows by outputs whose sums stay in registers. Each weight is read from memory once, is decoded
 * once for the rows of a tile, and each input that is loaded meets the weights of all its outputs.
 *
 * A tile of R rows by O outputs loads R + O registers for R * O multiply-adds and needs R * O sums,
 * O weights and one input in registers. AVX2 has 16, and a sum of 16 lanes takes two; so lanes are
 * taken in parts (lanes.h): all of k for the one, and then for the other, which finds the weights
 * in the first-level cache. The rows of a tile lie side by side: four streams a power of two apart
 * would fall into the same sets of that cache (measured on Zen 1: 55 % of the multiply-adds that
 * the processor can do, side by side 80 %). */
#include <string.h>

#include "engine/cpu/codes.h"
#include "engine/cpu/vector.h"
#include "engine/numerics.h"

#define ROWS    4
#define OUTPUTS MATMUL_TILE_OUTPUTS

/* Part n of sixteen weights from w on, arranged as arrange() does. */
static inline lanes_part load_weights(const uint8_t *w, const enum weight_format format,
                                      const unsigned n) {
        if (format == WEIGHT_F32)
                return part_load((const float *)(const void *)w + n * PART_LANES);
        return part_load_bf16_pairs(w, n);
}

/* Part n of the sums of `rows` inputs with OUTPUTS weight rows from w on. */
static inline __attribute__((always_inline)) void
sum_part(const uint8_t *w, const enum weight_format format, size_t k, const float *x,
         const uint32_t rows, const unsigned n, lanes_part ret[ROWS][OUTPUTS]) {
        const size_t size = format == WEIGHT_F32 ? sizeof(float) : sizeof(uint16_t);
        const uint8_t *weights[OUTPUTS];
        lanes_part sum[ROWS][OUTPUTS];
        for (uint32_t o = 0; o < OUTPUTS; o++)
                weights[o] = w + o * k * size;
        for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < OUTPUTS; o++)
                        sum[r][o] = part_zero();
        x += n * (k / PARTS) * rows;
        for (size_t i = 0; i < k; i += LANES, x += rows * PART_LANES) {
                lanes_part v[OUTPUTS];
                for (uint32_t o = 0; o < OUTPUTS; o++) {
                        const uint8_t *at = weights[o] + i * size;
                        v[o] = load_weights(at, format, n);
                        if (n == 0) /* the next tile, which follows in memory */
                                _mm_prefetch((const char *)at + OUTPUTS * k * size, _MM_HINT_T0);
                }
                for (uint32_t r = 0; r < rows; r++) {
                        lanes_part u = part_load(x + r * PART_LANES);
                        for (uint32_t o = 0; o < OUTPUTS; o++)
                                sum[r][o] = part_fma(v[o], u, sum[r][o]);
                }
        }
        for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < OUTPUTS; o++)
                        ret[r][o] = sum[r][o];
}

/* Outputs [at, at + OUTPUTS) of `rows` inputs. */
static inline __attribute__((always_inline)) void one_tile(const struct matmul *m, uint32_t at,
                                                           const enum weight_format format,
                                                           const float *x, const uint32_t rows,
                                                           float *y) {
        const uint8_t *w = (const uint8_t *)m->w.data + at * matrix_row_bytes(&m->w);
        lanes_part sum[PARTS][ROWS][OUTPUTS];
        sum_part(w, format, m->w.k, x, rows, 0, sum[0]);
        if (PARTS > 1)
                sum_part(w, format, m->w.k, x, rows, 1, sum[PARTS - 1]);
        for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < OUTPUTS; o++) {
                        lanes all = lanes_of_parts(sum[0][r][o], sum[PARTS - 1][r][o]);
                        float s = lanes_s4_sum(format == WEIGHT_F32 ? lanes_to_s4(all)
                                                                    : lanes_pairs_to_s4(all));
                        y[r * m->y_stride + at + o] = m->round ? bf16_round(s) : s;
                }
}

/* What a tile reads, in the order in which it does: of each part of all sixteens the rows side by
 * side. */
static void arrange_tile(const struct matmul *m, uint32_t first, uint32_t rows, float *ret) {
        size_t k = m->w.k;
        for (uint32_t r = 0; r < rows; r++) {
                const float *x = m->x + (first + r) * m->x_stride;
                for (size_t i = 0; i < k; i += LANES) {
                        float sixteen[LANES];
                        if (m->w.format == WEIGHT_F32)
                                memcpy(sixteen, x + i, sizeof(sixteen));
                        else
                                lanes_deinterleave(x + i, LANES, sixteen);
                        for (size_t n = 0; n < PARTS; n++)
                                memcpy(ret + (n * k + i) / PARTS * rows + r * PART_LANES,
                                       sixteen + n * PART_LANES, PART_LANES * sizeof(float));
                }
        }
}

/* How many of n rows are in the tile that begins with row r: tiles differ by one row at most, since
 * one of a single row would wait for its own sums. */
static uint32_t tile_rows(uint32_t n, uint32_t r) {
        uint32_t left = n - r, n_tiles = (left + ROWS - 1) / ROWS;
        return (left + n_tiles - 1) / n_tiles;
}

static inline __attribute__((always_inline)) void all_rows(const struct matmul *m, uint32_t at,
                                                           const enum weight_format format) {
        for (uint32_t r = 0, rows; r < m->n_rows; r += rows) {
                const float *x = m->scratch + (size_t)r * m->w.k;
                float *y = m->y + r * m->y_stride;
                rows = tile_rows(m->n_rows, r);
                switch (rows) {
                case 1: one_tile(m, at, format, x, 1, y); break;
                case 2: one_tile(m, at, format, x, 2, y); break;
                case 3: one_tile(m, at, format, x, 3, y); break;
                default: one_tile(m, at, format, x, ROWS, y); break;
                }
        }
}

void VECTOR(matmul_tiles)(const struct matmul *m, uint32_t first, uint32_t last) {
        for (uint32_t r = 0, rows; r < m->n_rows; r += rows) {
                rows = tile_rows(m->n_rows, r);
                arrange_tile(m, r, rows, m->scratch + (size_t)r * m->w.k);
        }
        for (uint32_t i = first; i < last; i += OUTPUTS) {
                /* The last tile may reach back over outputs that are done. */
                uint32_t at = i + OUTPUTS <= last ? i : last - OUTPUTS;
                if (m->w.format == WEIGHT_F32)
                        all_rows(m, at, WEIGHT_F32);
                else
                        all_rows(m, at, WEIGHT_BF16);
        }
}
