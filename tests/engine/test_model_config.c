/* config.json: the released model's layer schedule, and every refusal by the name of its field. */
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
#include "engine/engram_hash.h"
#include "engine/model_config.h"

static const char *seed_dir, *nano_dir;
static json_t *released; /* released_config.json */

static struct model_config config; /* too large to be on every test's stack */

static int parse(json_t *document, struct error *err) {
        char *text = json_dumps(document, 0);
        assert_non_null(text);
        int r = model_config_parse("config.json", text, &config, err);
        free(text);
        return r;
}

/* The released file with text_config.FIELD replaced by this JSON value ("" removes it). */
static json_t *changed(const char *field, const char *value) {
        json_t *document = json_deep_copy(released);
        json_t *text = json_object_get(document, "text_config");
        if (value[0] == '\0')
                assert_int_equal(json_object_del(text, field), 0);
        else
                assert_int_equal(
                        json_object_set_new(text, field, json_loads(value, JSON_DECODE_ANY, NULL)),
                        0);
        return document;
}

static void expect_document_refused(json_t *document, const char *why) {
        struct error err = { 0 };
        int r = parse(document, &err);
        json_decref(document);
        if (r != -EINVAL || strncmp(err.text, "config.json: ", 13) != 0 || !strstr(err.text, why))
                fail_msg("expected \"config.json: ... %s\", got %d \"%s\"", why, r, err.text);
}

static void expect_refused(const char *field, const char *value, const char *why) {
        char name[96];
        snprintf(name, sizeof(name), "text_config.%s", field);
        struct error err = { 0 };
        json_t *document = changed(field, value);
        parse(document, &err);
        if (!strstr(err.text, name))
                fail_msg("%s = %s: the message \"%s\" does not name it", field, value, err.text);
        expect_document_refused(document, why);
}

static void expect_accepted(json_t *document) {
        struct error err = { 0 };
        int r = parse(document, &err);
        json_decref(document);
        if (r < 0)
                fail_msg("refused: %s", err.text);
}

/* What the released schedule is, in words of its own: sources of layers [from, to). */
struct span {
        unsigned from, to, ratio;
        int kv_source, index_source;
};
static const struct span released_schedule[] = {
        { 0, 2, 0, -1, -1 },   { 2, 8, 2, 2, 2 },     { 8, 14, 2, 8, 8 },
        { 14, 20, 2, 14, 14 }, { 20, 24, 1, 20, 20 }, { 24, 28, 1, 20, 24 },
        { 28, 32, 1, 20, 28 }, { 32, 36, 1, 20, 32 }, { 36, 40, 1, 20, 36 },
};

static void test_the_released_schedule(void **state) {
        (void)state;
        expect_accepted(json_deep_copy(released));
        assert_int_equal(config.n_layers, 40);
        for (size_t s = 0; s < sizeof(released_schedule) / sizeof(released_schedule[0]); s++) {
                const struct span *span = &released_schedule[s];
                for (unsigned i = span->from; i < span->to; i++) {
                        const struct layer_config *layer = &config.layer[i];
                        assert_int_equal(layer->compress_ratio, span->ratio);
                        assert_int_equal(layer->kv_source, span->kv_source);
                        assert_int_equal(layer->index_source, span->index_source);
                        assert_int_equal(layer->owns_kv, (int)i == span->kv_source);
                        assert_int_equal(layer->owns_index, (int)i == span->index_source);
                        assert_int_equal(layer->in_candidates,
                                         i > 20 && (int)i == span->index_source);
                        assert_int_equal(layer->engram, i == 1 ? 0 : i == 14 ? 1 : -1);
                }
        }
}

