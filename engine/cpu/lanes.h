/* Sixteen float lanes in registers, for the instruction set this file is compiled for: two AVX2
 * registers or one AVX-512 register. Lane i holds what the numerics contract calls lane i;
 * `lanes_tree` is its final tree.
 *
 * BF16 weights are read as pairs: the even elements of 16 by a shift, the odd ones by a mask. Their
 * lanes are therefore kept as (evens, odds), and the other operand is stored in the same
 * arrangement (lanes_deinterleave). The sums are the same sums; only the registers differ. */
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "engine/numerics.h"

/* s8 in natural order -> s4. */
static inline __m128 lanes_s4(__m256 s8) {
        return _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
}

/* (lanes 0..7, lanes 8..15) -> s4. Adding neighbours gives s8 in the order 0 1 4 5 | 2 3 6 7. */
static inline __m128 lanes_s4_natural(__m256 low, __m256 high) {
        __m256 s8 = _mm256_hadd_ps(low, high);
        __m128 a = _mm256_castps256_ps128(s8), b = _mm256_extractf128_ps(s8, 1);
        return _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
}

static inline float lanes_s4_sum(__m128 s4) {
        __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
        return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

/* The same for four sums at once, which costs little more than one. */
static inline __m128 lanes_s4_sum4(const __m128 s4[4]) {
        __m128 a = _mm_add_ps(_mm_movelh_ps(s4[0], s4[1]), _mm_movehl_ps(s4[1], s4[0]));
        __m128 b = _mm_add_ps(_mm_movelh_ps(s4[2], s4[3]), _mm_movehl_ps(s4[3], s4[2]));
        return _mm_hadd_ps(a, b);
}

#if defined(__AVX512F__)

typedef __m512 lanes;

static inline lanes lanes_zero(void) {
        return _mm512_setzero_ps();
}
static inline lanes lanes_load(const float *p) {
        return _mm512_loadu_ps(p);
}
static inline void lanes_store(float *p, lanes a) {
        _mm512_storeu_ps(p, a);
}
static inline lanes lanes_set(float x) {
        return _mm512_set1_ps(x);
}
static inline lanes lanes_fma(lanes a, lanes b, lanes c) {
        return _mm512_fmadd_ps(a, b, c);
}
static inline lanes lanes_add(lanes a, lanes b) {
        return _mm512_add_ps(a, b);
}
static inline lanes lanes_mul(lanes a, lanes b) {
        return _mm512_mul_ps(a, b);
}
static inline __m256 lanes_high(lanes a) {
        return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
static inline __m128 lanes_to_s4(lanes a) {
        return lanes_s4_natural(_mm512_castps512_ps256(a), lanes_high(a));
}
/* Sixteen BF16 as (evens, odds). */
static inline lanes lanes_load_bf16_pairs(const uint16_t *p) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i odd = _mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000));
        return _mm512_castsi512_ps(
                _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_slli_epi32(w, 16)), odd, 1));
}
static inline __m128 lanes_pairs_to_s4(lanes a) {
        return lanes_s4(_mm256_add_ps(_mm512_castps512_ps256(a), lanes_high(a)));
}
/* Sixteen half-precision numbers, in natural order. */
static inline lanes lanes_from_halves(__m256i h) {
        return _mm512_cvtph_ps(h);
}
static inline lanes lanes_load_bf16(const uint16_t *p) {
        __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
        return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}

#else

typedef struct {
        __m256 a, b;
} lanes;

static inline lanes lanes_zero(void) {
        return (lanes){ _mm256_setzero_ps(), _mm256_setzero_ps() };
}
static inline lanes lanes_load(const float *p) {
        return (lanes){ _mm256_loadu_ps(p), _mm256_loadu_ps(p + 8) };
}
static inline void lanes_store(float *p, lanes x) {
        _mm256_storeu_ps(p, x.a);
        _mm256_storeu_ps(p + 8, x.b);
}
static inline lanes lanes_set(float x) {
        return (lanes){ _mm256_set1_ps(x), _mm256_set1_ps(x) };
}
static inline lanes lanes_fma(lanes x, lanes y, lanes z) {
        return (lanes){ _mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b) };
}
static inline lanes lanes_add(lanes x, lanes y) {
        return (lanes){ _mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b) };
}
static inline lanes lanes_mul(lanes x, lanes y) {
        return (lanes){ _mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b) };
}
static inline __m128 lanes_to_s4(lanes x) {
        return lanes_s4_natural(x.a, x.b);
}
/* Sixteen BF16 as (evens, odds). */
static inline lanes lanes_load_bf16_pairs(const uint16_t *p) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i odd = _mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000));
        return (lanes){ _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)), _mm256_castsi256_ps(odd) };
}
static inline __m128 lanes_pairs_to_s4(lanes x) {
        return lanes_s4(_mm256_add_ps(x.a, x.b));
}
/* Sixteen half-precision numbers, in natural order. */
static inline lanes lanes_from_halves(__m256i h) {
        return (lanes){ _mm256_cvtph_ps(_mm256_castsi256_si128(h)),
                        _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)) };
}
static inline lanes lanes_load_bf16(const uint16_t *p) {
        __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(w));
        __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(w, 1));
        return (lanes){ _mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                        _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)) };
}

#endif

/* Every 16 floats of x as (evens, odds); n a multiple of 16. */
static inline void lanes_deinterleave(const float *x, uint32_t n, float *y) {
        for (uint32_t i = 0; i < n; i += LANES)
                for (uint32_t j = 0; j < LANES / 2; j++) {
                        y[i + j] = x[i + 2 * j];
                        y[i + 8 + j] = x[i + 2 * j + 1];
                }
}
