#include <stddef.h>
#include <string.h>

#include "bench/checkpoint_config.h"

/* config.json of DeepSeek-V4.1-Flash as released. */
static const char v41_flash[] =
        "{"
        "\"architectures\": [\"DeepseekV41ForCausalLM\"], \"model_type\": "
        "\"deepseek_v41\", \"dtype\": \"bfloat16\","
        "\"transformers_version\": \"5.6.0\", \"bos_token_id\": 0, \"eos_token_id\": 1, "
        "\"pad_token_id\": 2, \"image_token_id\": 129264,"
        "\"quantization_config\": {"
        "\"quant_method\": \"fp8\", \"activation_scheme\": \"dynamic\", "
        "\"weight_block_size\": [32, 32], \"scale_fmt\": \"ue8m0\","
        "\"expert_dtype\": \"fp4\""
        "},"
        "\"text_config\": {"
        "\"model_type\": \"deepseek_v41_text\", \"vocab_size\": 129280, "
        "\"hidden_size\": 5120, \"num_hidden_layers\": 40,"
        "\"moe_intermediate_size\": 2304, \"num_attention_heads\": 64, "
        "\"num_key_value_heads\": 1, \"head_dim\": 512,"
        "\"qk_rope_head_dim\": 64, \"q_lora_rank\": 1280, \"o_lora_rank\": 1024, "
        "\"o_groups\": 8, \"hidden_act\": \"silu\","
        "\"swiglu_limit\": 10.0, \"rms_norm_eps\": 1e-20, \"attention_bias\": false, "
        "\"attention_dropout\": 0.0,"
        "\"initializer_range\": 0.02, \"use_cache\": true, \"tie_word_embeddings\": "
        "false, \"max_position_embeddings\": 1048576,"
        "\"rope_theta\": 10000, \"compress_rope_theta\": 160000,"
        "\"rope_scaling\": {"
        "\"type\": \"yarn\", \"factor\": 16, \"beta_fast\": 32, \"beta_slow\": 1, "
        "\"original_max_position_embeddings\": 65536"
        "},"
        "\"n_routed_experts\": 384, \"n_shared_experts\": 1, \"num_experts_per_tok\": "
        "6, \"scoring_func\": \"sqrtsoftplus\","
        "\"topk_method\": \"noaux_tc\", \"norm_topk_prob\": true, "
        "\"routed_scaling_factor\": 1.5, \"sliding_window\": 128,"
        "\"compress_ratios\": ["
        "0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2,"
        "1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0"
        "],"
        "\"kv_source_layer_ids\": [2, 8, 14, 20], \"index_source_layer_ids\": [2, 8, "
        "14, 20, 24, 28, 32, 36],"
        "\"index_n_heads\": 32, \"index_head_dim\": 128, \"index_topk\": 512, "
        "\"candidate_source_layer_id\": 20,"
        "\"candidate_topk_blocks\": 2048, \"candidate_block_size\": 8, \"hc_mult\": 4, "
        "\"hc_sinkhorn_iters\": 20, \"hc_eps\": 1e-6,"
        "\"engram_layer_ids\": [1, 14], \"engram_num_embeddings\": [384006168, "
        "384016682], \"engram_max_ngram_size\": 4,"
        "\"engram_vocab_size\": 16000000, \"engram_n_heads\": 8, \"engram_head_dim\": "
        "256, \"engram_pad_token_id\": 2,"
        "\"engram_compressed_vocab_size\": 99092, \"num_nextn_predict_layers\": 3, "
        "\"dspark_block_size\": 5,"
        "\"dspark_noise_token_id\": 128799, \"dspark_target_layer_ids\": [37, 38, 39], "
        "\"dspark_markov_rank\": 256,"
        "\"dspark_n_routed_experts\": 128, \"dspark_num_experts_per_tok\": 3"
        "},"
        "\"vision_config\": {"
        "\"model_type\": \"deepseek_v41_vision\", \"num_hidden_layers\": 32, "
        "\"hidden_size\": 1024, \"num_attention_heads\": 16,"
        "\"intermediate_size\": 2816, \"patch_size\": 14, \"rope_theta\": 10000, "
        "\"downsample_ratio\": 3, \"max_image_tokens\": 1024,"
        "\"min_pixels\": 295936, \"max_wh_ratio\": null"
        "}"
        "}";

