/* Every operation of every vector backend gives the reference's bits, on random shapes, rounded and
 * not. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/backend.h"
#include "engine/numerics.h"
#include "tests/engine/random_floats.h"

#define ROUNDS 60

static const struct backend *fast;
static uint64_t seed = 42;

static uint32_t draw(uint32_t low, uint32_t high) {
        return low + (uint32_t)(random_next(&seed) % (high - low + 1));
}

static float *copy(const float *x, size_t n) {
        float *y = calloc(n + 16, sizeof(*y));
        memcpy(y, x, n * sizeof(*x));
        return y;
}

static void assert_same(const float *a, const float *b, size_t n) {
        assert_memory_equal(a, b, n * sizeof(*a));
}

/* How the scales of random quantised weights are drawn. */
enum scale_range {
        SCALES_USUAL,  /* around 2^-8, as in real weights */
        SCALES_FINITE, /* all that keep sums of a few hundred products finite */
        SCALES_ALL,    /* every byte: products overflow to infinity, 255 is NaN */
};

static uint8_t *random_bytes(size_t n) {
        uint8_t *bytes = malloc(n + 16);
        for (size_t i = 0; i < n; i++)
                bytes[i] = (uint8_t)random_next(&seed);
        return bytes;
}

/* Every code; e4m3's NaN only if asked for. Free data and scales. */
static struct matrix random_matrix(enum weight_format format, uint32_t n, uint32_t k,
                                   enum scale_range range, bool with_nan) {
        bool fp8 = format == WEIGHT_FP8 || format == WEIGHT_FP8_F32;
        struct matrix w = { .n = n, .k = k, .format = format };
        w.tile = fp8 ? 32U << 2 * draw(0, 1) : 0;
        w.tile_row = fp8 ? draw(0, 1) * draw(0, w.tile - 1) : 0;
        switch (format) {
        case WEIGHT_F32: w.data = random_floats(&seed, (size_t)n * k, 1); return w;
        case WEIGHT_BF16: w.data = random_bf16(&seed, (size_t)n * k, 1); return w;
        default: break;
        }
        uint8_t *codes = random_bytes(n * matrix_row_bytes(&w));
        for (size_t i = 0; fp8 && i < (size_t)n * k; i++)
                if ((codes[i] & 0x7F) == 0x7F && !(with_nan && draw(0, 9) == 0))
                        codes[i] &= 0x80;
        size_t n_scales = matrix_n_scales(&w);
        w.data = codes;
        if (format == WEIGHT_FP8_F32) {
                w.scales = random_floats(&seed, n_scales, 0.01f);
                return w;
        }
        uint8_t *scales = random_bytes(n_scales);
        for (size_t i = 0; range != SCALES_ALL && i < n_scales; i++)
                scales[i] = (uint8_t)(range == SCALES_USUAL ? draw(112, 130) : draw(0, 230));
        w.scales = scales;
        return w;
}

/* NaN may differ in sign and payload, nothing else may. */
static void assert_same_or_nan(const float *a, const float *b, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (!(isnan(a[i]) && isnan(b[i])) && memcmp(a + i, b + i, sizeof(*a)) != 0)
                        fail_msg("output %zu: %a is not %a", i, (double)b[i], (double)a[i]);
}

static void compare_matmul(const struct matrix *w, uint32_t rows, bool round, float magnitude) {
        uint32_t n = w->n, k = w->k, middle = draw(0, n);
        float *x = random_floats(&seed, (size_t)rows * k, magnitude),
              *scratch = calloc(matmul_scratch(k), sizeof(float));
        float *a = calloc((size_t)rows * n, sizeof(float)),
              *b = calloc((size_t)rows * n, sizeof(float));
        for (uint32_t i = 0, n_zeros = draw(0, 1) * 32; i < n_zeros && i < k; i++)
                x[i] = i % 2 ? 0.0f : -0.0f;
        struct matmul m = { x, k, rows, *w, a, n, round, scratch };
        backend_reference.matmul(&m, 0, n);
        m.y = b; /* in two parts: splitting outputs changes nothing */
        fast->matmul(&m, 0, middle);
        fast->matmul(&m, middle, n);
        assert_same_or_nan(a, b, (size_t)rows * n);
        free(x), free(scratch), free(a), free(b);
}