static void test_the_released_values(void **state) {
        (void)state;
        expect_accepted(json_deep_copy(released));
        assert_string_equal(config.architecture, "deepseek_v41");
        assert_int_equal(config.vocab_size, 129280);
        assert_int_equal(config.hidden_size, 5120);
        assert_int_equal(config.n_heads, 64);
        assert_int_equal(config.head_dim, 512);
        assert_int_equal(config.rope_dim, 64);
        assert_int_equal(config.q_lora_rank, 1280);
        assert_int_equal(config.o_groups, 8);
        assert_int_equal(config.o_lora_rank, 1024);
        assert_int_equal(config.window, 128);
        assert_true(config.rms_norm_eps == 1e-20F);
        assert_true(config.rope[ROPE_MAIN].theta == 10000);
        assert_false(config.rope[ROPE_MAIN].yarn.enabled);
        assert_true(config.rope[ROPE_COMPRESS].theta == 160000);
        const struct yarn_config *yarn = &config.rope[ROPE_COMPRESS].yarn;
        assert_true(yarn->enabled && yarn->factor == 16);
        assert_true(yarn->beta_fast == 32 && yarn->beta_slow == 1);
        assert_int_equal(yarn->original_positions, 65536);
        assert_int_equal(config.max_positions, 1048576);
        assert_int_equal(config.index_n_heads, 32);
        assert_int_equal(config.index_head_dim, 128);
        assert_int_equal(config.index_topk, 512);
        assert_int_equal(config.candidate_layer, 20);
        assert_int_equal(config.candidate_blocks, 2048);
        assert_int_equal(config.candidate_block_size, 8);
        assert_int_equal(config.n_experts, 384);
        assert_int_equal(config.n_experts_per_token, 6);
        assert_int_equal(config.expert_dim, 2304);
        assert_int_equal(config.n_shared_experts, 1);
        assert_true(config.routed_scaling == 1.5F && config.swiglu_limit == 10);
        assert_true(config.gate_temp == 1 && config.norm_topk_prob);
        assert_int_equal(config.hc, 4);
        assert_int_equal(config.hc_sinkhorn_iters, 20);
        assert_true(config.hc_eps == 1e-6F);
        assert_int_equal(config.n_engram_layers, 2);
        assert_int_equal(config.engram_layers[1], 14);
        assert_int_equal(config.engram_rows[0], 384006168);
        assert_int_equal(config.engram_vocab_size, 16000000);
        assert_int_equal(config.engram_ngram_max, 4);
        assert_int_equal(config.engram_n_heads, 8);
        assert_int_equal(config.engram_head_dim, 256);
        assert_int_equal(config.engram_pad_id, 2);
        assert_int_equal(config.engram_compressed_vocab, 99092);
        assert_int_equal(config.bos_id, 0);
        assert_int_equal(config.eos_id, 1);
        assert_int_equal(config.pad_id, 2);
        assert_int_equal(config.dense_format, WEIGHT_FP8);
        assert_int_equal(config.expert_format, WEIGHT_FP4);
}

