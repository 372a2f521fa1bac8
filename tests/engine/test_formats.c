#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/formats.h"
#include "engine/numerics.h"
#include "tests/engine/random_floats.h"

static void every_e4m3_code_survives_decoding_and_encoding(void **state) {
        (void)state;
        for (unsigned code = 0; code < 256; code++)
                if ((code & 0x7F) != 0x7F)
                        assert_int_equal(e4m3_encode(e4m3_decode((uint8_t)code)), code);
        assert_true(e4m3_decode(0x7E) == 448.0f && e4m3_decode(0x01) == 0x1p-9f &&
                    e4m3_decode(0x38) == 1.0f);
        assert_true(isnan(e4m3_decode(0x7F)) && isnan(e4m3_decode(0xFF)));
}

static void e4m3_rounds_to_the_nearest_code_and_ties_to_even(void **state) {
        (void)state;
        for (unsigned code = 0; code < 0x7E; code++) {
                float low = e4m3_decode((uint8_t)code), high = e4m3_decode((uint8_t)(code + 1)),
                      middle = (low + high) / 2;
                assert_int_equal(e4m3_encode(middle), code % 2 == 0 ? code : code + 1);
                assert_int_equal(e4m3_encode(nextafterf(middle, 0)), code);
                assert_int_equal(e4m3_encode(nextafterf(middle, 1e9f)), code + 1);
                assert_int_equal(e4m3_encode(-nextafterf(middle, 0)), code | 0x80);
        }
}

static void e2m1_ties_go_to_the_even_code(void **state) {
        (void)state;
        /* DeepSeek-V4.1: .25, 1.25, 2.5, 5 down; .75, 1.75, 3.5 up. */
        const float ties[] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f };
        const float expected[] = { 0, 1, 1, 2, 2, 4, 4 };
        for (int i = 0; i < 7; i++) {
                assert_true(e2m1_decode(e2m1_encode(ties[i])) == expected[i]);
                assert_true(e2m1_decode(e2m1_encode(-ties[i])) == -expected[i]);
        }
}

static void fp8_scale_is_not_doubled_by_an_unrounded_product(void **state) {
        (void)state;
        /* max = 448 * 2^k: the scale must be 2^k exactly, and for the FP4 key 6 * 2^k likewise. */
        float x[32] = { 0 };
        uint8_t row[64];
        for (int k = -8; k < 8; k++) {
                x[3] = ldexpf(448.0f, k);
                row_pack(ROW_FP8, x, 32, row);
                assert_int_equal(row[32], 127 + k);
                x[3] = ldexpf(6.0f, k);
                row_pack(ROW_FP4_KEY, x, 32, row);
                assert_int_equal(row[16], 127 + k);
        }
        memset(x, 0, sizeof(x));
        row_pack(ROW_FP8, x, 32, row); /* the floor of 1e-4: 1e-4 / 448 = 2.2e-7, so 2^-22 */
        assert_int_equal(row[32], 127 - 22);
}

/* The definitions once more, in double and by search: what the codecs must agree with. */
static double nearest(double v, float (*decode)(uint8_t), unsigned n_codes) {
        double best = 0, best_distance = INFINITY;
        unsigned best_code = 0;
        for (unsigned code = 0; code < n_codes; code++) {
                double d = fabs((double)decode((uint8_t)code) - fabs(v));
                if (d < best_distance ||
                    (d <= best_distance && code % 2 == 0 && best_code % 2 == 1)) {
                        best = (double)decode((uint8_t)code);
                        best_distance = d;
                        best_code = code;
                }
        }
        return copysign(best, v);
}

static void rows_equal_a_search_over_all_codes(void **state) {
        (void)state;
        uint64_t seed = 11;
        for (int round = 0; round < 300; round++) {
                float x[64], y[64];
                uint8_t row[96];
                float scale = ldexpf(1.0f, (int)(random_next(&seed) % 30) - 15);
                for (int i = 0; i < 64; i++)
                        x[i] = random_float(&seed, scale);
                const struct {
                        enum row_format format;
                        uint32_t block;
                        double floor, most;
                } kinds[] = { { ROW_FP8, 32, 1e-4, 448 },
                              { ROW_FP4_LATENT, 16, 6 * 0x1p-9, 6 },
                              { ROW_FP4_KEY, 32, 6 * 0x1p-126, 6 } };
                for (int k = 0; k < 3; k++) {
                        row_pack(kinds[k].format, x, 64, row);
                        row_unpack(kinds[k].format, row, 64, y);
                        for (uint32_t i = 0; i < 64; i++) {
                                double a = (double)(float)kinds[k].floor, s;
                                for (uint32_t j = i / kinds[k].block * kinds[k].block,
                                              e = j + kinds[k].block;
                                     j < e; j++)
                                        a = fmax(a, fabs((double)x[j]));
                                if (kinds[k].format == ROW_FP4_LATENT)
                                        s = nearest(a / 6, e4m3_decode, 127);
                                else
                                        s = exp2(ceil(log2(
                                                (double)((float)a * (float)(1 / kinds[k].most)))));
                                double v = fmax(-kinds[k].most,
                                                fmin(kinds[k].most, (double)(x[i] / (float)s)));
                                double q = kinds[k].format == ROW_FP8 ? nearest(v, e4m3_decode, 127)
                                                                      : nearest(v, e2m1_decode, 8);
                                assert_true((double)y[i] == q * s);
                                assert_true(bf16_round(y[i]) ==
                                            y[i]); /* what makes storing codes lossless */
                        }
                }
        }
}

