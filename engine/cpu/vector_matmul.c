/* Matrix products for every weight format, bit-equal to reference.c.
 *
 * One row of input: weights are decoded in registers (decoding is bound by reading them). Several
 * rows of BF16 or float32: vector_tiles.c. Of FP8 and FP4 a few: weights are decoded in registers
 * and meet four rows. Many rows with FP8: a panel of weights is decoded into floats and meets all
 * rows, a stretch of k at a time so that everything stays in the caches; the 16 lanes of each sum
 * wait in memory between stretches, which changes no order of addition. */
#include "engine/cpu/codes.h"
#include "engine/cpu/decode.h"
#include "engine/cpu/vector.h"
#include "engine/numerics.h"

/* Outputs computed together from one row: enough independent sums to hide the latency of a fused
 * multiply-add (4 to 5 cycles, one or two per cycle, two registers per sum with AVX2). */
#define TILE 4

/* Rows and outputs that share registers when there are several rows: AVX2 has 16 registers, two a
 * sum; AVX-512 has 32, one a sum. */
#if defined(__AVX512F__)
#define BLOCK_ROWS 4
#else
#define BLOCK_ROWS 3
#endif
#define BLOCK_OUTPUTS 2

static inline float rounded(float x, bool round) {
        return round ? bf16_round(x) : x;
}

/* --- many rows: a panel ----------------------------------------------------------------------- */

/* A panel of PANEL outputs by PANEL_K values is 32 KiB of floats; with the inputs it meets (up to
 * ROWS_MAX by PANEL_K, 192 KiB) and the sums (96 KiB) it stays in a second-level cache. */
#define PANEL    16
#define PANEL_K  512
#define ROWS_MAX 96
_Static_assert(MATMUL_PANEL >= PANEL * (PANEL_K + ROWS_MAX * LANES), "the panel and its sums");

/* sums[r][o] += x[r] . panel[o] over n values, for the first `rows` rows and `outputs` outputs. */
static inline __attribute__((always_inline)) void block(const float *x, size_t x_stride,
                                                        const float *panel, uint32_t n, float *sums,
                                                        const uint32_t rows,
                                                        const uint32_t outputs) {
        lanes sum[BLOCK_ROWS][BLOCK_OUTPUTS];
        for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < outputs; o++)
                        sum[r][o] = lanes_load(sums + (r * PANEL + o) * LANES);
        for (uint32_t i = 0; i < n; i += LANES) {
                lanes w[BLOCK_OUTPUTS];
                for (uint32_t o = 0; o < outputs; o++)
                        w[o] = lanes_load(panel + o * PANEL_K + i);
                for (uint32_t r = 0; r < rows; r++) {
                        lanes v = lanes_load(x + r * x_stride + i);
                        for (uint32_t o = 0; o < outputs; o++)
                                sum[r][o] = lanes_fma(w[o], v, sum[r][o]);
                }
        }
        for (uint32_t r = 0; r < rows; r++)
                for (uint32_t o = 0; o < outputs; o++)
                        lanes_store(sums + (r * PANEL + o) * LANES, sum[r][o]);
}

static inline __attribute__((always_inline)) void block_of_outputs(const float *x, size_t x_stride,
                                                                   const float *panel, uint32_t n,
                                                                   float *sums, uint32_t rows,
                                                                   const uint32_t outputs) {
        switch (rows) {
        case 1: block(x, x_stride, panel, n, sums, 1, outputs); break;
        case 2: block(x, x_stride, panel, n, sums, 2, outputs); break;
        case 3: block(x, x_stride, panel, n, sums, 3, outputs); break;
        default: block(x, x_stride, panel, n, sums, BLOCK_ROWS, outputs); break;
        }
}

