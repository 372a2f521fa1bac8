/* Sixteen float lanes in registers, for the instruction set this file is compiled for: two AVX2
 * registers or one AVX-512 register. Lane i holds what the numerics contract calls lane i;
 * `lanes_tree` is its final tree.
 *
 * BF16 weights are read as pairs: the even elements of 16 by a shift, the odd ones by a mask. Their
 * lanes are therefore kept as (evens, odds), and the other operand is stored in the same
 * arrangement (lanes_deinterleave). Codes of 8 and 4 bits are kept as quarters, k mod 4 = 0, 1, 2,
 * 3 (lanes_quarters). The sums are the same sums; only the registers differ. */
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

/* (0 4 8 12 1 5 9 13, 2 6 10 14 3 7 11 15) -> s4. Adding halves gives s8 in the order 0 2 4 6 and 1
 * 3 5 7. */
static inline __m128 lanes_s4_quarters(__m256 a, __m256 b) {
        __m128 even = lanes_s4(a), odd = lanes_s4(b);
        return _mm_unpacklo_ps(_mm_add_ps(even, _mm_movehl_ps(even, even)),
                               _mm_add_ps(odd, _mm_movehl_ps(odd, odd)));
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
/* Not zero when a lane differs, or is NaN. */
static inline unsigned lanes_differ(lanes a, lanes b) {
        return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
static inline __m256 lanes_high(lanes a) {
        return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(a), 1));
}
static inline __m128 lanes_to_s4(lanes a) {
        return lanes_s4_natural(_mm512_castps512_ps256(a), lanes_high(a));
}
/* Registers of sixteen lanes, one by one. */
typedef __m512 lanes_part;
#define PARTS      1
#define PART_LANES 16
static inline lanes_part part_zero(void) {
        return _mm512_setzero_ps();
}
static inline lanes_part part_load(const float *p) {
        return _mm512_loadu_ps(p);
}
static inline lanes_part part_fma(lanes_part a, lanes_part b, lanes_part c) {
        return _mm512_fmadd_ps(a, b, c);
}
static inline lanes lanes_of_parts(lanes_part a, lanes_part b) {
        (void)b;
        return a;
}
/* Sixteen BF16 words as (evens, odds). */
static inline lanes lanes_from_bf16_pairs(__m256i w) {
        __m256i odd = _mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000));
        return _mm512_castsi512_ps(
                _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_slli_epi32(w, 16)), odd, 1));
}
static inline lanes_part part_load_bf16_pairs(const void *p, unsigned n) {
        (void)n;
        return lanes_from_bf16_pairs(_mm256_loadu_si256(p));
}
static inline __m128 lanes_pairs_to_s4(lanes a) {
        return lanes_s4(_mm256_add_ps(_mm512_castps512_ps256(a), lanes_high(a)));
}
static inline lanes lanes_from_bf16(__m256i w) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(w), 16));
}
/* Sixteen bytes c as the 32-bit words (c << 24) >> shift & mask, in quarters. */
static inline lanes lanes_from_high_bytes(__m128i c, int shift, uint32_t mask) {
        const __m512i pick = _mm512_set_epi32(0x0F808080, 0x0B808080, 0x07808080, 0x03808080,
                                              0x0E808080, 0x0A808080, 0x06808080, 0x02808080,
                                              0x0D808080, 0x09808080, 0x05808080, 0x01808080,
                                              0x0C808080, 0x08808080, 0x04808080, 0x00808080);
        __m512i w = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(c), pick);
        w = _mm512_srai_epi32(w, (unsigned)shift);
        return _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)mask)));
}
/* Sixteen bytes c, sign-extended, as the 32-bit words c << shift & mask, in natural order. */
static inline lanes lanes_from_low_bytes(__m128i c, int shift, uint32_t mask) {
        __m512i w = _mm512_slli_epi32(_mm512_cvtepi8_epi32(c), (unsigned)shift);
        return _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)mask)));
}
static inline __m128 lanes_quarters_to_s4(lanes a) {
        return lanes_s4_quarters(_mm512_castps512_ps256(a), lanes_high(a));
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
/* Not zero when a lane differs, or is NaN. */
static inline unsigned lanes_differ(lanes x, lanes y) {
        return (unsigned)_mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(x.a, y.a, _CMP_NEQ_UQ),
                                                         _mm256_cmp_ps(x.b, y.b, _CMP_NEQ_UQ)));
}
static inline __m128 lanes_to_s4(lanes x) {
        return lanes_s4_natural(x.a, x.b);
}
/* Registers of sixteen lanes, one by one. */
typedef __m256 lanes_part;
#define PARTS      2
#define PART_LANES 8
static inline lanes_part part_zero(void) {
        return _mm256_setzero_ps();
}
static inline lanes_part part_load(const float *p) {
        return _mm256_loadu_ps(p);
}
static inline lanes_part part_fma(lanes_part x, lanes_part y, lanes_part z) {
        return _mm256_fmadd_ps(x, y, z);
}
static inline lanes lanes_of_parts(lanes_part a, lanes_part b) {
        return (lanes){ a, b };
}
/* Of sixteen BF16 words the even ones (n = 0) or the odd ones. */
static inline lanes_part part_load_bf16_pairs(const void *p, unsigned n) {
        __m256i w = _mm256_loadu_si256(p);
        return _mm256_castsi256_ps(
                n == 0 ? _mm256_slli_epi32(w, 16)
                       : _mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000)));
}
/* Sixteen BF16 words as (evens, odds). */
static inline lanes lanes_from_bf16_pairs(__m256i w) {
        __m256i odd = _mm256_and_si256(w, _mm256_set1_epi32((int)0xFFFF0000));
        return (lanes){ _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)), _mm256_castsi256_ps(odd) };
}
static inline __m128 lanes_pairs_to_s4(lanes x) {
        return lanes_s4(_mm256_add_ps(x.a, x.b));
}
static inline lanes lanes_from_bf16(__m256i w) {
        __m256i low = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(w));
        __m256i high = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(w, 1));
        return (lanes){ _mm256_castsi256_ps(_mm256_slli_epi32(low, 16)),
                        _mm256_castsi256_ps(_mm256_slli_epi32(high, 16)) };
}
static inline __m256 lanes_words(__m256i w, uint32_t mask) {
        return _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)mask)));
}
/* Sixteen bytes c as the 32-bit words (c << 24) >> shift & mask, in quarters. */
static inline lanes lanes_from_high_bytes(__m128i c, int shift, uint32_t mask) {
        const __m256i pick_01 = _mm256_set_epi32(0x0D808080, 0x09808080, 0x05808080, 0x01808080,
                                                 0x0C808080, 0x08808080, 0x04808080, 0x00808080);
        const __m256i pick_23 = _mm256_set_epi32(0x0F808080, 0x0B808080, 0x07808080, 0x03808080,
                                                 0x0E808080, 0x0A808080, 0x06808080, 0x02808080);
        __m256i twice = _mm256_broadcastsi128_si256(c);
        __m256i a = _mm256_shuffle_epi8(twice, pick_01), b = _mm256_shuffle_epi8(twice, pick_23);
        return (lanes){ lanes_words(_mm256_srai_epi32(a, shift), mask),
                        lanes_words(_mm256_srai_epi32(b, shift), mask) };
}
/* Sixteen bytes c, sign-extended, as the 32-bit words c << shift & mask, in natural order. */
static inline lanes lanes_from_low_bytes(__m128i c, int shift, uint32_t mask) {
        __m256i a = _mm256_cvtepi8_epi32(c), b = _mm256_cvtepi8_epi32(_mm_srli_si128(c, 8));
        return (lanes){ lanes_words(_mm256_slli_epi32(a, shift), mask),
                        lanes_words(_mm256_slli_epi32(b, shift), mask) };
}
static inline __m128 lanes_quarters_to_s4(lanes x) {
        return lanes_s4_quarters(x.a, x.b);
}

#endif

static inline lanes lanes_load_bf16_pairs(const uint16_t *p) {
        return lanes_from_bf16_pairs(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* In natural order. */
static inline lanes lanes_load_bf16(const uint16_t *p) {
        return lanes_from_bf16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* Every 16 floats of x as (evens, odds); n a multiple of 16. */
static inline void lanes_deinterleave(const float *x, uint32_t n, float *y) {
        for (uint32_t i = 0; i < n; i += LANES)
                for (uint32_t j = 0; j < LANES / 2; j++) {
                        y[i + j] = x[i + 2 * j];
                        y[i + 8 + j] = x[i + 2 * j + 1];
                }
}

/* Every 16 floats of x in quarters: 0 4 8 12, 1 5 9 13, 2 6 10 14, 3 7 11 15. */
static inline void lanes_quarters(const float *x, uint32_t n, float *y) {
        for (uint32_t i = 0; i < n; i += LANES)
                for (uint32_t q = 0; q < 4; q++)
                        for (uint32_t j = 0; j < 4; j++)
                                y[i + 4 * q + j] = x[i + 4 * j + q];
}