static void rows_that_are_not_quantised_are_kept(void **state) {
        (void)state;
        uint64_t seed = 12;
        float x[37], y[37];
        uint8_t row[1 + sizeof(x)], *odd = row + 1; /* no alignment is asked for */
        for (int i = 0; i < 37; i++)
                x[i] = random_float(&seed, 1e3f);
        assert_int_equal(row_bytes(ROW_F32, 37), sizeof(x));
        assert_true(row_pack(ROW_F32, x, 37, odd));
        row_unpack(ROW_F32, odd, 37, y);
        assert_memory_equal(x, y, sizeof(x));
        assert_int_equal(row_bytes(ROW_BF16, 37), sizeof(x) / 2);
        assert_true(row_pack(ROW_BF16, x, 37, odd));
        row_unpack(ROW_BF16, odd, 37, y);
        for (int i = 0; i < 37; i++)
                assert_true(y[i] == bf16_round(x[i]));
        x[36] = NAN;
        assert_false(row_pack(ROW_BF16, x, 37, odd));
        assert_false(row_pack(ROW_F32, x, 37, odd));
}

/* The definition of fp8_tail64 by the others': its blocks are two of fp8_row's that happen to have
 * one scale. */
static void a_tail_is_kept_in_bf16(void **state) {
        (void)state;
        uint64_t seed = 12;
        float x[192], y[192], alone[64];
        uint8_t row[400], block[66];
        assert_int_equal(row_bytes(ROW_FP8_TAIL64, 512), 584);
        for (int round = 0; round < 100; round++) {
                for (int i = 0; i < 192; i++)
                        x[i] = random_float(&seed, ldexpf(1.0f, round % 30 - 15));
                x[1] = x[33] = x[64 + 1] = x[64 + 33] = ldexpf(1.5f, round % 30 - 15);
                assert_true(row_pack(ROW_FP8_TAIL64, x, 192, row));
                row_unpack(ROW_FP8_TAIL64, row, 192, y);
                for (int b = 0; b < 2; b++) {
                        row_pack(ROW_FP8, x + 64 * b, 64, block);
                        row_unpack(ROW_FP8, block, 64, alone);
                        assert_memory_equal(y + 64 * b, alone, sizeof(alone));
                }
                for (int i = 128; i < 192; i++)
                        assert_true(y[i] == bf16_round(x[i]));
                float kept[192];
                row_pack(ROW_FP8_TAIL64_F32, x, 192, row);
                row_unpack(ROW_FP8_TAIL64_F32, row, 192, kept);
                assert_memory_equal(kept, y, 128 * sizeof(float));
                assert_memory_equal(kept + 128, x + 128, FP8_TAIL * sizeof(float));
                x[round] = NAN;
                assert_false(row_pack(ROW_FP8_TAIL64, x, 192, row));
        }
}

/* V3.2's rows: 128 values a scale, a float that is a power of two. */
static void long_blocks_have_float_scales(void **state) {
        (void)state;
        uint64_t seed = 5;
        float x[576], y[576];
        uint8_t row[656];
        assert_int_equal(row_bytes(ROW_FP8_TAIL128, 576), 656);
        assert_int_equal(row_bytes(ROW_FP8_128, 128), 132);
        for (uint32_t i = 0; i < 576; i++)
                x[i] = random_float(&seed, ldexpf(1.0f, (int)(i / 64)));
        assert_true(row_pack(ROW_FP8_TAIL128, x, 576, row));
        row_unpack(ROW_FP8_TAIL128, row, 576, y);
        for (uint32_t i = 0; i < 512; i++) {
                float a = 1e-4f, scale;
                for (uint32_t j = i / 128 * 128; j < (i / 128 + 1) * 128; j++)
                        a = fmaxf(a, fabsf(x[j]));
                memcpy(&scale, row + 512 + i / 128 * sizeof(scale), sizeof(scale));
                assert_true((double)scale == exp2(ceil(log2((double)(a * (1.0f / 448.0f))))));
                assert_true((double)y[i] ==
                            nearest((double)(x[i] / scale), e4m3_decode, 127) * (double)scale);
        }
        for (uint32_t i = 512; i < 576; i++)
                assert_true(y[i] == bf16_round(x[i]));
        x[575] = INFINITY;
        assert_false(row_pack(ROW_FP8_TAIL128, x, 576, row));
        assert_true(row_pack(ROW_FP8_128, x, 256, row));
        row_unpack(ROW_FP8_128, row, 256, x);
        assert_memory_equal(x, y, 256 * sizeof(float));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_e4m3_code_survives_decoding_and_encoding),
                cmocka_unit_test(e4m3_rounds_to_the_nearest_code_and_ties_to_even),
                cmocka_unit_test(e2m1_ties_go_to_the_even_code),
                cmocka_unit_test(fp8_scale_is_not_doubled_by_an_unrounded_product),
                cmocka_unit_test(rows_equal_a_search_over_all_codes),
                cmocka_unit_test(rows_that_are_not_quantised_are_kept),
                cmocka_unit_test(a_tail_is_kept_in_bf16),
                cmocka_unit_test(long_blocks_have_float_scales),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
