/* Engram addresses: the constants of the released model and of the default one, and rows computed
 * from them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/engram_hash.h"
#include "engine/numpy_random.h"
#include "engine/tokenizer.h"

static const char *model_dir;

/* DeepSeek-V4.1-Flash. */
static const struct model_config released = {
        .vocab_size = 129280,
        .n_engram_layers = 2,
        .engram_layers = { 1, 14 },
        .engram_rows = { 384006168, 384016682 },
        .engram_vocab_size = 16000000,
        .engram_ngram_max = 4,
        .engram_n_heads = 8,
        .engram_head_dim = 256,
        .engram_pad_id = 2,
        .engram_compressed_vocab = 99092,
};

static void test_random_numbers_are_those_of_numpy(void **state) {
        (void)state;
        struct numpy_random random;
        numpy_random_init(&random, 10007);
        assert_true(numpy_random_raw(&random) == UINT64_C(15187255322829266483));
        assert_true(numpy_random_raw(&random) == UINT64_C(959186003677246517));
        numpy_random_init(&random, 140098);
        assert_true(numpy_random_raw(&random) == UINT64_C(13420388419549774097));
        assert_true(numpy_random_raw(&random) == UINT64_C(10208617735032736636));
}

static void test_a_bound_that_rejects_often_redraws_as_numpy_does(void **state) {
        (void)state;
        /* default_rng(7).integers(0, 2**63 + 1, size=6, dtype="uint64"): half of all draws are
         * rejected. */
        static const uint64_t want[] = {
                UINT64_C(7154437704795913393), UINT64_C(2768545318656780450),
                UINT64_C(8057108420966028186), UINT64_C(7351667880583433391),
                UINT64_C(4315938159125732496), UINT64_C(2568023004994447682)
        };
        struct numpy_random random;
        numpy_random_init(&random, 7);
        for (size_t i = 0; i < sizeof(want) / sizeof(*want); i++)
                assert_true(numpy_random_bounded(&random, (UINT64_C(1) << 63) + 1) == want[i]);
}

static void test_multipliers_of_the_released_model(void **state) {
        (void)state;
        static const int64_t want[2][4] = {
                { 76632096046245, 4839876093313, 35959672319349, 73987337458391 },
                { 67716810739261, 51510806800915, 30921347202721, 82619226485591 },
        };
        struct engram_hash hash;
        assert_int_equal(engram_hash_constants(&hash, &released, NULL), 0);
        for (unsigned layer = 0; layer < 2; layer++)
                for (unsigned i = 0; i < 4; i++)
                        assert_true(hash.multiplier[layer][i] == want[layer][i]);
}

static void test_primes_of_the_released_model(void **state) {
        (void)state;
        static const int64_t want[2][24] = {
                { 57,  79,  81,  97,  121, 129, 133, 183, 189, 207, 211, 253,
                  277, 289, 307, 321, 339, 381, 393, 399, 403, 409, 447, 463 },
                { 477, 487, 499, 507, 511, 573, 609, 627, 667, 669, 693, 697,
                  711, 729, 759, 769, 781, 799, 813, 819, 841, 877, 879, 889 },
        };
        struct engram_hash hash;
        assert_int_equal(engram_hash_constants(&hash, &released, NULL), 0);
        assert_int_equal(hash.n_rows, 24);
        for (unsigned layer = 0; layer < 2; layer++)
                for (unsigned i = 0; i < 24; i++)
                        assert_true(hash.prime[layer][i] == 16000000 + want[layer][i]);
}

static void test_rows_of_the_released_model(void **state) {
        (void)state;
        struct engram_hash hash;
        uint64_t rows[24];
        assert_int_equal(engram_hash_constants(&hash, &released, NULL), 0);
        engram_hash_rows(&hash, 0, (const uint32_t[]){ 40, 30, 20, 10 }, rows);
        assert_true(rows[0] == 1326936 && rows[1] == 22120929 && rows[2] == 40011923);
        assert_true(rows[3] == 55142539 && rows[23] == 378628807);
        engram_hash_rows(&hash, 1, (const uint32_t[]){ 40, 30, 20, 10 }, rows);
        assert_true(rows[0] == 5403109 && rows[1] == 26519290 && rows[23] == 378588994);
}

