/* The operations of backend.h with vector registers: compiled once per instruction set (see
 * meson.build), bit-equal to reference.c. Operations whose inner loops have no sum are the
 * reference's own loops, vectorised by the compiler; what is written with `lanes` is what a
 * compiler may not reorder. */
#include <string.h>

#include "engine/cpu/lanes.h"
#include "engine/cpu/reference.h"
#include "engine/cpu/vector.h"
#include "engine/numerics.h"

/* Outputs computed together: enough independent sums to hide the latency of a fused multiply-add (4
 * to 5 cycles, one or two per cycle, two registers per sum with AVX2). */
#define TILE 4

static float dot(const float *a, const float *b, uint32_t n) {
        lanes sum = lanes_zero();
        uint32_t i = 0;
        for (; i + LANES <= n; i += LANES)
                sum = lanes_fma(lanes_load(a + i), lanes_load(b + i), sum);
        if (i < n) {
                float lane[LANES];
                lanes_store(lane, sum);
                for (; i < n; i++)
                        lane[i % LANES] = fmaf(a[i], b[i], lane[i % LANES]);
                return lanes_sum(lane);
        }
        return lanes_s4_sum(lanes_to_s4(sum));
}

/* TILE dot products of one vector x with rows of `a`, row stride in floats. */
static inline void dot_tile(const float *a, size_t stride, const float *x, uint32_t n,
                            float ret[TILE]) {
        lanes sum[TILE];
        for (int t = 0; t < TILE; t++)
                sum[t] = lanes_zero();
        for (uint32_t i = 0; i < n; i += LANES) {
                lanes v = lanes_load(x + i);
                for (int t = 0; t < TILE; t++)
                        sum[t] = lanes_fma(lanes_load(a + (size_t)t * stride + i), v, sum[t]);
        }
        __m128 s4[TILE];
        for (int t = 0; t < TILE; t++)
                s4[t] = lanes_to_s4(sum[t]);
        _mm_storeu_ps(ret, lanes_s4_sum4(s4));
}

static float rms_scale(const float *x, uint32_t n, float eps) {
        return 1.0f / sqrtf(dot(x, x, n) / (float)n + eps);
}

static void rmsnorm(const float *x, const uint16_t *weight, uint32_t n, float eps, bool round,
                    float *y) {
        float r = rms_scale(x, n, eps);
        for (uint32_t i = 0; weight && i < n; i++)
                y[i] = x[i] * r * bf16_to_float(weight[i]);
        for (uint32_t i = 0; !weight && i < n; i++)
                y[i] = x[i] * r;
        if (round)
                for (uint32_t i = 0; i < n; i++)
                        y[i] = bf16_round(y[i]);
}

/* |x| <= 448 rounded to e4m3, ties to even: e4m3_decode(e4m3_encode(x)). */
static inline float e4m3_round(float x) {
        uint32_t u = float_bits(x), sign = u & 0x80000000;
        float a = float_from_bits(u & 0x7FFFFFFF);
        /* Subnormals are multiples of 2^-9, the distance of floats next to 1.5 * 2^14. */
        float small = (a + 0x1.8p14f) - 0x1.8p14f;
        uint32_t normal = (float_bits(a) + 0x7FFFF + (u >> 20 & 1)) & 0xFFF00000;
        return float_from_bits((a < 0x1p-6f ? float_bits(small) : normal) | sign);
}

/* One block of ROW_FP8: see fp8_round_block(). Loops that the compiler turns into vectors. */
static void round_block(const float *x, uint32_t n, float *y) {
        uint32_t worst = 0;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t magnitude = float_bits(x[i]) & 0x7FFFFFFF;
                worst = magnitude > worst ? magnitude : worst;
        }
        float a = float_from_bits(worst);
        uint32_t u = float_bits((a > 1e-4f ? a : 1e-4f) * (1.0f / 448.0f));
        float scale = worst < 0x7F800000 ? ue8m0_values[(u >> 23) + ((u & 0x7FFFFF) != 0)] : NAN;
        float inverse = 1.0f / scale; /* both powers of two: x * inverse = x / scale */
        for (uint32_t i = 0; i < n; i++) {
                float t = x[i] * inverse;
                t = t > 448.0f ? 448.0f : t < -448.0f ? -448.0f : t;
                y[i] = e4m3_round(t) * scale;
        }
}