/* sums += x . panel, for all rows and outputs. */
static void multiply_panel(const float *x, size_t x_stride, uint32_t n_rows, const float *panel,
                           uint32_t n_outputs, uint32_t n, float *sums) {
        for (uint32_t r = 0; r < n_rows; r += BLOCK_ROWS) {
                uint32_t rows = n_rows - r < BLOCK_ROWS ? n_rows - r : BLOCK_ROWS, o = 0;
                const float *at = x + r * x_stride;
                float *sum = sums + (size_t)r * PANEL * LANES;
                for (; o + BLOCK_OUTPUTS <= n_outputs; o += BLOCK_OUTPUTS)
                        block_of_outputs(at, x_stride, panel + o * PANEL_K, n, sum + o * LANES,
                                         rows, BLOCK_OUTPUTS);
                for (; o < n_outputs; o++)
                        block_of_outputs(at, x_stride, panel + o * PANEL_K, n, sum + o * LANES,
                                         rows, 1);
        }
}

/* The final trees. */
static void store_sums(const float *sums, uint32_t n_rows, uint32_t n_outputs, float *y,
                       size_t y_stride, bool round) {
        for (uint32_t r = 0; r < n_rows; r++, sums += PANEL * LANES, y += y_stride)
                for (uint32_t o = 0; o < n_outputs; o++)
                        y[o] = rounded(lanes_s4_sum(lanes_to_s4(lanes_load(sums + o * LANES))),
                                       round);
}

static void with_panel(const struct matmul *m, uint32_t first, uint32_t last) {
        float *panel = m->scratch, *sums = panel + PANEL * PANEL_K;
        for (uint32_t r = 0; r < m->n_rows; r += ROWS_MAX) {
                uint32_t rows = m->n_rows - r < ROWS_MAX ? m->n_rows - r : ROWS_MAX;
                const float *x = m->x + r * m->x_stride;
                for (uint32_t i = first; i < last; i += PANEL) {
                        uint32_t outputs = last - i < PANEL ? last - i : PANEL;
                        memset(sums, 0, (size_t)rows * PANEL * LANES * sizeof(*sums));
                        for (uint32_t k = 0; k < m->w.k; k += PANEL_K) {
                                uint32_t n = m->w.k - k < PANEL_K ? m->w.k - k : PANEL_K;
                                for (uint32_t o = 0; o < outputs; o++)
                                        decode(&m->w, i + o, k, n, panel + o * PANEL_K);
                                multiply_panel(x + k, m->x_stride, rows, panel, outputs, n, sums);
                        }
                        store_sums(sums, rows, outputs, m->y + r * m->y_stride + i, m->y_stride,
                                   m->round);
                }
        }
}

/* --- few rows --------------------------------------------------------------------------------- */

/* The rows of a tile are short streams, too short for the hardware to run ahead: fetch the next
 * tile, which follows in memory. Measured on Zen 1 with BF16: 1.3 to 1.6 times the tokens per
 * second. */
static inline void prefetch_next_tile(const uint8_t *row, size_t row_bytes) {
        _mm_prefetch((const char *)(row + TILE * row_bytes), _MM_HINT_T0);
}

static inline void store_pairs(const lanes sum[TILE], float ret[TILE]) {
        __m128 s4[TILE];
        for (int t = 0; t < TILE; t++)
                s4[t] = lanes_pairs_to_s4(sum[t]);
        _mm_storeu_ps(ret, lanes_s4_sum4(s4));
}

static inline void store_natural(const lanes sum[TILE], float ret[TILE]) {
        __m128 s4[TILE];
        for (int t = 0; t < TILE; t++)
                s4[t] = lanes_to_s4(sum[t]);
        _mm_storeu_ps(ret, lanes_s4_sum4(s4));
}

/* TILE weight rows from `row` on against one input; x as it is. */
static inline void dot_f32(const struct matrix *w, uint32_t row, const float *x, float ret[TILE]) {
        const float *p = (const float *)w->data + (size_t)row * w->k;
        lanes sum[TILE];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t i = 0; i < w->k; i += LANES) {
                lanes v = lanes_load(x + i);
                for (int t = 0; t < TILE; t++)
                        sum[t] = lanes_fma(lanes_load(p + (size_t)t * w->k + i), v, sum[t]);
        }
        store_natural(sum, ret);
}

