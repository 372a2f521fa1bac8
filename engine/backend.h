/* The operations of a forward pass, as one table per backend.
 *
 * The forward pass is written once against this table. engine/cpu/reference.c is the specification,
 * in plain C; every other CPU backend gives the same bits (tests/engine/test_backends.c), because
 * each output element has one defined order of operations (engine/numerics.h) and depends on its
 * own inputs only.
 *
 * Values are float32 in memory; `round` asks for results rounded to BF16 (compute mode BF16, at the
 * points where the released reference rounds). Pointers do not alias unless said. No operation
 * allocates, blocks or keeps state; any thread may call any operation on disjoint outputs. Shapes
 * are row-major, sizes in elements. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kv_slot.h"
#include "engine/matrix.h"

/* y[r][i] = sum over j of w[i][j] * x[r][j], for i in [first, last): the 16-lane order. */
struct matmul {
        const float *x;
        size_t x_stride;
        uint32_t n_rows;
        struct matrix w;
        float *y; /* y[r] starts at y + r * y_stride; output i goes to y[r][i] */
        size_t y_stride;
        bool round;
        float *scratch; /* at least matmul_scratch(k) floats, private to the call */
};

/* A panel of decoded weights with its unfinished sums, and a few input rows, rearranged, four of
 * them also scaled. */
#define MATMUL_ROWS_FEW 32
#define MATMUL_PANEL    32768
static inline size_t matmul_scratch(uint32_t k) {
        return MATMUL_PANEL + (size_t)(MATMUL_ROWS_FEW + 4) * k;
}

/* One query position's attention over a key list in two parts (window rows, then selected rows;
 * each ascending). Keys are values. Per head: s_i = (q . k_i) * scale; m = max s; w_i = e^(s_i -
 * m); denominator = (16-lane sum of w) + e^(sink - m); o = (sum of w_i k_i, ascending i, one fmaf
 * each) / denominator. With `round`, w_i is rounded for the value sum but not for the denominator,
 * and o is rounded. */
struct attend {
        const float *q;       /* [n_heads][dim] */
        const float *keys[2]; /* [n_keys[p]][dim] */
        uint32_t n_keys[2];
        const float *sinks; /* [n_heads] */
        uint32_t n_heads, dim;
        float scale;
        bool round;
        float *scratch; /* at least n_heads * (n_keys[0] + n_keys[1] + 16) floats */
        float *o;       /* [n_heads][dim] */
};

/* One query position's attention for heads that share their keys and values (one group of grouped
 * queries), over rows that may lie apart from each other. Per head: s_i = (q . k_i) * scale; m =
 * max s; w_i = e^(s_i - m); denominator = 16-lane sum of w; o = (sum of w_i v_i, ascending i, one
 * fmaf each) / denominator. Without keys o is 0. `round` as above. */
struct attend_group {
        const float *q;                  /* [n_heads][key_dim] */
        const float *keys, *values;      /* the first row of each, */
        size_t key_stride, value_stride; /* floats from one row to the next */
        uint32_t n_keys, n_heads, key_dim, value_dim;
        float scale;
        bool round;
        float *shares;  /* NULL, or [n_keys]: w_i / denominator, never rounded, summed over the
                           heads, ascending */
        float *scratch; /* at least n_heads * (n_keys + 16) floats */
        float *o;       /* [n_heads][value_dim] */
};

/* Floats per channel of a compressed row that is open. */
#define POOL_STATE 3

#define HC_STREAMS_MAX                                                                             \
        8 /* bounds local arrays; equals model_config.h's HC_MAX, released models have 4 */

/* Coefficients of one manifold-constrained hyper-connection. */
struct hc_mixes {
        uint32_t hc, iterations;
        float rms_eps, hc_eps;
        const float *base, *scale; /* [2 hc + hc hc], [3] */
};

struct backend {
        const char *name;

        void (*matmul)(const struct matmul *m, uint32_t first, uint32_t last);

        /* y[r][j] = sum over i of w[i][j] * x[r][i], for j in [first, last): the 16-lane order over
         * the matrix' n rows. */
        void (*matmul_transposed)(const struct matmul *m, uint32_t first, uint32_t last);

        /* y = x * rsqrt(mean(x^2) + eps) * weight; weight is BF16, NULL: none. x and y may be the
         * same. */
        void (*rmsnorm)(const float *x, const uint16_t *weight, uint32_t n, float eps, bool round,
                        float *y);

        /* y = (x - mean) * rsqrt(mean((x - mean)^2) + eps) * weight + bias. x and y may be the
         * same. */
        void (*layernorm)(const float *x, const float *weight, const float *bias, uint32_t n,
                          float eps, bool round, float *y);