static void free_matrix(struct matrix *w) {
        free((void *)(uintptr_t)w->data), free((void *)(uintptr_t)w->scales);
}

#define N_FORMATS (WEIGHT_FP8_F32 + 1)

static void matmul_is_the_same(void **state) {
        (void)state;
        for (uint32_t i = 0; i < 10 * ROUNDS; i++) {
                enum weight_format format = (enum weight_format)(i % N_FORMATS);
                uint32_t k = format == WEIGHT_FP4 ? draw(1, 20) * 32
                        : i % 3                   ? draw(1, 40) * 16
                                                  : draw(1, 200);
                struct matrix w = random_matrix(format, draw(1, 70), k, SCALES_USUAL, false);
                compare_matmul(&w, draw(1, 9), i % 2, 2);
                free_matrix(&w);
        }
        /* Longer than a stretch of the panel, more rows than are taken at once. */
        for (uint32_t i = 0; i < 2 * N_FORMATS; i++) {
                struct matrix w = random_matrix((enum weight_format)(i % N_FORMATS), draw(15, 35),
                                                1184, SCALES_USUAL, false);
                compare_matmul(&w, i < N_FORMATS ? 5 : 100, i % 2, 2);
                free_matrix(&w);
        }
}

/* A slice cut out of the middle of tiles gives the outputs that it has in the whole matrix. */
static void rows_of_a_matrix_are_a_matrix(void **state) {
        (void)state;
        for (uint32_t i = 0; i < 2 * ROUNDS; i++) {
                struct matrix w = random_matrix((enum weight_format)(i % N_FORMATS), draw(2, 300),
                                                draw(1, 9) * 32, SCALES_USUAL, false);
                uint32_t first = draw(0, w.n - 1), n = draw(1, w.n - first), k = w.k;
                struct matrix slice = matrix_rows(&w, first, n);
                float *x = random_floats(&seed, k, 2),
                      *scratch = calloc(matmul_scratch(k), sizeof(float)),
                      *whole = calloc(w.n, sizeof(float)), *part = calloc(n, sizeof(float));
                backend_reference.matmul(&(struct matmul){ x, k, 1, w, whole, w.n, false, scratch },
                                         0, w.n);
                fast->matmul(&(struct matmul){ x, k, 1, slice, part, n, false, scratch }, 0, n);
                assert_same(whole + first, part, n);
                free(x), free(scratch), free(whole), free(part);
                free_matrix(&w);
        }
}

static void transposed_matmul_is_the_same(void **state) {
        (void)state;
        for (uint32_t i = 0; i < 10 * ROUNDS; i++) {
                enum weight_format format = (enum weight_format)(i % N_FORMATS);
                uint32_t k = format == WEIGHT_FP4 || i % 3 ? draw(1, 20) * 32 : draw(1, 200),
                         n = i % 7 ? draw(1, 140) : draw(600, 700), rows = draw(1, 6);
                struct matrix w = random_matrix(format, n, k, SCALES_USUAL, false);
                float *x = random_floats(&seed, (size_t)rows * (n + 3), 2),
                      *scratch = calloc(matmul_scratch(n > k ? n : k), sizeof(float)),
                      *a = calloc((size_t)rows * k, sizeof(float)),
                      *b = calloc((size_t)rows * k, sizeof(float));
                struct matmul m = { x, n + 3, rows, w, a, k, i % 2, scratch };
                uint32_t middle = draw(0, k / 32) * 32;
                backend_reference.matmul_transposed(&m, 0, k);
                m.y = b;
                fast->matmul_transposed(&m, 0, middle);
                fast->matmul_transposed(&m, middle, k);
                assert_same(a, b, (size_t)rows * k);
                free(x), free(scratch), free(a), free(b);
                free_matrix(&w);
        }
}

