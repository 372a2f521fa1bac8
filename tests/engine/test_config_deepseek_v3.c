/* config.json of DeepSeek-V2, V3 and V3.2: the released values, and refusals by the name of the
 * field. */
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

enum released { V2_LITE, V2, V3, V32, N_RELEASED };
static json_t *released[N_RELEASED];
static struct model_config config; /* too large to be on every test's stack */

static int parse(json_t *document, struct error *err) {
        char *text = json_dumps(document, 0);
        assert_non_null(text);
        int r = model_config_parse("config.json", text, &config, err);
        free(text);
        return r;
}

static void read_released(enum released which) {
        struct error err = { 0 };
        if (parse(released[which], &err) < 0)
                fail_msg("%s", err.text);
}

static void test_v2_lite_as_released(void **state) {
        (void)state;
        read_released(V2_LITE);
        assert_int_equal(config.q_lora_rank, 0);
        assert_int_equal(config.head_dim, 192);
        assert_int_equal(config.kv_lora_rank, 512);
        assert_int_equal(config.router_scores, ROUTER_SOFTMAX);
        assert_int_equal(config.n_groups, 1);
        assert_int_equal(config.layer[0].feed_forward, FEED_FORWARD_DENSE);
        assert_int_equal(config.layer[1].feed_forward, FEED_FORWARD_EXPERTS);
        assert_int_equal(config.layer[26].attention, ATTENTION_MLA);
        assert_int_equal(config.dense_format, WEIGHT_BF16);
        assert_true(config.rope[ROPE_MAIN].yarn.mscale_all_dim == 0.707f);
        assert_int_equal(config.pad_id, config.eos_id);
}

static void test_v2_as_released(void **state) {
        (void)state;
        read_released(V2);
        assert_int_equal(config.q_lora_rank, 1536);
        assert_int_equal(config.n_groups, 8);
        assert_int_equal(config.n_groups_chosen, 3);
        assert_int_equal(config.group_score, GROUP_BEST);
        assert_false(config.norm_topk_prob);
        assert_true(config.routed_scaling == 16.0f);
}

static void test_v3_as_released(void **state) {
        (void)state;
        read_released(V3);
        assert_int_equal(config.router_scores, ROUTER_SIGMOID);
        assert_int_equal(config.group_score, GROUP_BEST_TWO);
        assert_true(config.norm_topk_prob);
        assert_int_equal(config.layer[2].feed_forward, FEED_FORWARD_DENSE);
        assert_int_equal(config.layer[3].feed_forward, FEED_FORWARD_EXPERTS);
        assert_int_equal(config.n_draft_layers, 1);
        assert_int_equal(config.dense_format, WEIGHT_FP8_F32);
        assert_int_equal(config.weight_tile, 128);
        assert_int_equal(config.input_block, 0);
}

static void test_v32_as_released(void **state) {
        (void)state;
        read_released(V32);
        assert_int_equal(config.index_topk, 2048);
        assert_int_equal(config.index_n_heads, 64);
        assert_int_equal(config.index_head_dim, 128);
        assert_true(config.layer[60].owns_index);
        assert_int_equal(config.layer[60].index_source, 60);
        assert_int_equal(config.n_draft_layers, 1);
        read_released(V3);
        assert_int_equal(config.index_topk, 0);
        assert_int_equal(config.layer[60].index_source, -1);
}

