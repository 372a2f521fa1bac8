#include "engine/weights.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/progress.h"
#include "engine/safetensors.h"

/* Where names are built and tensors taken from; the first error sticks, so that a layer reads as a
 * list. */
struct binder {
        const struct checkpoint *checkpoint;
        const struct model_config *config;
        struct error *err;
        int r;
        uint64_t bytes;
        bool *taken; /* [checkpoint_n_tensors] */
        bool tables_optional;
        char prefix[96];
};

static void set_prefix(struct binder *b, const char *format, ...)
        __attribute__((format(printf, 2, 3)));
static void set_prefix(struct binder *b, const char *format, ...) {
        va_list args;
        va_start(args, format);
        vsnprintf(b->prefix, sizeof(b->prefix), format, args);
        va_end(args);
}

static const void *take(struct binder *b, const char *name, enum dtype dtype, unsigned n_dims,
                        const uint64_t *shape) {
        if (b->r < 0)
                return NULL;
        char full[160];
        snprintf(full, sizeof(full), "%s%s", b->prefix, name);
        const struct tensor *t;
        b->r = checkpoint_require(b->checkpoint, full, dtype, n_dims, shape, &t, b->err);
        if (b->r < 0)
                return NULL;
        size_t align = dtype == DTYPE_F32 ? sizeof(float)
                : dtype == DTYPE_BF16     ? sizeof(uint16_t)
                                          : 1;
        if ((uintptr_t)t->data % align != 0) {
                b->r = error_set(b->err, -EINVAL,
                                 "tensor '%s': its data is not aligned to %zu bytes", full, align);
                return NULL;
        }
        b->bytes += t->bytes;
        b->taken[checkpoint_index(b->checkpoint, t)] = true;
        return t->data;
}

/* A matrix that no checkpoint quantises. */
static struct matrix take_matrix(struct binder *b, const char *name, enum dtype dtype, uint64_t n,
                                 uint64_t k) {
        const void *data = take(b, name, dtype, 2, (uint64_t[]){ n, k });
        return (struct matrix){ .data = data,
                                .n = (uint32_t)n,
                                .k = (uint32_t)k,
                                .format = dtype == DTYPE_BF16 ? WEIGHT_BF16 : WEIGHT_F32 };
}

/* Scale byte 255 is NaN: the first one is named. */
static int check_scales(const char *prefix, const char *name, const uint8_t *scales, uint64_t n,
                        uint64_t row_length, struct error *err) {
        const uint8_t *bad = memchr(scales, 255, n);
        uint64_t at = bad ? (uint64_t)(bad - scales) : 0;
        return !bad
                ? 0
                : error_set(err, -EINVAL,
                            "tensor '%s%s': the scale at [%" PRIu64 ", %" PRIu64 "] is 255 (NaN)",
                            prefix, name, at / row_length, at % row_length);
}

/* A matrix that the released checkpoints quantise. `stem` is the name without ".weight". */
static struct matrix take_quantised(struct binder *b, const char *stem, enum weight_format format,
                                    uint64_t n, uint64_t k, bool scan) {
        char name[64];
        snprintf(name, sizeof(name), "%s.weight", stem);
        if (format == WEIGHT_BF16)
                return take_matrix(b, name, DTYPE_BF16, n, k);

        bool fp4 = format == WEIGHT_FP4;
        struct matrix w = {
                .n = (uint32_t)n,
                .k = (uint32_t)k,
                .format = format,
                .input_block = b->config->input_block,
                .tile = fp4 ? 0 : b->config->weight_tile,
        };
        w.data = take(b, name, fp4 ? DTYPE_I8 : DTYPE_F8_E4M3, 2,
                      (uint64_t[]){ n, fp4 ? k / 2 : k });
        uint64_t blocks = matrix_row_blocks(&w), rows = matrix_n_scales(&w) / blocks;
        snprintf(name, sizeof(name), "%s.scale", stem);
        w.scales = take(b, name, DTYPE_F8_E8M0, 2, (uint64_t[]){ rows, blocks });
        if (scan && b->r == 0)
                b->r = check_scales(b->prefix, name, w.scales, rows * blocks, blocks, b->err);
        return w;
}