static void test_the_models_of_this_repository_are_read(void **state) {
        (void)state;
        struct error err = { 0 };
        assert_int_equal(model_config_read(seed_dir, &config, &err), 0);
        assert_int_equal(config.n_layers, 8);
        assert_false(config.rope[ROPE_COMPRESS].yarn.enabled);
        assert_int_equal(model_config_read(nano_dir, &config, &err), 0);
        assert_int_equal(config.n_layers, 6);
        assert_true(config.rope[ROPE_COMPRESS].yarn.enabled);
        assert_int_equal(config.layer[2].index_source, 1);
        assert_true(config.layer[4].in_candidates);
        assert_int_equal(config.layer[5].index_source, 4);
        assert_int_equal(model_config_read("/nonexistent", &config, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/config.json"));
}

static void test_a_flat_file_means_the_same(void **state) {
        (void)state;
        expect_accepted(json_deep_copy(released));
        struct model_config composite = config;
        json_t *flat = json_deep_copy(json_object_get(released, "text_config"));
        json_object_set_new(flat, "model_type", json_string("deepseek_v41"));
        json_object_set_new(flat, "bos_token_id", json_integer(0));
        json_object_set_new(flat, "eos_token_id", json_integer(1));
        json_object_set_new(flat, "pad_token_id", json_integer(2));
        json_object_set(flat, "quantization_config",
                        json_object_get(released, "quantization_config"));
        expect_accepted(flat);
        assert_memory_equal(&config, &composite, sizeof(config));
}

static void test_classes_of_another_family_are_refused(void **state) {
        (void)state;
        json_t *document = json_deep_copy(released);
        json_object_set_new(document, "architectures", json_pack("[s]", "DeepseekV3ForCausalLM"));
        expect_document_refused(document,
                                "architectures: 'DeepseekV3ForCausalLM' does not belong "
                                "to model_type 'deepseek_v41'");
        document = json_deep_copy(released);
        json_object_set_new(document, "architectures", json_string("DeepseekV41ForCausalLM"));
        expect_document_refused(document, "architectures: not an array of strings");
        document = json_deep_copy(released);
        json_object_del(document, "architectures");
        expect_accepted(document);
}

static void test_another_architecture_is_refused_by_name(void **state) {
        (void)state;
        json_t *document = json_deep_copy(released);
        json_object_set_new(document, "model_type", json_string("mixtral"));
        expect_document_refused(document, "model_type: 'mixtral' is not supported");
        document = json_deep_copy(released);
        json_object_del(document, "model_type");
        expect_document_refused(document, "model_type: missing");
        expect_refused("model_type", "\"llama\"", "'llama' is not supported");
}

/* The released file with quantization_config.FIELD replaced ("" removes it). */
static json_t *quantised(const char *field, const char *value) {
        json_t *document = json_deep_copy(released);
        json_t *quant = json_object_get(document, "quantization_config");
        if (value[0] == '\0')
                json_object_del(quant, field);
        else
                json_object_set_new(quant, field, json_loads(value, JSON_DECODE_ANY, NULL));
        return document;
}

static void test_weights_are_bf16_unless_the_file_says_otherwise(void **state) {
        (void)state;
        json_t *document = json_deep_copy(released);
        json_object_del(document, "quantization_config");
        expect_accepted(document);
        assert_int_equal(config.dense_format, WEIGHT_BF16);
        assert_int_equal(config.expert_format, WEIGHT_BF16);
        document = json_deep_copy(released);
        json_object_set_new(document, "quantization_config", json_null());
        expect_accepted(document);
        assert_int_equal(config.dense_format, WEIGHT_BF16);
        expect_accepted(quantised("expert_dtype", "\"fp8\""));
        assert_int_equal(config.expert_format, WEIGHT_FP8);
        expect_accepted(changed("quantization_config", "null"));
}

static void test_other_quantisations_are_refused_by_name(void **state) {
        (void)state;
        static const struct {
                const char *field, *value, *why;
        } cases[] = {
                { "quant_method", "\"awq\"", "quant_method: 'awq' is not supported ('fp8' is)" },
                { "activation_scheme", "\"static\"", "activation_scheme: 'static'" },
                { "scale_fmt", "\"float\"", "scale_fmt: 'float' is not supported ('ue8m0' is)" },
                { "weight_block_size", "[128, 128]", "weight_block_size: entry 0" },
                { "weight_block_size", "[32, 16]", "weight_block_size: entry 1" },
                { "weight_block_size", "[32]", "weight_block_size: not an array of 2" },
                { "expert_dtype", "\"int4\"", "expert_dtype: 'int4' is not supported ('fp4' and" },
                { "expert_dtype", "4", "expert_dtype: 'not a string'" },
                { "modules_to_not_convert", "[]", "modules_to_not_convert: unknown field" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                expect_document_refused(quantised(cases[i].field, cases[i].value), cases[i].why);
        const char *field;
        json_t *value;
        json_object_foreach(json_object_get(released, "quantization_config"), field, value)
                expect_document_refused(quantised(field, ""), "missing");
        json_t *document = json_deep_copy(released);
        json_object_set_new(document, "quantization_config", json_string("fp8"));
        expect_document_refused(document, "quantization_config: neither null nor an object");
        expect_refused("quantization_config", "{}", "belongs at the top level");

        static const char *const widths[] = { "hidden_size", "q_lora_rank", "o_lora_rank",
                                              "moe_intermediate_size" };
        for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
                char why[64];
                snprintf(why, sizeof(why), "quantization_config: %s is 1000,", widths[i]);
                expect_document_refused(changed(widths[i], "1000"), why);
        }
}

static void test_unknown_fields_are_refused_by_name(void **state) {
        (void)state;
        expect_refused("attn_logit_softcapping", "30.0", "attn_logit_softcapping: unknown field");
        json_t *document = json_deep_copy(released);
        json_object_set_new(document, "novelty", json_true());
        expect_document_refused(document, "config.json: novelty: unknown field");
        expect_refused("rope_scaling",
                       "{\"type\":\"yarn\",\"factor\":16,\"beta_fast\":32,\"beta_slow\":1,"
                       "\"original_max_position_embeddings\":65536,\"mscale\":1}",
                       "rope_scaling.mscale: unknown field");
}

static void test_every_field_that_is_read_is_required(void **state) {
        (void)state;
        static const char *const optional[] = { "model_type",        "attention_bias",
                                                "attention_dropout", "initializer_range",
                                                "use_cache",         "tie_word_embeddings" };
        const char *name;
        json_t *value;
        unsigned n_required = 0;
        json_object_foreach(json_object_get(released, "text_config"), name, value) {
                bool may_lack = strncmp(name, "dspark_", 7) == 0;
                for (size_t i = 0; i < sizeof(optional) / sizeof(optional[0]); i++)
                        may_lack = may_lack || strcmp(name, optional[i]) == 0;
                if (may_lack) {
                        expect_accepted(changed(name, ""));
                } else {
                        expect_refused(name, "", "missing");
                        n_required++;
                }
        }
        assert_int_equal(n_required, 47);
        expect_document_refused(json_object(), "model_type: missing");
}

static bool is_ignored(const char *field) {
        static const char *const fields[] = { "attention_dropout", "initializer_range",
                                              "use_cache" };
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
                if (strcmp(field, fields[i]) == 0)
                        return true;
        return strncmp(field, "dspark_", 7) == 0;
}

/* Values of every type but the field's own; of arrays also the types of entries. */
static void test_every_field_of_another_type_is_refused(void **state) {
        (void)state;
        static const struct {
                json_type type;
                const char *value;
        } values[] = {
                { JSON_NULL, "null" },        { JSON_TRUE, "true" },
                { JSON_STRING, "\"1\"" },     { JSON_OBJECT, "{}" },
                { JSON_OBJECT, "{\"a\":1}" }, { JSON_INTEGER, "9223372036854775807" },
                { JSON_REAL, "1e308" },       { JSON_REAL, "-0.5" },
                { JSON_ARRAY, "[[]]" },       { JSON_ARRAY, "[null]" },
                { JSON_ARRAY, "[\"1\"]" },    { JSON_ARRAY, "[1.5]" },
                { JSON_ARRAY, "[-1]" },       { JSON_ARRAY, "[9223372036854775807]" },
        };
        const char *name;
        json_t *value;
        json_object_foreach(json_object_get(released, "text_config"), name, value) {
                if (is_ignored(name))
                        continue;
                for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                        bool null_is_none = values[i].type == JSON_NULL &&
                                (strcmp(name, "rope_scaling") == 0 ||
                                 strcmp(name, "candidate_source_layer_id") == 0);
                        bool same_type = json_is_boolean(value) && values[i].type == JSON_TRUE;
                        if (!null_is_none && !same_type)
                                expect_refused(name, values[i].value, name);
                }
        }
}

static void test_values_out_of_range_are_refused(void **state) {
        (void)state;
        static const char *const whole[] = { "vocab_size",
                                             "hidden_size",
                                             "num_hidden_layers",
                                             "num_attention_heads",
                                             "num_key_value_heads",
                                             "head_dim",
                                             "qk_rope_head_dim",
                                             "q_lora_rank",
                                             "o_groups",
                                             "o_lora_rank",
                                             "sliding_window",
                                             "index_n_heads",
                                             "index_head_dim",
                                             "index_topk",
                                             "candidate_topk_blocks",
                                             "candidate_block_size",
                                             "max_position_embeddings",
                                             "moe_intermediate_size",
                                             "n_routed_experts",
                                             "n_shared_experts",
                                             "num_experts_per_tok",
                                             "num_nextn_predict_layers",
                                             "hc_mult",
                                             "hc_sinkhorn_iters",
                                             "engram_vocab_size",
                                             "engram_max_ngram_size",
                                             "engram_n_heads",
                                             "engram_head_dim",
                                             "engram_pad_token_id",
                                             "engram_compressed_vocab_size" };
        for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
                expect_refused(whole[i], "-1", "not a whole number");
                expect_refused(whole[i], "4294967296", "not a whole number");
                expect_refused(whole[i], "1.0", "not a whole number");
                expect_refused(whole[i], "\"8\"", "not a whole number");
        }
        static const char *const numbers[] = { "rms_norm_eps",        "rope_theta",
                                               "compress_rope_theta", "routed_scaling_factor",
                                               "swiglu_limit",        "hc_eps" };
        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                expect_refused(numbers[i], "0", "not a number");
                expect_refused(numbers[i], "1e300", "not a number");
                expect_refused(numbers[i], "null", "not a number");
        }
}