/* Scales from 2^-127 on, inputs from 1e-30 to 1e30: subnormal products, sums that overflow. */
static void matmul_is_the_same_at_the_ends_of_the_range(void **state) {
        (void)state;
        static const float magnitudes[] = { 1e-42f, 1e-38f, 1e-30f, 1e-4f, 1, 1e4f, 1e30f };
        for (uint32_t i = 0; i < 8 * ROUNDS; i++) {
                enum weight_format format = i % 2 ? WEIGHT_FP8 : WEIGHT_FP4;
                enum scale_range range = i % 6 < 3 ? SCALES_FINITE : SCALES_ALL;
                struct matrix w =
                        random_matrix(format, draw(1, 70), draw(1, 6) * 32, range, i % 4 == 1);
                compare_matmul(&w, draw(1, 5), false, magnitudes[i % 7]);
                free_matrix(&w);
        }
}

static void quantising_inputs_is_the_same(void **state) {
        (void)state;
        static const float magnitudes[] = { 1e-45f, 1e-6f, 1e-4f, 1, 448, 1e4f, 3e38f };
        for (uint32_t i = 0; i < 8 * ROUNDS; i++) {
                uint32_t block = i % 2 ? 32 : 128, n = draw(1, 9) * block;
                float *x = random_floats(&seed, n, magnitudes[i % 7]);
                for (uint32_t j = 0; i % 3 == 0 && j < n; j++) /* ties and whole powers of two */
                        x[j] = ldexpf((float)(int)draw(0, 33) - 16, (int)draw(0, 12) - 6);
                if (i % 5 == 0)
                        x[draw(0, n - 1)] = i % 10 ? INFINITY : NAN;
                float *a = calloc(n, sizeof(float)), *b = copy(x, n);
                backend_reference.fp8_round(x, n, block, a);
                fast->fp8_round(b, n, block, b); /* in place, as the engine does */
                assert_same_or_nan(a, b, n);
                free(x), free(a), free(b);
        }
}

static void rmsnorm_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t n = draw(1, 300);
                float *x = random_floats(&seed, n, 3), *a = copy(x, n), *b = copy(x, n);
                uint16_t *w = random_bf16(&seed, n, 2);
                const uint16_t *weight = i % 4 < 2 ? w : NULL;
                backend_reference.rmsnorm(x, weight, n, 1e-20f, i % 2, a);
                fast->rmsnorm(b, weight, n, 1e-20f, i % 2, b); /* in place */
                assert_same(a, b, n);
                free(x), free(a), free(b), free(w);
        }
}

static void unpacking_is_the_same_for_all_codes(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                enum row_format format = (enum row_format)(i % ROW_FP8_128);
                uint32_t n = format >= ROW_FP8_TAIL64 ? draw(2, 8) * 64 : draw(1, 8) * 32,
                         n_rows = draw(1, 5);
                size_t bytes = row_bytes(format, n) * n_rows;
                uint8_t *rows = malloc(bytes);
                for (size_t j = 0; j < bytes;
                     j++) { /* codes and scales that packing can make: no NaN */
                        rows[j] = (uint8_t)random_next(&seed);
                        if ((rows[j] & 0x7F) == 0x7F || rows[j] == 0)
                                rows[j] = 0x71;
                }
                float *a = calloc((size_t)n * n_rows, sizeof(float)),
                      *b = calloc((size_t)n * n_rows, sizeof(float));
                backend_reference.row_unpack(format, rows, n_rows, n, a);
                fast->row_unpack(format, rows, n_rows, n, b);
                assert_same(a, b, (size_t)n * n_rows);
                free(rows), free(a), free(b);
        }
}

