#include "engine/shared_kv.h"

#include <math.h>

#include "engine/attention_window.h"

void shared_kv_buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        size_t heads = (size_t)c->n_heads * c->head_dim;
        ws->qr = ROOM(ws, rows * c->q_lora_rank, float);
        ws->q = ROOM(ws, rows * heads, float);
        ws->o = ROOM(ws, rows * heads, float);
        ws->z = ROOM(ws, rows * c->o_groups * c->o_lora_rank, float);
        ws->kv = ROOM(ws, rows * c->head_dim, float);
        window_buffers(ws, e, rows);
}

void shared_kv_scratch(const struct model_config *c, size_t n_rows, struct scratch_needs *needs) {
        scratch_at_least(&needs->input, (size_t)c->n_heads * c->head_dim / c->o_groups);
        scratch_at_least(&needs->input, (size_t)c->o_groups * c->o_lora_rank);
        scratch_at_least(&needs->input, c->q_lora_rank);
        scratch_at_least(&needs->input, c->head_dim);
        scratch_at_least(&needs->attend, c->n_heads * (c->window + n_rows + 16));
        scratch_at_least(&needs->rows, n_rows);
        scratch_at_least(&needs->keys, n_rows * c->head_dim);
}

/* Layers with compressed rows rotate all they keep as these are rotated. */
static enum rope_kind rope_kind(const struct step *step, uint32_t layer) {
        return step->engine->config.layer[layer].compress_ratio > 0 ? ROPE_COMPRESS : ROPE_MAIN;
}

static void norm_heads(struct step *step, float *q) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        for (uint32_t head = 0; head < c->n_heads; head++, q += c->head_dim)
                e->backend->rmsnorm(q, NULL, c->head_dim, c->rms_norm_eps, e->round, q);
}

void shared_kv_project(struct step *step, uint32_t layer, bool head_norm) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        enum rope_kind kind = rope_kind(step, layer);
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
                float *q = ws->q + (size_t)r * c->n_heads * c->head_dim,
                      *kv = ws->kv + (size_t)r * c->head_dim;
                if (head_norm)
                        norm_heads(step, q);
                e->backend->rope(q, c->n_heads, c->head_dim, cos, sin, pairs, false, e->round);
                e->backend->rmsnorm(kv, w->kv_norm, c->head_dim, c->rms_norm_eps, e->round, kv);
                e->backend->rope(kv, 1, c->head_dim, cos, sin, pairs, false, e->round);
                window_pack(step, layer, r, kv);
        }
}

void shared_kv_attend(struct step *step, uint32_t layer, uint32_t r, const float *rows, uint32_t n,
                      float *attend) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        enum rope_kind kind = rope_kind(step, layer);
        uint32_t pairs = c->rope_dim / 2, n_window;
        size_t heads = (size_t)c->n_heads * c->head_dim;

        const float *window = window_of_row(step, r, &n_window);
        float *o = ws->o + r * heads;
        e->backend->attend(&(struct attend){
                .q = ws->q + r * heads,
                .keys = { window, rows },
                .n_keys = { n_window, n },
                .sinks = e->weights.layer[layer].sinks,
                .n_heads = c->n_heads,
                .dim = c->head_dim,
                .scale = 1.0f / sqrtf((float)c->head_dim),
                .round = e->round,
                .scratch = attend,
                .o = o,
        });
        e->backend->rope(o, c->n_heads, c->head_dim, ws->cos[kind] + (size_t)r * pairs,
                         ws->sin[kind] + (size_t)r * pairs, pairs, true, e->round);
}

void shared_kv_output(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];
        linear_grouped(step, &w->wo_a, e->config.o_groups, ws->o, step->n_rows, ws->z, e->round);
        const float *z = linear_input(step, &w->wo_b, ws->z, step->n_rows, ws->z);
        linear(step, &w->wo_b, z, step->n_rows, ws->y, e->round);
}
