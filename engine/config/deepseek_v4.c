/* DeepSeek-V4 (deepseek_v4: Flash and Pro): one flat object. */
#include "engine/config/family.h"
#include "engine/config/quantization.h"

/* What its rows and index keys are made of: 64 rotated channels in BF16 behind blocks of 64 in FP8;
 * index keys go through a Hadamard transform, whose size is a power of two. */
#define ROTATED   64U
#define ROW_BLOCK 64U

/* Tokens of a compressed row: of overlapping rows, from which the indexer selects, and of those
 * that are all attended. */
#define RATIO_SELECTED 4
#define RATIO_ALL      128

/* Values that share the scale of a quantised input, and tiles of weights. */
#define TILE 128

/* Fields that do not change the logits of text: every field of the released configurations was gone
 * through, what is neither read below nor here is refused. Training only: attention_dropout,
 * initializer_range. Draft layers, whose proposals never change the output: dspark_*. The dtypes
 * come from the tensors themselves. */
static const char *const ignored[] = {
        "_name_or_path",           "architectures",
        "attention_dropout",       "dspark_block_size",
        "dspark_markov_rank",      "dspark_noise_token_id",
        "dspark_target_layer_ids", "dtype",
        "initializer_range",       "torch_dtype",
        "transformers_version",    "use_cache",
};
#define N_IGNORED (sizeof(ignored) / sizeof(ignored[0]))

static void read_rope(struct config_reader *in, struct model_config *c) {
        c->rope[ROPE_MAIN].theta = config_number(in, "rope_theta", 1, 1e12);
        c->rope[ROPE_COMPRESS].theta = config_number(in, "compress_rope_theta", 1, 1e12);
        c->max_positions = config_u32(in, "max_position_embeddings", 1, POSITIONS_MAX);
        config_rope_scaling(in, false, &c->rope[ROPE_COMPRESS].yarn);
}

static void read_attention(struct config_reader *in, struct model_config *c) {
        c->n_heads = config_u32(in, "num_attention_heads", 1, HEADS_MAX);
        config_int(in, "num_key_value_heads", 1, 1); /* one row serves all heads */
        c->head_dim = config_u32(in, "head_dim", ROTATED + ROW_BLOCK, HEAD_DIM_MAX);
        c->rope_dim = config_u32(in, "qk_rope_head_dim", ROTATED, ROTATED);
        c->q_lora_rank = config_u32(in, "q_lora_rank", 1, WIDTH_MAX);
        c->o_groups = config_u32(in, "o_groups", 1, HEADS_MAX);
        c->o_lora_rank = config_u32(in, "o_lora_rank", 1, WIDTH_MAX);
        c->window = config_u32(in, "sliding_window", 1, WINDOW_MAX);
        c->index_n_heads = config_u32(in, "index_n_heads", 1, HEADS_MAX);
        c->index_head_dim = config_u32(in, "index_head_dim", ROTATED, INDEX_HEAD_DIM_MAX);
        c->index_topk = config_u32(in, "index_topk", 1, SELECT_MAX);
        config_off(in, "attention_bias");

        if ((c->head_dim - ROTATED) % ROW_BLOCK != 0)
                config_refuse(in, "head_dim", "%u is not %u and a multiple of %u", c->head_dim,
                              ROTATED, ROW_BLOCK);
        if ((c->index_head_dim & (c->index_head_dim - 1)) != 0)
                config_refuse(in, "index_head_dim", "%u is not a power of two", c->index_head_dim);
        if (c->n_heads % c->o_groups != 0)
                config_refuse(in, "o_groups", "%u does not divide num_attention_heads (%u)",
                              c->o_groups, c->n_heads);
}

static void set_layer(struct model_config *c, unsigned i, unsigned ratio) {
        struct layer_config *layer = &c->layer[i];
        layer->attention = ATTENTION_CSA;
        layer->compress_ratio = ratio;
        layer->owns_kv = ratio > 0;
        layer->owns_index = ratio == RATIO_SELECTED;
        layer->kv_source = layer->owns_kv ? (int)i : -1;
        layer->index_source = layer->owns_index ? (int)i : -1;
}

/* Ratios of the layers, then of draft layers, which have no compressed rows; some releases list
 * more of these than num_nextn_predict_layers says. */
static void read_ratios(struct config_reader *in, struct model_config *c) {
        c->n_draft_layers = config_u32(in, "num_nextn_predict_layers", 0, DRAFT_MAX);
        int64_t ratios[LAYERS_MAX + DRAFT_MAX];
        unsigned n = config_array(in, "compress_ratios", c->n_layers, c->n_layers + DRAFT_MAX, 0,
                                  RATIO_ALL, ratios);
        for (unsigned i = 0; i < n; i++) {
                int64_t ratio = ratios[i];
                if (ratio != 0 && ratio != RATIO_SELECTED && ratio != RATIO_ALL)
                        config_refuse(in, "compress_ratios", "entry %u is not 0, %d or %d", i,
                                      RATIO_SELECTED, RATIO_ALL);
                else if (i >= c->n_layers && ratio != 0)
                        config_refuse(in, "compress_ratios", "draft layer %u has ratio %d",
                                      i - c->n_layers, (int)ratio);
                else if (i < c->n_layers)
                        set_layer(c, i, (unsigned)ratio);
        }
}