/* Pairs of halves, laid side by side, are the interleaved pairs. */
static void both_orders_of_channels_turn_alike(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t pairs = draw(1, 40), dim = 2 * pairs + draw(0, 9);
                float *x = random_floats(&seed, dim, 2), *y = calloc(dim, sizeof(float));
                float *cos = random_floats(&seed, pairs, 1), *sin = random_floats(&seed, pairs, 1);
                memcpy(y, x + 2 * (size_t)pairs, (dim - 2 * pairs) * sizeof(float));
                float *tail = y + dim - 2 * pairs;
                for (uint32_t k = 0; k < 2 * pairs; k++)
                        tail[k % pairs * 2 + k / pairs] = x[k];
                fast->rope_half(x, 1, dim, cos, sin, pairs, i % 2);
                fast->rope(y, 1, dim, cos, sin, pairs, false, i % 2);
                for (uint32_t k = 0; k < 2 * pairs; k++)
                        assert_true(tail[k % pairs * 2 + k / pairs] == x[k]);
                assert_same(y, x + 2 * (size_t)pairs, dim - 2 * pairs);
                free(x), free(y), free(cos), free(sin);
        }
}

/* Float scales are powers of two: rows that were packed. */
static void unpacking_of_long_blocks_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                enum row_format format = i % 2 ? ROW_FP8_128 : ROW_FP8_TAIL128;
                uint32_t n =
                        draw(1, 5) * FP8_LONG_BLOCK + (format == ROW_FP8_TAIL128 ? FP8_TAIL : 0);
                float *x = random_floats(&seed, n, ldexpf(1, (int)draw(0, 60) - 30)),
                      *a = calloc(n, sizeof(float)), *b = calloc(n, sizeof(float));
                uint8_t *row = calloc(1, row_bytes(format, n));
                assert_true(row_pack(format, x, n, row));
                struct kv_slot slot = { row };
                backend_reference.row_unpack(format, row, 1, n, a);
                fast->slots_unpack(format, &slot, 1, n, b);
                assert_same(a, b, n);
                free(x), free(a), free(b), free(row);
        }
}

static void layernorm_is_its_definition(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t n = draw(2, 200);
                float *x = random_floats(&seed, n, 4), *w = random_floats(&seed, n, 2),
                      *bias = random_floats(&seed, n, 1), *y = calloc(n, sizeof(float));
                double mean = 0, square = 0;
                for (uint32_t k = 0; k < n; k++)
                        mean += (double)x[k] / n;
                for (uint32_t k = 0; k < n; k++)
                        square += ((double)x[k] - mean) * ((double)x[k] - mean) / n;
                fast->layernorm(x, w, bias, n, 1e-6f, false, y);
                for (uint32_t k = 0; k < n; k++) {
                        double wanted = ((double)x[k] - mean) / sqrt(square + 1e-6) * (double)w[k] +
                                (double)bias[k];
                        assert_true(fabs((double)y[k] - wanted) < 1e-5 * (1 + fabs(wanted)));
                }
                fast->layernorm(x, w, bias, n, 1e-6f, true, x); /* in place */
                for (uint32_t k = 0; k < n; k++)
                        assert_true(x[k] == bf16_round(y[k]));
                free(x), free(w), free(bias), free(y);
        }
}

static void attention_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t heads = draw(1, 9), dim = draw(1, 4) * 32, n0 = draw(1, 40),
                         n1 = draw(0, 40);
                float *q = random_floats(&seed, (size_t)heads * dim, 4),
                      *k0 = random_floats(&seed, (size_t)n0 * dim, 4);
                float *k1 = random_floats(&seed, (size_t)n1 * dim, 4),
                      *sinks = random_floats(&seed, heads, 3);
                float *scratch = calloc((size_t)heads * (n0 + n1 + 16), sizeof(float));
                float *a = calloc((size_t)heads * dim, sizeof(float)),
                      *b = calloc((size_t)heads * dim, sizeof(float));
                struct attend job = { q,   { k0, k1 }, { n0, n1 }, sinks,   heads,
                                      dim, 0.125f,     i % 2,      scratch, a };
                backend_reference.attend(&job);
                job.o = b;
                fast->attend(&job);
                assert_same(a, b, (size_t)heads * dim);
                free(q), free(k0), free(k1), free(sinks), free(scratch), free(a), free(b);
        }
}

