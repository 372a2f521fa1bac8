/* DeepSeek-V4.1's attention (CSA2): every position attends its last `window` positions and, in
 * layers with a compressed source, the rows that the indexer chose, in one softmax. The latent is
 * key and value for all heads. Sources own compressed rows and selections; other layers reuse the
 * last source's. */
#include <math.h>

#include "engine/attention.h"
#include "engine/attention_tile.h"
#include "engine/attention_window.h"
#include "engine/compressor.h"
#include "engine/indexer.h"
#include "engine/step.h"

static void layout(const struct model_config *c, uint32_t l, struct kv_layout *layout,
                   struct frontier_layout *frontier) {
        const struct layer_config *layer = &c->layer[l];
        frontier_add_window(frontier, l, c->window, ROW_FP8, c->head_dim);
        if (!layer->owns_kv)
                return;
        if (layer->compress_ratio == 2) /* the open group: value, then gate */
                frontier_add_state(frontier, l, 2 * (size_t)c->head_dim);
        layout->main_stream[l] = kv_layout_add_rows(layout, KV_SELECTED, ROW_FP4_LATENT,
                                                    c->head_dim, layer->compress_ratio);
        layout->key_stream[l] = kv_layout_add_rows(layout, KV_SCANNED, ROW_FP4_KEY,
                                                   c->index_head_dim, layer->compress_ratio);
}

static void buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        size_t heads = (size_t)c->n_heads * c->head_dim;
        ws->qr = ROOM(ws, rows * c->q_lora_rank, float);
        ws->q = ROOM(ws, rows * heads, float);
        ws->o = ROOM(ws, rows * heads, float);
        ws->z = ROOM(ws, rows * c->o_groups * c->o_lora_rank, float);
        ws->kv = ROOM(ws, rows * c->head_dim, float);
        window_buffers(ws, e, rows);
        compressor_buffers(ws, c, rows);
        indexer_buffers(ws, c, rows);
        tile_buffers(ws, rows);
}

static void scratch(const struct model_config *c, struct scratch_needs *needs) {
        scratch_at_least(&needs->input, (size_t)c->n_heads * c->head_dim / c->o_groups);
        scratch_at_least(&needs->input, (size_t)c->o_groups * c->o_lora_rank);
        scratch_at_least(&needs->input, c->q_lora_rank);
        scratch_at_least(&needs->input, c->head_dim);
        scratch_at_least(&needs->attend, (size_t)c->n_heads * (c->window + c->index_topk + 16));
        scratch_at_least(&needs->rows, c->index_topk);
        scratch_at_least(&needs->keys, (size_t)c->index_topk * c->head_dim);
        indexer_scratch(c, needs);
}

static unsigned rope_kind(const struct step *step, uint32_t layer) {
        return step->engine->config.layer[layer].compress_ratio > 0 ? ROPE_COMPRESS : ROPE_MAIN;
}

static void project(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        unsigned kind = rope_kind(step, layer);
        uint32_t pairs = c->rope_dim / 2;

        const float *x = linear_input(step, &w->wq_a, ws->x, step->n_rows, ws->quantised_x);
        linear(step, &w->wq_a, x, step->n_rows, ws->qr, e->round);
        linear(step, &w->wkv, x, step->n_rows, ws->kv, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *qr = ws->qr + (size_t)r * c->q_lora_rank;
                e->backend->rmsnorm(qr, w->q_norm, c->q_lora_rank, c->rms_norm_eps, e->round, qr);
        }
        /* In place: the indexer's query is the only other reader, quantised like this one. */
        const float *qr = linear_input(step, &w->wq_b, ws->qr, step->n_rows, ws->qr);
        linear(step, &w->wq_b, qr, step->n_rows, ws->q, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                const float *cos = ws->cos[kind] + (size_t)r * pairs,
                            *sin = ws->sin[kind] + (size_t)r * pairs;
                float *kv = ws->kv + (size_t)r * c->head_dim;
                e->backend->rope(ws->q + (size_t)r * c->n_heads * c->head_dim, c->n_heads,
                                 c->head_dim, cos, sin, pairs, false, e->round);
                e->backend->rmsnorm(kv, w->kv_norm, c->head_dim, c->rms_norm_eps, e->round, kv);
                e->backend->rope(kv, 1, c->head_dim, cos, sin, pairs, false, e->round);
                window_pack(step, layer, r, kv);
        }
}

/* The index query of all rows, rotated at their positions and quantised as the keys are. */
static void project_index_query(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        uint32_t dim = c->index_head_dim, n = c->index_n_heads, pairs = c->rope_dim / 2;

        linear(step, &w->index_q, ws->qr, step->n_rows, ws->index_q, e->round);
        linear(step, &w->index_weights, ws->x, step->n_rows, ws->index_w, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                e->backend->rope(ws->index_q + (size_t)r * n * dim, n, dim,
                                 ws->cos[ROPE_COMPRESS] + (size_t)r * pairs,
                                 ws->sin[ROPE_COMPRESS] + (size_t)r * pairs, pairs, false,
                                 e->round);
                indexer_quantise_query(step, layer, r);
        }
}

static void attend_row(struct step *step, uint32_t layer, uint32_t r,
                       struct worker_scratch *scratch) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        unsigned kind = rope_kind(step, layer);
        uint32_t pairs = c->rope_dim / 2, n_window;
        size_t heads = (size_t)c->n_heads * c->head_dim;

        const float *window = window_of_row(step, r, &n_window);
        uint32_t n_selected = unpack_selected(step, layer, r, scratch);
        float *o = ws->o + r * heads;
        e->backend->attend(&(struct attend){
                .q = ws->q + r * heads,
                .keys = { window, scratch->keys },
                .n_keys = { n_window, n_selected },
                .sinks = e->weights.layer[layer].sinks,
                .n_heads = c->n_heads,
                .dim = c->head_dim,
                .scale = 1.0f / sqrtf((float)c->head_dim),
                .round = e->round,
                .scratch = scratch->attend,
                .o = o,
        });
        e->backend->rope(o, c->n_heads, c->head_dim, ws->cos[kind] + (size_t)r * pairs,
                         ws->sin[kind] + (size_t)r * pairs, pairs, true, e->round);
}

static void compute(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];

        project(step, layer);
        window_unpack(step, layer);
        if (e->config.layer[layer].owns_kv)
                compressor_append(step, layer);
        if (e->config.layer[layer].owns_index) {
                project_index_query(step, layer);
                indexer_select(step, layer);
        }
        attend_rows(step, layer, attend_row);
        window_store(step, layer);

        linear_grouped(step, &w->wo_a, e->config.o_groups, ws->o, step->n_rows, ws->z, e->round);
        const float *z = linear_input(step, &w->wo_b, ws->z, step->n_rows, ws->z);
        linear(step, &w->wo_b, z, step->n_rows, ws->y, e->round);
}

const struct attention_operations attention_csa2 = {
        .name = "CSA2",
        .layout = layout,
        .buffers = buffers,
        .scratch = scratch,
        .compute = compute,
};