static void fp8_round(const float *x, uint32_t n, uint32_t block, float *y) {
        for (uint32_t i = 0; i < n; i += block)
                round_block(x + i, block, y + i);
}

/* Code bits to value, as in e4m3_decode; these rows were packed by us and hold no NaN codes. */
static void unpack_fp8(const uint8_t *row, const uint8_t *scales, uint32_t block, uint32_t n,
                       float *x) {
        const __m256i digits = _mm256_set1_epi32(0x7F), sign = _mm256_set1_epi32(0x80);
        for (uint32_t i = 0; i < n; i += 8) {
                __m256 scale = _mm256_set1_ps(ue8m0_decode(scales[i / block]));
                __m256i c = _mm256_cvtepu8_epi32(
                        _mm_loadl_epi64((const __m128i *)(const void *)(row + i)));
                __m256 a = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_and_si256(c, digits), 20));
                a = _mm256_mul_ps(a, _mm256_set1_ps(0x1p120f));
                a = _mm256_or_ps(
                        a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_and_si256(c, sign), 24)));
                _mm256_storeu_ps(x + i, _mm256_mul_ps(a, scale));
        }
}

static void unpack_fp8_tail64(const uint8_t *row, uint32_t n, float *x) {
        uint32_t codes = n - FP8_TAIL;
        const uint8_t *tail = row + codes;
        unpack_fp8(row, tail + 2 * FP8_TAIL, FP8_TAIL_BLOCK, codes, x);
        for (uint32_t i = 0; i < FP8_TAIL; i += LANES)
                lanes_store(x + codes + i,
                            lanes_load_bf16((const uint16_t *)(const void *)(tail + 2 * i)));
}

/* Float scales are powers of two: their exponent is the ue8m0 byte. */
static void unpack_fp8_128(const uint8_t *row, uint32_t n, float *x) {
        for (uint32_t b = 0; b < n / FP8_LONG_BLOCK; b++) {
                uint32_t scale;
                memcpy(&scale, row + n + b * sizeof(scale), sizeof(scale));
                uint8_t exponent = (uint8_t)(scale >> 23);
                unpack_fp8(row + b * FP8_LONG_BLOCK, &exponent, FP8_LONG_BLOCK, FP8_LONG_BLOCK,
                           x + b * FP8_LONG_BLOCK);
        }
}

static void unpack_fp8_tail128(const uint8_t *row, uint32_t n, float *x) {
        uint32_t codes = n - FP8_TAIL;
        unpack_fp8_128(row, codes, x);
        row_unpack(ROW_BF16, row + row_bytes(ROW_FP8_128, codes), FP8_TAIL, x + codes);
}

/* Sixteen FP4 codes (8 bytes) times one scale. The table holds twice the values, which are whole
 * numbers. */
static inline void unpack_fp4_16(const uint8_t *codes, float scale, float *x) {
        const __m128i twice =
                _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
        const __m128i sign = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, -128, -128, -128, -128, -128,
                                           -128, -128, -128);
        __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)codes),
                nibble = _mm_set1_epi8(15);
        __m128i c = _mm_unpacklo_epi8(_mm_and_si128(bytes, nibble),
                                      _mm_and_si128(_mm_srli_epi16(bytes, 4), nibble));
        __m128i v = _mm_shuffle_epi8(twice, c), s = _mm_shuffle_epi8(sign, c);
        __m256 half = _mm256_set1_ps(0.5f), factor = _mm256_set1_ps(scale);
        for (int i = 0; i < 2; i++) {
                __m256 a = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)), half);
                /* -0 is a code of its own: its sign must survive the whole-number table. */
                __m256i negative = _mm256_slli_epi32(_mm256_cvtepu8_epi32(s), 24);
                a = _mm256_or_ps(a, _mm256_castsi256_ps(negative));
                _mm256_storeu_ps(x + 8 * i, _mm256_mul_ps(a, factor));
                v = _mm_srli_si128(v, 8);
                s = _mm_srli_si128(s, 8);
        }
}

