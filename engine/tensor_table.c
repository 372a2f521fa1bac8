#include "engine/tensor_table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "engine/model_config.h"

#define FP4_CODES 2U /* in a byte */

const char *component_name(enum component component) {
        static const char *const names[N_COMPONENTS] = {
                [COMPONENT_EMBEDDING] = "embedding and head",
                [COMPONENT_ATTENTION] = "attention",
                [COMPONENT_COMPRESSOR] = "compressors",
                [COMPONENT_INDEXER] = "indexers",
                [COMPONENT_MIXING] = "residual mixing",
                [COMPONENT_ROUTER] = "routers",
                [COMPONENT_SHARED_EXPERTS] = "shared experts",
                [COMPONENT_EXPERTS] = "routed experts",
                [COMPONENT_ENGRAM_TABLES] = "Engram tables",
                [COMPONENT_ENGRAM_DENSE] = "Engram projections",
                [COMPONENT_NORMS] = "norms",
                [COMPONENT_DRAFT_EXPERTS] = "draft experts",
                [COMPONENT_DRAFT] = "draft layers",
                [COMPONENT_VISION] = "vision",
        };
        return names[component];
}

/* One visit. The first result that is not 0 sticks, so that a layer reads as a list. */
struct lister {
        const struct tensor_table *table;
        int (*visit)(void *userdata, const struct tensor_entry *entry);
        void *userdata;
        int r;
        unsigned group;
        char prefix[48];
        bool draft;                /* all that follows belongs to the drafts */
        enum weight_format scaled; /* what the next scales belong to */
};

__attribute__((format(printf, 2, 3))) static void set_prefix(struct lister *l, const char *format,
                                                             ...) {
        va_list args;
        va_start(args, format);
        vsnprintf(l->prefix, sizeof(l->prefix), format, args);
        va_end(args);
}

/* A tensor of n rows, or of n numbers when k is 0. */
struct shape {
        uint64_t n, k;
};

static void put(struct lister *l, const char *name, enum component component,
                enum tensor_content content, enum dtype dtype, struct shape shape) {
        static const enum weight_format formats[] = {
                [DTYPE_F32] = WEIGHT_F32,
                [DTYPE_BF16] = WEIGHT_BF16,
                [DTYPE_F8_E4M3] = WEIGHT_FP8,
                [DTYPE_I8] = WEIGHT_FP4,
        };
        if (l->r != 0)
                return;
        struct tensor_entry entry = {
                .dtype = dtype,
                .n_dims = shape.k > 0 ? 2 : 1,
                .shape = { shape.n, shape.k },
                .component = component,
                .content = content,
                .format = content == CONTENT_SCALES ? l->scaled : formats[dtype],
                .group = l->group,
        };
        uint64_t count = shape.n * (shape.k > 0 ? shape.k : 1);
        entry.bytes = count * dtype_bytes(dtype);
        entry.parameters = content == CONTENT_SCALES ? 0
                : dtype == DTYPE_I8                  ? count * FP4_CODES
                                                     : count;
        if (l->draft)
                entry.component =
                        component == COMPONENT_EXPERTS ? COMPONENT_DRAFT_EXPERTS : COMPONENT_DRAFT;
        snprintf(entry.name, sizeof(entry.name), "%s%s", l->prefix, name);
        l->r = l->visit(l->userdata, &entry);
}

static void put_norm(struct lister *l, const char *name, enum component component, uint64_t n) {
        put(l, name, component, CONTENT_NORM, DTYPE_BF16, (struct shape){ n, 0 });
}

static void put_bf16(struct lister *l, const char *name, enum component component, uint64_t n,
                     uint64_t k) {
        put(l, name, component, CONTENT_MATRIX, DTYPE_BF16, (struct shape){ n, k });
}

static void put_weight(struct lister *l, const char *stem, enum component component,
                       enum weight_format format, uint64_t n, uint64_t k) {
        static const enum dtype dtypes[] = {
                [WEIGHT_F32] = DTYPE_F32,
                [WEIGHT_BF16] = DTYPE_BF16,
                [WEIGHT_FP8] = DTYPE_F8_E4M3,
                [WEIGHT_FP4] = DTYPE_I8,
        };
        char name[64];
        snprintf(name, sizeof(name), "%s.weight", stem);
        put(l, name, component, CONTENT_MATRIX, dtypes[format],
            (struct shape){ n, format == WEIGHT_FP4 ? k / FP4_CODES : k });
}