static const struct refusal {
        enum released of;
        const char *object, *field, *value; /* object NULL: the top level; value NULL: removed */
        const char *why;
} refusals[] = {
        { V2, NULL, "scoring_func", "\"sigmoid\"", "scoring_func: 'sigmoid' is not supported" },
        { V3, NULL, "scoring_func", "\"softmax\"", "scoring_func: 'softmax' is not supported" },
        { V3, NULL, "topk_method", "\"greedy\"", "topk_method: 'greedy' is not supported" },
        { V2, NULL, "topk_method", "\"noaux_tc\"", "topk_method: 'noaux_tc' is not supported" },
        { V2, NULL, "norm_topk_prob", "true", "norm_topk_prob: only false is supported" },
        { V2, NULL, "architectures", "[\"DeepseekV3ForCausalLM\"]", "architectures:" },
        { V2, NULL, "index_topk", "2048", "index_topk: unknown field" },
        { V2, NULL, "num_nextn_predict_layers", "1", "num_nextn_predict_layers: unknown field" },
        { V3, NULL, "hc_mult", "4", "hc_mult: unknown field" },
        { V3, NULL, "n_group", "7", "n_group: 7 does not divide n_routed_experts (256)" },
        { V3, NULL, "n_group", "256", "n_group: 256 groups of one expert" },
        { V3, NULL, "topk_group", "9", "topk_group: 9 of 8 groups" },
        { V2, NULL, "topk_group", "null", "topk_group: 0 of 8 groups" },
        { V3, NULL, "num_experts_per_tok", "129", "num_experts_per_tok: 129, but" },
        { V3, NULL, "num_key_value_heads", "1", "num_key_value_heads: not num_attention_heads" },
        { V3, NULL, "qk_rope_head_dim", "63", "qk_rope_head_dim: 63 is odd" },
        { V3, NULL, "kv_lora_rank", "0", "kv_lora_rank: not a whole number" },
        { V3, NULL, "kv_lora_rank", NULL, "kv_lora_rank: missing" },
        { V3, NULL, "q_lora_rank", "-1", "q_lora_rank: not a whole number" },
        { V3, NULL, "q_lora_rank", NULL, "q_lora_rank: missing" },
        { V3, NULL, "v_head_dim", "65536", "v_head_dim: not a whole number" },
        { V3, NULL, "first_k_dense_replace", "62", "first_k_dense_replace: not a whole number" },
        { V3, NULL, "moe_layer_freq", "2", "moe_layer_freq: not a whole number" },
        { V3, NULL, "rms_norm_eps", "1e-5", "rms_norm_eps: only 1e-6 is supported" },
        { V3, NULL, "attention_bias", "true", "attention_bias: only false is supported" },
        { V3, NULL, "tie_word_embeddings", "true", "tie_word_embeddings: only false" },
        { V3, NULL, "hidden_act", "\"gelu\"", "hidden_act: 'gelu' is not supported" },
        { V3, NULL, "pad_token_id", "129280", "pad_token_id: not a whole number" },
        { V3, NULL, "quantization_config", "[]", "quantization_config: neither null nor" },
        { V3, "quantization_config", "weight_block_size", "[32,32]",
          "quantization_config.weight_block_size: entry 0" },
        { V3, "quantization_config", "scale_fmt", "\"float\"", "quantization_config.scale_fmt:" },
        { V3, "quantization_config", "expert_dtype", "\"fp4\"",
          "quantization_config.expert_dtype: unknown field" },
        { V3, "quantization_config", "activation_scheme", "\"static\"",
          "quantization_config.activation_scheme: 'static'" },
        { V3, "rope_scaling", "mscale", "0.707",
          "rope_scaling: mscale is 0.707, mscale_all_dim 1" },
        { V3, "rope_scaling", "mscale_all_dim", NULL, "rope_scaling.mscale_all_dim: missing" },
        { V3, NULL, "index_topk", "2048", "index_topk: unknown field" },
        { V32, NULL, "architectures", "[\"DeepseekV3ForCausalLM\"]", "architectures:" },
        { V32, NULL, "compress_ratios", "[4]", "compress_ratios: unknown field" },
        { V32, NULL, "index_topk", NULL, "index_topk: missing" },
        { V32, NULL, "index_topk", "0", "index_topk: not a whole number" },
        { V32, NULL, "index_n_heads", "1025", "index_n_heads: not a whole number" },
        { V32, NULL, "index_head_dim", "64", "index_head_dim: not a whole number" },
        { V32, NULL, "index_head_dim", "192", "index_head_dim: 192 is not a power of two" },
        { V32, NULL, "q_lora_rank", "null", "q_lora_rank: index queries are made of it" },
        { V32, NULL, "kv_lora_rank", "448", "kv_lora_rank: 448 is not a multiple of 128" },
        { V32, NULL, "qk_rope_head_dim", "32", "qk_rope_head_dim: 32, only 64 is supported" },
        { V3, "rope_scaling", "attention_factor", "1", "attention_factor: unknown field" },
};

static void test_what_is_not_supported_is_refused_by_name(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
                const struct refusal *c = &refusals[i];
                struct error err = { 0 };
                json_t *document = json_deep_copy(released[c->of]);
                json_t *object = c->object ? json_object_get(document, c->object) : document;
                if (c->value)
                        json_object_set_new(object, c->field,
                                            json_loads(c->value, JSON_DECODE_ANY, NULL));
                else
                        json_object_del(object, c->field);
                int r = parse(document, &err);
                json_decref(document);
                if (r != -EINVAL || !strstr(err.text, c->why))
                        fail_msg("expected \"%s\", got %d \"%s\"", c->why, r, err.text);
        }
}

/* What other releases of the family have or leave out. */
static void test_what_changes_nothing_is_accepted(void **state) {
        (void)state;
        static const struct refusal same[] = {
                { V2_LITE, NULL, "n_group", "null", NULL },
                { V2_LITE, NULL, "topk_group", "null", NULL },
                { V3, NULL, "pad_token_id", "null", NULL },
                { V3, NULL, "auto_map", "{}", NULL },
                { V3, "quantization_config", "scale_fmt", "\"ue8m0\"", NULL },
        };
        for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
                struct error err = { 0 };
                read_released(same[i].of);
                struct model_config *before = malloc(sizeof(*before));
                *before = config;
                json_t *document = json_deep_copy(released[same[i].of]);
                json_object_set_new(
                        same[i].object ? json_object_get(document, same[i].object) : document,
                        same[i].field, json_loads(same[i].value, JSON_DECODE_ANY, NULL));
                if (parse(document, &err) < 0)
                        fail_msg("%s", err.text);
                assert_memory_equal(before, &config, sizeof(config));
                json_decref(document);
                free(before);
        }
}

int main(int argc, char **argv) {
        if (argc != 1 + N_RELEASED)
                return 2;
        for (int i = 0; i < N_RELEASED; i++)
                if (!(released[i] = json_load_file(argv[1 + i], 0, NULL)))
                        return 2;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_v2_lite_as_released),
                cmocka_unit_test(test_v2_as_released),
                cmocka_unit_test(test_v3_as_released),
                cmocka_unit_test(test_v32_as_released),
                cmocka_unit_test(test_what_is_not_supported_is_refused_by_name),
                cmocka_unit_test(test_what_changes_nothing_is_accepted),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        for (int i = 0; i < N_RELEASED; i++)
                json_decref(released[i]);
        return failed;
}
