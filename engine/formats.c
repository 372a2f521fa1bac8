#include "engine/formats.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/numerics.h"

/* A tail's values take `tail` bytes each. */
static size_t tail64_bytes(uint32_t n, size_t tail) {
        size_t codes = n - FP8_TAIL;
        return (codes + FP8_TAIL * tail + codes / FP8_TAIL_BLOCK + 7) & ~(size_t)7;
}

size_t row_bytes(enum row_format format, uint32_t n) {
        switch (format) {
        case ROW_FP8: return n + n / FP8_BLOCK;
        case ROW_FP4_LATENT: return n / 2 + n / FP4_LATENT_BLOCK;
        case ROW_FP4_KEY: return n / 2 + n / FP4_KEY_BLOCK;
        case ROW_BF16: return n * sizeof(uint16_t);
        case ROW_F32: return n * sizeof(float);
        case ROW_FP8_128: return n + n / FP8_LONG_BLOCK * sizeof(float);
        case ROW_FP8_TAIL128: return row_bytes(ROW_FP8_128, n - FP8_TAIL) + 2 * FP8_TAIL;
        case ROW_FP8_TAIL64: return tail64_bytes(n, sizeof(uint16_t));
        case ROW_FP8_TAIL64_F32: return tail64_bytes(n, sizeof(float));
        }
        return 0;
}

uint8_t e4m3_encode(float x) {
        uint32_t u = float_bits(x), sign = u >> 24 & 0x80;
        float a = fabsf(x);
        if (a < 0x1p-6f) /* subnormal: multiples of 2^-9; eight of them are the smallest normal
                            number's code */
                return (uint8_t)(sign | (uint32_t)rintf(a * 512.0f));
        u &= 0x7FFFFFFF;
        u = (u + 0x7FFFF + (u >> 20 & 1)) >> 20; /* keep 3 mantissa bits, ties to even */
        return (uint8_t)(sign | (u - ((127 - 7) << 3)));
}

float e4m3_decode(uint8_t code) {
        if ((code & 0x7F) == 0x7F)
                return NAN;
        /* As a float's bits the code has the right digits and an exponent 120 too small, subnormals
         * included. */
        float a = float_from_bits((uint32_t)(code & 0x7F) << 20) * 0x1p120f;
        return code & 0x80 ? -a : a;
}

uint8_t e2m1_encode(float x) {
        float a = fabsf(x);
        unsigned c = a <= 0.25f ? 0
                : a < 0.75f     ? 1
                : a <= 1.25f    ? 2
                : a < 1.75f     ? 3
                : a <= 2.5f     ? 4
                : a < 3.5f      ? 5
                : a <= 5.0f     ? 6
                                : 7;
        return (uint8_t)(c | (signbit(x) ? 8U : 0U));
}

float e2m1_decode(uint8_t code) {
        static const float values[8] = { 0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f };
        float a = values[code & 7];
        return code & 8 ? -a : a;
}

/* Powers of two from x on. */
#define POWERS_8(x)  (x), (x)*2, (x)*4, (x)*8, (x)*16, (x)*32, (x)*64, (x)*128
#define POWERS_16(x) POWERS_8(x), POWERS_8((x)*0x1p8f)
#define POWERS_64(x)                                                                               \
        POWERS_16(x), POWERS_16((x)*0x1p16f), POWERS_16((x)*0x1p32f), POWERS_16((x)*0x1p48f)

/* clang-format off */
const float ue8m0_values[256] = {
        POWERS_64(0x1p-127f), POWERS_64(0x1p-63f), POWERS_64(0x1p1f),
        POWERS_16(0x1p65f), POWERS_16(0x1p81f), POWERS_16(0x1p97f), POWERS_8(0x1p113f),
        0x1p121f, 0x1p122f, 0x1p123f, 0x1p124f, 0x1p125f, 0x1p126f, 0x1p127f, NAN,
};
/* clang-format on */

float ue8m0_decode(uint8_t code) {
        return ue8m0_values[code];
}

/* The ue8m0 byte of 2^ceil(log2 a), a > 0: exact on the bits, one up if any mantissa bit is set. */
static uint8_t ue8m0_ceil(float a) {
        uint32_t u = float_bits(a);
        return (uint8_t)((u >> 23) + ((u & 0x7FFFFF) != 0));
}

static bool all_finite(const float *x, uint32_t n) {
        uint32_t worst = 0;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t magnitude = float_bits(x[i]) & 0x7FFFFFFF;
                worst = magnitude > worst ? magnitude : worst;
        }
        return worst < 0x7F800000;
}