/* x arranged as (evens, odds). */
static inline void dot_bf16(const struct matrix *w, uint32_t row, const float *x, float ret[TILE]) {
        const uint16_t *p = (const uint16_t *)w->data + (size_t)row * w->k;
        lanes sum[TILE];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t i = 0; i < w->k; i += LANES) {
                lanes v = lanes_load(x + i);
                for (int t = 0; t < TILE; t++) {
                        const uint16_t *q = p + (size_t)t * w->k + i;
                        prefetch_next_tile((const uint8_t *)q, w->k * sizeof(*q));
                        sum[t] = lanes_fma(lanes_load_bf16_pairs(q), v, sum[t]);
                }
        }
        store_pairs(sum, ret);
}

static inline void store_quarters(const lanes sum[TILE], float ret[TILE]) {
        __m128 s4[TILE];
        for (int t = 0; t < TILE; t++)
                s4[t] = lanes_quarters_to_s4(sum[t]);
        _mm_storeu_ps(ret, lanes_s4_sum4(s4));
}

static bool has_nan(const uint8_t *codes, uint32_t n) {
        __m128i max = _mm_setzero_si128();
        for (uint32_t i = 0; i < n; i += LANES)
                max = e4m3_nan_max(max, codes + i);
        return e4m3_is_nan(max);
}

/* x in quarters, multiplied by the scales of this row of tiles, as scale_input() does. */
static inline void dot_fp8(const struct matrix *w, uint32_t row, const float *x, float ret[TILE]) {
        const uint8_t *p = (const uint8_t *)w->data + (size_t)row * w->k;
        __m128i max = _mm_setzero_si128();
        lanes sum[TILE];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t i = 0; i < w->k; i += LANES) {
                lanes v = lanes_load(x + i);
                for (int t = 0; t < TILE; t++) {
                        const uint8_t *q = p + (size_t)t * w->k + i;
                        prefetch_next_tile(q, w->k);
                        sum[t] = lanes_fma(lanes_load_e4m3_quarters(q), v, sum[t]);
                        max = e4m3_nan_max(max, q);
                }
        }
        store_quarters(sum, ret);
        if (e4m3_is_nan(max)) /* in one of the rows */
                for (int t = 0; t < TILE; t++)
                        if (has_nan(p + (size_t)t * w->k, w->k))
                                ret[t] = NAN;
}

/* x arranged in quarters. */
static inline void dot_fp4(const struct matrix *w, uint32_t row, const float *x, float ret[TILE]) {
        const uint8_t *p = (const uint8_t *)w->data + row * matrix_row_bytes(w);
        const uint8_t *scales = matrix_row_scales(w, row);
        uint32_t blocks = w->k / WEIGHT_BLOCK;
        lanes sum[TILE];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t b = 0; b < blocks; b++, x += WEIGHT_BLOCK) {
                lanes v0 = lanes_load(x), v1 = lanes_load(x + LANES);
                for (uint32_t t = 0; t < TILE; t++) {
                        const uint8_t *q = p + (t * blocks + b) * (WEIGHT_BLOCK / 2);
                        lanes value[2];
                        prefetch_next_tile(q, w->k / 2);
                        lanes_load_e2m1_quarters(q, scales[t * blocks + b], value);
                        sum[t] = lanes_fma(value[0], v0, sum[t]);
                        sum[t] = lanes_fma(value[1], v1, sum[t]);
                }
        }
        store_quarters(sum, ret);
}

/* The scales of a row of FP8 tiles multiply the input x, which is in quarters, once for 32 outputs
 * instead of each weight: a fused multiply-add sees the same product as long as both ways of
 * grouping its factors are exact. False where that is not certain: always with a scale from 2^8 on,
 * which E4M3_WORD takes to infinity (below that no weight times a scale overflows), or when a
 * scaled input, multiplied back, is not what it was. */
