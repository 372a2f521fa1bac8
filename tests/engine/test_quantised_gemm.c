/* The quantised matrix product against one that shares no code with it: a case made by
 * test_quantised_gemm.py (argv[1]). Input codes and scales bit for bit; results of every backend
 * within the error of one float32 sum, rounded ones within a BF16 rounding of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/backend.h"
#include "engine/numerics.h"

static json_t *kept;
static uint32_t n_rows, k, n;
static float *x;

static uint8_t *bytes_of(const json_t *object, const char *name) {
        const json_t *array = json_object_get(object, name);
        uint8_t *bytes = calloc(json_array_size(array) + 16, 1);
        assert_true(bytes && json_array_size(array) > 0);
        for (size_t i = 0; i < json_array_size(array); i++)
                bytes[i] = (uint8_t)json_integer_value(json_array_get(array, i));
        return bytes;
}

static double number(const json_t *object, const char *name, size_t i) {
        return json_number_value(json_array_get(json_object_get(object, name), i));
}

static void input_codes_are_the_same(void **state) {
        (void)state;
        uint8_t *codes = bytes_of(kept, "codes"), *scales = bytes_of(kept, "scales");
        uint8_t *row = malloc(row_bytes(ROW_FP8, k));
        for (uint32_t r = 0; r < n_rows; r++) {
                assert_true(row_pack(ROW_FP8, x + (size_t)r * k, k, row));
                assert_memory_equal(row, codes + (size_t)r * k, k);
                assert_memory_equal(row + k, scales + (size_t)r * (k / 32), k / 32);
        }
        free(codes), free(scales), free(row);
}

static void compare(const struct backend *backend, const json_t *expected, const struct matrix *w,
                    bool round) {
        float *quantised = calloc((size_t)n_rows * k, sizeof(float)),
              *y = calloc((size_t)n_rows * n, sizeof(float)),
              *scratch = calloc(matmul_scratch(k), sizeof(float));
        for (uint32_t r = 0; r < n_rows; r++)
                backend->fp8_round(x + (size_t)r * k, k, FP8_BLOCK, quantised + (size_t)r * k);
        struct matmul m = { quantised, k, n_rows, *w, y, n, round, scratch };
        backend->matmul(&m, 0, n);
        for (size_t i = 0; i < (size_t)n_rows * n; i++) {
                double exact = number(expected, "result", i);
                /* A lane adds k / 16 products, the tree four more times: half a unit each. */
                double bound = number(expected, "magnitude", i) * (k / 16 + 4) * 0x1p-24;
                if (round)
                        bound += (fabs(exact) + bound) * 0x1p-8;
                if (!(fabs((double)y[i] - exact) <= bound))
                        fail_msg("%s: output %zu is %.9g, not %.9g within %.3g", backend->name, i,
                                 (double)y[i], exact, bound);
                if (round)
                        assert_true(y[i] == bf16_round(y[i]));
        }
        free(quantised), free(y), free(scratch);
}

static void products_are_the_same(void **state) {
        (void)state;
        static const char *const names[] = { "fp8", "fp4" };
        for (int f = 0; f < 2; f++) {
                const json_t *expected = json_object_get(kept, names[f]);
                uint8_t *codes = bytes_of(expected, "codes"),
                        *scales = bytes_of(expected, "scales");
                struct matrix w = { codes, scales, n, k, f == 0 ? WEIGHT_FP8 : WEIGHT_FP4,
                                    true,  32,     0 };
                const struct backend *backend = &backend_reference;
                for (unsigned i = 0; backend; backend = backend_vector(i++))
                        for (int round = 0; round < 2; round++)
                                compare(backend, expected, &w, round);
                free(codes), free(scales);
        }
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(input_codes_are_the_same),
                cmocka_unit_test(products_are_the_same),
        };
        kept = argc == 2 ? json_load_file(argv[1], 0, NULL) : NULL;
        if (!kept)
                return 2;
        n_rows = (uint32_t)json_integer_value(json_object_get(kept, "rows"));
        k = (uint32_t)json_integer_value(json_object_get(kept, "k"));
        n = (uint32_t)json_integer_value(json_object_get(kept, "n"));
        x = calloc((size_t)n_rows * k, sizeof(*x));
        for (size_t i = 0; x && i < (size_t)n_rows * k; i++)
                x[i] = float_from_bits((uint32_t)number(kept, "x", i));
        int failed = x ? cmocka_run_group_tests(tests, NULL, NULL) : 2;
        free(x);
        json_decref(kept);
        return failed;
}