static float block_max(const float *x, uint32_t n, float floor) {
        float a = floor;
        for (uint32_t i = 0; i < n; i++)
                a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
        return a;
}

static float clamp(float x, float limit) {
        return x > limit ? limit : x < -limit ? -limit : x;
}

/* s = 2^ceil(log2(max(|x|, 1e-4) * fl(1/448))), codes e4m3(x / s). The product is rounded to float
 * before the log. */
static void pack_fp8(const float *x, uint32_t n, uint32_t block, uint8_t *codes, uint8_t *scales) {
        for (uint32_t b = 0; b < n / block; b++, x += block, codes += block) {
                scales[b] = ue8m0_ceil(block_max(x, block, 1e-4f) * (1.0f / 448.0f));
                float s = ue8m0_decode(scales[b]);
                for (uint32_t i = 0; i < block; i++)
                        codes[i] = e4m3_encode(clamp(x[i] / s, 448.0f));
        }
}

void fp8_round_block(const float *x, uint32_t n, float *ret) {
        bool finite = all_finite(x, n);
        uint8_t scale = ue8m0_ceil(block_max(x, n, 1e-4f) * (1.0f / 448.0f));
        float s = ue8m0_decode(scale);
        for (uint32_t i = 0; i < n; i++)
                ret[i] = finite ? e4m3_decode(e4m3_encode(clamp(x[i] / s, 448.0f))) * s : NAN;
}

static void pack_fp4_block(const float *x, uint32_t n, float s, uint8_t *codes) {
        for (uint32_t i = 0; i < n; i += 2) {
                unsigned low = e2m1_encode(clamp(x[i] / s, 6.0f)),
                         high = e2m1_encode(clamp(x[i + 1] / s, 6.0f));
                codes[i / 2] = (uint8_t)(low | high << 4);
        }
}

/* s = e4m3(max(|x|, 6 * 2^-9) / 6), a true division. */
static void pack_fp4_latent(const float *x, uint32_t n, uint8_t *row) {
        for (uint32_t b = 0; b < n / FP4_LATENT_BLOCK; b++) {
                const float *block = x + b * FP4_LATENT_BLOCK;
                uint8_t scale = e4m3_encode(
                        clamp(block_max(block, FP4_LATENT_BLOCK, 6 * 0x1p-9f) / 6.0f, 448.0f));
                row[n / 2 + b] = scale;
                pack_fp4_block(block, FP4_LATENT_BLOCK, e4m3_decode(scale),
                               row + b * FP4_LATENT_BLOCK / 2);
        }
}

/* s = 2^ceil(log2(max(|x|, 6 * 2^-126) * fl(1/6))). */
static void pack_fp4_key(const float *x, uint32_t n, uint8_t *row) {
        for (uint32_t b = 0; b < n / FP4_KEY_BLOCK; b++) {
                const float *block = x + b * FP4_KEY_BLOCK;
                uint8_t scale =
                        ue8m0_ceil(block_max(block, FP4_KEY_BLOCK, 6 * 0x1p-126f) * (1.0f / 6.0f));
                row[n / 2 + b] = scale;
                pack_fp4_block(block, FP4_KEY_BLOCK, ue8m0_decode(scale),
                               row + b * FP4_KEY_BLOCK / 2);
        }
}

static void pack_bf16(const float *x, uint32_t n, uint8_t *row) {
        for (uint32_t i = 0; i < n; i++) {
                uint16_t half = (uint16_t)(float_bits(bf16_round(x[i])) >> 16);
                memcpy(row + i * sizeof(half), &half, sizeof(half)); /* rows are not aligned */
        }
}

static void unpack_bf16(const uint8_t *row, uint32_t n, float *x) {
        for (uint32_t i = 0; i < n; i++) {
                uint16_t half;
                memcpy(&half, row + i * sizeof(half), sizeof(half));
                x[i] = bf16_to_float(half);
        }
}

static void pack_fp8_tail64(const float *x, uint32_t n, bool f32, uint8_t *row) {
        uint32_t codes = n - FP8_TAIL, n_scales = codes / FP8_TAIL_BLOCK;
        uint8_t *tail = row + codes,
                *scales = tail + FP8_TAIL * (f32 ? sizeof(float) : sizeof(uint16_t));
        pack_fp8(x, codes, FP8_TAIL_BLOCK, row, scales);
        memset(scales + n_scales, 0, -(size_t)n_scales & 7); /* all before are whole 8s */
        if (f32)
                memcpy(tail, x + codes, FP8_TAIL * sizeof(*x));
        else
                pack_bf16(x + codes, FP8_TAIL, tail);
}