static bool scale_input(const struct matrix *w, uint32_t row, const float *x, float *y) {
        const uint8_t *scales = matrix_row_scales(w, row);
        unsigned changed = 0, shift = (unsigned)__builtin_ctz(w->tile);
        for (uint32_t i = 0; i < w->k; i += LANES) {
                float factor = ue8m0_values[scales[i >> shift]] / E4M3_WORD;
                lanes before = lanes_load(x + i), scaled = lanes_mul(before, lanes_set(factor));
                changed |= lanes_differ(before, lanes_mul(scaled, lanes_set(1.0f / factor)));
                lanes_store(y + i, scaled);
        }
        return changed == 0;
}

typedef void dot_tile(const struct matrix *w, uint32_t row, const float *x, float ret[TILE]);

/* Tiles over [first, last); the last one may reach back over outputs that are done. */
static inline __attribute__((always_inline)) void
one_row(const struct matmul *m, uint32_t first, uint32_t last, const float *x, dot_tile *dot) {
        if (last - first < TILE) {
                with_panel(m, first, last);
                return;
        }
        for (uint32_t i = first; i < last; i += TILE) {
                uint32_t at = i + TILE <= last ? i : last - TILE;
                float sum[TILE];
                dot(&m->w, at, x, sum);
                for (uint32_t t = 0; t < TILE; t++)
                        m->y[at + t] = rounded(sum[t], m->round);
        }
}

/* One row of FP8 or FP4 against TILE inputs, arranged like those of dot_*(), so that decoding it is
 * paid once. */
static inline __attribute__((always_inline)) void dot_inputs(const struct matrix *w, uint32_t row,
                                                             const enum weight_format format,
                                                             const float *x, float ret[TILE]) {
        const uint8_t *p = (const uint8_t *)w->data + row * matrix_row_bytes(w);
        const uint8_t *scales = format == WEIGHT_FP4 ? matrix_row_scales(w, row) : NULL;
        const uint32_t step = format == WEIGHT_FP4 ? WEIGHT_BLOCK : LANES;
        __m128i max = _mm_setzero_si128();
        lanes sum[TILE], v[2];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t i = 0; i < w->k; i += step) {
                if (format == WEIGHT_FP8) {
                        v[0] = lanes_load_e4m3_quarters(p + i);
                        max = e4m3_nan_max(max, p + i);
                } else {
                        lanes_load_e2m1_quarters(p + i / 2, scales[i / WEIGHT_BLOCK], v);
                }
                for (uint32_t t = 0; t < TILE; t++) {
                        const float *at = x + (size_t)t * w->k + i;
                        sum[t] = lanes_fma(v[0], lanes_load(at), sum[t]);
                        if (step > LANES)
                                sum[t] = lanes_fma(v[1], lanes_load(at + LANES), sum[t]);
                }
        }
        store_quarters(sum, ret);
        for (int t = 0; e4m3_is_nan(max) && t < TILE; t++)
                ret[t] = NAN;
}

/* TILE rows from x on, arranged, against outputs [first, last); m->y is the first row's. */
static inline __attribute__((always_inline)) void tile_of_rows(const struct matmul *m,
                                                               uint32_t first, uint32_t last,
                                                               const float *x,
                                                               const enum weight_format format) {
        float sum[TILE];
        for (uint32_t i = first; i < last; i++) {
                dot_inputs(&m->w, i, format, x, sum);
                for (uint32_t t = 0; t < TILE; t++)
                        m->y[t * m->y_stride + i] = rounded(sum[t], m->round);
        }
}

static void arrange(const struct matmul *m, float *ret) {
        for (uint32_t r = 0; r < m->n_rows; r++, ret += m->w.k) {
                const float *x = m->x + r * m->x_stride;
                switch (m->w.format) {
                case WEIGHT_F32: memcpy(ret, x, m->w.k * sizeof(*x)); break;
                case WEIGHT_BF16: lanes_deinterleave(x, m->w.k, ret); break;
                default: lanes_quarters(x, m->w.k, ret); break;
                }
        }
}

/* Outputs [first, last), which lie in one row of FP8 tiles, for the n rows (1, or TILE of FP8 and
 * FP4) that m begins with; x is arranged. */