static void test_fixed_choices_are_refused_otherwise(void **state) {
        (void)state;
        expect_refused("scoring_func", "\"sigmoid\"", "'sigmoid' is not supported");
        expect_refused("topk_method", "\"greedy\"", "'greedy' is not supported");
        expect_refused("hidden_act", "\"gelu\"", "'gelu' is not supported");
        expect_refused("attention_bias", "true", "only false");
        expect_refused("tie_word_embeddings", "true", "only false");
        expect_refused("norm_topk_prob", "1", "neither true nor false");
        expect_refused("gate_temp", "2.0", "only 1");
        expect_refused("num_key_value_heads", "2", "from 1 to 1");
        expect_refused("n_shared_experts", "2", "from 1 to 1");
        expect_accepted(changed("gate_temp", "1.0"));
}

static void test_rope_scaling_is_yarn_or_nothing(void **state) {
        (void)state;
        expect_accepted(changed("rope_scaling", "null"));
        assert_false(config.rope[ROPE_COMPRESS].yarn.enabled);
        expect_refused("rope_scaling", "16", "neither null nor an object");
        expect_refused("rope_scaling", "{}", "rope_scaling.type: missing");
        expect_refused("rope_scaling", "{\"type\":\"linear\"}", "'linear' is not supported");
#define YARN(factor, fast, slow)                                                                   \
        "{\"rope_type\":\"yarn\",\"factor\":" factor ",\"beta_fast\":" fast ",\"beta_slow\":" slow \
        ",\"original_max_position_embeddings\":65536}"
        expect_accepted(changed("rope_scaling", YARN("16", "32", "1")));
        expect_refused("rope_scaling", YARN("0.5", "32", "1"), "factor: below 1");
        expect_refused("rope_scaling", YARN("16", "1", "1"), "beta_fast: not above beta_slow");
}