/* All mechanisms of V4.1 in 12 layers, with limits that bind within a few hundred tokens. */
static const char *const v41_mini[] = {
        "vision_config=null", /* when asked for: a small one */
        "vocab_size=8192",
        "hidden_size=512",
        "num_hidden_layers=12",
        "moe_intermediate_size=256",
        "num_attention_heads=8",
        "head_dim=128",
        "qk_rope_head_dim=32",
        "q_lora_rank=256",
        "o_lora_rank=128",
        "o_groups=4",
        "max_position_embeddings=131072",
        "n_routed_experts=32",
        "num_experts_per_tok=4",
        "sliding_window=64",
        "compress_ratios=[0,2,2,2,2,2,1,1,1,1,1,1]",
        "kv_source_layer_ids=[1,3,6]",
        "index_source_layer_ids=[1,3,6,8,10]",
        "index_n_heads=8",
        "index_head_dim=64",
        "index_topk=64",
        "candidate_source_layer_id=6",
        "candidate_topk_blocks=32",
        "candidate_block_size=8",
        "engram_layer_ids=[1,4]",
        "engram_vocab_size=20000",
        "engram_n_heads=4",
        "engram_head_dim=64",
        "num_nextn_predict_layers=1",
        "dspark_n_routed_experts=8",
        "dspark_num_experts_per_tok=2",
        "dspark_markov_rank=32",
        "dspark_noise_token_id=3",
        NULL,
};

/* V4.1-Flash to whom only its KV matters: rows, layers, sources, ratios, window, top-k and
 * candidates are the release's, so that a token keeps the same 890 bytes and a sequence the same
 * windows; everything else is as small as formats and quantisation allow.
 *
 * Operations a token, n of context:
 * - attention: 38 layers x 640 keys and 2 x 128, x 512 x 2 a head: 25 M;
 * - unpacking what is attended: 38 layers x 512 rows x 512: 10 M;
 * - index scores: 3 n/2 + n + 4 min(n, 16384) keys x 128 a head: 14 M at 16K, 19 M at 32K;
 * - unpacking the candidates' keys: 4 min(n, 16384) x 128: 8 M from 16K on;
 * - all matrices: 8 M.
 *
 * With one head and two index heads a prompt of 32K tokens is 2.5 x 10^12, some minutes of two
 * processors; with the release's 64 and 32 it would be 6 x 10^13. One head is also the least
 * arithmetic for the rows that are gathered, so that what gathering costs shows most. */
static const char *const v41_kv[] = {
        "vision_config=null",
        "vocab_size=4096",
        "hidden_size=128",
        "moe_intermediate_size=32",
        "num_attention_heads=1",
        "q_lora_rank=64",
        "o_lora_rank=32",
        "o_groups=1",
        "n_routed_experts=4",
        "num_experts_per_tok=1",
        "index_n_heads=2",
        "engram_vocab_size=2000",
        "engram_n_heads=1",
        "engram_head_dim=32",
        "num_nextn_predict_layers=0",
        NULL,
};

/* V4.1's kinds of layers at a size where decoding is bound by memory: 1.2 GB in BF16, of which a
 * token reads half. Few experts, so that a step of several sequences reads little more than a step
 * of one, as it does when experts are many and sequences are too. Two processors with 10 GB/s
 * decode some 17 tokens a second. */
static const char *const v41_agents[] = {
        "vision_config=null",
        "vocab_size=4096",
        "hidden_size=1024",
        "num_hidden_layers=12",
        "moe_intermediate_size=3072",
        "num_attention_heads=8",
        "head_dim=128",
        "qk_rope_head_dim=32",
        "q_lora_rank=512",
        "o_lora_rank=256",
        "o_groups=4",
        "max_position_embeddings=131072",
        "n_routed_experts=4",
        "num_experts_per_tok=1",
        "sliding_window=128",
        "compress_ratios=[0,2,2,2,2,2,1,1,1,1,1,1]",
        "kv_source_layer_ids=[1,3,6]",
        "index_source_layer_ids=[1,3,6,8,10]",
        "index_n_heads=2",
        "index_head_dim=64",
        "index_topk=128",
        "candidate_source_layer_id=6",
        "candidate_topk_blocks=64",
        "candidate_block_size=8",
        "engram_layer_ids=[1,4]",
        "engram_vocab_size=20000",
        "engram_n_heads=4",
        "engram_head_dim=64",
        "num_nextn_predict_layers=0",
        NULL,
};

static const char *const none[] = { NULL };

static const struct {
        const char *name, *json;
        const char *const *changes;
} presets[] = {
        { "v4.1-flash", v41_flash, none },
        { "v4.1-mini", v41_flash, v41_mini },
        { "v4.1-kv", v41_flash, v41_kv },
        { "v4.1-agents", v41_flash, v41_agents },
};
#define N_PRESETS (sizeof(presets) / sizeof(presets[0]))

const char *checkpoint_preset_name(unsigned index) {
        return index < N_PRESETS ? presets[index].name : NULL;
}

const char *checkpoint_preset(const char *name, const char *const **ret_changes) {
        for (size_t i = 0; i < N_PRESETS; i++)
                if (strcmp(presets[i].name, name) == 0) {
                        *ret_changes = presets[i].changes;
                        return presets[i].json;
                }
        return NULL;
}
