/* DeepSeek-V4.1's tensors. Engram tables are always FP8 with a scale for 32 columns; embeddings,
 * norms, routers, compressors and the residual mixing are always BF16 or F32. */
#include <stdio.h>
#include <string.h>

#include "engine/tensors/family.h"
#include "engine/tensors/v4_parts.h"

/* What a layer has that owns compressed rows, or a selection of them. */
static void put_sources(struct lister *l, const struct layer_config *layer) {
        const struct model_config *c = l->config;
        uint64_t d = c->hidden_size;
        if (layer->owns_kv) {
                const enum component part = COMPONENT_COMPRESSOR;
                put_bf16(l, "attn.compressor.wkv.weight", part, c->head_dim, d, LAYER(compress_kv));
                if (layer->compress_ratio == 2)
                        put_bf16(l, "attn.compressor.wgate.weight", part, c->head_dim, d,
                                 LAYER(compress_gate));
                put_norm(l, "attn.compressor.norm.weight", part, c->head_dim, LAYER(compress_norm));
                put_bf16(l, "attn.indexer.wk.weight", COMPONENT_INDEXER, c->index_head_dim,
                         c->head_dim, LAYER(index_k));
                put_norm(l, "attn.indexer.k_norm.weight", COMPONENT_INDEXER, c->index_head_dim,
                         LAYER(index_k_norm));
        }
        if (layer->owns_index)
                put_index_query(l);
}

static void put_router(struct lister *l, uint32_t n_experts) {
        put_bf16(l, "ffn.gate.weight", COMPONENT_ROUTER, n_experts, l->config->hidden_size,
                 LAYER(router));
        put_f32(l, "ffn.gate.bias", COMPONENT_ROUTER, CONTENT_BIAS, (struct shape){ n_experts, 0 },
                LAYER(router_bias));
        put_f32(l, "ffn.gate.bias_vl", COMPONENT_ROUTER, CONTENT_BIAS,
                (struct shape){ n_experts, 0 }, NO_PLACE); /* of images */
}

/* Engram without its table: that is a group of its own. */
static void put_engram(struct lister *l) {
        const struct model_config *c = l->config;
        uint64_t d = c->hidden_size;
        uint64_t n_rows = (uint64_t)(c->engram_ngram_max - 1) * c->engram_n_heads;
        put_dense(l, "engram.wkv", COMPONENT_ENGRAM_DENSE, (c->hc + 1) * d,
                  n_rows * c->engram_head_dim, LAYER(engram.wkv));
        put(l, "engram.q_weight", COMPONENT_NORMS, CONTENT_NORM, DTYPE_BF16,
            (struct shape){ c->hc, d }, LAYER(engram.q_weight));
        put(l, "engram.k_weight", COMPONENT_NORMS, CONTENT_NORM, DTYPE_BF16,
            (struct shape){ c->hc, d }, LAYER(engram.k_weight));
}

static void put_layer(struct lister *l, const char *of, const struct layer_config *layer,
                      uint32_t n_experts) {
        const struct model_config *c = l->config;
        lister_prefix(l, "%s.", of);
        put_norm(l, "attn_norm.weight", COMPONENT_NORMS, c->hidden_size, LAYER(attn_norm));
        put_norm(l, "ffn_norm.weight", COMPONENT_NORMS, c->hidden_size, LAYER(ffn_norm));
        put_mixing(l);
        put_shared_kv(l);
        if (layer)
                put_sources(l, layer);
        if (layer && layer->engram >= 0)
                put_engram(l);
        put_router(l, n_experts);
        put_expert_mlps(l, of, n_experts);
}

static void put_drafts(struct lister *l) {
        const struct model_config *c = l->config;
        const struct draft_config *draft = &l->parts->draft;
        uint64_t d = c->hidden_size;
        l->draft = true;
        for (uint32_t i = 0; l->r == 0 && i < draft->n_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "mtp.%u", i);
                l->group++;
                put_layer(l, of, NULL, draft->n_experts);
                if (i == 0) {
                        put_dense(l, "main_proj", COMPONENT_DRAFT, d, draft->n_targets * d,
                                  NO_PLACE);
                        put_norm(l, "main_norm.weight", COMPONENT_DRAFT, d, NO_PLACE);
                }
                if (i + 1 < draft->n_layers)
                        continue;
                put_norm(l, "norm.weight", COMPONENT_DRAFT, d, NO_PLACE);
                put(l, "markov_head.embed.weight", COMPONENT_DRAFT, CONTENT_EMBEDDING, DTYPE_BF16,
                    (struct shape){ c->vocab_size, draft->markov_rank }, NO_PLACE);
                put_bf16(l, "markov_head.head.weight", COMPONENT_DRAFT, c->vocab_size,
                         draft->markov_rank, NO_PLACE);
                put_bf16(l, "confidence_head.proj.weight", COMPONENT_DRAFT, 1,
                         d + draft->markov_rank, NO_PLACE);
        }
        l->draft = false;
}

