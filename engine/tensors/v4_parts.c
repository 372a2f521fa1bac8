#include "engine/tensors/v4_parts.h"

void put_mixing(struct lister *l) {
        const struct model_config *c = l->config;
        const enum component part = COMPONENT_MIXING;
        uint64_t n = 2 * c->hc + (uint64_t)c->hc * c->hc, d = (uint64_t)c->hc * c->hidden_size;
        put_f32(l, "hc_attn_fn", part, CONTENT_MATRIX, (struct shape){ n, d }, LAYER(hc_attn.fn));
        put_f32(l, "hc_attn_base", part, CONTENT_MIX_BASE, (struct shape){ n, 0 },
                LAYER(hc_attn.base));
        put_f32(l, "hc_attn_scale", part, CONTENT_MIX_SCALE, (struct shape){ 3, 0 },
                LAYER(hc_attn.scale));
        put_f32(l, "hc_ffn_fn", part, CONTENT_MATRIX, (struct shape){ n, d }, LAYER(hc_ffn.fn));
        put_f32(l, "hc_ffn_base", part, CONTENT_MIX_BASE, (struct shape){ n, 0 },
                LAYER(hc_ffn.base));
        put_f32(l, "hc_ffn_scale", part, CONTENT_MIX_SCALE, (struct shape){ 3, 0 },
                LAYER(hc_ffn.scale));
}

void put_shared_kv(struct lister *l) {
        const struct model_config *c = l->config;
        const enum component part = COMPONENT_ATTENTION;
        uint64_t d = c->hidden_size, heads = (uint64_t)c->n_heads * c->head_dim;
        uint64_t o = (uint64_t)c->o_groups * c->o_lora_rank;
        put_dense(l, "attn.wq_a", part, c->q_lora_rank, d, LAYER(wq_a));
        put_norm(l, "attn.q_norm.weight", part, c->q_lora_rank, LAYER(q_norm));
        put_dense(l, "attn.wq_b", part, heads, c->q_lora_rank, LAYER(wq_b));
        put_dense(l, "attn.wkv", part, c->head_dim, d, LAYER(wkv));
        put_norm(l, "attn.kv_norm.weight", part, c->head_dim, LAYER(kv_norm));
        put_f32(l, "attn.attn_sink", part, CONTENT_SINKS, (struct shape){ c->n_heads, 0 },
                LAYER(sinks));
        /* The release multiplies the dequantised weight in BF16. */
        put_dense_exact(l, "attn.wo_a", part, o, heads / c->o_groups, LAYER(wo_a));
        put_dense(l, "attn.wo_b", part, d, o, LAYER(wo_b));
}

void put_index_query(struct lister *l) {
        const struct model_config *c = l->config;
        put_dense(l, "attn.indexer.wq_b", COMPONENT_INDEXER,
                  (uint64_t)c->index_n_heads * c->index_head_dim, c->q_lora_rank, LAYER(index_q));
        put_bf16(l, "attn.indexer.weights_proj.weight", COMPONENT_INDEXER, c->index_n_heads,
                 c->hidden_size, LAYER(index_weights));
}

static void put_expert(struct lister *l) {
        const struct model_config *c = l->config;
        const struct {
                const char *stem;
                uint64_t n, k;
                struct tensor_place place;
        } matrix[] = {
                { "w1", c->expert_dim, c->hidden_size, EXPERT(gate) },
                { "w2", c->hidden_size, c->expert_dim, EXPERT(down) },
                { "w3", c->expert_dim, c->hidden_size, EXPERT(up) },
        };
        for (unsigned i = 0; i < 3; i++)
                put_scales(l, matrix[i].stem, COMPONENT_EXPERTS, c->expert_format, matrix[i].n,
                           matrix[i].k, matrix[i].place);
        for (unsigned i = 0; i < 3; i++)
                put_weight(l, matrix[i].stem, COMPONENT_EXPERTS, c->expert_format, matrix[i].n,
                           matrix[i].k, matrix[i].place);
}

void put_expert_mlps(struct lister *l, const char *of, uint32_t n_experts) {
        const struct model_config *c = l->config;
        uint64_t d = c->hidden_size, f = (uint64_t)c->expert_dim * c->n_shared_experts;
        put_dense(l, "ffn.shared_experts.w1", COMPONENT_SHARED_EXPERTS, f, d, LAYER(shared.gate));
        put_dense(l, "ffn.shared_experts.w2", COMPONENT_SHARED_EXPERTS, d, f, LAYER(shared.down));
        put_dense(l, "ffn.shared_experts.w3", COMPONENT_SHARED_EXPERTS, f, d, LAYER(shared.up));
        for (uint32_t e = 0; l->r == 0 && e < n_experts; e++) {
                l->expert = e;
                lister_prefix(l, "%s.ffn.experts.%u.", of, e);
                put_expert(l);
        }
        lister_prefix(l, "%s.", of);
}