static struct matrix take_dense(struct binder *b, const struct model_config *c, const char *stem,
                                uint64_t n, uint64_t k) {
        return take_quantised(b, stem, c->dense_format, n, k, true);
}

static const uint16_t *take_bf16(struct binder *b, const char *name, uint64_t n) {
        return take(b, name, DTYPE_BF16, 1, &n);
}

static const float *take_f32(struct binder *b, const char *name, uint64_t n) {
        return take(b, name, DTYPE_F32, 1, &n);
}

static void bind_hc(struct binder *b, const struct model_config *c, const char *which,
                    struct hc_weights *hc) {
        char name[32];
        uint64_t n = 2 * c->hc + (uint64_t)c->hc * c->hc;
        snprintf(name, sizeof(name), "hc_%s_fn", which);
        hc->fn = take_matrix(b, name, DTYPE_F32, n, (uint64_t)c->hc * c->hidden_size);
        snprintf(name, sizeof(name), "hc_%s_base", which);
        hc->base = take_f32(b, name, n);
        snprintf(name, sizeof(name), "hc_%s_scale", which);
        hc->scale = take_f32(b, name, 3);
}

static void bind_attention(struct binder *b, const struct model_config *c,
                           const struct layer_config *layer, struct layer_weights *w) {
        uint64_t d = c->hidden_size, heads = (uint64_t)c->n_heads * c->head_dim;
        w->wq_a = take_dense(b, c, "attn.wq_a", c->q_lora_rank, d);
        w->q_norm = take_bf16(b, "attn.q_norm.weight", c->q_lora_rank);
        w->wq_b = take_dense(b, c, "attn.wq_b", heads, c->q_lora_rank);
        w->wkv = take_dense(b, c, "attn.wkv", c->head_dim, d);
        w->kv_norm = take_bf16(b, "attn.kv_norm.weight", c->head_dim);
        w->sinks = take_f32(b, "attn.attn_sink", c->n_heads);
        uint64_t o = (uint64_t)c->o_groups * c->o_lora_rank;
        w->wo_a = take_dense(b, c, "attn.wo_a", o, heads / c->o_groups);
        w->wo_a.input_block = 0; /* the release multiplies the dequantised weight in BF16 */
        w->wo_b = take_dense(b, c, "attn.wo_b", d, o);
        if (layer->owns_kv) {
                w->compress_kv =
                        take_matrix(b, "attn.compressor.wkv.weight", DTYPE_BF16, c->head_dim, d);
                if (layer->compress_ratio == 2)
                        w->compress_gate = take_matrix(b, "attn.compressor.wgate.weight",
                                                       DTYPE_BF16, c->head_dim, d);
                w->compress_norm = take_bf16(b, "attn.compressor.norm.weight", c->head_dim);
                w->index_k = take_matrix(b, "attn.indexer.wk.weight", DTYPE_BF16, c->index_head_dim,
                                         c->head_dim);
                w->index_k_norm = take_bf16(b, "attn.indexer.k_norm.weight", c->index_head_dim);
        }
        if (layer->owns_index) {
                uint64_t n = (uint64_t)c->index_n_heads * c->index_head_dim;
                w->index_q = take_dense(b, c, "attn.indexer.wq_b", n, c->q_lora_rank);
                w->index_weights = take_matrix(b, "attn.indexer.weights_proj.weight", DTYPE_BF16,
                                               c->index_n_heads, d);
        }
}

static void bind_mlp(struct binder *b, enum weight_format format, uint64_t d, uint64_t f, bool scan,
                     struct mlp_weights *w) {
        w->gate = take_quantised(b, "w1", format, f, d, scan);
        w->up = take_quantised(b, "w3", format, f, d, scan);
        w->down = take_quantised(b, "w2", format, d, f, scan);
}

