/* Which experts a position uses, and with which weights. */
#include <math.h>

#include "engine/feed_forward.h"
#include "engine/topk.h"

void router_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->router = ROOM(ws, rows * c->n_experts, float);
        ws->router_biased = ROOM(ws, c->n_experts, float);
        ws->router_order = ROOM(ws, c->n_experts, uint64_t);
        ws->expert = ROOM(ws, rows * c->n_experts_per_token, uint32_t);
        ws->expert_weight = ROOM(ws, rows * c->n_experts_per_token, float);
}

/* The products z to scores, in place. */
static void make_scores(const struct engine *e, float *z) {
        switch (e->config.router_scores) {
        case ROUTER_SQRTSOFTPLUS: e->backend->router_scores(z, e->config.n_experts, z); break;
        }
}

/* The best of score + bias. The bias only balances the load: weights come from the scores alone. */
static void choose_best(struct step *step, uint32_t layer, const float *score, uint32_t *expert) {
        struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        const float *bias = step->engine->weights.layer[layer].router_bias;
        float *biased = ws->router_biased;
        for (uint32_t i = 0; i < c->n_experts; i++)
                biased[i] = bias ? score[i] + bias[i] : score[i];
        uint32_t found =
                topk_select(biased, c->n_experts, c->n_experts_per_token, ws->router_order, expert);
        for (uint32_t i = found; i < c->n_experts_per_token; i++)
                expert[i] = 0; /* NaN scores: any will do, the step ends with an error */
}

/* w = score / (sum of the chosen + 1e-20) * routed_scaling, or score * routed_scaling. */
static void make_weights(const struct model_config *c, const float *score, const uint32_t *expert,
                         float *weight) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < c->n_experts_per_token; i++) {
                weight[i] = score[expert[i]];
                sum += weight[i];
        }
        float factor = c->norm_topk_prob ? c->routed_scaling / (sum + 1e-20f) : c->routed_scaling;
        for (uint32_t i = 0; i < c->n_experts_per_token; i++)
                weight[i] *= factor;
}

void router_choose(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t n = c->n_experts, k = c->n_experts_per_token;

        linear(step, &e->weights.layer[layer].router, ws->x, step->n_rows, ws->router, false);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *score = ws->router + (size_t)r * n;
                uint32_t *expert = ws->expert + (size_t)r * k;
                for (uint32_t i = 0; i < n; i++)
                        if (!isfinite(score[i]))
                                step->bad_row = r; /* it would only lose the choice */
                make_scores(e, score);
                choose_best(step, layer, score, expert);
                if (e->choices && e->choices->router)
                        e->choices->router(e->choices->userdata, layer, ws->position[r], k, expert);
                make_weights(c, score, expert, ws->expert_weight + (size_t)r * k);
        }
}
