/* DeepSeek-V2, V3 and V3.2 with what is built like them (V2-Lite, Coder-V2, V3.1, R1): latent
 * attention, V3.2's over tokens that an index selects; dense first layers, experts in groups.
 * Fields as in the released config.json files. */
#include <string.h>

#include "engine/config/family.h"
#include "engine/config/quantization.h"

/* FP8 weights: 128 x 128 share a scale. */
#define TILE 128

/* Fields that do not change the logits of text: training (auxiliary losses, dropout,
 * initialisation), how the released code splits its work (ep_size, pretraining_tp), and which file
 * it is in (auto_map). Draft layers are counted, not run. */
static const char *const ignored[] = {
        "_name_or_path",  "architectures", "attention_dropout", "auto_map",
        "aux_loss_alpha", "dtype",         "ep_size",           "initializer_range",
        "pretraining_tp", "seq_aux",       "torch_dtype",       "transformers_version",
        "use_cache",
};
#define N_IGNORED (sizeof(ignored) / sizeof(ignored[0]))

/* A whole number, or null where there is none of it: 0 then. */
static uint32_t optional_u32(struct config_reader *in, const char *name, uint32_t max) {
        if (config_has(in, name) && json_is_null(json_object_get(in->left, name))) {
                config_take(in, name);
                return 0;
        }
        return config_u32(in, name, 1, max);
}

static void read_rope(struct config_reader *in, struct model_config *c) {
        struct yarn_config *yarn = &c->rope[ROPE_MAIN].yarn;
        c->rope[ROPE_MAIN].theta = config_number(in, "rope_theta", 1, 1e12);
        c->max_positions = config_u32(in, "max_position_embeddings", 1, POSITIONS_MAX);
        config_rope_scaling(in, true, yarn);
        /* Rotations are scaled by the ratio of both, which is 1 in every released model. */
        if (yarn->mscale != yarn->mscale_all_dim)
                config_refuse(in, "rope_scaling",
                              "mscale is %g, mscale_all_dim %g: only equal "
                              "ones are supported",
                              (double)yarn->mscale, (double)yarn->mscale_all_dim);
}

static void read_attention(struct config_reader *in, struct model_config *c) {
        c->n_heads = config_u32(in, "num_attention_heads", 1, HEADS_MAX);
        if (config_u32(in, "num_key_value_heads", 1, HEADS_MAX) != c->n_heads)
                config_refuse(in, "num_key_value_heads",
                              "not num_attention_heads (%u): every head has keys of its own, made "
                              "of one latent",
                              c->n_heads);
        c->q_lora_rank = optional_u32(in, "q_lora_rank", WIDTH_MAX);
        c->kv_lora_rank = config_u32(in, "kv_lora_rank", 1, HEAD_DIM_MAX - 2 * ROPE_PAIRS_MAX);
        c->nope_dim = config_u32(in, "qk_nope_head_dim", 1, HEAD_DIM_MAX - 2 * ROPE_PAIRS_MAX);
        c->rope_dim = config_u32(in, "qk_rope_head_dim", 2, 2 * ROPE_PAIRS_MAX);
        c->v_dim = config_u32(in, "v_head_dim", 1, HEAD_DIM_MAX);
        c->head_dim = c->nope_dim + c->rope_dim;
        if (c->rope_dim % 2 != 0)
                config_refuse(in, "qk_rope_head_dim", "%u is odd", c->rope_dim);
        config_off(in, "attention_bias");
}

/* V3.2: rows in blocks of 128 with 64 rotated channels behind them, keys of whole blocks that go
 * through a Hadamard transform, whose size is a power of two. */
