/* The arithmetic that all results rest on: one implementation of each function, the same bits
 * everywhere.
 *
 * The numerics contract (engine/README.md) wants a result that does not depend on compiler,
 * instruction set, batch or chunk. So: no libm for anything that is not exactly rounded, no
 * contraction (-ffp-contract=off), fused multiply-add only where written (fmaf), and one order for
 * every sum:
 *
 *   lane i of 16 takes the elements k with k mod 16 = i, ascending k, each by one fmaf;
 *   then  s8[i] = lane[2i] + lane[2i+1],  s4[i] = s8[i] + s8[i+4],  s2[i] = s4[i] + s4[i+2],  sum =
 * s2[0] + s2[1].
 *
 * Lengths that are not multiples of 16 are filled with zeros. AVX2 and AVX-512 keep the 16 lanes in
 * registers. Pure functions; any thread. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

/* One more whenever any result of the CPU backends changes by a bit; tests/engine/test_step.c pins
 * the results of each version. What is stored under one version is worthless under another. */
#define NUMERICS_VERSION 1

#define LANES 16

static inline uint32_t float_bits(float x) {
        uint32_t u;
        memcpy(&u, &x, sizeof(u));
        return u;
}

static inline float float_from_bits(uint32_t u) {
        float x;
        memcpy(&x, &u, sizeof(x));
        return x;
}

static inline float bf16_to_float(uint16_t h) {
        return float_from_bits((uint32_t)h << 16);
}

/* Round to nearest, ties to even; NaN stays NaN (made quiet, so that rounding cannot turn it into
 * infinity). */
static inline float bf16_round(float x) {
        uint32_t u = float_bits(x);
        if ((u & 0x7FFFFFFF) > 0x7F800000)
                return float_from_bits((u | 0x00400000) & 0xFFFF0000);
        return float_from_bits((u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000);
}

/* The final tree of the contract over 16 lanes. */
static inline float lanes_sum(const float lane[LANES]) {
        float s8[8], s4[4];
        for (int i = 0; i < 8; i++)
                s8[i] = lane[2 * i] + lane[2 * i + 1];
        for (int i = 0; i < 4; i++)
                s4[i] = s8[i] + s8[i + 4];
        return (s4[0] + s4[2]) + (s4[1] + s4[3]);
}

/* e^x. Exact to about 1 ulp; below -87 the result is 0, above 88 infinity. The SIMD versions repeat
 * these steps. */
#define EXPF_MIN   (-87.0f)
#define EXPF_MAX   88.0f
#define EXPF_LOG2E 1.44269504f
#define EXPF_MAGIC                                                                                 \
        12582912.0f /* 1.5 * 2^23: adding it rounds to an integer that sits in the low mantissa    \
                       bits */
#define EXPF_LN2_HI 0.693359375f /* 355/512: n * LN2_HI is exact for |n| < 2^15 */
#define EXPF_LN2_LO (-2.12194440e-4f)
/* Minimax polynomial for (e^r - 1 - r) / r^2 on |r| <= ln2/2 (the classic single-precision
 * coefficients). */
#define EXPF_P0 1.9875691500e-4f
#define EXPF_P1 1.3981999507e-3f
#define EXPF_P2 8.3334519073e-3f
#define EXPF_P3 4.1665795894e-2f
#define EXPF_P4 1.6666665459e-1f
#define EXPF_P5 5.0000001201e-1f

static inline float math_expf(float x) {
        if (x < EXPF_MIN)
                return 0.0f;
        if (x > EXPF_MAX)
                return INFINITY;
        float n = (x * EXPF_LOG2E + EXPF_MAGIC) - EXPF_MAGIC;
        float r = fmaf(n, -EXPF_LN2_HI, x);
        r = fmaf(n, -EXPF_LN2_LO, r);
        float p = EXPF_P0;
        p = fmaf(p, r, EXPF_P1);
        p = fmaf(p, r, EXPF_P2);
        p = fmaf(p, r, EXPF_P3);
        p = fmaf(p, r, EXPF_P4);
        p = fmaf(p, r, EXPF_P5);
        p = fmaf(p, r * r, r) + 1.0f;
        if (isnan(n))
                return n;
        return p * float_from_bits((uint32_t)((int32_t)n + 127) << 23); /* n in -126 .. 127 */
}

static inline float math_sigmoid(float x) {
        return 1.0f / (1.0f + math_expf(-x));
}

static inline float math_silu(float x) {
        return x * math_sigmoid(x);
}

/* Double precision, about 1 ulp, for what is computed rarely (rope tables, frequencies, router,
 * sampler). */
double math_exp(double x);
double math_log(double x);                                    /* x > 0, finite and normal */
void math_sincos(double x, double *ret_sin, double *ret_cos); /* |x| < 2^30 */

/* log(1 + e^z); z itself above 20, where the difference is below float resolution (DeepSeek's
 * router does the same). */
float math_softplus(float z);