/* One scale for a tile of an FP8 matrix, or for 32 values of an FP4 matrix' row; else nothing. */
static void put_scales(struct lister *l, const char *stem, enum component component,
                       enum weight_format format, uint64_t n, uint64_t k) {
        char name[64];
        if (format != WEIGHT_FP8 && format != WEIGHT_FP4)
                return;
        snprintf(name, sizeof(name), "%s.scale", stem);
        l->scaled = format;
        put(l, name, component, CONTENT_SCALES, DTYPE_F8_E8M0,
            (struct shape){ format == WEIGHT_FP8 ? n / WEIGHT_BLOCK : n, k / WEIGHT_BLOCK });
}

/* A matrix of those that releases quantise. */
static void put_dense(struct lister *l, const char *stem, enum component component, uint64_t n,
                      uint64_t k) {
        enum weight_format format = l->table->config->dense_format;
        put_weight(l, stem, component, format, n, k);
        put_scales(l, stem, component, format, n, k);
}

/* The coefficients that mix hc residual streams: hc before, hc after, hc x hc across. */
static void put_mixing(struct lister *l, const char *which) {
        const struct model_config *c = l->table->config;
        uint64_t n = 2 * c->hc + (uint64_t)c->hc * c->hc;
        char name[32];
        snprintf(name, sizeof(name), "hc_%s_fn", which);
        put(l, name, COMPONENT_MIXING, CONTENT_MATRIX, DTYPE_F32,
            (struct shape){ n, (uint64_t)c->hc * c->hidden_size });
        snprintf(name, sizeof(name), "hc_%s_base", which);
        put(l, name, COMPONENT_MIXING, CONTENT_MIX_BASE, DTYPE_F32, (struct shape){ n, 0 });
        snprintf(name, sizeof(name), "hc_%s_scale", which);
        put(l, name, COMPONENT_MIXING, CONTENT_MIX_SCALE, DTYPE_F32, (struct shape){ 3, 0 });
}

static void put_attention(struct lister *l) {
        const struct model_config *c = l->table->config;
        const enum component part = COMPONENT_ATTENTION;
        uint64_t d = c->hidden_size, heads = (uint64_t)c->n_heads * c->head_dim;
        uint64_t o = (uint64_t)c->o_groups * c->o_lora_rank;
        put_dense(l, "attn.wq_a", part, c->q_lora_rank, d);
        put_norm(l, "attn.q_norm.weight", part, c->q_lora_rank);
        put_dense(l, "attn.wq_b", part, heads, c->q_lora_rank);
        put_dense(l, "attn.wkv", part, c->head_dim, d);
        put_norm(l, "attn.kv_norm.weight", part, c->head_dim);
        put(l, "attn.attn_sink", part, CONTENT_SINKS, DTYPE_F32, (struct shape){ c->n_heads, 0 });
        put_dense(l, "attn.wo_a", part, o, heads / c->o_groups);
        put_dense(l, "attn.wo_b", part, d, o);
}

/* What a layer has that owns compressed rows, or a selection of them. */
static void put_sources(struct lister *l, const struct layer_config *layer) {
        const struct model_config *c = l->table->config;
        uint64_t d = c->hidden_size;
        if (layer->owns_kv) {
                const enum component part = COMPONENT_COMPRESSOR;
                put_bf16(l, "attn.compressor.wkv.weight", part, c->head_dim, d);
                if (layer->compress_ratio == 2)
                        put_bf16(l, "attn.compressor.wgate.weight", part, c->head_dim, d);
                put_norm(l, "attn.compressor.norm.weight", part, c->head_dim);
                put_bf16(l, "attn.indexer.wk.weight", COMPONENT_INDEXER, c->index_head_dim,
                         c->head_dim);
                put_norm(l, "attn.indexer.k_norm.weight", COMPONENT_INDEXER, c->index_head_dim);
        }
        if (layer->owns_index) {
                put_dense(l, "attn.indexer.wq_b", COMPONENT_INDEXER,
                          (uint64_t)c->index_n_heads * c->index_head_dim, c->q_lora_rank);
                put_bf16(l, "attn.indexer.weights_proj.weight", COMPONENT_INDEXER, c->index_n_heads,
                         d);
        }
}