/* Whether loading looks for NaN among the experts' scales. They are 1/17 of an FP4 expert, which
 * lies in the file as scales, then weights: of a model as large as the release (17 GB of scales)
 * that would read a large part of the file before the first token. A NaN there still cannot give a
 * wrong token: it makes every output of its row NaN, and the step ends with an error that names the
 * layer. The same holds for Engram scales and for NaN among the FP8 codes. */
#define SCALES_SCANNED_MAX (1ULL << 30)

static bool scan_experts(const struct model_config *c) {
        uint64_t values = 3ULL * c->expert_dim * c->hidden_size * c->n_experts * c->n_layers;
        return values / WEIGHT_BLOCK <= SCALES_SCANNED_MAX;
}

static void bind_moe(struct binder *b, const struct model_config *c, uint32_t l,
                     struct layer_weights *w) {
        w->router = take_matrix(b, "ffn.gate.weight", DTYPE_BF16, c->n_experts, c->hidden_size);
        w->router_bias = take_f32(b, "ffn.gate.bias", c->n_experts);
        set_prefix(b, "layers.%u.ffn.shared_experts.", l);
        bind_mlp(b, c->dense_format, c->hidden_size, (uint64_t)c->expert_dim * c->n_shared_experts,
                 true, &w->shared);
        for (uint32_t e = 0; e < c->n_experts; e++) {
                set_prefix(b, "layers.%u.ffn.experts.%u.", l, e);
                bind_mlp(b, c->expert_format, c->hidden_size, c->expert_dim, scan_experts(c),
                         &w->experts[e]);
        }
}

static bool has(const struct binder *b, const char *name) {
        char full[160];
        snprintf(full, sizeof(full), "%s%s", b->prefix, name);
        return checkpoint_find(b->checkpoint, full) != NULL;
}

static void bind_engram_table(struct binder *b, const struct model_config *c, int table,
                              struct engram_weights *w) {
        uint64_t rows = c->engram_rows[table];
        if (b->tables_optional && !has(b, "engram.embed.weight") && !has(b, "engram.embed.scale"))
                return;
        w->codes = take(b, "engram.embed.weight", DTYPE_F8_E4M3, 2,
                        (uint64_t[]){ rows, c->engram_head_dim });
        w->scales = take(b, "engram.embed.scale", DTYPE_F8_E8M0, 2,
                         (uint64_t[]){ rows, c->engram_head_dim / FP8_BLOCK });
}

static void bind_engram(struct binder *b, const struct model_config *c, int table,
                        struct engram_weights *w) {
        uint64_t n_rows = (uint64_t)(c->engram_ngram_max - 1) * c->engram_n_heads,
                 d = c->hidden_size;
        bind_engram_table(b, c, table, w);
        w->wkv = take_dense(b, c, "engram.wkv", (c->hc + 1) * d, n_rows * c->engram_head_dim);
        w->q_weight = take(b, "engram.q_weight", DTYPE_BF16, 2, (uint64_t[]){ c->hc, d });
        w->k_weight = take(b, "engram.k_weight", DTYPE_BF16, 2, (uint64_t[]){ c->hc, d });
}

static void bind_layer(struct binder *b, const struct model_config *c, uint32_t l,
                       struct layer_weights *w) {
        const struct layer_config *layer = &c->layer[l];
        set_prefix(b, "layers.%u.", l);
        w->attn_norm = take_bf16(b, "attn_norm.weight", c->hidden_size);
        w->ffn_norm = take_bf16(b, "ffn_norm.weight", c->hidden_size);
        bind_hc(b, c, "attn", &w->hc_attn);
        bind_hc(b, c, "ffn", &w->hc_ffn);
        bind_attention(b, c, layer, w);
        if (layer->engram >= 0)
                bind_engram(b, c, layer->engram, &w->engram);
        bind_moe(b, c, l, w);
}

static const char *const skipped_kinds[] = {
        [SKIPPED_DRAFT] = "draft layers (mtp.*)",
        [SKIPPED_VISION] = "vision (vision.*, aligner.*, image_*, gate.bias_vl)",
        [SKIPPED_UNKNOWN] = "unknown tensors",
};

