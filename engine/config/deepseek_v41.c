/* DeepSeek-V4.1 (deepseek_v41): composite, with the text model in text_config, or flat. */
#include <errno.h>
#include <string.h>

#include "engine/config/family.h"
#include "engine/config/quantization.h"
#include "engine/engram_hash.h"

#define MODEL_TYPE      "deepseek_v41"
#define MODEL_TYPE_TEXT "deepseek_v41_text"

/* Values are quantised in blocks of 32 channels (window rows, index rows, Engram rows). */
#define QUANT_BLOCK 32U

#define ENGRAM_ROWS_MAX (INT64_C(1) << 40)

/* Fields that do not change the logits of text. Made by going through every field of the released
 * DeepSeek-V4.1 config.json and of models/seed-coder: what is neither read below nor here is
 * refused. Training only: attention_dropout, initializer_range. Draft layers, whose proposals never
 * change the output: dspark_*. Images, which the engine does not take: image_token_id,
 * vision_config. The dtypes come from the tensors themselves. */
static const char *const ignored[] = {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "dspark_block_size",
        "dspark_markov_rank",
        "dspark_n_routed_experts",
        "dspark_noise_token_id",
        "dspark_num_experts_per_tok",
        "dspark_target_layer_ids",
        "dtype",
        "image_token_id",
        "initializer_range",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "vision_config",
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
        config_int(in, "num_key_value_heads", 1, 1); /* one latent row serves all heads */
        c->head_dim = config_u32(in, "head_dim", QUANT_BLOCK, HEAD_DIM_MAX);
        c->rope_dim = config_u32(in, "qk_rope_head_dim", 2, 2 * ROPE_PAIRS_MAX);
        c->q_lora_rank = config_u32(in, "q_lora_rank", 1, WIDTH_MAX);
        c->o_groups = config_u32(in, "o_groups", 1, HEADS_MAX);
        c->o_lora_rank = config_u32(in, "o_lora_rank", 1, WIDTH_MAX);
        c->window = config_u32(in, "sliding_window", 1, WINDOW_MAX);
        c->index_n_heads = config_u32(in, "index_n_heads", 1, HEADS_MAX);
        c->index_head_dim = config_u32(in, "index_head_dim", QUANT_BLOCK, INDEX_HEAD_DIM_MAX);
        c->index_topk = config_u32(in, "index_topk", 1, SELECT_MAX);
        config_off(in, "attention_bias");

        if (c->head_dim % QUANT_BLOCK != 0)
                config_refuse(in, "head_dim", "%u is not a multiple of %u", c->head_dim,
                              QUANT_BLOCK);
        if (c->index_head_dim % QUANT_BLOCK != 0)
                config_refuse(in, "index_head_dim", "%u is not a multiple of %u", c->index_head_dim,
                              QUANT_BLOCK);
        if (c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim || c->rope_dim > c->index_head_dim)
                config_refuse(in, "qk_rope_head_dim",
                              "%u is odd or above head_dim (%u) or index_head_dim (%u)",
                              c->rope_dim, c->head_dim, c->index_head_dim);
        if (c->n_heads % c->o_groups != 0)
                config_refuse(in, "o_groups", "%u does not divide num_attention_heads (%u)",
                              c->o_groups, c->n_heads);
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
        c->gate_temp = 1;
        json_t *temp = config_take(in, "gate_temp"); /* absent from the release: 1 */
        if (temp && json_number_value(temp) != 1)
                config_refuse(in, "gate_temp", "only 1 is supported");
        if (c->n_experts_per_token > c->n_experts)
                config_refuse(in, "num_experts_per_tok", "%u is above n_routed_experts (%u)",
                              c->n_experts_per_token, c->n_experts);
}

