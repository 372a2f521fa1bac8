/* Native sparse attention (nsa): the fields of the public implementation (fla-org), and ours for
 * what the paper has and that one lacks. docs/nsa.md describes each. */
#include <errno.h>
#include <string.h>

#include "engine/config/family.h"
#include "engine/kv.h"

/* Fields that do not change the logits. Training and kernels: initializer_range, fuse_*,
 * use_l2warp. Never read by the public implementation, whose norms always have weights:
 * elementwise_affine. The dtypes come from the tensors themselves. */
static const char *const ignored[] = {
        "_name_or_path",      "architectures",        "dtype",
        "elementwise_affine", "fuse_cross_entropy",   "fuse_linear_cross_entropy",
        "fuse_norm",          "fuse_swiglu",          "initializer_range",
        "torch_dtype",        "transformers_version", "use_cache",
        "use_l2warp",
};
#define N_IGNORED (sizeof(ignored) / sizeof(ignored[0]))

/* The public implementation rounds widths that hidden_ratio gives up to this. */
#define DENSE_MULTIPLE 256

/* Present and not null. */
static bool given(struct config_reader *in, const char *name) {
        if (!config_has(in, name))
                return false;
        if (!json_is_null(json_object_get(in->left, name)))
                return true;
        config_take(in, name);
        return false;
}

static uint32_t u32_or(struct config_reader *in, const char *name, uint32_t min, uint32_t max,
                       uint32_t absent) {
        return given(in, name) ? config_u32(in, name, min, max) : absent;
}

static void read_heads(struct config_reader *in, struct model_config *c) {
        c->n_heads = config_u32(in, "num_heads", 1, HEADS_MAX);
        c->n_kv_heads = u32_or(in, "num_kv_heads", 1, HEADS_MAX, c->n_heads);
        c->head_dim = c->rope_dim = config_u32(in, "head_dim", 2, 2 * ROPE_PAIRS_MAX);
        c->nsa.value_dim = u32_or(in, "v_head_dim", 1, HEAD_DIM_MAX, c->head_dim);
        config_off(in, "qkv_bias");
        if (c->head_dim % 2 != 0)
                config_refuse(in, "head_dim", "%u is odd", c->head_dim);
        if (c->n_heads % c->n_kv_heads != 0)
                config_refuse(in, "num_kv_heads", "%u does not divide num_heads (%u)",
                              c->n_kv_heads, c->n_heads);
}

static void read_blocks(struct config_reader *in, struct model_config *c) {
        struct nsa_config *n = &c->nsa;
        n->block_size = config_u32(in, "block_size", 1, WINDOW_MAX);
        n->n_blocks = config_u32(in, "block_counts", 1, SELECT_MAX);
        n->n_first = u32_or(in, "first_blocks", 0, SELECT_MAX, 0);
        n->n_last = u32_or(in, "local_blocks", 1, SELECT_MAX, 1);
        n->compress_block = u32_or(in, "compress_block_size", 1, WINDOW_MAX, n->block_size);
        n->compress_stride = u32_or(in, "compress_stride", 1, WINDOW_MAX, n->compress_block);
        c->window = config_u32(in, "window_size", 0, WINDOW_MAX);

        if (n->n_first + n->n_last > n->n_blocks)
                config_refuse(in, "block_counts",
                              "%u is less than first_blocks and local_blocks together (%u)",
                              n->n_blocks, n->n_first + n->n_last);
        if ((uint64_t)n->n_blocks * n->block_size > SELECT_MAX)
                config_refuse(in, "block_counts", "%u blocks of %u tokens are more than %u",
                              n->n_blocks, n->block_size, SELECT_MAX);
        if (KV_PAGE_TOKENS % n->compress_stride != 0)
                config_refuse(in, "compress_stride", "%u does not divide %u, the tokens of a page",
                              n->compress_stride, KV_PAGE_TOKENS);
        if (n->compress_block % n->compress_stride != 0)
                config_refuse(in, "compress_block_size", "%u is not a multiple of the stride (%u)",
                              n->compress_block, n->compress_stride);
        if (n->block_size % n->compress_stride != 0)
                config_refuse(in, "block_size", "%u is not a multiple of the stride (%u)",
                              n->block_size, n->compress_stride);
        c->index_topk = n->n_blocks * n->block_size;
}

static void read_branches(struct config_reader *in, struct model_config *c) {
        static const char *const compressions[] = { "mean", "mlp" },
                                 *const sources[] = { "shared", "separate" };
        if (given(in, "compress") && config_one_of(in, "compress", compressions, 2) == 1)
                c->nsa.compress_dim = config_u32(in, "compress_dim", 1, WIDTH_MAX);
        if (given(in, "branch_kv"))
                c->nsa.separate = config_one_of(in, "branch_kv", sources, 2) == 1;
        /* The learned compression's input is a matrix's width. */
        uint32_t widest = c->head_dim > c->nsa.value_dim ? c->head_dim : c->nsa.value_dim;
        if (c->nsa.compress_dim > 0 && (uint64_t)c->nsa.compress_block * widest > WINDOW_MAX * 64)
                config_refuse(in, "compress_block_size",
                              "%u tokens of %u channels are more than %u", c->nsa.compress_block,
                              widest, WINDOW_MAX * 64);
}

/* Streams of a layer: the rows of each group, and one of compressed rows. Checked as if every value
 * took four bytes. */
