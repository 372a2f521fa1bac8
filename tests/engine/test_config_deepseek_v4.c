/* DeepSeek-V4's config.json: the released schedules, and refusals by the name of the field. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/model_config.h"

static json_t *released;           /* of V4-Flash */
static struct model_config config; /* too large to be on every test's stack */

static int parse(json_t *document, struct error *err) {
        char *text = json_dumps(document, 0);
        int r = model_config_parse("config.json", text, &config, err);
        free(text);
        json_decref(document);
        return r;
}

/* The released file with FIELD, or quantization_config.FIELD, replaced by a JSON value; "" removes
 * it. */
static json_t *changed(const char *field, const char *value) {
        json_t *document = json_deep_copy(released), *level = document;
        const char *dot = strchr(field, '.');
        if (dot) {
                level = json_object_get(document, "quantization_config");
                field = dot + 1;
        }
        if (value[0] == '\0')
                assert_int_equal(json_object_del(level, field), 0);
        else
                assert_int_equal(
                        json_object_set_new(level, field, json_loads(value, JSON_DECODE_ANY, NULL)),
                        0);
        return document;
}

static void expect_accepted(json_t *document) {
        struct error err = { 0 };
        if (parse(document, &err) < 0)
                fail_msg("refused: %s", err.text);
}

static void expect_refused(const char *field, const char *value, const char *why) {
        struct error err = { 0 };
        int r = parse(changed(field, value), &err);
        if (r != -EINVAL || !strstr(err.text, field) || !strstr(err.text, why))
                fail_msg("%s = %s: expected \"%s\", got %d \"%s\"", field, value, why, r, err.text);
}

static void expect_layer(unsigned i, unsigned ratio) {
        const struct layer_config *layer = &config.layer[i];
        assert_int_equal(layer->attention, ATTENTION_CSA);
        assert_int_equal(layer->feed_forward, FEED_FORWARD_EXPERTS);
        assert_int_equal(layer->compress_ratio, ratio);
        assert_int_equal(layer->owns_kv, ratio > 0);
        assert_int_equal(layer->kv_source, ratio > 0 ? (int)i : -1);
        assert_int_equal(layer->owns_index, ratio == 4);
        assert_int_equal(layer->index_source, ratio == 4 ? (int)i : -1);
        assert_int_equal(layer->routed_by_table, i < 3);
}

static void test_flash(void **state) {
        (void)state;
        expect_accepted(json_deep_copy(released));
        assert_string_equal(config.architecture, "deepseek_v4");
        assert_int_equal(config.n_layers, 43);
        assert_int_equal(config.n_draft_layers, 1);
        for (unsigned i = 0; i < 43; i++)
                expect_layer(i, i < 2 ? 0 : i % 2 == 0 ? 4 : 128);
        assert_int_equal(config.head_dim, 512);
        assert_int_equal(config.rope_dim, 64);
        assert_int_equal(config.q_lora_rank, 1024);
        assert_int_equal(config.o_groups, 8);
        assert_int_equal(config.window, 128);
        assert_int_equal(config.index_n_heads, 64);
        assert_int_equal(config.index_topk, 512);
        assert_int_equal(config.n_experts, 256);
        assert_int_equal(config.residual, RESIDUAL_MHC);
        assert_int_equal(config.hc, 4);
        assert_true(config.rms_norm_eps == 1e-6F && config.swiglu_limit == 10);
        assert_false(config.rope[ROPE_MAIN].yarn.enabled);
        assert_true(config.rope[ROPE_COMPRESS].theta == 160000 &&
                    config.rope[ROPE_COMPRESS].yarn.factor == 16);
        assert_int_equal(config.dense_format, WEIGHT_FP8);
        assert_int_equal(config.expert_format, WEIGHT_FP4);
        assert_int_equal(config.weight_tile, 128);
        assert_int_equal(config.input_block, 128);
        assert_int_equal(config.eos_id, 1);
}

/* Two layers that attend all their rows, then both kinds by turns. */
static void test_the_schedule_of_pro(void **state) {
        (void)state;
        json_t *document = changed("num_hidden_layers", "61"), *ratios = json_array();
        for (int i = 0; i < 62; i++)
                json_array_append_new(ratios,
                                      json_integer(i < 2                ? 128
                                                           : i == 61    ? 0
                                                           : i % 2 == 0 ? 4
                                                                        : 128));
        json_object_set_new(document, "compress_ratios", ratios);
        expect_accepted(document);
        for (unsigned i = 0; i < 61; i++)
                expect_layer(i, i < 2 ? 128 : i % 2 == 0 ? 4 : 128);
}

