/* config.json of native sparse attention: what absent fields mean, and refusals by name. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
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

/* The smallest file that says everything which has no default. */
static const char least[] =
        "{\"architectures\": [\"NSAForCausalLM\"], \"model_type\": \"nsa\", \"vocab_size\": 32000,"
        " \"hidden_size\": 1024, \"num_hidden_layers\": 24, \"num_heads\": 32, \"head_dim\": 64,"
        " \"num_kv_heads\": 2, \"block_size\": 64, \"block_counts\": 16, \"window_size\": 512,"
        " \"rope_theta\": 10000.0, \"max_position_embeddings\": 8192, \"hidden_act\": \"swish\","
        " \"norm_eps\": 1e-6, \"bos_token_id\": 1, \"eos_token_id\": 2}";

static struct model_config config;

/* `least` with FIELD replaced by a JSON value, added, or ("") removed. */
static json_t *changed(json_t *document, const char *field, const char *value) {
        if (!document)
                document = json_loads(least, 0, NULL);
        if (value[0] == '\0')
                json_object_del(document, field);
        else
                json_object_set_new(document, field, json_loads(value, JSON_DECODE_ANY, NULL));
        return document;
}

static int parse(json_t *document, struct error *err) {
        char *text = json_dumps(document, 0);
        int r = model_config_parse("config.json", text, &config, err);
        free(text);
        json_decref(document);
        return r;
}

static void accept(json_t *document) {
        struct error err = { 0 };
        if (parse(document, &err) < 0)
                fail_msg("%s", err.text);
}

static void refuse_document(json_t *document, const char *why) {
        struct error err = { 0 };
        int r = parse(document, &err);
        if (r != -EINVAL || !strstr(err.text, why))
                fail_msg("expected \"%s\", got %d \"%s\"", why, r, err.text);
}

static void refuse(const char *field, const char *value, const char *why) {
        refuse_document(changed(NULL, field, value), why);
}

static void the_public_implementation_s_defaults(void **state) {
        (void)state;
        accept(changed(NULL, "use_cache", "true"));
        const struct nsa_config *n = &config.nsa;
        assert_int_equal(config.n_kv_heads, 2);
        assert_int_equal(config.rope_dim, 64);
        assert_int_equal(n->value_dim, 64);
        assert_int_equal(n->compress_block, 64);
        assert_int_equal(n->compress_stride, 64);
        assert_int_equal(n->n_first, 0);
        assert_int_equal(n->n_last, 1);
        assert_int_equal(n->compress_dim, 0);
        assert_false(n->separate);
        assert_int_equal(config.index_topk, 1024);
        assert_int_equal(config.dense_dim, 2816); /* 1024 * 4 * 2/3, up to 256 */
        assert_int_equal(config.pad_id, 2);
        assert_true(isinf(config.swiglu_limit));
        for (unsigned l = 0; l < 24; l++) {
                assert_int_equal(config.layer[l].attention, ATTENTION_NSA);
                assert_int_equal(config.layer[l].feed_forward, FEED_FORWARD_DENSE);
                assert_int_equal(config.layer[l].kv_source, (int)l);
        }
        json_t *document = changed(changed(NULL, "num_kv_heads", "null"), "num_heads", "16");
        accept(changed(document, "intermediate_size", "2731"));
        assert_int_equal(config.n_kv_heads, 16);
        assert_int_equal(config.dense_dim, 2731);
}

static void the_paper_s_shape(void **state) {
        (void)state;
        json_t *document = changed(NULL, "compress_block_size", "32");
        changed(document, "compress_stride", "16");
        changed(document, "first_blocks", "1");
        changed(document, "local_blocks", "2");
        changed(document, "compress", "\"mlp\"");
        changed(document, "compress_dim", "256");
        changed(document, "branch_kv", "\"separate\"");
        changed(document, "v_head_dim", "128");
        accept(document);
        assert_int_equal(config.nsa.compress_block, 32);
        assert_int_equal(config.nsa.compress_stride, 16);
        assert_int_equal(config.nsa.n_first + config.nsa.n_last, 3);
        assert_int_equal(config.nsa.compress_dim, 256);
        assert_int_equal(config.nsa.value_dim, 128);
        assert_true(config.nsa.separate);
}

static const struct {
        const char *field, *value;
} experts[] = {
        { "n_routed_experts", "72" },     { "num_experts_per_tok", "6" },
        { "n_shared_experts", "2" },      { "moe_intermediate_size", "256" },
        { "first_k_dense_replace", "1" }, { "scoring_func", "\"softmax\"" },
        { "norm_topk_prob", "true" },     { "routed_scaling_factor", "1.5" },
};
#define N_EXPERT_FIELDS (sizeof(experts) / sizeof(experts[0]))

static json_t *with_experts(void) {
        json_t *document = NULL;
        for (size_t i = 0; i < N_EXPERT_FIELDS; i++)
                document = changed(document, experts[i].field, experts[i].value);
        return document;
}