static void some_rows(const struct matmul *m, uint32_t n, uint32_t first, uint32_t last,
                      const float *x, float *scaled) {
        bool tile = n == TILE, exact = true;
        if (m->w.format == WEIGHT_FP8) {
                for (uint32_t r = 0; r < n; r++)
                        exact &= scale_input(&m->w, first, x + (size_t)r * m->w.k,
                                             scaled + (size_t)r * m->w.k);
                x = scaled;
        }
        if (!exact) {
                struct matmul these = *m;
                these.n_rows = n;
                with_panel(&these, first, last);
                return;
        }
        switch (m->w.format) {
        case WEIGHT_F32: one_row(m, first, last, x, dot_f32); break;
        case WEIGHT_BF16: one_row(m, first, last, x, dot_bf16); break;
        case WEIGHT_FP8:
                tile ? tile_of_rows(m, first, last, x, WEIGHT_FP8)
                     : one_row(m, first, last, x, dot_fp8);
                break;
        case WEIGHT_FP4:
                tile ? tile_of_rows(m, first, last, x, WEIGHT_FP4)
                     : one_row(m, first, last, x, dot_fp4);
                break;
        case WEIGHT_FP8_F32: break; /* always with a panel */
        }
}

/* Where the row of FP8 tiles ends that output i lies in; other formats: a stretch as long. */
static uint32_t stretch_end(const struct matrix *w, uint32_t i) {
        uint32_t length = w->format == WEIGHT_FP8 ? w->tile : WEIGHT_BLOCK;
        return ((w->tile_row + i) / length + 1) * length - w->tile_row;
}

/* Few rows share the passes over the weights: a stretch of outputs, whose weights then are in the
 * caches, meets one tile of rows after the other. */
static void few_rows(const struct matmul *m, uint32_t first, uint32_t last) {
        uint32_t k = m->w.k;
        float *x = m->scratch, *scaled = x + (size_t)m->n_rows * k;
        arrange(m, x);
        for (uint32_t i = first, end; i < last; i = end) {
                end = stretch_end(&m->w, i);
                end = end < last ? end : last;
                for (uint32_t r = 0, n; r < m->n_rows; r += n) {
                        struct matmul these = *m;
                        n = m->n_rows - r >= TILE ? TILE : 1;
                        these.x += r * m->x_stride;
                        these.y += r * m->y_stride;
                        these.n_rows = 1;
                        these.scratch = scaled + (size_t)TILE * k; /* for a panel */
                        some_rows(&these, n, i, end, x + (size_t)r * k, scaled);
                }
        }
}

/* Float scales cannot move to the input: their products with codes are rounded. Decoding FP8 costs
 * as much as adding a tile of four rows, so that from some 16 rows on a panel pays; FP4 is better
 * off without one (measured on Zen 1). */
static bool wants_panel(const struct matmul *m, uint32_t n_outputs) {
        switch (m->w.format) {
        case WEIGHT_FP8_F32: return true;
        case WEIGHT_FP8: return m->n_rows > MATMUL_ROWS_FEW / 2;
        case WEIGHT_FP4: return false;
        default: return m->n_rows > 1 && n_outputs < MATMUL_TILE_OUTPUTS;
        }
}

void VECTOR(matmul)(const struct matmul *m, uint32_t first, uint32_t last) {
        if (m->w.k % LANES != 0) {
                backend_reference.matmul(m, first, last);
                return;
        }
        if (wants_panel(m, last - first)) {
                with_panel(m, first, last);
                return;
        }
        bool tiles = m->n_rows > 1 && (m->w.format == WEIGHT_BF16 || m->w.format == WEIGHT_F32);
        for (uint32_t r = 0; r < m->n_rows; r += MATMUL_ROWS_FEW) {
                struct matmul some = *m;
                some.x += r * m->x_stride;
                some.y += r * m->y_stride;
                some.n_rows = m->n_rows - r < MATMUL_ROWS_FEW ? m->n_rows - r : MATMUL_ROWS_FEW;
                if (tiles)
                        VECTOR(matmul_tiles)(&some, first, last);
                else
                        few_rows(&some, first, last);
        }
}
