/* Mixture of experts: a router picks n_experts_per_token experts per position, their outputs are
 * added in ascending order of expert number, then the shared expert's. The routing weight
 * multiplies inside the expert, before w2. */
#include <math.h>
#include <string.h>

#include "engine/step.h"
#include "engine/topk.h"

/* z = router x; score = sqrt(softplus(z)); the best of score + bias are chosen, weighted by their
 * scores alone: w = score / (sum of the chosen + 1e-20) * routed_scaling. The bias only balances
 * the load. */
static void route(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        uint32_t n = c->n_experts, k = c->n_experts_per_token;

        linear(step, &w->router, ws->x, step->n_rows, ws->router, false);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *score = ws->router + (size_t)r * n, *biased = ws->router_biased;
                uint32_t *expert = ws->expert + (size_t)r * k;
                float *weight = ws->expert_weight + (size_t)r * k, sum = 0.0f;
                for (uint32_t i = 0; i < n; i++)
                        if (!isfinite(score[i]))
                                step->bad_row = r; /* it would only lose the choice */
                e->backend->router_scores(score, n, score);
                for (uint32_t i = 0; i < n; i++)
                        biased[i] = score[i] + w->router_bias[i];
                uint32_t found = topk_select(biased, n, k, ws->router_order, expert);
                for (uint32_t i = found; i < k; i++)
                        expert[i] = 0; /* NaN scores: any will do, the step ends with an error */
                if (e->choices && e->choices->router)
                        e->choices->router(e->choices->userdata, layer, ws->position[r], k, expert);
                for (uint32_t i = 0; i < k; i++) {
                        weight[i] = score[expert[i]];
                        sum += weight[i];
                }
                float factor =
                        c->norm_topk_prob ? c->routed_scaling / (sum + 1e-20f) : c->routed_scaling;
                for (uint32_t i = 0; i < k; i++)
                        weight[i] *= factor;
        }
}

/* y[i] = mlp(x[i]) for n rows of what linear_input() gave; weight[i] multiplies before the down
 * projection, NULL = 1. */
static void mlp(struct step *step, const struct mlp_weights *w, const float *x, const float *weight,
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

/* Rows that chose expert `number`, with their weights; copies their inputs side by side. */
static uint32_t gather_rows(struct step *step, uint32_t number, const float *x) {
        struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        uint32_t k = c->n_experts_per_token, n = 0;
        size_t d = c->hidden_size;
        for (uint32_t r = 0; r < step->n_rows; r++)
                for (uint32_t i = 0; i < k; i++)
                        if (ws->expert[(size_t)r * k + i] == number) {
                                memcpy(ws->expert_x + n * d, x + r * d, d * sizeof(float));
                                ws->expert_row_weight[n] = ws->expert_weight[(size_t)r * k + i];
                                ws->expert_rows[n++] = r;
                                break;
                        }
        return n;
}

void moe_layer(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];
        size_t d = e->config.hidden_size;

        route(step, layer);
        /* Every expert reads the same quantised input; where experts are quantised, the shared one
         * is. */
        const float *x = linear_input(step, &w->shared.gate, ws->x, step->n_rows, ws->quantised_x);
        memset(ws->y, 0, step->n_rows * d * sizeof(float));
        for (uint32_t number = 0; number < e->config.n_experts; number++) {
                uint32_t n = gather_rows(step, number, x);
                if (n == 0)
                        continue;
                mlp(step, &w->experts[number], ws->expert_x, ws->expert_row_weight, n,
                    ws->expert_y);
                for (uint32_t i = 0; i < n; i++)
                        e->backend->add(ws->y + ws->expert_rows[i] * d, ws->expert_y + i * d,
                                        (uint32_t)d, false);
        }
        mlp(step, &w->shared, x, NULL, step->n_rows, ws->expert_y);
        e->backend->add(ws->y, ws->expert_y, (uint32_t)(step->n_rows * d), e->round);
}