static void read_experts(struct config_reader *in, struct model_config *c) {
        c->n_experts = config_u32(in, "n_routed_experts", 1, EXPERTS_MAX);
        c->n_experts_per_token = config_u32(in, "num_experts_per_tok", 1, EXPERTS_MAX);
        c->n_shared_experts = config_u32(in, "n_shared_experts", 1, 1);
        c->expert_dim = config_u32(in, "moe_intermediate_size", 1, WIDTH_MAX);
        config_exactly(in, "scoring_func", "sqrtsoftplus"); /* ROUTER_SQRTSOFTPLUS, the default */
        config_exactly(in, "topk_method", "noaux_tc");
        config_exactly(in, "hidden_act", "silu");
        c->norm_topk_prob = config_bool(in, "norm_topk_prob");
        c->routed_scaling = (float)config_number(in, "routed_scaling_factor", 0, 1e3);
        c->swiglu_limit = (float)config_number(in, "swiglu_limit", 0, 1e6);
        uint32_t n_by_table = config_u32(in, "num_hash_layers", 0, c->n_layers);
        for (uint32_t i = 0; i < n_by_table; i++)
                c->layer[i].routed_by_table = true;
        if (c->n_experts_per_token > c->n_experts)
                config_refuse(in, "num_experts_per_tok", "%u is above n_routed_experts (%u)",
                              c->n_experts_per_token, c->n_experts);
}

/* expert_dtype stands at the top level, absent from an early release: fp4. */
static void read_quantization(struct config_reader *in, struct model_config *c) {
        static const char *const dtypes[] = { "fp4", "fp8" };
        const struct quantised_width widths[] = {
                { "hidden_size", c->hidden_size },
                { "q_lora_rank", c->q_lora_rank },
                { "o_groups * o_lora_rank", c->o_groups * c->o_lora_rank },
                { "moe_intermediate_size", c->expert_dim },
        };
        struct config_reader quantization;
        unsigned dtype =
                config_has(in, "expert_dtype") ? config_one_of(in, "expert_dtype", dtypes, 2) : 0;
        c->dense_format = c->expert_format = WEIGHT_BF16;
        if (!quantization_open(in, TILE, &quantization))
                return;
        config_exactly(&quantization, "fmt", "e4m3");
        config_exactly(&quantization, "scale_fmt", "ue8m0");
        quantization_close(in, &quantization);
        c->dense_format = WEIGHT_FP8;
        c->weight_tile = c->input_block = TILE;
        c->expert_format = dtype == 0 ? WEIGHT_FP4 : WEIGHT_FP8;
        quantization_check_widths(in, widths, sizeof(widths) / sizeof(widths[0]), TILE);
}

static void read(struct config_reader *in, struct model_config *c) {
        c->vocab_size = config_u32(in, "vocab_size", 1, VOCAB_MAX);
        c->hidden_size = config_u32(in, "hidden_size", 1, HIDDEN_MAX);
        c->n_layers = config_u32(in, "num_hidden_layers", 1, LAYERS_MAX);
        /* Below the smallest normal float the sum in rsqrt(mean + eps) would lose it. */
        c->rms_norm_eps = (float)config_number(in, "rms_norm_eps", 1.2e-38, 1);
        read_rope(in, c);
        read_attention(in, c);
        read_ratios(in, c);
        read_experts(in, c);
        c->residual = RESIDUAL_MHC;
        c->hc = config_u32(in, "hc_mult", 1, HC_MAX);
        c->hc_sinkhorn_iters = config_u32(in, "hc_sinkhorn_iters", 1, 1000);
        c->hc_eps = (float)config_number(in, "hc_eps", 0, 1);
        config_off(in, "tie_word_embeddings");
        c->bos_id = config_u32(in, "bos_token_id", 0, c->vocab_size - 1);
        c->eos_id = config_u32(in, "eos_token_id", 0, c->vocab_size - 1);
        c->pad_id = config_has(in, "pad_token_id") /* absent from the releases: EOS */
                ? config_u32(in, "pad_token_id", 0, c->vocab_size - 1)
                : c->eos_id;
        read_quantization(in, c);
}

static int parse(const char *file, json_t *root, struct model_config *ret, struct error *err) {
        return config_parse_flat(file, root, ignored, N_IGNORED, read, ret, err);
}

const struct config_family config_deepseek_v4 = {
        .family = FAMILY_DEEPSEEK_V4,
        .model_type = "deepseek_v4",
        .architecture = "DeepseekV4ForCausalLM",
        .parse = parse,
};