static inline void unpack_row(enum row_format format, const uint8_t *row, uint32_t n, float *x) {
        if (format == ROW_FP8) {
                unpack_fp8(row, row + n, FP8_BLOCK, n, x);
                return;
        }
        if (format == ROW_FP8_TAIL64) {
                unpack_fp8_tail64(row, n, x);
                return;
        }
        if (format == ROW_FP8_128) {
                unpack_fp8_128(row, n, x);
                return;
        }
        if (format == ROW_FP8_TAIL128) {
                unpack_fp8_tail128(row, n, x);
                return;
        }
        if (format == ROW_BF16 || format == ROW_F32 || format == ROW_FP8_TAIL64_F32) {
                row_unpack(format, row, n, x); /* no arithmetic: the compiler's loops */
                return;
        }
        for (uint32_t i = 0; i < n; i += 16) {
                float scale = format == ROW_FP4_LATENT
                        ? e4m3_decode(row[n / 2 + i / FP4_LATENT_BLOCK])
                        : ue8m0_decode(row[n / 2 + i / FP4_KEY_BLOCK]);
                unpack_fp4_16(row + i / 2, scale, x + i);
        }
}

static void row_unpack_vector(enum row_format format, const uint8_t *rows, uint32_t n_rows,
                              uint32_t n, float *x) {
        size_t bytes = row_bytes(format, n);
        for (uint32_t r = 0; r < n_rows; r++)
                unpack_row(format, rows + r * bytes, n, x + (size_t)r * n);
}

static void slots_unpack(enum row_format format, const struct kv_slot *rows, uint32_t n_rows,
                         uint32_t n, float *x) {
        for (uint32_t r = 0; r < n_rows; r++)
                unpack_row(format, rows[r].row, n, x + (size_t)r * n);
}

/* math_expf for eight values, step by step. */
static inline __m256 exp8(__m256 x) {
        __m256 magic = _mm256_set1_ps(EXPF_MAGIC);
        __m256 n = _mm256_sub_ps(_mm256_add_ps(_mm256_mul_ps(x, _mm256_set1_ps(EXPF_LOG2E)), magic),
                                 magic);
        __m256 r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXPF_LN2_HI), x);
        r = _mm256_fmadd_ps(n, _mm256_set1_ps(-EXPF_LN2_LO), r);
        __m256 p = _mm256_set1_ps(EXPF_P0);
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXPF_P1));
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXPF_P2));
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXPF_P3));
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXPF_P4));
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(EXPF_P5));
        p = _mm256_add_ps(_mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1.0f));
        __m256i e = _mm256_slli_epi32(
                _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
        p = _mm256_mul_ps(p, _mm256_castsi256_ps(e));
        __m256 low = _mm256_cmp_ps(x, _mm256_set1_ps(EXPF_MIN), _CMP_LT_OQ);
        __m256 high = _mm256_cmp_ps(x, _mm256_set1_ps(EXPF_MAX), _CMP_GT_OQ);
        __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
        p = _mm256_andnot_ps(low, p);
        p = _mm256_blendv_ps(p, _mm256_set1_ps(INFINITY), high);
        return _mm256_blendv_ps(p, x, nan);
}