static void test_widths_that_do_not_fit_each_other_are_refused(void **state) {
        (void)state;
        expect_refused("head_dim", "528", "528 is not a multiple of 32");
        expect_refused("index_head_dim", "144", "not a multiple of 32");
        expect_refused("engram_head_dim", "48", "not a multiple of 32");
        expect_refused("qk_rope_head_dim", "63", "63 is odd");
        expect_refused("qk_rope_head_dim", "160", "above head_dim (512) or index_head_dim (128)");
        expect_refused("o_groups", "7", "does not divide num_attention_heads (64)");
        expect_refused("num_experts_per_tok", "385", "above n_routed_experts (384)");
        expect_refused("hc_mult", "9", "from 1 to 8");
}

/* One above each bound is refused, the bound itself is not (or for another field's sake). */
static void test_sizes_beyond_the_engine_s_tables_are_refused(void **state) {
        (void)state;
        static const struct {
                const char *field;
                unsigned min, max;
        } bounds[] = {
                { "vocab_size", 1, 1U << 24 },
                { "hidden_size", 1, 28672 },
                { "num_hidden_layers", 1, LAYERS_MAX },
                { "num_attention_heads", 1, 1024 },
                { "head_dim", 32, 4096 },
                { "qk_rope_head_dim", 2, 2 * ROPE_PAIRS_MAX },
                { "q_lora_rank", 1, 1U << 16 },
                { "o_groups", 1, 1024 },
                { "o_lora_rank", 1, 1U << 16 },
                { "sliding_window", 1, 1U << 16 },
                { "index_n_heads", 1, 1024 },
                { "index_head_dim", 32, INDEX_HEAD_DIM_MAX },
                { "index_topk", 1, 1U << 20 },
                { "candidate_topk_blocks", 1, 1U << 20 },
                { "candidate_block_size", 1, 1U << 20 },
                { "max_position_embeddings", 1, 1U << 27 },
                { "n_routed_experts", 1, 4096 },
                { "moe_intermediate_size", 1, 1U << 16 },
                { "hc_mult", 1, HC_MAX },
                { "engram_max_ngram_size", 2, NGRAM_MAX },
                { "engram_n_heads", 1, ENGRAM_HEADS_MAX },
                { "engram_head_dim", 32, 4096 },
        };
        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
                char value[16], why[64];
                snprintf(why, sizeof(why), "not a whole number from %u to %u", bounds[i].min,
                         bounds[i].max);
                snprintf(value, sizeof(value), "%u", bounds[i].max + 1);
                expect_refused(bounds[i].field, value, why);
                snprintf(value, sizeof(value), "%u", bounds[i].min - 1);
                expect_refused(bounds[i].field, value, why);
                snprintf(value, sizeof(value), "%u", bounds[i].max);
                json_t *document = changed(bounds[i].field, value);
                struct error err = { 0 };
                if (parse(document, &err) < 0 && strstr(err.text, "not a whole number"))
                        fail_msg("%s = %s: %s", bounds[i].field, value, err.text);
                json_decref(document);
        }
}

