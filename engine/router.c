/* Which experts a position uses, and with which weights. */
#include <math.h>

#include "engine/feed_forward.h"
#include "engine/numerics.h"
#include "engine/topk.h"

void router_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->router = ROOM(ws, rows * c->n_experts, float);
        ws->router_biased = ROOM(ws, c->n_experts, float);
        ws->router_order = ROOM(ws, c->n_experts, uint64_t);
        ws->group_score = ROOM(ws, c->n_groups, float);
        ws->chosen_group = ROOM(ws, c->n_groups, uint32_t);
        ws->expert = ROOM(ws, rows * c->n_experts_per_token, uint32_t);
        ws->expert_weight = ROOM(ws, rows * c->n_experts_per_token, float);
}

static void softmax(float *z, uint32_t n) {
        float lane[LANES] = { 0 }, max = z[0];
        for (uint32_t i = 1; i < n; i++)
                max = z[i] > max ? z[i] : max;
        for (uint32_t i = 0; i < n; i++) {
                z[i] = math_expf(z[i] - max);
                lane[i % LANES] += z[i];
        }
        float sum = lanes_sum(lane);
        for (uint32_t i = 0; i < n; i++)
                z[i] /= sum;
}

/* The products z to scores, in place. */
static void make_scores(const struct engine *e, float *z) {
        switch (e->config.router_scores) {
        case ROUTER_SQRTSOFTPLUS: e->backend->router_scores(z, e->config.n_experts, z); break;
        case ROUTER_SOFTMAX: softmax(z, e->config.n_experts); break;
        case ROUTER_SIGMOID:
                for (uint32_t i = 0; i < e->config.n_experts; i++)
                        z[i] = math_sigmoid(z[i]);
                break;
        }
}

static float score_of_group(enum group_score kind, const float *score, uint32_t n) {
        float best = score[0], second = -INFINITY;
        for (uint32_t i = 1; i < n; i++)
                if (score[i] > best) {
                        second = best;
                        best = score[i];
                } else if (score[i] > second) {
                        second = score[i];
                }
        return kind == GROUP_BEST ? best : best + second;
}

/* Takes the experts of all but the best groups out of the choice. */
static void limit_groups(struct workspace *ws, const struct model_config *c, float *score) {
        uint32_t n = c->n_experts / c->n_groups, next = 0;
        for (uint32_t g = 0; g < c->n_groups; g++)
                ws->group_score[g] = score_of_group(c->group_score, score + g * n, n);
        uint32_t found = topk_select(ws->group_score, c->n_groups, c->n_groups_chosen,
                                     ws->router_order, ws->chosen_group);
        for (uint32_t g = 0; g < c->n_groups; g++) {
                if (next < found && ws->chosen_group[next] == g) {
                        next++;
                        continue;
                }
                for (uint32_t i = 0; i < n; i++)
                        score[g * n + i] = -INFINITY;
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
        if (c->n_groups > 1)
                limit_groups(ws, c, biased);
        uint32_t found =
                topk_select(biased, c->n_experts, c->n_experts_per_token, ws->router_order, expert);
        for (uint32_t i = found; i < c->n_experts_per_token; i++)
                expert[i] = 0; /* NaN scores: any will do, the step ends with an error */
}

/* Those that the layer's table names for the row's token, ascending. */
static void look_up(const struct step *step, uint32_t layer, uint32_t row, uint32_t *expert) {
        const struct engine *e = step->engine;
        uint32_t p = step->ws->part[row], k = e->config.n_experts_per_token;
        uint32_t id = step->parts[p].ids[row - step->first_row[p]];
        const int64_t *listed = e->weights.layer[layer].experts_of_id + (size_t)id * k;
        for (uint32_t i = 0; i < k; i++) {
                uint32_t at = i;
                for (; at > 0 && expert[at - 1] > (uint32_t)listed[i]; at--)
                        expert[at] = expert[at - 1];
                expert[at] = (uint32_t)listed[i];
        }
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
                if (c->layer[layer].routed_by_table)
                        look_up(step, layer, r, expert);
                else
                        choose_best(step, layer, score, expert);
                if (e->choices && e->choices->router)
                        e->choices->router(e->choices->userdata, layer, ws->position[r], k, expert);
                make_weights(c, score, expert, ws->expert_weight + (size_t)r * k);
        }
}
