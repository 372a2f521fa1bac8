/* Native sparse attention's tensors: names of the public implementation (fla-org), ours for keys
 * and values of single branches and for the learned compression, DeepSeek's for experts. All are
 * BF16. */
#include <stdio.h>

#include "engine/tensors/family.h"

static void put_source(struct lister *l, const char *branch, struct tensor_place k,
                       struct tensor_place v) {
        const struct model_config *c = l->config;
        char name[32];
        snprintf(name, sizeof(name), "attn.%sk_proj.weight", branch);
        put_bf16(l, name, COMPONENT_ATTENTION, (uint64_t)c->n_kv_heads * c->head_dim,
                 c->hidden_size, k);
        snprintf(name, sizeof(name), "attn.%sv_proj.weight", branch);
        put_bf16(l, name, COMPONENT_ATTENTION, (uint64_t)c->n_kv_heads * c->nsa.value_dim,
                 c->hidden_size, v);
}

static void put_attention(struct lister *l) {
        const struct model_config *c = l->config;
        const enum component part = COMPONENT_ATTENTION;
        uint64_t d = c->hidden_size, heads = c->n_heads;
        put_bf16(l, "attn.q_proj.weight", part, heads * c->head_dim, d, LAYER(nsa.q));
        if (c->nsa.separate) {
                put_source(l, "cmp_", LAYER(nsa.source[NSA_COMPRESSED].k),
                           LAYER(nsa.source[NSA_COMPRESSED].v));
                put_source(l, "slc_", LAYER(nsa.source[NSA_SELECTED].k),
                           LAYER(nsa.source[NSA_SELECTED].v));
                put_source(l, "swa_", LAYER(nsa.source[NSA_WINDOW].k),
                           LAYER(nsa.source[NSA_WINDOW].v));
        } else {
                put_source(l, "", LAYER(nsa.source[0].k), LAYER(nsa.source[0].v));
        }
        put_bf16(l, "attn.g_proj.weight", part, heads * N_NSA_BRANCHES, d, LAYER(nsa.gate));
        put_bf16(l, "attn.o_proj.weight", part, d, heads * c->nsa.value_dim, LAYER(nsa.o));
}

static void put_compression(struct lister *l, const char *what, uint64_t dim,
                            struct tensor_place position, struct tensor_place up,
                            struct tensor_place down) {
        const struct nsa_config *n = &l->config->nsa;
        const enum component part = COMPONENT_COMPRESSOR;
        char name[48];
        snprintf(name, sizeof(name), "attn.%s.position", what);
        put(l, name, part, CONTENT_NORM, DTYPE_BF16, (struct shape){ n->compress_block, dim },
            position);
        snprintf(name, sizeof(name), "attn.%s.up_proj.weight", what);
        put_bf16(l, name, part, n->compress_dim, n->compress_block * dim, up);
        snprintf(name, sizeof(name), "attn.%s.down_proj.weight", what);
        put_bf16(l, name, part, dim, n->compress_dim, down);
}

/* Three matrices of a gated MLP, whose names begin with the prefix and `stem`. */
static void put_mlp(struct lister *l, const char *stem, enum component part, uint64_t inner,
                    struct tensor_place gate, struct tensor_place up, struct tensor_place down) {
        uint64_t d = l->config->hidden_size;
        char name[64];
        snprintf(name, sizeof(name), "%sgate_proj.weight", stem);
        put_bf16(l, name, part, inner, d, gate);
        snprintf(name, sizeof(name), "%sup_proj.weight", stem);
        put_bf16(l, name, part, inner, d, up);
        snprintf(name, sizeof(name), "%sdown_proj.weight", stem);
        put_bf16(l, name, part, d, inner, down);
}

static void put_experts(struct lister *l) {
        const struct model_config *c = l->config;
        put_bf16(l, "mlp.gate.weight", COMPONENT_ROUTER, c->n_experts, c->hidden_size,
                 LAYER(router));
        if (c->n_shared_experts > 0)
                put_mlp(l, "mlp.shared_experts.", COMPONENT_SHARED_EXPERTS,
                        (uint64_t)c->expert_dim * c->n_shared_experts, LAYER(shared.gate),
                        LAYER(shared.up), LAYER(shared.down));
        for (uint32_t e = 0; l->r == 0 && e < c->n_experts; e++) {
                l->expert = e;
                lister_prefix(l, "model.layers.%u.mlp.experts.%u.", l->layer, e);
                put_mlp(l, "", COMPONENT_EXPERTS, c->expert_dim, EXPERT(gate), EXPERT(up),
                        EXPERT(down));
        }
}

static void put_layer(struct lister *l) {
        const struct model_config *c = l->config;
        lister_prefix(l, "model.layers.%u.", l->layer);
        put_norm(l, "attn_norm.weight", COMPONENT_NORMS, c->hidden_size, LAYER(attn_norm));
        put_norm(l, "mlp_norm.weight", COMPONENT_NORMS, c->hidden_size, LAYER(ffn_norm));
        put_attention(l);
        if (c->nsa.compress_dim > 0) {
                put_compression(l, "cmp_k", c->head_dim, LAYER(nsa.key_compression.position),
                                LAYER(nsa.key_compression.up), LAYER(nsa.key_compression.down));
                put_compression(l, "cmp_v", c->nsa.value_dim, LAYER(nsa.value_compression.position),
                                LAYER(nsa.value_compression.up), LAYER(nsa.value_compression.down));
        }
        if (c->layer[l->layer].feed_forward == FEED_FORWARD_DENSE)
                put_mlp(l, "mlp.", COMPONENT_DENSE_MLP, c->dense_dim, LAYER(dense.gate),
                        LAYER(dense.up), LAYER(dense.down));
        else
                put_experts(l);
}

static void list(struct lister *l) {
        const struct model_config *c = l->config;
        put(l, "model.embeddings.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
            (struct shape){ c->vocab_size, c->hidden_size }, MODEL(embed));
        for (l->layer = 0; l->r == 0 && l->layer < c->n_layers; l->layer++) {
                l->group++;
                put_layer(l);
        }
        l->group++;
        lister_prefix(l, "%s", "");
        put_norm(l, "model.norm.weight", COMPONENT_NORMS, c->hidden_size, MODEL(norm));
        put_bf16(l, "lm_head.weight", COMPONENT_EMBEDDING, c->vocab_size, c->hidden_size,
                 MODEL(head));
}

static enum skipped_kind skipped(const struct model_config *config, const char *name) {
        (void)config;
        (void)name;
        return SKIPPED_UNKNOWN;
}

const struct tensor_family tensors_nsa = {
        .list = list,
        .skipped = skipped,
};