static void test_the_largest_sizes_together_are_read(void **state) {
        (void)state;
        json_t *document = changed("index_head_dim", "512");
        json_t *text = json_object_get(document, "text_config");
        json_object_set_new(text, "qk_rope_head_dim", json_integer(2 * ROPE_PAIRS_MAX));
        json_object_set_new(text, "hc_mult", json_integer(HC_MAX));
        json_object_set_new(text, "engram_n_heads", json_integer(ENGRAM_HEADS_MAX));
        json_object_set_new(text, "engram_max_ngram_size", json_integer(NGRAM_MAX));
        expect_accepted(document);
        assert_int_equal(config.index_head_dim, INDEX_HEAD_DIM_MAX);
        assert_int_equal(config.rope_dim, 2 * ROPE_PAIRS_MAX);
}

static void test_a_schedule_that_does_not_hold_together_is_refused(void **state) {
        (void)state;
        expect_refused("compress_ratios", "[0]", "1 entries for 40 layers and 3 draft layers");
        json_t *document = changed("num_nextn_predict_layers", "0");
        expect_document_refused(document, "43 entries for 40 layers and 0 draft layers");
        document = json_deep_copy(released);
        json_t *ratios =
                json_object_get(json_object_get(document, "text_config"), "compress_ratios");
        json_array_set_new(ratios, 42, json_integer(2));
        expect_document_refused(document, "compress_ratios: draft layer 2 has ratio 2");
        document = json_deep_copy(released);
        ratios = json_object_get(json_object_get(document, "text_config"), "compress_ratios");
        json_array_set_new(ratios, 5, json_integer(3));
        expect_document_refused(document, "compress_ratios: entry 5 is not a whole number");

        expect_refused("kv_source_layer_ids", "[2,8,20,14]", "not in ascending order");
        expect_refused("kv_source_layer_ids", "[2,8,14,14,20]", "not in ascending order");
        expect_refused("kv_source_layer_ids", "[2,8,14,40]", "from 0 to 39");
        expect_refused("kv_source_layer_ids", "[0,2,8,14,20]", "layer 0 has compress ratio 0");
        expect_refused("kv_source_layer_ids", "[8,14,20]", "layer 2 has no source");
        expect_refused("kv_source_layer_ids", "[2,8,14]",
                       "layer 20 has compress ratio 1, its source 14 has 2");
        expect_refused("index_source_layer_ids", "[1,2,8,14,20]", "layer 1 has compress ratio 0");
        expect_refused("index_source_layer_ids", "[8,14,20]",
                       "layer 2 has no selection on its KV source 2");
        expect_refused("index_source_layer_ids", "[2,14,20]",
                       "layer 8 has no selection on its KV source 8");
}

static void test_candidates_come_from_a_selection_on_the_same_rows(void **state) {
        (void)state;
        expect_refused("candidate_source_layer_id", "21", "not one of index_source_layer_ids");
        expect_refused("candidate_source_layer_id", "40", "not one of index_source_layer_ids");
        expect_refused("candidate_source_layer_id", "-2", "not one of index_source_layer_ids");
        expect_refused("candidate_source_layer_id", "14",
                       "layer 20 selects on KV source 20, the candidates are of 14");
        expect_accepted(changed("candidate_source_layer_id", "null"));
        assert_int_equal(config.candidate_layer, -1);
        expect_accepted(changed("candidate_source_layer_id", "-1"));
        for (unsigned i = 0; i < config.n_layers; i++)
                assert_false(config.layer[i].in_candidates);
}