        /* Rotates interleaved pairs of the last 2 * n_pairs channels of n_vectors vectors of `dim`,
         * in place. sin is negated for the inverse rotation. */
        void (*rope)(float *x, uint32_t n_vectors, uint32_t dim, const float *cos, const float *sin,
                     uint32_t n_pairs, bool inverse, bool round);

        /* n_vectors vectors of `dim`, a power of two, in place: the Hadamard transform (entry
         * [i][j] is -1 to the number of ones that i and j share) times dim^-1/2. Adds and subtracts
         * pairs 1, 2, 4, ... apart, in this order. */
        void (*hadamard)(float *x, uint32_t n_vectors, uint32_t dim, bool round);

        /* The same for pairs of channels i and i + n_pairs, of the first 2 * n_pairs channels. */
        void (*rope_half)(float *x, uint32_t n_vectors, uint32_t dim, const float *cos,
                          const float *sin, uint32_t n_pairs, bool round);

        /* y = x as ROW_FP8 would hold it with `block` values a scale, a multiple of 32: quantised
         * and dequantised; n a multiple of it. A block with NaN or infinity becomes NaN. x and y
         * may be the same. */
        void (*fp8_round)(const float *x, uint32_t n, uint32_t block, float *y);

        void (*row_unpack)(enum row_format format, const uint8_t *rows, uint32_t n_rows, uint32_t n,
                           float *x);

        /* The same for rows that lie apart. */
        void (*slots_unpack)(enum row_format format, const struct kv_slot *rows, uint32_t n_rows,
                             uint32_t n, float *x);

        void (*attend)(const struct attend *a);
        void (*attend_group)(const struct attend_group *a);

        /* s[i] = sum over heads, ascending, of w[head] * max(0, q[head] . keys[i]); keys
         * [n_keys][dim]. */
        void (*index_scores)(const float *q, const float *w, uint32_t n_heads, uint32_t dim,
                             const float *keys, uint32_t n_keys, float *s);

        /* Per channel the softmax of two gates weighs two values: the ratio-2 compressor. All [n].
         */
        void (*pool_pair)(const float *value0, const float *gate0, const float *value1,
                          const float *gate1, uint32_t n, bool round, float *y);

        /* One more token in a compressed row that is open: a softmax over its tokens' gates,
         * folded token by token, which is the same however tokens are cut into steps. state
         * [POOL_STATE][n]: per channel the largest gate so far, the sum of e^(gate - largest), and
         * the sum of e^(gate - largest) * value; of no token: -infinity, 0, 0. The token's gate is
         * gate + bias. */
        void (*pool_add)(float *state, const float *value, const float *gate, const float *bias,
                         uint32_t n);

        /* y = the state's sum of weighted values / its sum of weights; after one token at least. */
        void (*pool_close)(const float *state, uint32_t n, bool round, float *y);

        /* m = (fn . x) * rsqrt(mean(x^2) + eps) is given as `fx` (the products) and x; writes
         * pre [hc], post [hc], comb [hc][hc] (Sinkhorn-normalised; the mix sums over comb's first
         * index). */
        void (*hc_mixes)(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                         float *pre, float *post, float *comb);

        /* pre [hc] alone, of as many products: the collapse before the head. base [hc], scale [1].
         */
        void (*hc_pre)(const struct hc_mixes *c, const float *fx, const float *x, uint32_t n,
                       float *pre);

        /* u = sum over streams j, ascending, of pre[j] * h[j]; h [hc][n]. */
        void (*hc_collapse)(const float *h, const float *pre, uint32_t hc, uint32_t n, bool round,
                            float *u);

        /* h'[k] = post[k] * y + sum over j, ascending, of comb[j][k] * h[j], in place. */
        void (*hc_expand)(float *h, const float *y, const float *post, const float *comb,
                          uint32_t hc, uint32_t n, bool round);

        /* t = weight * silu(min(gate, limit)) * clamp(up, +-limit). t may be gate. */
        void (*swiglu)(const float *gate, const float *up, uint32_t n, float limit, float weight,
                       bool round, float *t);

        /* score[i] = sqrt(softplus(z[i])). In place allowed. */
        void (*router_scores)(const float *z, uint32_t n, float *score);

        /* One position's Engram update: key [hc][n], value [n]; q_weight, k_weight BF16 [hc][n]; h
         * [hc][n] in place. */
        void (*engram_gate)(float *h, const float *key, const float *value,
                            const uint16_t *q_weight, const uint16_t *k_weight, uint32_t hc,
                            uint32_t n, float eps, bool round);

        /* y += x, n elements. */
        void (*add)(float *y, const float *x, uint32_t n, bool round);
};

extern const struct backend backend_reference;

/* The vector backends this processor runs, fastest first; NULL past the last. */
const struct backend *backend_vector(unsigned index);