static void read_index(struct config_reader *in, struct model_config *c) {
        c->index_n_heads = config_u32(in, "index_n_heads", 1, HEADS_MAX);
        c->index_head_dim = config_u32(in, "index_head_dim", FP8_LONG_BLOCK, INDEX_HEAD_DIM_MAX);
        c->index_topk = config_u32(in, "index_topk", 1, SELECT_MAX);
        if ((c->index_head_dim & (c->index_head_dim - 1)) != 0)
                config_refuse(in, "index_head_dim", "%u is not a power of two", c->index_head_dim);
        if (c->q_lora_rank == 0)
                config_refuse(in, "q_lora_rank", "index queries are made of it");
        if (c->kv_lora_rank % FP8_LONG_BLOCK != 0)
                config_refuse(in, "kv_lora_rank", "%u is not a multiple of %d", c->kv_lora_rank,
                              FP8_LONG_BLOCK);
        if (c->rope_dim != FP8_TAIL)
                config_refuse(in, "qk_rope_head_dim", "%u, only %d is supported", c->rope_dim,
                              FP8_TAIL);
        for (uint32_t l = 0; l < c->n_layers; l++) {
                c->layer[l].index_source = (int)l;
                c->layer[l].owns_index = true;
        }
}

/* V2: softmax, the experts' own scores are their weights, in groups or not. */
static void read_softmax_router(struct config_reader *in, struct model_config *c) {
        static const char *const methods[] = { "greedy", "group_limited_greedy" };
        config_exactly(in, "scoring_func", "softmax");
        c->router_scores = ROUTER_SOFTMAX;
        c->group_score = GROUP_BEST;
        bool grouped = config_one_of(in, "topk_method", methods, 2) == 1;
        uint32_t n_groups = optional_u32(in, "n_group", EXPERTS_MAX),
                 n_chosen = optional_u32(in, "topk_group", EXPERTS_MAX);
        if (grouped) {
                c->n_groups = n_groups;
                c->n_groups_chosen = n_chosen;
        }
        /* With it the released code leaves out the scaling; no released model has it. */
        config_off(in, "norm_topk_prob");
}

/* V3: sigmoid, chosen by score and bias. */
static void read_sigmoid_router(struct config_reader *in, struct model_config *c) {
        config_exactly(in, "scoring_func", "sigmoid");
        config_exactly(in, "topk_method", "noaux_tc");
        c->router_scores = ROUTER_SIGMOID;
        c->group_score = GROUP_BEST_TWO;
        c->n_groups = config_u32(in, "n_group", 1, EXPERTS_MAX);
        c->n_groups_chosen = config_u32(in, "topk_group", 1, EXPERTS_MAX);
        c->norm_topk_prob = config_bool(in, "norm_topk_prob");
}

static void check_groups(struct config_reader *in, const struct model_config *c) {
        if (in->r < 0)
                return;
        if (c->n_groups == 0 || c->n_experts % c->n_groups != 0)
                config_refuse(in, "n_group", "%u does not divide n_routed_experts (%u)",
                              c->n_groups, c->n_experts);
        else if (c->n_groups_chosen == 0 || c->n_groups_chosen > c->n_groups)
                config_refuse(in, "topk_group", "%u of %u groups", c->n_groups_chosen, c->n_groups);
        else if (c->group_score == GROUP_BEST_TWO && c->n_experts / c->n_groups < 2)
                config_refuse(in, "n_group", "%u groups of one expert: two are compared",
                              c->n_groups);
        else if (c->n_experts_per_token > c->n_experts / c->n_groups * c->n_groups_chosen)
                config_refuse(in, "num_experts_per_tok",
                              "%u, but the chosen groups have %u experts", c->n_experts_per_token,
                              c->n_experts / c->n_groups * c->n_groups_chosen);
}

static void read_experts(struct config_reader *in, struct model_config *c) {
        c->n_experts = config_u32(in, "n_routed_experts", 1, EXPERTS_MAX);
        c->n_experts_per_token = config_u32(in, "num_experts_per_tok", 1, EXPERTS_MAX);
        c->n_shared_experts = config_u32(in, "n_shared_experts", 1, SHARED_EXPERTS_MAX);
        c->expert_dim = config_u32(in, "moe_intermediate_size", 1, WIDTH_MAX);
        c->routed_scaling = (float)config_number(in, "routed_scaling_factor", 0, 1e3);
        c->weight_after_expert = true;
        config_exactly(in, "hidden_act", "silu");
        config_int(in, "moe_layer_freq", 1, 1);
        strcmp(c->architecture, "deepseek_v2") == 0 ? read_softmax_router(in, c)
                                                    : read_sigmoid_router(in, c);
        check_groups(in, c);
}