/* Scores of all heads against the keys of one part of the list. scores [n_heads][stride]. */
static void attend_scores(const struct attend *a, int part, uint32_t at, size_t stride) {
        const float *keys = a->keys[part];
        uint32_t n = a->n_keys[part];
        float sum[TILE];
        for (uint32_t i = 0; i < n; i++) {
                const float *key = keys + (size_t)i * a->dim;
                uint32_t head = 0;
                for (; head + TILE <= a->n_heads; head += TILE) {
                        dot_tile(a->q + (size_t)head * a->dim, a->dim, key, a->dim, sum);
                        for (uint32_t t = 0; t < TILE; t++)
                                a->scratch[(head + t) * stride + at + i] = sum[t] * a->scale;
                }
                for (; head < a->n_heads; head++)
                        a->scratch[head * stride + at + i] =
                                dot(key, a->q + (size_t)head * a->dim, a->dim) * a->scale;
        }
}

/* Scores to weights in place; returns the denominator without the sink. Slots up to the next
 * multiple of 16 are used. */
static float softmax_weights(float *w, uint32_t n, float max, bool round) {
        uint32_t padded = (n + LANES - 1) & ~(uint32_t)(LANES - 1);
        for (uint32_t i = n; i < padded; i++)
                w[i] = -INFINITY; /* e^-inf = 0: adding it changes no lane */
        __m256 low = _mm256_setzero_ps(), high = _mm256_setzero_ps(), m = _mm256_set1_ps(max);
        for (uint32_t i = 0; i < padded; i += LANES) {
                __m256 a = exp8(_mm256_sub_ps(_mm256_loadu_ps(w + i), m));
                __m256 b = exp8(_mm256_sub_ps(_mm256_loadu_ps(w + i + 8), m));
                low = _mm256_add_ps(low, a);
                high = _mm256_add_ps(high, b);
                _mm256_storeu_ps(w + i, a);
                _mm256_storeu_ps(w + i + 8, b);
        }
        if (round)
                for (uint32_t i = 0; i < n; i++)
                        w[i] = bf16_round(w[i]);
        return lanes_s4_sum(lanes_s4_natural(low, high));
}

/* o[d..d+32) = sum of w[i] * key[i][d..], ascending i over both parts. */
static inline void weigh_values(const struct attend *a, const float *w, uint32_t d, float *o) {
        lanes x = lanes_zero(), y = lanes_zero();
        for (int part = 0; part < 2; part++) {
                const float *key = a->keys[part] + d;
                for (uint32_t i = 0; i < a->n_keys[part]; i++, key += a->dim) {
                        lanes weight = lanes_set(*w++);
                        x = lanes_fma(weight, lanes_load(key), x);
                        y = lanes_fma(weight, lanes_load(key + LANES), y);
                }
        }
        lanes_store(o, x);
        lanes_store(o + LANES, y);
}

static void attend(const struct attend *a) {
        if (a->dim % (2 * LANES) != 0) {
                backend_reference.attend(a);
                return;
        }
        uint32_t n = a->n_keys[0] + a->n_keys[1];
        size_t stride = (n + LANES - 1) & ~(size_t)(LANES - 1);
        attend_scores(a, 0, 0, stride);
        attend_scores(a, 1, a->n_keys[0], stride);
        for (uint32_t head = 0; head < a->n_heads; head++) {
                float *w = a->scratch + head * stride, *o = a->o + (size_t)head * a->dim,
                      max = -1e30f;
                for (uint32_t i = 0; i < n; i++)
                        max = w[i] > max ? w[i] : max;
                float denominator =
                        softmax_weights(w, n, max, a->round) + math_expf(a->sinks[head] - max);
                for (uint32_t d = 0; d < a->dim; d += 2 * LANES)
                        weigh_values(a, w, d, o + d);
                for (uint32_t d = 0; d < a->dim; d++)
                        o[d] = o[d] / denominator;
                if (a->round)
                        for (uint32_t d = 0; d < a->dim; d++)
                                o[d] = bf16_round(o[d]);
        }
}