static void experts_are_there_together_or_not_at_all(void **state) {
        (void)state;
        accept(with_experts());
        assert_int_equal(config.layer[0].feed_forward, FEED_FORWARD_DENSE);
        for (unsigned l = 1; l < 24; l++)
                assert_int_equal(config.layer[l].feed_forward, FEED_FORWARD_EXPERTS);
        assert_int_equal(config.router_scores, ROUTER_SOFTMAX);
        for (size_t i = 0; i < N_EXPERT_FIELDS; i++) {
                char why[64];
                snprintf(why, sizeof(why), "%s: unknown field", experts[i].field);
                if (i > 0)
                        refuse(experts[i].field, experts[i].value, why);
                snprintf(why, sizeof(why), "%s: missing", experts[i].field);
                if (i > 0)
                        refuse_document(changed(with_experts(), experts[i].field, ""), why);
        }
        refuse_document(changed(with_experts(), "num_experts_per_tok", "73"),
                        "num_experts_per_tok: 73 is above n_routed_experts (72)");
        refuse_document(changed(with_experts(), "first_k_dense_replace", "24"),
                        "first_k_dense_replace: not a whole number from 0 to 23");
        refuse_document(changed(with_experts(), "scoring_func", "\"sqrtsoftplus\""),
                        "scoring_func: 'sqrtsoftplus'");
}

static void what_is_not_computed_is_refused_by_name(void **state) {
        (void)state;
        refuse("novelty", "1", "novelty: unknown field");
        refuse("index_topk", "64", "index_topk: unknown field"); /* of another family */
        refuse("compress_ratios", "[1]", "compress_ratios: unknown field");
        refuse("rope_scaling", "{\"type\":\"yarn\"}", "rope_scaling: unknown field");
        refuse("qkv_bias", "true", "qkv_bias: only false is supported");
        refuse("tie_word_embeddings", "true", "tie_word_embeddings: only false is supported");
        refuse("hidden_act", "\"gelu\"", "hidden_act: 'gelu' is not supported ('swish' is)");
        refuse("compress", "\"max\"", "compress: 'max'");
        refuse("branch_kv", "\"both\"", "branch_kv: 'both'");
        refuse("compress_dim", "8", "compress_dim: unknown field"); /* of the mean */
        refuse("compress", "\"mlp\"", "compress_dim: missing");
        refuse("architectures", "[\"LlamaForCausalLM\"]", "does not belong to model_type 'nsa'");
        refuse("quantization_config", "{}", "quantization_config: unknown field");
}

static void sizes_must_fit_each_other(void **state) {
        (void)state;
        refuse("num_kv_heads", "3", "num_kv_heads: 3 does not divide num_heads (32)");
        refuse("head_dim", "63", "head_dim: 63 is odd");
        refuse("head_dim", "258", "head_dim: not a whole number from 2 to 256");
        refuse("block_counts", "0", "block_counts: not a whole number from 1");
        refuse("first_blocks", "16", "block_counts: 16 is less than first_blocks and local_blocks");
        refuse("first_blocks", "4294967295", "first_blocks: not a whole number");
        refuse("local_blocks", "0", "local_blocks: not a whole number from 1");
        refuse("block_counts", "1048576", "block_counts: 1048576 blocks of 64 tokens are more");
        refuse("compress_stride", "48", "compress_stride: 48 does not divide 128");
        refuse("compress_stride", "128", "compress_block_size: 64 is not a multiple");
        refuse("block_size", "256", "compress_stride: 256 does not divide 128");
        refuse_document(changed(changed(NULL, "compress_block_size", "32"), "block_size", "48"),
                        "block_size: 48 is not a multiple of the stride (32)");
        refuse_document(changed(changed(NULL, "num_kv_heads", "32"), "num_hidden_layers", "16"),
                        "num_kv_heads: 32 groups in 16 layers are more than 512 streams");
        refuse("v_head_dim", "4097", "v_head_dim: not a whole number from 1 to 4096");
        json_t *wide = changed(changed(NULL, "num_kv_heads", "511"), "v_head_dim", "4096");
        changed(changed(wide, "num_heads", "511"), "head_dim", "256");
        refuse_document(changed(wide, "num_hidden_layers", "1"),
                        "num_kv_heads: a page of 128 tokens is larger than 2 GiB");
        refuse("pad_token_id", "32000", "pad_token_id: not a whole number from 0 to 31999");
        refuse("window_size", "-1", "window_size: not a whole number from 0");
        accept(changed(NULL, "window_size", "0"));
}

static void what_has_no_default_is_required(void **state) {
        (void)state;
        json_t *document = json_loads(least, 0, NULL);
        const char *field;
        json_t *value;
        json_object_foreach(document, field, value) {
                if (strcmp(field, "architectures") == 0 || strcmp(field, "num_kv_heads") == 0)
                        continue;
                char why[64];
                snprintf(why, sizeof(why), "%s: missing", field);
                refuse(field, "", why);
        }
        json_decref(document);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_public_implementation_s_defaults),
                cmocka_unit_test(the_paper_s_shape),
                cmocka_unit_test(experts_are_there_together_or_not_at_all),
                cmocka_unit_test(what_is_not_computed_is_refused_by_name),
                cmocka_unit_test(sizes_must_fit_each_other),
                cmocka_unit_test(what_has_no_default_is_required),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
