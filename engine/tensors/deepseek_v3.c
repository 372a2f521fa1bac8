/* The tensors of DeepSeek-V2, V3 and V3.2 as released. */
#include <stdio.h>

#include "engine/tensors/family.h"

static void put_attention(struct lister *l) {
        const struct model_config *c = l->config;
        const enum component part = COMPONENT_ATTENTION;
        uint64_t d = c->hidden_size, heads = (uint64_t)c->n_heads * c->head_dim;
        if (c->q_lora_rank > 0) {
                put_dense(l, "self_attn.q_a_proj", part, c->q_lora_rank, d, LAYER(wq_a));
                put_norm(l, "self_attn.q_a_layernorm.weight", part, c->q_lora_rank, LAYER(q_norm));
                put_dense(l, "self_attn.q_b_proj", part, heads, c->q_lora_rank, LAYER(wq_b));
        } else {
                put_dense(l, "self_attn.q_proj", part, heads, d, LAYER(wq_b));
        }
        put_dense(l, "self_attn.kv_a_proj_with_mqa", part, c->kv_lora_rank + c->rope_dim, d,
                  LAYER(wkv));
        put_norm(l, "self_attn.kv_a_layernorm.weight", part, c->kv_lora_rank, LAYER(kv_norm));
        put_dense(l, "self_attn.kv_b_proj", part, (uint64_t)c->n_heads * (c->nope_dim + c->v_dim),
                  c->kv_lora_rank, LAYER(kv_b));
        put_dense(l, "self_attn.o_proj", part, d, (uint64_t)c->n_heads * c->v_dim, LAYER(wo));
}

/* V3.2: which rows a token attends. */
static void put_index(struct lister *l) {
        const struct model_config *c = l->config;
        const enum component part = COMPONENT_INDEXER;
        uint64_t d = c->hidden_size, dim = c->index_head_dim;
        put_dense(l, "self_attn.indexer.wq_b", part, c->index_n_heads * dim, c->q_lora_rank,
                  LAYER(index_q));
        put_dense(l, "self_attn.indexer.wk", part, dim, d, LAYER(index_k));
        put_any_float(l, "self_attn.indexer.k_norm.weight", part, CONTENT_NORM, dim,
                      LAYER(index_k_weight));
        put_any_float(l, "self_attn.indexer.k_norm.bias", part, CONTENT_BIAS, dim,
                      LAYER(index_k_bias));
        put_bf16(l, "self_attn.indexer.weights_proj.weight", part, c->index_n_heads, d,
                 LAYER(index_weights));
}

static void put_expert_matrix(struct lister *l, const char *stem, uint64_t n, uint64_t k,
                              struct tensor_place place) {
        put_weight(l, stem, COMPONENT_EXPERTS, l->config->expert_format, n, k, place);
        put_scales(l, stem, COMPONENT_EXPERTS, l->config->expert_format, n, k, place);
}

static void put_experts(struct lister *l, const char *of) {
        const struct model_config *c = l->config;
        uint64_t d = c->hidden_size, f = c->expert_dim, shared = f * c->n_shared_experts;
        put_bf16(l, "mlp.gate.weight", COMPONENT_ROUTER, c->n_experts, d, LAYER(router));
        if (c->router_scores == ROUTER_SIGMOID)
                put_f32(l, "mlp.gate.e_score_correction_bias", COMPONENT_ROUTER, CONTENT_BIAS,
                        (struct shape){ c->n_experts, 0 }, LAYER(router_bias));
        for (uint32_t e = 0; l->r == 0 && e < c->n_experts; e++) {
                l->expert = e;
                lister_prefix(l, "%s.mlp.experts.%u.", of, e);
                put_expert_matrix(l, "gate_proj", f, d, EXPERT(gate));
                put_expert_matrix(l, "up_proj", f, d, EXPERT(up));
                put_expert_matrix(l, "down_proj", d, f, EXPERT(down));
        }
        lister_prefix(l, "%s.", of);
        put_dense(l, "mlp.shared_experts.gate_proj", COMPONENT_SHARED_EXPERTS, shared, d,
                  LAYER(shared.gate));
        put_dense(l, "mlp.shared_experts.up_proj", COMPONENT_SHARED_EXPERTS, shared, d,
                  LAYER(shared.up));
        put_dense(l, "mlp.shared_experts.down_proj", COMPONENT_SHARED_EXPERTS, d, shared,
                  LAYER(shared.down));
}