/* Rows lie apart, and keys and values of one row have different widths. */
static void group_attention_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t heads = draw(1, 9), key_dim = i % 4 ? draw(1, 6) * 16 : draw(1, 50),
                         value_dim = i % 5 ? draw(1, 9) * 16 : draw(1, 50), n = draw(0, 70);
                size_t stride = key_dim + value_dim + draw(0, 9);
                float *q = random_floats(&seed, (size_t)heads * key_dim, 2),
                      *rows = random_floats(&seed, n * stride, 2);
                float *scratch = calloc((size_t)heads * (n + 16), sizeof(float));
                size_t n_out = (size_t)heads * value_dim;
                float *o = calloc(2 * n_out, sizeof(float)), *shares = calloc(2 * n + 1, 4);
                struct attend_group job = {
                        q,       rows,    rows + key_dim, stride, stride, n,
                        heads,   key_dim, value_dim,      0.125f, i % 2,  i % 3 ? shares : NULL,
                        scratch, o,
                };
                backend_reference.attend_group(&job);
                job.o = o + n_out;
                job.shares = job.shares ? shares + n : NULL;
                fast->attend_group(&job);
                assert_same(o, o + n_out, n_out);
                assert_same(shares, shares + n, n);
                float sum = 0.0f;
                for (uint32_t k = 0; job.shares && k < n; k++)
                        sum += shares[k];
                assert_true(!job.shares || n == 0 || fabsf(sum - (float)heads) < 1e-4f);
                free(q), free(rows), free(scratch), free(o), free(shares);
        }
}

static void index_scores_are_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t heads = draw(1, 9), dim = draw(1, 4) * 32, n = draw(1, 50);
                float *q = random_floats(&seed, (size_t)heads * dim, 2),
                      *w = random_floats(&seed, heads, 1);
                float *keys = random_floats(&seed, (size_t)n * dim, 2);
                float *a = calloc(n, sizeof(float)), *b = calloc(n, sizeof(float));
                backend_reference.index_scores(q, w, heads, dim, keys, n, a);
                fast->index_scores(q, w, heads, dim, keys, n, b);
                assert_same(a, b, n);
                free(q), free(w), free(keys), free(a), free(b);
        }
}

/* Entry [i][j] of the matrix, applied twice: the identity. */
static void hadamard_is_its_definition(void **state) {
        (void)state;
        for (uint32_t dim = 1; dim <= 128; dim *= 2) {
                float *x = random_floats(&seed, 2 * (size_t)dim, 2), *y = copy(x, 2 * (size_t)dim);
                fast->hadamard(y, 2, dim, false);
                for (uint32_t v = 0; v < 2; v++)
                        for (uint32_t i = 0; i < dim; i++) {
                                double sum = 0;
                                for (uint32_t j = 0; j < dim; j++)
                                        sum += (double)x[v * dim + j] *
                                                (__builtin_parity(i & j) ? -1 : 1);
                                assert_float_equal(y[v * dim + i], (float)(sum / sqrt((double)dim)),
                                                   1e-4);
                        }
                fast->hadamard(y, 2, dim, false);
                for (uint32_t i = 0; i < 2 * dim; i++)
                        assert_float_equal(y[i], x[i], 1e-4);
                free(x), free(y);
        }
}

