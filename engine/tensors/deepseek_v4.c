/* DeepSeek-V4's tensors (Flash and Pro). Embeddings, norms, routers' matrices and compressors are
 * always BF16; the residual mixing, biases and sinks F32; tables of experts whole numbers. */
#include <stdio.h>
#include <string.h>

#include "engine/tensors/family.h"
#include "engine/tensors/v4_parts.h"

/* A compressor of n channels, or of twice as many where its rows overlap. */
struct compressor {
        const char *name;
        enum component part;
        uint64_t n;
        struct tensor_place value, gate, bias, norm;
};

static void put_compressor(struct lister *l, const struct layer_config *layer,
                           const struct compressor *c) {
        uint64_t n = layer->owns_index ? 2 * c->n : c->n, d = l->config->hidden_size;
        char name[64];
        snprintf(name, sizeof(name), "%s.wkv.weight", c->name);
        put_bf16(l, name, c->part, n, d, c->value);
        snprintf(name, sizeof(name), "%s.wgate.weight", c->name);
        put_bf16(l, name, c->part, n, d, c->gate);
        snprintf(name, sizeof(name), "%s.ape", c->name);
        put_f32(l, name, c->part, CONTENT_BIAS, (struct shape){ layer->compress_ratio, n },
                c->bias);
        snprintf(name, sizeof(name), "%s.norm.weight", c->name);
        put_norm(l, name, c->part, c->n, c->norm);
}

static void put_rows(struct lister *l, const struct layer_config *layer) {
        if (layer->owns_kv)
                put_compressor(l, layer,
                               &(struct compressor){
                                       .name = "attn.compressor",
                                       .part = COMPONENT_COMPRESSOR,
                                       .n = l->config->head_dim,
                                       .value = LAYER(pool_rows.value),
                                       .gate = LAYER(pool_rows.gate),
                                       .bias = LAYER(pool_rows.bias),
                                       .norm = LAYER(pool_rows.norm),
                               });
        if (!layer->owns_index)
                return;
        put_index_query(l);
        put_compressor(l, layer,
                       &(struct compressor){
                               .name = "attn.indexer.compressor",
                               .part = COMPONENT_INDEXER,
                               .n = l->config->index_head_dim,
                               .value = LAYER(pool_keys.value),
                               .gate = LAYER(pool_keys.gate),
                               .bias = LAYER(pool_keys.bias),
                               .norm = LAYER(pool_keys.norm),
                       });
}

static void put_router(struct lister *l, const struct layer_config *layer) {
        const struct model_config *c = l->config;
        put_bf16(l, "ffn.gate.weight", COMPONENT_ROUTER, c->n_experts, c->hidden_size,
                 LAYER(router));
        if (layer->routed_by_table)
                put_expert_ids(l, "ffn.gate.tid2eid", COMPONENT_ROUTER, c->vocab_size,
                               c->n_experts_per_token, LAYER(experts_of_id));
        else
                put_f32(l, "ffn.gate.bias", COMPONENT_ROUTER, CONTENT_BIAS,
                        (struct shape){ c->n_experts, 0 }, LAYER(router_bias));
}

static void put_layer(struct lister *l, const char *of, const struct layer_config *layer) {
        uint64_t d = l->config->hidden_size;
        l->group++;
        lister_prefix(l, "%s.", of);
        put_norm(l, "attn_norm.weight", COMPONENT_NORMS, d, LAYER(attn_norm));
        put_norm(l, "ffn_norm.weight", COMPONENT_NORMS, d, LAYER(ffn_norm));
        put_mixing(l);
        put_shared_kv(l);
        put_rows(l, layer);
        put_router(l, layer);
        put_expert_mlps(l, of, l->config->n_experts);
}

/* The collapse before the head. */
static void put_head_mixing(struct lister *l) {
        uint64_t hc = l->config->hc;
        put_f32(l, "hc_head_fn", COMPONENT_MIXING, CONTENT_MATRIX,
                (struct shape){ hc, hc * l->config->hidden_size }, MODEL(hc_head.fn));
        put_f32(l, "hc_head_base", COMPONENT_MIXING, CONTENT_MIX_BASE, (struct shape){ hc, 0 },
                MODEL(hc_head.base));
        put_f32(l, "hc_head_scale", COMPONENT_MIXING, CONTENT_MIX_SCALE, (struct shape){ 1, 0 },
                MODEL(hc_head.scale));
}

/* Blocks with a window only, that predict further tokens. */
static void put_drafts(struct lister *l) {
        static const struct layer_config windows_only = { .attention = ATTENTION_CSA };
        uint64_t d = l->config->hidden_size;
        l->draft = true;
        for (uint32_t i = 0; l->r == 0 && i < l->config->n_draft_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "mtp.%u", i);
                put_layer(l, of, &windows_only);
                put_dense(l, "e_proj", COMPONENT_DRAFT, d, d, NO_PLACE);
                put_dense(l, "h_proj", COMPONENT_DRAFT, d, d, NO_PLACE);
                put_norm(l, "enorm.weight", COMPONENT_DRAFT, d, NO_PLACE);
                put_norm(l, "hnorm.weight", COMPONENT_DRAFT, d, NO_PLACE);
                put_norm(l, "norm.weight", COMPONENT_DRAFT, d, NO_PLACE);
                put_head_mixing(l);
        }
        l->draft = false;
}

static void list(struct lister *l) {
        const struct model_config *c = l->config;
        put(l, "embed.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
            (struct shape){ c->vocab_size, c->hidden_size }, MODEL(embed));
        for (uint32_t i = 0; l->r == 0 && i < c->n_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "layers.%u", i);
                l->layer = i;
                put_layer(l, of, &c->layer[i]);
        }
        l->group++;
        lister_prefix(l, "%s", "");
        put_bf16(l, "head.weight", COMPONENT_EMBEDDING, c->vocab_size, c->hidden_size, MODEL(head));
        put_norm(l, "norm.weight", COMPONENT_NORMS, c->hidden_size, MODEL(norm));
        put_head_mixing(l);
        put_drafts(l);
}

static enum skipped_kind skipped(const struct model_config *config, const char *name) {
        (void)config;
        return strncmp(name, "mtp.", 4) == 0 ? SKIPPED_DRAFT : SKIPPED_UNKNOWN;
}

const struct tensor_family tensors_deepseek_v4 = {
        .list = list,
        .skipped = skipped,
        .drafts = "draft layers (mtp.*)",
};