static void unpack_fp8_tail64(const uint8_t *row, uint32_t n, bool f32, float *x) {
        uint32_t codes = n - FP8_TAIL;
        const uint8_t *tail = row + codes,
                      *scales = tail + FP8_TAIL * (f32 ? sizeof(float) : sizeof(uint16_t));
        for (uint32_t i = 0; i < codes; i++)
                x[i] = e4m3_decode(row[i]) * ue8m0_decode(scales[i / FP8_TAIL_BLOCK]);
        if (f32)
                memcpy(x + codes, tail, FP8_TAIL * sizeof(*x));
        else
                unpack_bf16(tail, FP8_TAIL, x + codes);
}

/* Codes, then float32 scales, powers of two as ue8m0 ones are. */
static void pack_fp8_128(const float *x, uint32_t n, uint8_t *row) {
        for (uint32_t b = 0; b < n / FP8_LONG_BLOCK; b++) {
                uint8_t code;
                pack_fp8(x + b * FP8_LONG_BLOCK, FP8_LONG_BLOCK, FP8_LONG_BLOCK,
                         row + b * FP8_LONG_BLOCK, &code);
                float scale = ue8m0_decode(code);
                memcpy(row + n + b * sizeof(scale), &scale, sizeof(scale));
        }
}

static void unpack_fp8_128(const uint8_t *row, uint32_t n, float *x) {
        for (uint32_t i = 0; i < n; i++) {
                float scale;
                memcpy(&scale, row + n + i / FP8_LONG_BLOCK * sizeof(scale), sizeof(scale));
                x[i] = e4m3_decode(row[i]) * scale;
        }
}

bool row_pack(enum row_format format, const float *x, uint32_t n, uint8_t *ret_row) {
        assert(n % 32 == 0 || format == ROW_BF16 || format == ROW_F32);
        if (!all_finite(x, n))
                return false;
        switch (format) {
        case ROW_FP8: pack_fp8(x, n, FP8_BLOCK, ret_row, ret_row + n); break;
        case ROW_FP4_LATENT: pack_fp4_latent(x, n, ret_row); break;
        case ROW_FP4_KEY: pack_fp4_key(x, n, ret_row); break;
        case ROW_BF16: pack_bf16(x, n, ret_row); break;
        case ROW_F32: memcpy(ret_row, x, n * sizeof(*x)); break;
        case ROW_FP8_TAIL64:
        case ROW_FP8_TAIL64_F32:
                pack_fp8_tail64(x, n, format == ROW_FP8_TAIL64_F32, ret_row);
                break;
        case ROW_FP8_128: pack_fp8_128(x, n, ret_row); break;
        case ROW_FP8_TAIL128:
                pack_fp8_128(x, n - FP8_TAIL, ret_row);
                pack_bf16(x + n - FP8_TAIL, FP8_TAIL,
                          ret_row + row_bytes(ROW_FP8_128, n - FP8_TAIL));
                break;
        }
        return true;
}

void row_unpack(enum row_format format, const uint8_t *row, uint32_t n, float *ret_x) {
        switch (format) {
        case ROW_FP8:
                for (uint32_t i = 0; i < n; i++)
                        ret_x[i] = e4m3_decode(row[i]) * ue8m0_decode(row[n + i / FP8_BLOCK]);
                break;
        case ROW_FP4_LATENT:
                for (uint32_t i = 0; i < n; i++)
                        ret_x[i] = e2m1_decode(row[i / 2] >> (i % 2 * 4) & 15) *
                                e4m3_decode(row[n / 2 + i / FP4_LATENT_BLOCK]);
                break;
        case ROW_FP4_KEY:
                for (uint32_t i = 0; i < n; i++)
                        ret_x[i] = e2m1_decode(row[i / 2] >> (i % 2 * 4) & 15) *
                                ue8m0_decode(row[n / 2 + i / FP4_KEY_BLOCK]);
                break;
        case ROW_BF16: unpack_bf16(row, n, ret_x); break;
        case ROW_F32: memcpy(ret_x, row, n * sizeof(*ret_x)); break;
        case ROW_FP8_TAIL64:
        case ROW_FP8_TAIL64_F32:
                unpack_fp8_tail64(row, n, format == ROW_FP8_TAIL64_F32, ret_x);
                break;
        case ROW_FP8_128: unpack_fp8_128(row, n, ret_x); break;
        case ROW_FP8_TAIL128:
                unpack_fp8_128(row, n - FP8_TAIL, ret_x);
                unpack_bf16(row + row_bytes(ROW_FP8_128, n - FP8_TAIL), FP8_TAIL,
                            ret_x + n - FP8_TAIL);
                break;
        }
}