static void test_rows_of_a_lone_bos(void **state) {
        (void)state;
        struct engram_hash hash;
        uint64_t rows[24];
        assert_int_equal(engram_hash_constants(&hash, &released, NULL), 0);
        engram_hash_rows(&hash, 0, (const uint32_t[]){ 0, 2, 2, 2 }, rows);
        assert_true(rows[0] == 5702652 && rows[1] == 24393184 && rows[23] == 380066193);
        engram_hash_rows(&hash, 1, (const uint32_t[]){ 0, 2, 2, 2 }, rows);
        assert_true(rows[0] == 14361964 && rows[23] == 372375971);
}

static void test_rows_stay_inside_their_table(void **state) {
        (void)state;
        struct engram_hash hash;
        uint64_t rows[24];
        assert_int_equal(engram_hash_constants(&hash, &released, NULL), 0);
        uint32_t history[4] = { 0 };
        for (unsigned round = 0; round < 20000; round++) {
                for (unsigned i = 0; i < 4; i++)
                        history[i] = round < 16 ? (round >> i & 1) * 99091
                                                : (history[i] * 1103515245 + 12345 + i) % 99092;
                engram_hash_rows(&hash, 1, history, rows);
                for (unsigned i = 0; i < 24; i++) {
                        assert_true(rows[i] >= (uint64_t)hash.offset[1][i]);
                        assert_true(rows[i] < (uint64_t)(hash.offset[1][i] + hash.prime[1][i]));
                }
        }
}

static void test_constants_are_checked_against_the_configuration(void **state) {
        (void)state;
        struct engram_hash hash;
        struct error err = { 0 };
        struct model_config config = released;
        config.engram_rows[1]++;
        assert_int_equal(engram_hash_constants(&hash, &config, &err), -EINVAL);
        assert_non_null(strstr(err.text, "384016683"));
        assert_non_null(strstr(err.text, "384016682"));
        config = released;
        config.engram_n_heads = ENGRAM_HEADS_MAX + 1;
        assert_int_equal(engram_hash_constants(&hash, &config, &err), -EINVAL);
        assert_non_null(strstr(err.text, "engram_n_heads"));
        config = released;
        config.engram_compressed_vocab = 0;
        assert_int_equal(engram_hash_constants(&hash, &config, &err), -EINVAL);
        config = released;
        config.engram_ngram_max = 1;
        assert_int_equal(engram_hash_constants(&hash, &config, &err), -EINVAL);
}

static uint64_t fingerprint(const uint32_t *map, uint32_t n) {
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        for (uint32_t i = 0; i < n; i++)
                hash = (hash ^ map[i]) * UINT64_C(0x100000001b3);
        return hash;
}

static void test_map_of_the_default_model(void **state) {
        (void)state;
        struct model_config config;
        struct tokenizer *tokenizer;
        struct engram_hash hash;
        struct error err = { 0 };
        assert_int_equal(model_config_read(model_dir, &config, &err), 0);
        assert_int_equal(tokenizer_open(model_dir, &tokenizer, &err), 0);
        assert_int_equal(engram_hash_init(&hash, &config, tokenizer, &err), 0);
        assert_int_equal(hash.n_compressed, 2614);
        assert_int_equal(hash.n_ids, 4096);
        assert_int_equal(hash.pad, 2);
        /* FNV-1a over the map that Hugging Face's normalizers give for this tokenizer. */
        assert_true(fingerprint(hash.map, hash.n_ids) == UINT64_C(0x626e83fd94d451ef));
        engram_hash_deinit(&hash);

        config.engram_compressed_vocab = 2615;
        /* Other multipliers, same primes: only the map can tell. */
        assert_int_equal(engram_hash_init(&hash, &config, tokenizer, &err), -EINVAL);
        assert_non_null(strstr(err.text, "2615"));
        assert_non_null(strstr(err.text, "2614"));
        tokenizer_close(tokenizer);
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        model_dir = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_numbers_are_those_of_numpy),
                cmocka_unit_test(test_a_bound_that_rejects_often_redraws_as_numpy_does),
                cmocka_unit_test(test_multipliers_of_the_released_model),
                cmocka_unit_test(test_primes_of_the_released_model),
                cmocka_unit_test(test_rows_of_the_released_model),
                cmocka_unit_test(test_rows_of_a_lone_bos),
                cmocka_unit_test(test_rows_stay_inside_their_table),
                cmocka_unit_test(test_constants_are_checked_against_the_configuration),
                cmocka_unit_test(test_map_of_the_default_model),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
