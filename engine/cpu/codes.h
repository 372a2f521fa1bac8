/* Codes of small formats to floats in registers, the values of formats.c bit for bit.
 *
 * Both go through half precision, which the processor converts: the digits of an e4m3 code moved
 * into a half's place give the value times 2^-8, subnormals included; those of e2m1 come from a
 * table. */
#pragma once

#include <stdbool.h>

#include "engine/cpu/lanes.h"
#include "engine/formats.h"

/* An e4m3 code's digits as those of a half. */
#define E4M3_HALF 0x1p-8f

/* Sixteen e4m3 codes: values times E4M3_HALF, in natural order. NaN codes give numbers: see
 * e4m3_nan_max(). */
static inline lanes lanes_load_e4m3(const uint8_t *codes) {
        __m256i words = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)codes));
        return lanes_from_halves(
                _mm256_and_si256(_mm256_slli_epi16(words, 7), _mm256_set1_epi16((short)0xBF80)));
}

/* The largest magnitude bits seen: 0x7F in a byte when one of the codes was NaN. */
static inline __m128i e4m3_nan_max(__m128i max, const uint8_t *codes) {
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)codes);
        return _mm_max_epu8(max, _mm_and_si128(c, _mm_set1_epi8(0x7F)));
}

static inline bool e4m3_is_nan(__m128i max) {
        return _mm_movemask_epi8(_mm_cmpeq_epi8(max, _mm_set1_epi8(0x7F))) != 0;
}

/* High bytes of the halves that sixteen FP4 codes stand for; their low bytes are zero. */
static inline __m128i e2m1_halves(__m128i codes) {
        const __m128i table = _mm_setr_epi8(0x00, 0x38, 0x3C, 0x3E, 0x40, 0x42, 0x44, 0x46, -128,
                                            -72, -68, -66, -64, -62, -60, -58);
        return _mm_shuffle_epi8(table, codes);
}

/* The low and the high nibbles of sixteen bytes, as such high bytes. */
static inline void e2m1_load(const uint8_t *bytes, __m128i *ret_low, __m128i *ret_high) {
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)bytes),
                nibble = _mm_set1_epi8(15);
        *ret_low = e2m1_halves(_mm_and_si128(b, nibble));
        *ret_high = e2m1_halves(_mm_and_si128(_mm_srli_epi16(b, 4), nibble));
}

/* Thirty-two FP4 codes (16 bytes), as two times (evens, odds). */
static inline void lanes_load_e2m1_pairs(const uint8_t *bytes, lanes ret[2]) {
        __m128i low, high, zero = _mm_setzero_si128();
        e2m1_load(bytes, &low, &high);
        ret[0] = lanes_from_halves(
                _mm256_set_m128i(_mm_unpacklo_epi8(zero, high), _mm_unpacklo_epi8(zero, low)));
        ret[1] = lanes_from_halves(
                _mm256_set_m128i(_mm_unpackhi_epi8(zero, high), _mm_unpackhi_epi8(zero, low)));
}

/* The same in natural order. */
static inline void lanes_load_e2m1(const uint8_t *bytes, lanes ret[2]) {
        __m128i low, high, zero = _mm_setzero_si128();
        e2m1_load(bytes, &low, &high);
        __m128i first = _mm_unpacklo_epi8(low, high), second = _mm_unpackhi_epi8(low, high);
        ret[0] = lanes_from_halves(
                _mm256_set_m128i(_mm_unpackhi_epi8(zero, first), _mm_unpacklo_epi8(zero, first)));
        ret[1] = lanes_from_halves(
                _mm256_set_m128i(_mm_unpackhi_epi8(zero, second), _mm_unpacklo_epi8(zero, second)));
}