/* Released files name the pad engram_pad_token_id, the reference's own engram_pad_id. */
static uint32_t read_engram_pad(struct config_reader *in, uint32_t vocab_size) {
        bool has_short = config_has(in, "engram_pad_id");
        bool has_long = config_has(in, "engram_pad_token_id");
        uint32_t a = 0, b = 0;
        if (has_short)
                a = config_u32(in, "engram_pad_id", 0, vocab_size - 1);
        if (has_long || !has_short)
                b = config_u32(in, "engram_pad_token_id", 0, vocab_size - 1);
        if (has_short && has_long && a != b)
                config_refuse(in, "engram_pad_id", "%u, but engram_pad_token_id is %u", a, b);
        return has_short ? a : b;
}

static void read_engram(struct config_reader *in, struct model_config *c) {
        int64_t layers[ENGRAM_LAYERS_MAX], rows[ENGRAM_LAYERS_MAX];
        c->n_engram_layers =
                config_layers(in, "engram_layer_ids", ENGRAM_LAYERS_MAX, c->n_layers, layers);
        unsigned n_rows = config_array(in, "engram_num_embeddings", 0, ENGRAM_LAYERS_MAX, 1,
                                       ENGRAM_ROWS_MAX, rows);
        c->engram_vocab_size = config_u32(in, "engram_vocab_size", 1, INT32_MAX);
        c->engram_ngram_max = config_u32(in, "engram_max_ngram_size", 2, NGRAM_MAX);
        c->engram_n_heads = config_u32(in, "engram_n_heads", 1, ENGRAM_HEADS_MAX);
        c->engram_head_dim = config_u32(in, "engram_head_dim", QUANT_BLOCK, HEAD_DIM_MAX);
        c->engram_compressed_vocab =
                config_u32(in, "engram_compressed_vocab_size", 1, c->vocab_size);
        c->engram_pad_id = read_engram_pad(in, c->vocab_size);
        if (n_rows != c->n_engram_layers)
                config_refuse(in, "engram_num_embeddings", "%u entries for %u engram_layer_ids",
                              n_rows, c->n_engram_layers);
        if (c->engram_head_dim % QUANT_BLOCK != 0)
                config_refuse(in, "engram_head_dim", "%u is not a multiple of %u",
                              c->engram_head_dim, QUANT_BLOCK);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < c->n_engram_layers; i++) {
                c->engram_layers[i] = (uint32_t)layers[i];
                c->engram_rows[i] = (uint64_t)rows[i];
                c->layer[layers[i]].engram = (int)i;
        }
}

/* Ratios of the layers, then (maybe) of the draft layers, which have no compressed rows. */
static void read_ratios(struct config_reader *in, struct model_config *c) {
        uint32_t n_draft = c->n_draft_layers =
                config_u32(in, "num_nextn_predict_layers", 0, DRAFT_MAX);
        int64_t ratios[LAYERS_MAX + DRAFT_MAX];
        unsigned n = config_array(in, "compress_ratios", 1, LAYERS_MAX + DRAFT_MAX, 0, 2, ratios);
        if (n != c->n_layers && n != c->n_layers + n_draft)
                config_refuse(in, "compress_ratios", "%u entries for %u layers and %u draft layers",
                              n, c->n_layers, n_draft);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < c->n_layers; i++)
                c->layer[i].compress_ratio = (unsigned)ratios[i];
        for (unsigned i = c->n_layers; i < n; i++)
                if (ratios[i] != 0)
                        config_refuse(in, "compress_ratios", "draft layer %u has ratio %d",
                                      i - c->n_layers, (int)ratios[i]);
}