static void put_expert(struct lister *l) {
        const struct model_config *c = l->table->config;
        const struct {
                const char *stem;
                uint64_t n, k;
        } matrix[] = {
                { "w1", c->expert_dim, c->hidden_size },
                { "w2", c->hidden_size, c->expert_dim },
                { "w3", c->expert_dim, c->hidden_size },
        };
        for (unsigned i = 0; i < 3; i++)
                put_scales(l, matrix[i].stem, COMPONENT_EXPERTS, c->expert_format, matrix[i].n,
                           matrix[i].k);
        for (unsigned i = 0; i < 3; i++)
                put_weight(l, matrix[i].stem, COMPONENT_EXPERTS, c->expert_format, matrix[i].n,
                           matrix[i].k);
}

/* `of`: "layers.3" or "mtp.0". */
static void put_experts(struct lister *l, const char *of, uint32_t n_experts) {
        const struct model_config *c = l->table->config;
        put_bf16(l, "ffn.gate.weight", COMPONENT_ROUTER, n_experts, c->hidden_size);
        put(l, "ffn.gate.bias", COMPONENT_ROUTER, CONTENT_BIAS, DTYPE_F32,
            (struct shape){ n_experts, 0 });
        put(l, "ffn.gate.bias_vl", COMPONENT_ROUTER, CONTENT_BIAS, DTYPE_F32,
            (struct shape){ n_experts, 0 });
        uint64_t d = c->hidden_size, f = (uint64_t)c->expert_dim * c->n_shared_experts;
        put_dense(l, "ffn.shared_experts.w1", COMPONENT_SHARED_EXPERTS, f, d);
        put_dense(l, "ffn.shared_experts.w2", COMPONENT_SHARED_EXPERTS, d, f);
        put_dense(l, "ffn.shared_experts.w3", COMPONENT_SHARED_EXPERTS, f, d);
        for (uint32_t e = 0; l->r == 0 && e < n_experts; e++) {
                set_prefix(l, "%s.ffn.experts.%u.", of, e);
                put_expert(l);
        }
        set_prefix(l, "%s.", of);
}

/* Engram without its table: that is a group of its own. */
static void put_engram(struct lister *l) {
        const struct model_config *c = l->table->config;
        uint64_t d = c->hidden_size;
        uint64_t n_rows = (uint64_t)(c->engram_ngram_max - 1) * c->engram_n_heads;
        put_dense(l, "engram.wkv", COMPONENT_ENGRAM_DENSE, (c->hc + 1) * d,
                  n_rows * c->engram_head_dim);
        put(l, "engram.q_weight", COMPONENT_NORMS, CONTENT_NORM, DTYPE_BF16,
            (struct shape){ c->hc, d });
        put(l, "engram.k_weight", COMPONENT_NORMS, CONTENT_NORM, DTYPE_BF16,
            (struct shape){ c->hc, d });
}

static void put_layer(struct lister *l, const char *of, const struct layer_config *layer,
                      uint32_t n_experts) {
        const struct model_config *c = l->table->config;
        set_prefix(l, "%s.", of);
        put_norm(l, "attn_norm.weight", COMPONENT_NORMS, c->hidden_size);
        put_norm(l, "ffn_norm.weight", COMPONENT_NORMS, c->hidden_size);
        put_mixing(l, "attn");
        put_mixing(l, "ffn");
        put_attention(l);
        if (layer)
                put_sources(l, layer);
        if (layer && layer->engram >= 0)
                put_engram(l);
        put_experts(l, of, n_experts);
}

static void put_drafts(struct lister *l) {
        const struct model_config *c = l->table->config;
        const struct draft_config *draft = &l->table->parts.draft;
        uint64_t d = c->hidden_size;
        l->draft = true;
        for (uint32_t i = 0; l->r == 0 && i < draft->n_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "mtp.%u", i);
                l->group++;
                put_layer(l, of, NULL, draft->n_experts);
                if (i == 0) {
                        put_dense(l, "main_proj", COMPONENT_DRAFT, d, draft->n_targets * d);
                        put_norm(l, "main_norm.weight", COMPONENT_DRAFT, d);
                }
                if (i + 1 < draft->n_layers)
                        continue;
                put_norm(l, "norm.weight", COMPONENT_DRAFT, d);
                put(l, "markov_head.embed.weight", COMPONENT_DRAFT, CONTENT_EMBEDDING, DTYPE_BF16,
                    (struct shape){ c->vocab_size, draft->markov_rank });
                put_bf16(l, "markov_head.head.weight", COMPONENT_DRAFT, c->vocab_size,
                         draft->markov_rank);
                put_bf16(l, "confidence_head.proj.weight", COMPONENT_DRAFT, 1,
                         d + draft->markov_rank);
        }
        l->draft = false;
}