static void check_kv(struct config_reader *in, const struct model_config *c) {
        uint64_t streams = (uint64_t)c->n_layers * (c->n_kv_heads + 1),
                 values = 2 * (uint64_t)c->n_layers * c->n_kv_heads *
                (c->head_dim + c->nsa.value_dim);
        if (streams > KV_STREAMS_MAX)
                config_refuse(in, "num_kv_heads", "%u groups in %u layers are more than %u streams",
                              c->n_kv_heads, c->n_layers, KV_STREAMS_MAX);
        if (values * KV_PAGE_TOKENS * sizeof(float) > INT32_MAX)
                config_refuse(in, "num_kv_heads", "a page of %u tokens is larger than 2 GiB",
                              KV_PAGE_TOKENS);
}

static void read_dense(struct config_reader *in, struct model_config *c) {
        uint32_t ratio = u32_or(in, "hidden_ratio", 1, 64, 4);
        uint64_t width = (uint64_t)c->hidden_size * ratio * 2 / 3;
        width = (width + DENSE_MULTIPLE - 1) / DENSE_MULTIPLE * DENSE_MULTIPLE;
        if (width > WIDTH_MAX && !config_has(in, "intermediate_size"))
                config_refuse(in, "hidden_ratio", "makes layers of more than %u", WIDTH_MAX);
        c->dense_dim = u32_or(in, "intermediate_size", 1, WIDTH_MAX, (uint32_t)width);
        config_exactly(in, "hidden_act", "swish");
}

/* Present with n_routed_experts: experts from layer first_k_dense_replace on, as DeepSeek-V2 has
 * them, their weights multiplying their outputs. */
static void read_experts(struct config_reader *in, struct model_config *c) {
        static const char *const scores[] = { "softmax", "sigmoid" };
        uint32_t n_dense = c->n_layers;
        if (given(in, "n_routed_experts")) {
                c->n_experts = config_u32(in, "n_routed_experts", 1, EXPERTS_MAX);
                c->n_experts_per_token = config_u32(in, "num_experts_per_tok", 1, EXPERTS_MAX);
                c->n_shared_experts = config_u32(in, "n_shared_experts", 0, SHARED_EXPERTS_MAX);
                c->expert_dim = config_u32(in, "moe_intermediate_size", 1, WIDTH_MAX);
                n_dense = config_u32(in, "first_k_dense_replace", 0, c->n_layers - 1);
                c->router_scores = config_one_of(in, "scoring_func", scores, 2) == 1
                        ? ROUTER_SIGMOID
                        : ROUTER_SOFTMAX;
                c->norm_topk_prob = config_bool(in, "norm_topk_prob");
                c->routed_scaling = (float)config_number(in, "routed_scaling_factor", 0, 1e3);
                c->weight_after_expert = true;
                if (c->n_experts_per_token > c->n_experts)
                        config_refuse(in, "num_experts_per_tok",
                                      "%u is above n_routed_experts (%u)", c->n_experts_per_token,
                                      c->n_experts);
        }
        for (uint32_t l = 0; l < c->n_layers; l++)
                c->layer[l].feed_forward = l < n_dense ? FEED_FORWARD_DENSE : FEED_FORWARD_EXPERTS;
}

static void read_tokens(struct config_reader *in, struct model_config *c) {
        c->bos_id = config_u32(in, "bos_token_id", 0, c->vocab_size - 1);
        c->eos_id = config_u32(in, "eos_token_id", 0, c->vocab_size - 1);
        c->pad_id = u32_or(in, "pad_token_id", 0, c->vocab_size - 1, c->eos_id);
}

static void read(struct config_reader *in, struct model_config *c) {
        c->vocab_size = config_u32(in, "vocab_size", 1, VOCAB_MAX);
        c->hidden_size = config_u32(in, "hidden_size", 1, HIDDEN_MAX);
        c->n_layers = config_u32(in, "num_hidden_layers", 1, LAYERS_MAX);
        /* Below the smallest normal float the sum in rsqrt(mean + eps) would lose it. */
        c->rms_norm_eps = (float)config_number(in, "norm_eps", 1.2e-38, 1);
        c->rope[ROPE_MAIN].theta = config_number(in, "rope_theta", 1, 1e12);
        c->max_positions = config_u32(in, "max_position_embeddings", 1, POSITIONS_MAX);
        read_heads(in, c);
        read_blocks(in, c);
        read_branches(in, c);
        check_kv(in, c);
        read_dense(in, c);
        read_experts(in, c);
        read_tokens(in, c);
        config_off(in, "tie_word_embeddings");
        c->residual = RESIDUAL_PLAIN;
        c->dense_format = c->expert_format = WEIGHT_BF16;
        for (uint32_t l = 0; l < c->n_layers; l++) {
                struct layer_config *layer = &c->layer[l];
                layer->attention = ATTENTION_NSA;
                layer->compress_ratio = c->nsa.compress_stride;
                layer->kv_source = (int)l;
                layer->owns_kv = true;
        }
}

static int parse(const char *file, json_t *root, struct model_config *ret, struct error *err) {
        return config_parse_flat(file, root, ignored, N_IGNORED, read, ret, err);
}

const struct config_family config_nsa = {
        .family = FAMILY_NSA,
        .model_type = "nsa",
        .architecture = "NSAForCausalLM",
        .parse = parse,
};
