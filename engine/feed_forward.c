#include "engine/feed_forward.h"

/* Of the widest MLP. */
static size_t inner_width(const struct model_config *c) {
        size_t expert = c->expert_dim, shared = expert * c->n_shared_experts, widest = c->dense_dim;
        widest = expert > widest ? expert : widest;
        return shared > widest ? shared : widest;
}

void feed_forward_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->gate = ROOM(ws, rows * inner_width(c), float);
        ws->up = ROOM(ws, rows * inner_width(c), float);
        if (c->n_experts == 0)
                return;
        router_buffers(ws, c, rows);
        moe_buffers(ws, c, rows);
}

void feed_forward_scratch(const struct model_config *c, struct scratch_needs *needs) {
        scratch_at_least(&needs->input, inner_width(c));
}

void mlp(struct step *step, const struct mlp_weights *w, const float *x, const float *weight,
         uint32_t n, float *y) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        uint32_t f = w->gate.n;
        linear(step, &w->gate, x, n, ws->gate, e->round);
        linear(step, &w->up, x, n, ws->up, e->round);
        for (uint32_t i = 0; i < n; i++) {
                float *gate = ws->gate + (size_t)i * f;
                e->backend->swiglu(gate, ws->up + (size_t)i * f, f, e->config.swiglu_limit,
                                   weight ? weight[i] : 1.0f, e->round, gate);
        }
        linear(step, &w->down, linear_input(step, &w->down, ws->gate, n, ws->gate), n, y, e->round);
}

static void dense_layer(struct step *step, uint32_t layer) {
        struct workspace *ws = step->ws;
        const struct mlp_weights *w = &step->engine->weights.layer[layer].dense;
        mlp(step, w, linear_input(step, &w->gate, ws->x, step->n_rows, ws->quantised_x), NULL,
            step->n_rows, ws->y);
}

void feed_forward_layer(struct step *step, uint32_t layer) {
        switch (step->engine->config.layer[layer].feed_forward) {
        case FEED_FORWARD_EXPERTS: moe_layer(step, layer); break;
        case FEED_FORWARD_DENSE: dense_layer(step, layer); break;
        }
}
