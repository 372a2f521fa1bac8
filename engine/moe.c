/* Mixture of experts: a router picks n_experts_per_token experts per position, their outputs are
 * added in ascending order of expert number, then the shared expert's. The routing weight
 * multiplies inside the expert, before w2, or the expert's output, as the family does. */
#include <string.h>

#include "engine/feed_forward.h"

void moe_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->expert_rows = ROOM(ws, rows, uint32_t);
        ws->expert_row_weight = ROOM(ws, rows, float);
        ws->expert_x = ROOM(ws, rows * c->hidden_size, float);
        ws->expert_y = ROOM(ws, rows * c->hidden_size, float);
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

static void weigh_rows(float *rows, const float *weight, uint32_t n, size_t d) {
        for (uint32_t i = 0; i < n; i++)
                for (size_t k = 0; k < d; k++)
                        rows[i * d + k] *= weight[i];
}

void moe_layer(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];
        size_t d = e->config.hidden_size;

        router_choose(step, layer);
        /* Every expert reads the same quantised input; where experts are quantised, the shared one
         * is. */
        const struct matrix *first =
                e->config.n_shared_experts > 0 ? &w->shared.gate : &w->experts[0].gate;
        const float *x = linear_input(step, first, ws->x, step->n_rows, ws->quantised_x);
        memset(ws->y, 0, step->n_rows * d * sizeof(float));
        for (uint32_t number = 0; number < e->config.n_experts; number++) {
                uint32_t n = gather_rows(step, number, x);
                if (n == 0)
                        continue;
                bool after = e->config.weight_after_expert;
                mlp(step, &w->experts[number], ws->expert_x, after ? NULL : ws->expert_row_weight,
                    n, ws->expert_y);
                if (after)
                        weigh_rows(ws->expert_y, ws->expert_row_weight, n, d);
                for (uint32_t i = 0; i < n; i++)
                        e->backend->add(ws->y + ws->expert_rows[i] * d, ws->expert_y + i * d,
                                        (uint32_t)d, false);
        }
        if (e->config.n_shared_experts > 0)
                mlp(step, &w->shared, x, NULL, step->n_rows, ws->expert_y);
        else /* the sum is rounded all the same */
                memset(ws->expert_y, 0, step->n_rows * d * sizeof(float));
        e->backend->add(ws->y, ws->expert_y, (uint32_t)(step->n_rows * d), e->round);
}