/* Gates far apart, equal, infinite; the first token of an empty row. */
static void pooling_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t n = i % 3 ? draw(1, 9) * 8 : draw(1, 90);
                float *a = calloc((size_t)POOL_STATE * n, sizeof(float)), *y = calloc(n, 4),
                      *z = calloc(n, 4);
                for (uint32_t j = 0; j < n; j++)
                        a[j] = -INFINITY;
                float *b = copy(a, (size_t)POOL_STATE * n), *bias = random_floats(&seed, n, 1);
                for (uint32_t token = 0, tokens = draw(1, 20); token < tokens; token++) {
                        float *value = random_floats(&seed, n, 4),
                              *gate = random_floats(&seed, n, i % 4 ? 4 : 200);
                        if (i % 7 == 0)
                                gate[draw(0, n - 1)] = i % 2 ? INFINITY : NAN;
                        backend_reference.pool_add(a, value, gate, bias, n);
                        fast->pool_add(b, value, gate, bias, n);
                        assert_same_or_nan(a, b, (size_t)POOL_STATE * n);
                        free(value), free(gate);
                }
                backend_reference.pool_close(a, n, i % 2, y);
                fast->pool_close(b, n, i % 2, z);
                assert_same_or_nan(y, z, n);
                free(a), free(b), free(bias), free(y), free(z);
        }
}

/* Folding tokens in one by one is the softmax over all of them. */
static void pooling_is_a_softmax(void **state) {
        (void)state;
        float pool[POOL_STATE] = { -INFINITY, 0, 0 }, bias = 0.25f, y;
        double weights = 0, sum = 0;
        for (int i = 0; i < 128; i++) {
                float value = random_float(&seed, 3), gate = random_float(&seed, 6);
                backend_reference.pool_add(pool, &value, &gate, &bias, 1);
                weights += exp((double)gate);
                sum += exp((double)gate) * (double)value;
        }
        backend_reference.pool_close(pool, 1, false, &y);
        assert_float_equal(y, (float)(sum / weights), 1e-5);
}

static void hyper_connections_are_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t hc = draw(1, HC_STREAMS_MAX), n = i % 3 ? draw(1, 10) * 16 : draw(1, 90),
                         mixes = 2 * hc + hc * hc;
                float *h = random_floats(&seed, (size_t)hc * n, 2),
                      *fx = random_floats(&seed, mixes, 2);
                float *base = random_floats(&seed, mixes, 1), scale[3] = { 0.5f, 1, 2 },
                      *y = random_floats(&seed, n, 2);
                struct hc_mixes c = { hc, 20, 1e-20f, 1e-6f, base, scale };
                float pre[2][8], post[2][8], comb[2][64], *u = calloc(2 * (size_t)n, sizeof(float));
                float *other = copy(h, (size_t)hc * n);
                backend_reference.hc_mixes(&c, fx, h, hc * n, pre[0], post[0], comb[0]);
                fast->hc_mixes(&c, fx, h, hc * n, pre[1], post[1], comb[1]);
                assert_same(pre[0], pre[1], hc), assert_same(post[0], post[1], hc),
                        assert_same(comb[0], comb[1], hc * hc);
                float alone[2][8];
                backend_reference.hc_pre(&c, fx, h, hc * n, alone[0]);
                fast->hc_pre(&c, fx, h, hc * n, alone[1]);
                assert_same(alone[0], alone[1], hc), assert_same(alone[0], pre[0], hc);
                backend_reference.hc_collapse(h, pre[0], hc, n, i % 2, u);
                fast->hc_collapse(h, pre[0], hc, n, i % 2, u + n);
                assert_same(u, u + n, n);
                backend_reference.hc_expand(h, y, post[0], comb[0], hc, n, i % 2);
                fast->hc_expand(other, y, post[0], comb[0], hc, n, i % 2);
                assert_same(h, other, (size_t)hc * n);
                free(h), free(fx), free(base), free(y), free(u), free(other);
        }
}

/* Doubly stochastic up to hc_eps: rows sum to one only as far as 20 iterations go, columns exactly.
 */