/* Scores of all heads of a group. scores [n_heads][stride]. */
static void group_scores(const struct attend_group *a, size_t stride) {
        float sum[TILE];
        for (uint32_t i = 0; i < a->n_keys; i++) {
                const float *key = a->keys + i * a->key_stride;
                uint32_t head = 0;
                for (; head + TILE <= a->n_heads; head += TILE) {
                        dot_tile(a->q + (size_t)head * a->key_dim, a->key_dim, key, a->key_dim,
                                 sum);
                        for (uint32_t t = 0; t < TILE; t++)
                                a->scratch[(head + t) * stride + i] = sum[t] * a->scale;
                }
                for (; head < a->n_heads; head++)
                        a->scratch[head * stride + i] =
                                dot(key, a->q + (size_t)head * a->key_dim, a->key_dim) * a->scale;
        }
}

/* o[0..16 n) = sum of w[i] * values[i], ascending i; n is 1 to 4 registers, so that every weight is
 * read once for all of them. */
static inline void weigh_columns(const float *values, size_t stride, const float *w,
                                 uint32_t n_keys, int n, float *o) {
        lanes sum[4] = { lanes_zero(), lanes_zero(), lanes_zero(), lanes_zero() };
        for (uint32_t i = 0; i < n_keys; i++, values += stride)
                for (int c = 0; c < n; c++)
                        sum[c] = lanes_fma(lanes_set(w[i]), lanes_load(values + c * LANES), sum[c]);
        for (int c = 0; c < n; c++)
                lanes_store(o + c * LANES, sum[c]);
}

static void group_values(const struct attend_group *a, const float *w, float *o) {
        uint32_t d = 0;
        for (; d + 4 * LANES <= a->value_dim; d += 4 * LANES)
                weigh_columns(a->values + d, a->value_stride, w, a->n_keys, 4, o + d);
        for (; d < a->value_dim; d += LANES)
                weigh_columns(a->values + d, a->value_stride, w, a->n_keys, 1, o + d);
}

static void attend_group(const struct attend_group *a) {
        if (a->n_keys == 0 || a->key_dim % LANES != 0 || a->value_dim % LANES != 0) {
                backend_reference.attend_group(a);
                return;
        }
        size_t stride = (a->n_keys + LANES - 1) & ~(size_t)(LANES - 1);
        if (a->shares)
                memset(a->shares, 0, a->n_keys * sizeof(*a->shares));
        group_scores(a, stride);
        for (uint32_t head = 0; head < a->n_heads; head++) {
                float *w = a->scratch + head * stride, *o = a->o + (size_t)head * a->value_dim,
                      max = -1e30f;
                for (uint32_t i = 0; i < a->n_keys; i++)
                        max = w[i] > max ? w[i] : max;
                float denominator = softmax_weights(w, a->n_keys, max, false);
                for (uint32_t i = 0; a->shares && i < a->n_keys; i++)
                        a->shares[i] += w[i] / denominator;
                for (uint32_t i = 0; a->round && i < a->n_keys; i++)
                        w[i] = bf16_round(w[i]);
                group_values(a, w, o);
                for (uint32_t d = 0; d < a->value_dim; d++)
                        o[d] = o[d] / denominator;
                for (uint32_t d = 0; a->round && d < a->value_dim; d++)
                        o[d] = bf16_round(o[d]);
        }
}

static void index_scores(const float *q, const float *w, uint32_t n_heads, uint32_t dim,
                         const float *keys, uint32_t n_keys, float *s) {
        float z[TILE];
        for (uint32_t i = 0; i < n_keys; i++) {
                const float *key = keys + (size_t)i * dim;
                uint32_t head = 0;
                float sum = 0.0f;
                for (; dim % LANES == 0 && head + TILE <= n_heads; head += TILE) {
                        dot_tile(q + (size_t)head * dim, dim, key, dim, z);
                        for (uint32_t t = 0; t < TILE; t++)
                                sum += w[head + t] * (z[t] > 0.0f ? z[t] : 0.0f);
                }
                for (; head < n_heads; head++) {
                        float one = dot(key, q + (size_t)head * dim, dim);
                        sum += w[head] * (one > 0.0f ? one : 0.0f);
                }
                s[i] = sum;
        }
}