static void read_layers(struct config_reader *in, struct model_config *c) {
        uint32_t n_dense = config_u32(in, "first_k_dense_replace", 0, c->n_layers);
        c->dense_dim = config_u32(in, "intermediate_size", 1, WIDTH_MAX);
        for (uint32_t l = 0; l < c->n_layers; l++) {
                struct layer_config *layer = &c->layer[l];
                layer->attention = ATTENTION_MLA;
                layer->feed_forward = l < n_dense ? FEED_FORWARD_DENSE : FEED_FORWARD_EXPERTS;
                layer->compress_ratio = 1;
                layer->kv_source = (int)l;
                layer->owns_kv = true;
        }
}

/* FP8 has float scales here. `scale_fmt` says how activations were quantised where they are; here
 * they are not. */
static void read_quantization(struct config_reader *in, struct model_config *c) {
        struct config_reader quantization;
        c->dense_format = c->expert_format = WEIGHT_BF16;
        if (!quantization_open(in, TILE, &quantization))
                return;
        config_exactly(&quantization, "fmt", "e4m3");
        if (config_has(&quantization, "scale_fmt"))
                config_exactly(&quantization, "scale_fmt", "ue8m0");
        quantization_close(in, &quantization);
        c->dense_format = c->expert_format = WEIGHT_FP8_F32;
        c->weight_tile = TILE;
}

static void read(struct config_reader *in, struct model_config *c) {
        bool v2 = strcmp(c->architecture, "deepseek_v2") == 0;
        c->residual = RESIDUAL_PLAIN;
        c->vocab_size = config_u32(in, "vocab_size", 1, VOCAB_MAX);
        c->hidden_size = config_u32(in, "hidden_size", 1, HIDDEN_MAX);
        c->n_layers = config_u32(in, "num_hidden_layers", 1, LAYERS_MAX);
        if (!v2)
                c->n_draft_layers = config_u32(in, "num_nextn_predict_layers", 0, DRAFT_MAX);
        c->rms_norm_eps = (float)config_number(in, "rms_norm_eps", 0, 1);
        if (c->rms_norm_eps != 1e-6f) /* the released code's norms of ranks do not read it */
                config_refuse(in, "rms_norm_eps", "only 1e-6 is supported");
        read_rope(in, c);
        read_attention(in, c);
        read_experts(in, c);
        read_layers(in, c);
        if (strcmp(c->architecture, "deepseek_v32") == 0)
                read_index(in, c);
        c->bos_id = config_u32(in, "bos_token_id", 0, c->vocab_size - 1);
        c->eos_id = config_u32(in, "eos_token_id", 0, c->vocab_size - 1);
        json_t *pad =
                config_has(in, "pad_token_id") ? json_object_get(in->left, "pad_token_id") : NULL;
        c->pad_id = pad && !json_is_null(pad) ? config_u32(in, "pad_token_id", 0, c->vocab_size - 1)
                                              : c->eos_id;
        config_take(in, "pad_token_id");
        config_off(in, "tie_word_embeddings");
        read_quantization(in, c);
}

static int parse(const char *file, json_t *root, struct model_config *ret, struct error *err) {
        return config_parse_flat(file, root, ignored, N_IGNORED, read, ret, err);
}

const struct config_family config_deepseek_v2 = {
        .family = FAMILY_DEEPSEEK_V3,
        .model_type = "deepseek_v2",
        .architecture = "DeepseekV2ForCausalLM",
        .parse = parse,
};

const struct config_family config_deepseek_v3 = {
        .family = FAMILY_DEEPSEEK_V3,
        .model_type = "deepseek_v3",
        .architecture = "DeepseekV3ForCausalLM",
        .parse = parse,
};

const struct config_family config_deepseek_v32 = {
        .family = FAMILY_DEEPSEEK_V3,
        .model_type = "deepseek_v32",
        .architecture = "DeepseekV32ForCausalLM",
        .parse = parse,
};