static void sinkhorn_balances_columns(void **state) {
        (void)state;
        float fx[24], base[24] = { 0 }, scale[3] = { 1, 1, 1 }, pre[4], post[4], comb[16],
                      *h = random_floats(&seed, 256, 1);
        for (int i = 0; i < 24; i++)
                fx[i] = random_float(&seed, 3);
        struct hc_mixes c = { 4, 20, 1e-20f, 1e-6f, base, scale };
        backend_reference.hc_mixes(&c, fx, h, 256, pre, post, comb);
        for (int k = 0; k < 4; k++) {
                float column = 0, row = 0;
                for (int j = 0; j < 4; j++)
                        column += comb[4 * j + k], row += comb[4 * k + j];
                assert_float_equal(column, 1, 1e-5);
                assert_float_equal(row, 1, 1e-2);
        }
        free(h);
}

static void swiglu_is_the_same_beyond_its_limits(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t n = draw(1, 100);
                float *g = random_floats(&seed, n, 150), *u = random_floats(&seed, n, 20);
                float *a = calloc(n, sizeof(float)), *b = copy(g, n);
                backend_reference.swiglu(g, u, n, 10, 0.7f, i % 2, a);
                fast->swiglu(b, u, n, 10, 0.7f, i % 2, b); /* in place, as the engine does */
                assert_same(a, b, n);
                free(g), free(u), free(a), free(b);
        }
}

static void engram_gate_is_the_same(void **state) {
        (void)state;
        for (int i = 0; i < ROUNDS; i++) {
                uint32_t hc = draw(1, 4), n = i % 3 ? draw(1, 10) * 16 : draw(1, 90);
                float *h = random_floats(&seed, (size_t)hc * n, 2),
                      *other = copy(h, (size_t)hc * n);
                float *key = random_floats(&seed, (size_t)hc * n, 2),
                      *value = random_floats(&seed, n, 1);
                uint16_t *qw = random_bf16(&seed, (size_t)hc * n, 1),
                         *kw = random_bf16(&seed, (size_t)hc * n, 1);
                backend_reference.engram_gate(h, key, value, qw, kw, hc, n, 1e-20f, i % 2);
                fast->engram_gate(other, key, value, qw, kw, hc, n, 1e-20f, i % 2);
                assert_same(h, other, (size_t)hc * n);
                free(h), free(other), free(key), free(value), free(qw), free(kw);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sinkhorn_balances_columns),
                cmocka_unit_test(matmul_is_the_same),
                cmocka_unit_test(rows_of_a_matrix_are_a_matrix),
                cmocka_unit_test(transposed_matmul_is_the_same),
                cmocka_unit_test(matmul_is_the_same_at_the_ends_of_the_range),
                cmocka_unit_test(quantising_inputs_is_the_same),
                cmocka_unit_test(rmsnorm_is_the_same),
                cmocka_unit_test(unpacking_is_the_same_for_all_codes),
                cmocka_unit_test(both_orders_of_channels_turn_alike),
                cmocka_unit_test(unpacking_of_long_blocks_is_the_same),
                cmocka_unit_test(layernorm_is_its_definition),
                cmocka_unit_test(attention_is_the_same),
                cmocka_unit_test(group_attention_is_the_same),
                cmocka_unit_test(index_scores_are_the_same),
                cmocka_unit_test(hadamard_is_its_definition),
                cmocka_unit_test(pooling_is_the_same),
                cmocka_unit_test(pooling_is_a_softmax),
                cmocka_unit_test(hyper_connections_are_the_same),
                cmocka_unit_test(swiglu_is_the_same_beyond_its_limits),
                cmocka_unit_test(engram_gate_is_the_same),
        };
        int failed = 0;
        for (unsigned i = 0; (fast = backend_vector(i)); i++)
                failed += cmocka_run_group_tests_name(fast->name, tests, NULL, NULL);
        return backend_vector(0) ? failed
                                 : 77; /* meson: skipped; nothing to compare on this processor */
}