/* reference_pool_add for n a multiple of 8. */
static void pool_add_vectors(float *state, size_t stride, const float *value, const float *gate,
                             const float *bias, uint32_t n) {
        const __m256 one = _mm256_set1_ps(1.0f), sign = _mm256_set1_ps(-0.0f);
        for (uint32_t i = 0; i < n; i += 8) {
                float *largest = state + i, *weights = largest + stride, *sum = weights + stride;
                __m256 m = _mm256_loadu_ps(largest);
                __m256 g = _mm256_add_ps(_mm256_loadu_ps(gate + i), _mm256_loadu_ps(bias + i));
                __m256 e = exp8(_mm256_or_ps(_mm256_sub_ps(g, m), sign));
                __m256 larger = _mm256_cmp_ps(g, m, _CMP_GT_OQ);
                __m256 before = _mm256_blendv_ps(one, e, larger),
                       w = _mm256_blendv_ps(e, one, larger);
                _mm256_storeu_ps(largest, _mm256_blendv_ps(m, g, larger));
                _mm256_storeu_ps(weights,
                                 _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(weights), before), w));
                _mm256_storeu_ps(sum,
                                 _mm256_fmadd_ps(w, _mm256_loadu_ps(value + i),
                                                 _mm256_mul_ps(_mm256_loadu_ps(sum), before)));
        }
}

static void pool_add(float *state, const float *value, const float *gate, const float *bias,
                     uint32_t n) {
        if (n % 8 != 0)
                reference_pool_add(state, value, gate, bias, n);
        else
                pool_add_vectors(state, n, value, gate, bias, n);
}

static void hc_collapse(const float *h, const float *pre, uint32_t hc, uint32_t n, bool round,
                        float *u) {
        for (uint32_t i = 0; i < n; i++)
                u[i] = fmaf(pre[0], h[i], 0.0f);
        for (uint32_t j = 1; j < hc; j++)
                for (uint32_t i = 0; i < n; i++)
                        u[i] = fmaf(pre[j], h[(size_t)j * n + i], u[i]);
        if (round)
                for (uint32_t i = 0; i < n; i++)
                        u[i] = bf16_round(u[i]);
}

/* Blocks of 16 channels, so that all streams of a block are read before the first is written. */
static void hc_expand(float *h, const float *y, const float *post, const float *comb, uint32_t hc,
                      uint32_t n, bool round) {
        if (n % LANES != 0) {
                backend_reference.hc_expand(h, y, post, comb, hc, n, round);
                return;
        }
        for (uint32_t i = 0; i < n; i += LANES) {
                lanes old[HC_STREAMS_MAX], delta = lanes_load(y + i);
                for (uint32_t j = 0; j < hc; j++)
                        old[j] = lanes_load(h + (size_t)j * n + i);
                for (uint32_t k = 0; k < hc; k++) {
                        lanes sum = lanes_mul(lanes_set(post[k]), delta);
                        for (uint32_t j = 0; j < hc; j++)
                                sum = lanes_fma(lanes_set(comb[j * hc + k]), old[j], sum);
                        float *out = h + (size_t)k * n + i;
                        lanes_store(out, sum);
                        if (round)
                                for (uint32_t t = 0; t < LANES; t++)
                                        out[t] = bf16_round(out[t]);
                }
        }
}

static void hc_mixes(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                     float *pre, float *post, float *comb) {
        reference_hc_coefficients(c, fx, rms_scale(x, n, c->rms_eps), pre, post, comb);
}

static void hc_pre(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                   float *pre) {
        reference_hc_pre(c, fx, rms_scale(x, n, c->rms_eps), pre);
}