/* A BF16 matrix with a bias. */
static void put_biased(struct lister *l, const char *name, uint64_t n, uint64_t k) {
        char full[48];
        snprintf(full, sizeof(full), "%s.weight", name);
        put_bf16(l, full, COMPONENT_VISION, n, k, NO_PLACE);
        snprintf(full, sizeof(full), "%s.bias", name);
        put(l, full, COMPONENT_VISION, CONTENT_BIAS, DTYPE_BF16, (struct shape){ n, 0 }, NO_PLACE);
}

/* Patches of three colours, blocks, and the projection of joined patches to the text model. */
static void put_vision(struct lister *l) {
        const struct vision_config *v = &l->parts->vision;
        uint64_t d = l->config->hidden_size, h = v->hidden_size, f = v->intermediate_size;
        static const char *const delimiters[] = { "image_start", "image_end", "image_newline" };
        if (v->n_layers == 0)
                return;
        l->group++;
        lister_prefix(l, "vision.");
        put_biased(l, "patch_embed.proj", h, 3 * (uint64_t)v->patch_size * v->patch_size);
        for (uint32_t i = 0; l->r == 0 && i < v->n_layers; i++) {
                lister_prefix(l, "vision.blocks.%u.", i);
                put_norm(l, "norm1.weight", COMPONENT_VISION, h, NO_PLACE);
                put_norm(l, "norm2.weight", COMPONENT_VISION, h, NO_PLACE);
                put_biased(l, "attn.wqkv", 3 * h, h);
                put_biased(l, "attn.wo", h, h);
                put_bf16(l, "mlp.w1.weight", COMPONENT_VISION, 2 * f, h, NO_PLACE);
                put_bf16(l, "mlp.w2.weight", COMPONENT_VISION, h, f, NO_PLACE);
        }
        lister_prefix(l, "vision.");
        put_norm(l, "norm.weight", COMPONENT_VISION, h, NO_PLACE);
        lister_prefix(l, "aligner.");
        put_biased(l, "w1", d, h * v->downsample_ratio * v->downsample_ratio);
        put_biased(l, "w2", d, d);
        lister_prefix(l, "%s", "");
        for (unsigned i = 0; i < 3; i++)
                put(l, delimiters[i], COMPONENT_NORMS, CONTENT_EMBEDDING, DTYPE_BF16,
                    (struct shape){ d, 0 }, NO_PLACE);
}

static void put_engram_tables(struct lister *l) {
        const struct model_config *c = l->config;
        for (uint32_t i = 0; i < c->n_engram_layers; i++) {
                l->group++;
                l->layer = c->engram_layers[i];
                lister_prefix(l, "layers.%u.engram.embed.", l->layer);
                put(l, "weight", COMPONENT_ENGRAM_TABLES, CONTENT_EMBEDDING, DTYPE_F8_E4M3,
                    (struct shape){ c->engram_rows[i], c->engram_head_dim },
                    LAYER_POINTER(engram.codes));
                l->scaled = WEIGHT_FP8;
                put(l, "scale", COMPONENT_ENGRAM_TABLES, CONTENT_SCALES, DTYPE_F8_E8M0,
                    (struct shape){ c->engram_rows[i], c->engram_head_dim / FP8_BLOCK },
                    LAYER_POINTER(engram.scales));
        }
}

static void list(struct lister *l) {
        const struct model_config *c = l->config;
        put(l, "embed.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
            (struct shape){ c->vocab_size, c->hidden_size }, MODEL(embed));
        put_vision(l);
        for (uint32_t i = 0; l->r == 0 && i < c->n_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "layers.%u", i);
                l->group++;
                l->layer = i;
                put_layer(l, of, &c->layer[i], c->n_experts);
        }
        l->group++;
        lister_prefix(l, "%s", "");
        put_bf16(l, "head.weight", COMPONENT_EMBEDDING, c->vocab_size, c->hidden_size, MODEL(head));
        put_norm(l, "norm.weight", COMPONENT_NORMS, c->hidden_size, MODEL(norm));
        put_drafts(l);
        put_engram_tables(l);
}

static bool begins(const char *name, const char *with) {
        return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with) {
        size_t n = strlen(name), n_with = strlen(with);
        return n >= n_with && strcmp(name + n - n_with, with) == 0;
}

static enum skipped_kind skipped(const struct model_config *config, const char *name) {
        (void)config;
        if (begins(name, "mtp."))
                return SKIPPED_DRAFT;
        if (begins(name, "vision.") || begins(name, "aligner.") || begins(name, "image_") ||
            (begins(name, "layers.") && ends(name, ".ffn.gate.bias_vl")))
                return SKIPPED_VISION;
        return SKIPPED_UNKNOWN;
}

const struct tensor_family tensors_deepseek_v41 = {
        .list = list,
        .skipped = skipped,
        .drafts = "draft layers (mtp.*)",
        .vision = "vision (vision.*, aligner.*, image_*, gate.bias_vl)",
};
