/* Feed-forward layers: one MLP, or experts that a router chooses. Both go from the normed input
 * ws->x to ws->y, for all rows of the step. */
#pragma once

#include "engine/attention.h"
#include "engine/step.h"

void feed_forward_layer(struct step *step, uint32_t layer);

/* y[i] = mlp(x[i]) for n rows of what linear_input() gave; weight[i] multiplies before the down
 * projection, NULL = 1. */
void mlp(struct step *step, const struct mlp_weights *w, const float *x, const float *weight,
         uint32_t n, float *y);

/* Routed experts and the shared one (moe.c). */
void moe_layer(struct step *step, uint32_t layer);
void moe_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

/* The n_experts_per_token experts of each row, ascending, ws->expert, and their weights,
 * ws->expert_weight (router.c). */
void router_choose(struct step *step, uint32_t layer);
void router_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

void feed_forward_buffers(struct workspace *ws, const struct model_config *config, size_t rows);
void feed_forward_scratch(const struct model_config *config, struct scratch_needs *needs);