static void put_dense_mlp(struct lister *l) {
        uint64_t d = l->config->hidden_size, f = l->config->dense_dim;
        put_dense(l, "mlp.gate_proj", COMPONENT_DENSE_MLP, f, d, LAYER(dense.gate));
        put_dense(l, "mlp.up_proj", COMPONENT_DENSE_MLP, f, d, LAYER(dense.up));
        put_dense(l, "mlp.down_proj", COMPONENT_DENSE_MLP, d, f, LAYER(dense.down));
}

static void put_layer(struct lister *l, const char *of, enum feed_forward feed_forward) {
        uint64_t d = l->config->hidden_size;
        lister_prefix(l, "%s.", of);
        put_norm(l, "input_layernorm.weight", COMPONENT_NORMS, d, LAYER(attn_norm));
        put_norm(l, "post_attention_layernorm.weight", COMPONENT_NORMS, d, LAYER(ffn_norm));
        put_attention(l);
        if (l->config->index_topk > 0)
                put_index(l);
        if (feed_forward == FEED_FORWARD_DENSE)
                put_dense_mlp(l);
        else
                put_experts(l, of);
}

/* Numbered as if they were further layers; embedding and head are copies of the model's. */
static void put_drafts(struct lister *l) {
        const struct model_config *c = l->config;
        uint64_t d = c->hidden_size;
        l->draft = true;
        for (uint32_t i = 0; l->r == 0 && i < c->n_draft_layers; i++) {
                char of[32];
                snprintf(of, sizeof(of), "model.layers.%u", c->n_layers + i);
                l->group++;
                put_layer(l, of, FEED_FORWARD_EXPERTS);
                put_norm(l, "enorm.weight", COMPONENT_NORMS, d, NO_PLACE);
                put_norm(l, "hnorm.weight", COMPONENT_NORMS, d, NO_PLACE);
                put_bf16(l, "eh_proj.weight", COMPONENT_DRAFT, d, 2 * d, NO_PLACE);
                put_norm(l, "shared_head.norm.weight", COMPONENT_NORMS, d, NO_PLACE);
                put(l, "embed_tokens.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
                    (struct shape){ c->vocab_size, d }, NO_PLACE);
                put_bf16(l, "shared_head.head.weight", COMPONENT_EMBEDDING, c->vocab_size, d,
                         NO_PLACE);
        }
        l->draft = false;
}

static void list(struct lister *l) {
        const struct model_config *c = l->config;
        l->scale_suffix = ".weight_scale_inv";
        put(l, "model.embed_tokens.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
            (struct shape){ c->vocab_size, c->hidden_size }, MODEL(embed));
        for (uint32_t i = 0; l->r == 0 && i < c->n_layers; i++) {
                char of[32];
                snprintf(of, sizeof(of), "model.layers.%u", i);
                l->group++;
                l->layer = i;
                put_layer(l, of, c->layer[i].feed_forward);
        }
        l->group++;
        lister_prefix(l, "%s", "");
        put_norm(l, "model.norm.weight", COMPONENT_NORMS, c->hidden_size, MODEL(norm));
        put_bf16(l, "lm_head.weight", COMPONENT_EMBEDDING, c->vocab_size, c->hidden_size,
                 MODEL(head));
        put_drafts(l);
}

static enum skipped_kind skipped(const struct model_config *config, const char *name) {
        unsigned layer;
        int at = 0;
        if (sscanf(name, "model.layers.%u.%n", &layer, &at) == 1 && at > 0 &&
            layer >= config->n_layers && layer - config->n_layers < config->n_draft_layers)
                return SKIPPED_DRAFT;
        return SKIPPED_UNKNOWN;
}

const struct tensor_family tensors_deepseek_v3 = {
        .list = list,
        .skipped = skipped,
        .drafts = "draft layers (behind the last layer)",
};