/* A later release lists three draft blocks and their settings. */
static void test_draft_layers_are_not_ours(void **state) {
        (void)state;
        json_t *document = changed("dspark_block_size", "5"),
               *ratios = json_object_get(document, "compress_ratios");
        json_object_set_new(document, "dspark_target_layer_ids", json_pack("[iii]", 40, 41, 42));
        json_array_append_new(ratios, json_integer(0));
        json_array_append_new(ratios, json_integer(0));
        expect_accepted(document);
        expect_refused("compress_ratios", "[0, 0, 4]", "not an array of 43 to");
        document = json_deep_copy(released);
        json_array_set_new(json_object_get(document, "compress_ratios"), 43, json_integer(4));
        struct error err = { 0 };
        assert_int_equal(parse(document, &err), -EINVAL);
        assert_non_null(strstr(err.text, "draft layer 0 has ratio 4"));
}

static void test_weights(void **state) {
        (void)state;
        expect_accepted(changed("quantization_config", ""));
        assert_int_equal(config.dense_format, WEIGHT_BF16);
        assert_int_equal(config.expert_format, WEIGHT_BF16);
        expect_accepted(changed("expert_dtype", "")); /* an early release */
        assert_int_equal(config.expert_format, WEIGHT_FP4);
        expect_accepted(changed("expert_dtype", "\"fp8\""));
        assert_int_equal(config.expert_format, WEIGHT_FP8);
        expect_refused("expert_dtype", "\"int4\"", "");
        expect_refused("quantization_config.weight_block_size", "[32, 32]", "128");
        expect_refused("quantization_config.scale_fmt", "\"float32\"", "ue8m0");
        expect_refused("quantization_config.scale_fmt", "", "missing");
        expect_refused("quantization_config.fmt", "\"e5m2\"", "e4m3");
        struct error err = { 0 };
        assert_int_equal(parse(changed("hidden_size", "4160"), &err), -EINVAL);
        assert_non_null(strstr(err.text, "hidden_size is 4160, quantised weights need a multiple"));
}

static void test_every_field_that_is_read_is_required(void **state) {
        (void)state;
        static const char *const may_lack[] = {
                "architectures",        "attention_bias",      "attention_dropout", "expert_dtype",
                "initializer_range",    "quantization_config", "torch_dtype",       "use_cache",
                "transformers_version", "tie_word_embeddings",
        };
        const char *name;
        json_t *value;
        json_object_foreach(released, name, value) {
                bool may = false;
                for (size_t i = 0; i < sizeof(may_lack) / sizeof(may_lack[0]); i++)
                        may |= strcmp(name, may_lack[i]) == 0;
                if (may)
                        expect_accepted(changed(name, ""));
                else
                        expect_refused(name, "", "missing");
        }
}

static void test_what_the_rows_are_made_of(void **state) {
        (void)state;
        expect_accepted(changed("head_dim", "192"));
        expect_refused("head_dim", "160", "not 64 and a multiple of 64");
        expect_refused("qk_rope_head_dim", "32", "64 to 64");
        expect_refused("index_head_dim", "96", "not a power of two");
        expect_refused("o_groups", "7", "does not divide");
        expect_refused("num_hash_layers", "44", "0 to 43");
        expect_refused("num_experts_per_tok", "257", "above n_routed_experts");
        json_t *document = json_deep_copy(released);
        json_array_set_new(json_object_get(document, "compress_ratios"), 5, json_integer(2));
        struct error err = { 0 };
        assert_int_equal(parse(document, &err), -EINVAL);
        assert_non_null(strstr(err.text, "compress_ratios: entry 5 is not 0, 4 or 128"));
}

/* Fields of other families would change the result, and mean that files were mixed. */
static void test_other_families_fields_are_refused(void **state) {
        (void)state;
        expect_refused("kv_source_layer_ids", "[2]", "unknown field");
        expect_refused("engram_layer_ids", "[1]", "unknown field");
        expect_refused("kv_lora_rank", "512", "unknown field");
        expect_refused("n_group", "8", "unknown field");
        expect_refused("scoring_func", "\"sigmoid\"", "sqrtsoftplus");
        expect_refused("architectures", "[\"DeepseekV41ForCausalLM\"]", "DeepseekV4ForCausalLM");
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        released = json_load_file(argv[1], 0, NULL);
        if (!released)
                return 2;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_flash),
                cmocka_unit_test(test_the_schedule_of_pro),
                cmocka_unit_test(test_draft_layers_are_not_ours),
                cmocka_unit_test(test_weights),
                cmocka_unit_test(test_every_field_that_is_read_is_required),
                cmocka_unit_test(test_what_the_rows_are_made_of),
                cmocka_unit_test(test_other_families_fields_are_refused),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        json_decref(released);
        return failed;
}
