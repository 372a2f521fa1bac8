#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/numerics.h"
#include "engine/rope.h"
#include "tests/engine/random_floats.h"

static void expf_is_within_two_ulp_of_libm(void **state) {
        (void)state;
        for (float x = -86.9f; x < 87.9f; x += 0.00137f) {
                double expected = exp((double)x);
                assert_true(fabs((double)math_expf(x) - expected) <= expected * 0x1p-22);
        }
}

static void expf_saturates_and_keeps_nan(void **state) {
        (void)state;
        assert_true(math_expf(-87.5f) == 0.0f);
        assert_true(math_expf(-INFINITY) == 0.0f);
        assert_true(isinf(math_expf(88.5f)));
        assert_true(isnan(math_expf(NAN)));
        assert_true(math_expf(0.0f) == 1.0f);
}

static void double_functions_are_within_two_ulp_of_libm(void **state) {
        (void)state;
        uint64_t seed = 7;
        for (int i = 0; i < 200000; i++) {
                double x = (double)random_float(&seed, 700.0f), s, c;
                assert_true(fabs(math_exp(x) - exp(x)) <= exp(x) * 0x1p-51);
                double y = exp(x);
                assert_true(fabs(math_log(y) - log(y)) <= fabs(log(y)) * 0x1p-51 + 0x1p-53);
                double angle = (double)random_float(&seed, 1e6f);
                math_sincos(angle, &s, &c);
                assert_true(fabs(s - sin(angle)) < 0x1p-51 && fabs(c - cos(angle)) < 0x1p-51);
        }
}

static void softplus_is_continuous_and_positive_far_below_zero(void **state) {
        (void)state;
        for (float z = -80.0f; z < 40.0f; z += 0.01f) {
                double expected = z > 20.0f ? (double)z : log1p(exp((double)z));
                assert_true(fabs((double)math_softplus(z) - expected) <= expected * 1e-6);
        }
}

static void bf16_rounds_to_nearest_even(void **state) {
        (void)state;
        assert_true(bf16_round(1.0f) == 1.0f);
        assert_true(bf16_round(1.0f + 0x1p-8f) == 1.0f);                     /* tie, down to even */
        assert_true(bf16_round(1.0f + 0x1p-7f + 0x1p-8f) == 1.0f + 0x1p-6f); /* tie, up to even */
        assert_true(bf16_round(1.0f + 0x1p-8f + 0x1p-20f) == 1.0f + 0x1p-7f);
        assert_true(isnan(bf16_round(float_from_bits(0x7F800001))));
        assert_true(isinf(bf16_round(3.4e38f)));
}

static void tree_adds_in_the_documented_order(void **state) {
        (void)state;
        /* 2^24 + 1 is not a float: which ones are added first shows in the result. */
        float lane[LANES] = { 0x1p24f, 1.0f, [4] = 1.0f, [8] = 1.0f };
        float s80 = lane[0] + lane[1], s82 = lane[4] + lane[5], s84 = lane[8] + lane[9];
        assert_true(lanes_sum(lane) == ((s80 + s84) + s82) + 0.0f);
}

static void yarn_gives_the_released_frequencies(void **state) {
        (void)state;
        static struct model_config config;
        struct rope_frequencies f;
        config.rope_dim = 64;
        config.rope[ROPE_MAIN].theta = 10000;
        config.rope[ROPE_COMPRESS] =
                (struct rope_config){ 160000, { true, 16, 32, 1, 65536, 0, 0 } };
        assert_int_equal(rope_frequencies_init(&f, &config), 0);
        assert_float_equal(f.frequency[ROPE_MAIN][1], (float)pow(10000, -2.0 / 64), 1e-7);
        assert_float_equal(f.frequency[ROPE_COMPRESS][15] * 1e3f,
                           (float)pow(160000, -30.0 / 64) * 1e3f, 1e-6);
        assert_float_equal(f.frequency[ROPE_COMPRESS][16] * 1e3f, 2.265625, 1e-6);
        assert_float_equal(f.frequency[ROPE_COMPRESS][20] * 1e4f, 2.9697779, 1e-6);
        assert_float_equal(f.frequency[ROPE_COMPRESS][24] * 1e5f, 1.9531253, 1e-6);
        assert_float_equal(f.frequency[ROPE_COMPRESS][31] * 1e7f, 5.6805, 1e-4);
        config.rope[ROPE_COMPRESS].yarn.enabled = false;
        rope_frequencies_deinit(&f);
        assert_int_equal(rope_frequencies_init(&f, &config), 0);
        assert_float_equal(f.frequency[ROPE_COMPRESS][31] * 1e6f,
                           (float)pow(160000, -62.0 / 64) * 1e6f, 1e-5);
        rope_frequencies_deinit(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(expf_is_within_two_ulp_of_libm),
                cmocka_unit_test(expf_saturates_and_keeps_nan),
                cmocka_unit_test(double_functions_are_within_two_ulp_of_libm),
                cmocka_unit_test(softplus_is_continuous_and_positive_far_below_zero),
                cmocka_unit_test(bf16_rounds_to_nearest_even),
                cmocka_unit_test(tree_adds_in_the_documented_order),
                cmocka_unit_test(yarn_gives_the_released_frequencies),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
