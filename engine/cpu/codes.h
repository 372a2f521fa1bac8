/* Codes of small formats to floats in registers, the values of formats.c bit for bit.
 *
 * Shuffling bytes costs as much as adding numbers, so codes come out in the order that falls out of
 * the fewest shuffles, and the other operand is arranged alike (lanes_quarters()). */
#pragma once

#include <stdbool.h>

#include "engine/cpu/e2m1_words.h"
#include "engine/cpu/lanes.h"
#include "engine/formats.h"

/* The digits of an e4m3 code in a float's place: as in e4m3_decode(), the exponent is 120 too
 * small, for subnormals as well. */
#define E4M3_WORD 0x1p-120f
#define E4M3_MASK 0x87F00000U

/* Sixteen e4m3 codes: values times E4M3_WORD, in quarters. NaN codes give numbers: see
 * e4m3_nan_max(). */
static inline lanes lanes_load_e4m3_quarters(const uint8_t *codes) {
        return lanes_from_high_bytes(_mm_loadu_si128((const __m128i *)(const void *)codes), 4,
                                     E4M3_MASK);
}

/* The same in natural order. */
static inline lanes lanes_load_e4m3(const uint8_t *codes) {
        return lanes_from_low_bytes(_mm_loadu_si128((const __m128i *)(const void *)codes), 20,
                                    E4M3_MASK);
}

/* The largest magnitude bits seen: 0x7F in a byte when one of the codes was NaN. */
static inline __m128i e4m3_nan_max(__m128i max, const uint8_t *codes) {
        __m128i c = _mm_loadu_si128((const __m128i *)(const void *)codes);
        return _mm_max_epu8(max, _mm_and_si128(c, _mm_set1_epi8(0x7F)));
}

static inline bool e4m3_is_nan(__m128i max) {
        return _mm_movemask_epi8(_mm_cmpeq_epi8(max, _mm_set1_epi8(0x7F))) != 0;
}

/* Thirty-two FP4 codes (16 bytes) of one scale as BF16 words (a nibble selects both bytes from
 * tables): ret[i] holds the sixteen of the even
 * (i = 0) and the odd (i = 1) k. */
static inline void load_e2m1_words(const uint8_t *bytes, uint8_t scale, __m128i ret_even[2],
                                   __m128i ret_odd[2]) {
        const struct e2m1_words *words = &e2m1_words[scale];
        __m128i high = _mm_load_si128((const __m128i *)(const void *)words->high),
                low = _mm_load_si128((const __m128i *)(const void *)words->low);
        __m128i b = _mm_loadu_si128((const __m128i *)(const void *)bytes),
                nibble = _mm_set1_epi8(15);
        __m128i even = _mm_and_si128(b, nibble), odd = _mm_and_si128(_mm_srli_epi16(b, 4), nibble);
        __m128i even_low = _mm_shuffle_epi8(low, even), even_high = _mm_shuffle_epi8(high, even);
        __m128i odd_low = _mm_shuffle_epi8(low, odd), odd_high = _mm_shuffle_epi8(high, odd);
        ret_even[0] = _mm_unpacklo_epi8(even_low, even_high);
        ret_even[1] = _mm_unpackhi_epi8(even_low, even_high);
        ret_odd[0] = _mm_unpacklo_epi8(odd_low, odd_high);
        ret_odd[1] = _mm_unpackhi_epi8(odd_low, odd_high);
}

/* Those as floats in quarters. */
static inline void lanes_load_e2m1_quarters(const uint8_t *bytes, uint8_t scale, lanes ret[2]) {
        __m128i even[2], odd[2];
        load_e2m1_words(bytes, scale, even, odd);
        ret[0] = lanes_from_bf16_pairs(_mm256_set_m128i(odd[0], even[0]));
        ret[1] = lanes_from_bf16_pairs(_mm256_set_m128i(odd[1], even[1]));
}

/* The same in natural order. */
static inline void lanes_load_e2m1(const uint8_t *bytes, uint8_t scale, lanes ret[2]) {
        __m128i even[2], odd[2];
        load_e2m1_words(bytes, scale, even, odd);
        for (int i = 0; i < 2; i++)
                ret[i] = lanes_from_bf16(_mm256_set_m128i(_mm_unpackhi_epi16(even[i], odd[i]),
                                                          _mm_unpacklo_epi16(even[i], odd[i])));
}