/* A BF16 matrix with a bias. */
static void put_biased(struct lister *l, const char *name, uint64_t n, uint64_t k) {
        char full[48];
        snprintf(full, sizeof(full), "%s.weight", name);
        put_bf16(l, full, COMPONENT_VISION, n, k);
        snprintf(full, sizeof(full), "%s.bias", name);
        put(l, full, COMPONENT_VISION, CONTENT_BIAS, DTYPE_BF16, (struct shape){ n, 0 });
}

/* Patches of three colours, blocks, and the projection of joined patches to the text model. */
static void put_vision(struct lister *l) {
        const struct vision_config *v = &l->table->parts.vision;
        uint64_t d = l->table->config->hidden_size, h = v->hidden_size, f = v->intermediate_size;
        static const char *const delimiters[] = { "image_start", "image_end", "image_newline" };
        if (v->n_layers == 0)
                return;
        l->group++;
        set_prefix(l, "vision.");
        put_biased(l, "patch_embed.proj", h, 3 * (uint64_t)v->patch_size * v->patch_size);
        for (uint32_t i = 0; l->r == 0 && i < v->n_layers; i++) {
                set_prefix(l, "vision.blocks.%u.", i);
                put_norm(l, "norm1.weight", COMPONENT_VISION, h);
                put_norm(l, "norm2.weight", COMPONENT_VISION, h);
                put_biased(l, "attn.wqkv", 3 * h, h);
                put_biased(l, "attn.wo", h, h);
                put_bf16(l, "mlp.w1.weight", COMPONENT_VISION, 2 * f, h);
                put_bf16(l, "mlp.w2.weight", COMPONENT_VISION, h, f);
        }
        set_prefix(l, "vision.");
        put_norm(l, "norm.weight", COMPONENT_VISION, h);
        set_prefix(l, "aligner.");
        put_biased(l, "w1", d, h * v->downsample_ratio * v->downsample_ratio);
        put_biased(l, "w2", d, d);
        set_prefix(l, "%s", "");
        for (unsigned i = 0; i < 3; i++)
                put(l, delimiters[i], COMPONENT_NORMS, CONTENT_EMBEDDING, DTYPE_BF16,
                    (struct shape){ d, 0 });
}

static void put_engram_tables(struct lister *l) {
        const struct model_config *c = l->table->config;
        for (uint32_t i = 0; i < c->n_engram_layers; i++) {
                l->group++;
                set_prefix(l, "layers.%u.engram.embed.", c->engram_layers[i]);
                put(l, "weight", COMPONENT_ENGRAM_TABLES, CONTENT_EMBEDDING, DTYPE_F8_E4M3,
                    (struct shape){ c->engram_rows[i], c->engram_head_dim });
                l->scaled = WEIGHT_FP8;
                put(l, "scale", COMPONENT_ENGRAM_TABLES, CONTENT_SCALES, DTYPE_F8_E8M0,
                    (struct shape){ c->engram_rows[i], c->engram_head_dim / FP8_BLOCK });
        }
}

int tensor_table_visit(const struct tensor_table *table,
                       int (*visit)(void *userdata, const struct tensor_entry *entry),
                       void *userdata) {
        const struct model_config *c = table->config;
        struct lister l = { .table = table, .visit = visit, .userdata = userdata };
        put(&l, "embed.weight", COMPONENT_EMBEDDING, CONTENT_EMBEDDING, DTYPE_BF16,
            (struct shape){ c->vocab_size, c->hidden_size });
        put_vision(&l);
        for (uint32_t i = 0; l.r == 0 && i < c->n_layers; i++) {
                char of[24];
                snprintf(of, sizeof(of), "layers.%u", i);
                l.group++;
                put_layer(&l, of, &c->layer[i], c->n_experts);
        }
        l.group++;
        set_prefix(&l, "%s", "");
        put_bf16(&l, "head.weight", COMPONENT_EMBEDDING, c->vocab_size, c->hidden_size);
        put_norm(&l, "norm.weight", COMPONENT_NORMS, c->hidden_size);
        put_drafts(&l);
        put_engram_tables(&l);
        return l.r;
}