/* A layer with compressed rows uses the last source at or below it; sources own what they name. */
static void read_sources(struct config_reader *in, struct model_config *c) {
        int64_t kv[LAYERS_MAX], index[LAYERS_MAX];
        unsigned n_kv = config_layers(in, "kv_source_layer_ids", LAYERS_MAX, c->n_layers, kv);
        unsigned n_index =
                config_layers(in, "index_source_layer_ids", LAYERS_MAX, c->n_layers, index);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < n_kv; i++)
                c->layer[kv[i]].owns_kv = true;
        for (unsigned i = 0; i < n_index; i++)
                c->layer[index[i]].owns_index = true;

        int kv_source = -1, index_source = -1;
        for (unsigned i = 0; i < c->n_layers; i++) {
                struct layer_config *layer = &c->layer[i];
                const char *owned =
                        layer->owns_kv ? "kv_source_layer_ids" : "index_source_layer_ids";
                if (layer->compress_ratio == 0) {
                        if (layer->owns_kv || layer->owns_index)
                                config_refuse(in, owned, "layer %u has compress ratio 0", i);
                        continue;
                }
                if (layer->owns_kv)
                        kv_source = (int)i;
                if (layer->owns_index)
                        index_source = (int)i;
                if (kv_source < 0)
                        config_refuse(in, "kv_source_layer_ids", "layer %u has no source", i);
                else if (c->layer[kv_source].compress_ratio != layer->compress_ratio)
                        config_refuse(in, "kv_source_layer_ids",
                                      "layer %u has compress ratio %u, its source %d has %u", i,
                                      layer->compress_ratio, kv_source,
                                      c->layer[kv_source].compress_ratio);
                /* A selection numbers rows of the source it was made on. */
                if (index_source < 0 || index_source < kv_source)
                        config_refuse(in, "index_source_layer_ids",
                                      "layer %u has no selection on its KV source %d", i,
                                      kv_source);
                layer->kv_source = kv_source;
                layer->index_source = index_source;
        }
}

static void read_candidates(struct config_reader *in, struct model_config *c) {
        json_t *id = config_require(in, "candidate_source_layer_id");
        c->candidate_layer = -1;
        c->candidate_blocks = config_u32(in, "candidate_topk_blocks", 1, SELECT_MAX);
        c->candidate_block_size = config_u32(in, "candidate_block_size", 1, SELECT_MAX);
        if (in->r < 0 || json_is_null(id) || json_integer_value(id) == -1)
                return;
        json_int_t source = json_integer_value(id);
        if (!json_is_integer(id) || source < 0 || source >= c->n_layers ||
            !c->layer[source].owns_index) {
                config_refuse(in, "candidate_source_layer_id", "not one of index_source_layer_ids");
                return;
        }
        c->candidate_layer = (int)source;
        for (unsigned i = (unsigned)source + 1; i < c->n_layers; i++) {
                struct layer_config *layer = &c->layer[i];
                if (!layer->owns_index)
                        continue;
                if (layer->kv_source != c->layer[source].kv_source) /* blocks number its rows */
                        config_refuse(in, "candidate_source_layer_id",
                                      "layer %u selects on KV source %d, the candidates are of %d",
                                      i, layer->kv_source, c->layer[source].kv_source);
                layer->in_candidates = true;
        }
}

/* Reads a token id that may stand at the top level, in text_config, or (the same) in both. */
static uint32_t read_token(struct config_reader *top, struct config_reader *text, const char *name,
                           uint32_t vocab_size) {
        bool outside = top && config_has(top, name);
        bool inside = config_has(text, name);
        uint32_t a = 0, b = 0;
        if (outside)
                a = config_u32(top, name, 0, vocab_size - 1);
        if (inside || !outside)
                b = config_u32(text, name, 0, vocab_size - 1);
        if (outside && inside && a != b)
                config_refuse(text, name, "%u, but %u at the top level", b, a);
        return outside ? a : b;
}

static void read_text(struct config_reader *in, struct model_config *c) {
        c->vocab_size = config_u32(in, "vocab_size", 1, VOCAB_MAX);
        c->hidden_size = config_u32(in, "hidden_size", 1, HIDDEN_MAX);
        c->n_layers = config_u32(in, "num_hidden_layers", 1, LAYERS_MAX);
        /* Below the smallest normal float the sum in rsqrt(mean + eps) would lose it. */
        c->rms_norm_eps = (float)config_number(in, "rms_norm_eps", 1.2e-38, 1);
        read_rope(in, c);
        read_attention(in, c);
        read_ratios(in, c);
        read_sources(in, c);
        read_candidates(in, c);
        read_experts(in, c);
        c->residual = RESIDUAL_SINGLE_PASS_MHC;
        c->hc = config_u32(in, "hc_mult", 1, HC_MAX);
        c->hc_sinkhorn_iters = config_u32(in, "hc_sinkhorn_iters", 1, 1000);
        c->hc_eps = (float)config_number(in, "hc_eps", 0, 1);
        read_engram(in, c);
        config_off(in, "tie_word_embeddings");
}