static void test_engram_fields_must_agree(void **state) {
        (void)state;
        expect_refused("engram_num_embeddings", "[5]", "1 entries for 2 engram_layer_ids");
        expect_refused("engram_layer_ids", "[14,1]", "not in ascending order");
        expect_refused("engram_layer_ids", "[1,40]", "from 0 to 39");
        expect_refused("engram_compressed_vocab_size", "129281", "from 1 to 129280");
        expect_refused("engram_pad_token_id", "129280", "from 0 to 129279");
        expect_refused("engram_pad_id", "3", "3, but engram_pad_token_id is 2");
        expect_accepted(changed("engram_pad_id", "2"));
        json_t *document = changed("engram_pad_token_id", "");
        json_object_set_new(json_object_get(document, "text_config"), "engram_pad_id",
                            json_integer(7));
        expect_accepted(document);
        assert_int_equal(config.engram_pad_id, 7);
}

static void test_token_ids_may_stand_at_both_levels_and_must_agree(void **state) {
        (void)state;
        expect_accepted(changed("eos_token_id", "1"));
        expect_refused("eos_token_id", "5", "5, but 1 at the top level");
        expect_refused("bos_token_id", "129280", "from 0 to 129279");
        json_t *document = json_deep_copy(released);
        json_object_del(document, "eos_token_id");
        expect_document_refused(document, "eos_token_id: missing");
}

static void test_text_that_is_not_the_json_we_expect_is_refused(void **state) {
        (void)state;
        static const struct {
                const char *text, *why;
        } cases[] = {
                { "", "line 1" },
                { "{", "line 1" },
                { "[]", "not a JSON object" },
                { "{\"model_type\":\"deepseek_v41\",\"model_type\":\"x\"}", "duplicate" },
                { "{\"model_type\":\"deepseek_v41\",\"text_config\":[]}", "not an object" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct error err = { 0 };
                assert_int_equal(model_config_parse("config.json", cases[i].text, &config, &err),
                                 -EINVAL);
                if (!strstr(err.text, cases[i].why))
                        fail_msg("'%s': \"%s\"", cases[i].text, err.text);
        }
}

static void test_a_refusal_leaves_the_result_alone(void **state) {
        (void)state;
        memset(&config, 0x5a, sizeof(config));
        struct model_config before = config;
        expect_refused("hc_eps", "0", "not a number");
        assert_memory_equal(&config, &before, sizeof(config));
}

int main(int argc, char **argv) {
        if (argc != 4)
                return 2;
        seed_dir = argv[1];
        nano_dir = argv[2];
        char path[4096];
        snprintf(path, sizeof(path), "%s/released_config.json", argv[3]);
        released = json_load_file(path, 0, NULL);
        if (!released)
                return 2;
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_the_released_schedule),
                cmocka_unit_test(test_the_released_values),
                cmocka_unit_test(test_the_models_of_this_repository_are_read),
                cmocka_unit_test(test_a_flat_file_means_the_same),
                cmocka_unit_test(test_classes_of_another_family_are_refused),
                cmocka_unit_test(test_another_architecture_is_refused_by_name),
                cmocka_unit_test(test_weights_are_bf16_unless_the_file_says_otherwise),
                cmocka_unit_test(test_other_quantisations_are_refused_by_name),
                cmocka_unit_test(test_unknown_fields_are_refused_by_name),
                cmocka_unit_test(test_every_field_that_is_read_is_required),
                cmocka_unit_test(test_every_field_of_another_type_is_refused),
                cmocka_unit_test(test_values_out_of_range_are_refused),
                cmocka_unit_test(test_fixed_choices_are_refused_otherwise),
                cmocka_unit_test(test_rope_scaling_is_yarn_or_nothing),
                cmocka_unit_test(test_widths_that_do_not_fit_each_other_are_refused),
                cmocka_unit_test(test_sizes_beyond_the_engine_s_tables_are_refused),
                cmocka_unit_test(test_the_largest_sizes_together_are_read),
                cmocka_unit_test(test_a_schedule_that_does_not_hold_together_is_refused),
                cmocka_unit_test(test_candidates_come_from_a_selection_on_the_same_rows),
                cmocka_unit_test(test_engram_fields_must_agree),
                cmocka_unit_test(test_token_ids_may_stand_at_both_levels_and_must_agree),
                cmocka_unit_test(test_text_that_is_not_the_json_we_expect_is_refused),
                cmocka_unit_test(test_a_refusal_leaves_the_result_alone),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        json_decref(released);
        return failed;
}