static bool begins(const char *name, const char *with) {
        return strncmp(name, with, strlen(with)) == 0;
}

static bool ends(const char *name, const char *with) {
        size_t n = strlen(name), n_with = strlen(with);
        return n >= n_with && strcmp(name + n - n_with, with) == 0;
}

static enum skipped_kind kind_of(const char *name) {
        if (begins(name, "mtp."))
                return SKIPPED_DRAFT;
        if (begins(name, "vision.") || begins(name, "aligner.") || begins(name, "image_") ||
            (begins(name, "layers.") && ends(name, ".ffn.gate.bias_vl")))
                return SKIPPED_VISION;
        return SKIPPED_UNKNOWN;
}

static void count_skipped(const struct binder *b, struct tensors_skipped *skipped) {
        for (unsigned kind = 0; kind < N_SKIPPED_KINDS; kind++)
                skipped[kind].what = skipped_kinds[kind];
        for (size_t i = 0; i < checkpoint_n_tensors(b->checkpoint); i++) {
                if (b->taken[i])
                        continue;
                const struct tensor *t = checkpoint_tensor(b->checkpoint, i);
                struct tensors_skipped *of = &skipped[kind_of(t->name)];
                if (of->n++ == 0)
                        of->first = t->name;
                of->bytes += t->bytes;
        }
}

int weights_bind(struct weights *ret, const struct checkpoint *checkpoint,
                 const struct model_config *config, bool tables_optional,
                 const struct progress *progress, struct error *err) {
        struct weights w = { 0 };
        struct binder b = { .checkpoint = checkpoint,
                            .config = config,
                            .err = err,
                            .tables_optional = tables_optional };

        w.layer = calloc(config->n_layers, sizeof(*w.layer));
        w.experts = calloc((size_t)config->n_layers * config->n_experts, sizeof(*w.experts));
        CLEANUP_FREE bool *taken = calloc(checkpoint_n_tensors(checkpoint) + 1, sizeof(*taken));
        b.taken = taken;
        if (!w.layer || !w.experts || !taken)
                b.r = error_set(err, -ENOMEM, "out of memory for %u layers' tensor tables",
                                config->n_layers);

        w.embed = take_matrix(&b, "embed.weight", DTYPE_BF16, config->vocab_size,
                              config->hidden_size);
        w.head =
                take_matrix(&b, "head.weight", DTYPE_BF16, config->vocab_size, config->hidden_size);
        w.norm = take_bf16(&b, "norm.weight", config->hidden_size);
        for (uint32_t l = 0; b.r == 0 && l < config->n_layers; l++) {
                char what[48];
                snprintf(what, sizeof(what), "checking layer %u of %u", l + 1, config->n_layers);
                progress_report(progress, (double)l / config->n_layers, what);
                w.layer[l].experts = w.experts + (size_t)l * config->n_experts;
                bind_layer(&b, config, l, &w.layer[l]);
        }
        if (b.r < 0) {
                weights_unbind(&w);
                return b.r;
        }
        w.bytes = b.bytes;
        count_skipped(&b, w.skipped);
        *ret = w;
        return 0;
}

int weights_check_engram_scales(const struct weights *weights, const struct model_config *config,
                                struct error *err) {
        uint64_t row_length = config->engram_head_dim / FP8_BLOCK;
        int r = 0;
        for (uint32_t i = 0; r == 0 && i < config->n_engram_layers; i++) {
                uint64_t n = config->engram_rows[i] * row_length;
                char prefix[32];
                snprintf(prefix, sizeof(prefix), "layers.%u.", config->engram_layers[i]);
                if (n <= SCALES_SCANNED_MAX)
                        r = check_scales(prefix, "engram.embed.scale",
                                         weights->layer[config->engram_layers[i]].engram.scales, n,
                                         row_length, err);
        }
        return r;
}

void weights_unbind(struct weights *weights) {
        free(weights->layer);
        free(weights->experts);
        *weights = (struct weights){ 0 };
}