static void swiglu(const float *gate, const float *up, uint32_t n, float limit, float weight,
                   bool round, float *t) {
        const __m256 most = _mm256_set1_ps(limit), least = _mm256_set1_ps(-limit),
                     one = _mm256_set1_ps(1.0f);
        uint32_t i = 0;
        for (; i + 8 <= n; i += 8) {
                __m256 g = _mm256_loadu_ps(gate + i), u = _mm256_loadu_ps(up + i);
                g = _mm256_min_ps(most, g); /* operand order: NaN passes through, as in the
                                               reference's comparison */
                u = _mm256_max_ps(least, _mm256_min_ps(most, u));
                __m256 e = exp8(_mm256_xor_ps(g, _mm256_set1_ps(-0.0f)));
                __m256 silu = _mm256_mul_ps(g, _mm256_div_ps(one, _mm256_add_ps(one, e)));
                _mm256_storeu_ps(t + i,
                                 _mm256_mul_ps(_mm256_mul_ps(_mm256_set1_ps(weight), silu), u));
        }
        if (round)
                for (uint32_t j = 0; j < i; j++)
                        t[j] = bf16_round(t[j]);
        backend_reference.swiglu(gate + i, up + i, n - i, limit, weight, round, t + i);
}

static float weighted_dot(const float *h, const uint16_t *qw, const float *key, const uint16_t *kw,
                          uint32_t n) {
        lanes sum = lanes_zero();
        for (uint32_t i = 0; i < n; i += LANES)
                sum = lanes_fma(lanes_mul(lanes_load(h + i), lanes_load_bf16(qw + i)),
                                lanes_mul(lanes_load(key + i), lanes_load_bf16(kw + i)), sum);
        return lanes_s4_sum(lanes_to_s4(sum));
}

static void engram_gate(float *h, const float *key, const float *value, const uint16_t *q_weight,
                        const uint16_t *k_weight, uint32_t hc, uint32_t n, float eps, bool round) {
        if (n % LANES != 0) {
                backend_reference.engram_gate(h, key, value, q_weight, k_weight, hc, n, eps, round);
                return;
        }
        for (uint32_t j = 0; j < hc; j++) {
                size_t at = (size_t)j * n;
                float z = weighted_dot(h + at, q_weight + at, key + at, k_weight + at, n) *
                        rms_scale(h + at, n, eps) * rms_scale(key + at, n, eps) / sqrtf((float)n);
                /* The comparison lets NaN pass. */
                float magnitude = sqrtf(fabsf(z) < 1e-6f ? 1e-6f : fabsf(z));
                float gate = math_sigmoid(copysignf(magnitude, z));
                for (uint32_t i = 0; i < n; i++)
                        h[at + i] = fmaf(gate, value[i], h[at + i]);
                if (round)
                        for (uint32_t i = 0; i < n; i++)
                                h[at + i] = bf16_round(h[at + i]);
        }
}

const struct backend VECTOR(backend) = {
        .name = VECTOR_NAME,
        .matmul = VECTOR(matmul),
        .matmul_transposed = VECTOR(matmul_transposed),
        .rmsnorm = rmsnorm,
        .rope = reference_rope,
        .layernorm = reference_layernorm,
        .rope_half = reference_rope_half,
        .hadamard = reference_hadamard,
        .fp8_round = fp8_round,
        .row_unpack = row_unpack_vector,
        .slots_unpack = slots_unpack,
        .attend = attend,
        .attend_group = attend_group,
        .index_scores = index_scores,
        .pool_pair = reference_pool_pair,
        .pool_add = pool_add,
        .pool_close = reference_pool_close,
        .hc_mixes = hc_mixes,
        .hc_pre = hc_pre,
        .hc_collapse = hc_collapse,
        .hc_expand = hc_expand,
        .swiglu = swiglu,
        .router_scores = reference_router_scores,
        .engram_gate = engram_gate,
        .add = reference_add,
};
