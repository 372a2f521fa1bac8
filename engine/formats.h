/* Small number formats and the row codecs built on them: what the model was trained to read.
 *
 *   e4m3  FP8, OCP e4m3fn: sign, 4 exponent bits (bias 7), 3 mantissa bits; 448 is the largest,
 * 0x7F is NaN e2m1  FP4: sign and {0, .5, 1, 1.5, 2, 3, 4, 6} ue8m0 scale byte b = 2^(b-127)
 *
 * Row formats (fake quantisations of DeepSeek-V3.2, V4 and V4.1; storing the codes is lossless,
 * since the model only ever sees the dequantised values, all of which BF16 holds exactly):
 *
 *   row         block  scale  bytes for n values      layout
 *   fp8_row     32     ue8m0  n + n/32                codes, then scales
 *   fp4_latent  16     e4m3   n/2 + n/16              codes (low nibble first), then scales
 *   fp4_key     32     ue8m0  n/2 + n/32              codes (low nibble first), then scales
 *   fp8_128     128    float  n + n/32                codes, then float32 scales
 *   fp8_tail128 128    float  n + 64 + (n - 64)/32    codes of all but the last 64 values, their
 *                                                     float32 scales, then the 64 in BF16
 *   fp8_tail64  64     ue8m0  n + 64 + n/64 - 1, in   codes of all but the last 64 values, these in
 *                             whole 8s                BF16, then scales, then zeros
 *
 * and two for what a model keeps as it was computed, of any n: bf16 (2n bytes), which loses nothing
 * where the values were rounded to BF16 before, and f32 (4n) for --compute f32. Tails are such
 * values too: fp8_tail64_f32 is fp8_tail64 with a tail in f32.
 *
 * Pure functions; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WEIGHT_BLOCK     32 /* values that share a weight's scale; FP8 tiles may be larger */
#define FP8_BLOCK        32
#define FP4_LATENT_BLOCK 16
#define FP4_KEY_BLOCK    32
#define FP8_TAIL_BLOCK   64
#define FP8_LONG_BLOCK   128
#define FP8_TAIL         64 /* rotated channels, which such rows keep in BF16 */

enum weight_format {
        WEIGHT_F32,
        WEIGHT_BF16,
        WEIGHT_FP8,
        WEIGHT_FP4,
        WEIGHT_FP8_F32
}; /* see
matrix.h */

enum row_format {
        ROW_FP8,
        ROW_FP4_LATENT,
        ROW_FP4_KEY,
        ROW_BF16,
        ROW_F32,
        ROW_FP8_TAIL64,
        ROW_FP8_TAIL64_F32,
        ROW_FP8_128,
        ROW_FP8_TAIL128,
};
#define N_ROW_FORMATS (ROW_FP8_TAIL128 + 1)

size_t row_bytes(enum row_format format, uint32_t n); /* n: a multiple of 32 with blocks */

/* Quantises or rounds n floats. False when one is not finite: no format holds it, and the row's
 * codes mean nothing. */
bool row_pack(enum row_format format, const float *x, uint32_t n, uint8_t *ret_row);

/* One block of n values as ROW_FP8 holds its blocks, quantised and dequantised: all NaN when one is
 * not finite. ret may be x. */
void fp8_round_block(const float *x, uint32_t n, float *ret);

/* Dequantises one row to floats. */
void row_unpack(enum row_format format, const uint8_t *row, uint32_t n, float *ret_x);

uint8_t e4m3_encode(float x); /* |x| <= 448, nearest, ties to even */
float e4m3_decode(uint8_t code);
uint8_t e2m1_encode(float x); /* |x| <= 6, nearest, ties to the even code */
float e2m1_decode(uint8_t code);
float ue8m0_decode(uint8_t code);
extern const float ue8m0_values[256]; /* the same as a table, for code that decodes many */