/* How the released files store their weights: tiles of 32 x 32 share a scale, an expert's row has
 * one per 32 inputs. */
static void read_quantization(struct config_reader *in, struct model_config *c) {
        static const char *const dtypes[] = { "fp4", "fp8" };
        const struct quantised_width widths[] = {
                { "hidden_size", c->hidden_size },
                { "q_lora_rank", c->q_lora_rank },
                { "o_lora_rank", c->o_lora_rank },
                { "moe_intermediate_size", c->expert_dim },
        };
        struct config_reader quantization;
        c->dense_format = c->expert_format = WEIGHT_BF16;
        if (!quantization_open(in, WEIGHT_BLOCK, &quantization))
                return;
        config_exactly(&quantization, "scale_fmt", "ue8m0");
        bool fp4 = config_one_of(&quantization, "expert_dtype", dtypes, 2) == 0;
        quantization_close(in, &quantization);
        c->dense_format = WEIGHT_FP8;
        c->weight_tile = c->input_block = WEIGHT_BLOCK;
        c->expert_format = fp4 ? WEIGHT_FP4 : WEIGHT_FP8;
        quantization_check_widths(in, widths, sizeof(widths) / sizeof(widths[0]), WEIGHT_BLOCK);
}

/* What both levels may carry; `top` is NULL for a flat file. */
static void read_shared(struct config_reader *top, struct config_reader *text,
                        struct model_config *c) {
        c->bos_id = read_token(top, text, "bos_token_id", c->vocab_size);
        c->eos_id = read_token(top, text, "eos_token_id", c->vocab_size);
        c->pad_id = read_token(top, text, "pad_token_id", c->vocab_size);
        if (top)
                config_off(top, "tie_word_embeddings");
        read_quantization(top ? top : text, c);
        json_t *inner = top ? config_take(text, "quantization_config") : NULL;
        if (inner && !json_is_null(inner))
                config_refuse(text, "quantization_config", "belongs at the top level");
}

static int parse_composite(struct config_reader *top, json_t *inner, struct model_config *c) {
        struct config_reader text;
        config_reader_init(&text, top->file, "text_config.", inner, top->err);
        if (config_has(&text, "model_type"))
                config_exactly(&text, "model_type", MODEL_TYPE_TEXT);
        read_text(&text, c);
        top->r = text.r;
        read_shared(top, &text, c);
        if (text.r == 0)
                text.r = top->r;
        config_refuse_left(&text, ignored, N_IGNORED);
        if (top->r == 0)
                top->r = text.r;
        config_refuse_left(top, ignored, N_IGNORED);
        config_reader_deinit(&text);
        return top->r;
}

static void read_flat(struct config_reader *in, struct model_config *c) {
        read_text(in, c);
        read_shared(NULL, in, c);
}

static int parse(const char *file, json_t *root, struct model_config *ret, struct error *err) {
        json_t *inner = json_object_get(root, "text_config");
        if (!inner)
                return config_parse_flat(file, root, ignored, N_IGNORED, read_flat, ret, err);
        struct config_reader top;
        config_reader_init(&top, file, "", root, err);
        config_take(&top, "model_type");
        config_take(&top, "text_config");
        if (!json_is_object(inner))
                config_refuse(&top, "text_config", "not an object");
        int r = top.r == 0 ? parse_composite(&top, inner, ret) : top.r;
        config_reader_deinit(&top);
        return r;
}

const struct config_family config_deepseek_v41 = {
        .family = FAMILY_DEEPSEEK_V41,
        .model_type = MODEL_TYPE,
        .architecture = "DeepseekV41ForCausalLM",
        .parse = parse,
};
