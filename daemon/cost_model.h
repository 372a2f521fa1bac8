/* What a step will take, learned from what steps have taken.
 *
 *     t = a + b * rows + c * sum over rows of the tokens before them
 *
 * a: what a step costs at all (weights are read once, whatever the number of rows); b: one row
 * through the layers; c: looking back. Fitted by recursive least squares with forgetting (Haykin,
 * Adaptive Filter Theory, ch. 10), so that it follows a machine that becomes slower or faster.
 * Pure: no clock. One thread. */
#pragma once

#include <stdint.h>

#define COST_TERMS 3

struct cost_model {
        double weight[COST_TERMS];             /* ms, of the scaled terms */
        double spread[COST_TERMS][COST_TERMS]; /* inverse correlation of the terms seen */
        uint64_t n_steps;
};

/* The rows of a step, or of a part of one. */
struct cost_rows {
        uint64_t n;
        uint64_t behind; /* sum over rows of the tokens before them */
};

/* n rows from `position` on. */
struct cost_rows cost_rows(uint64_t position, uint64_t n);
struct cost_rows cost_rows_sum(struct cost_rows a, struct cost_rows b);

void cost_model_init(struct cost_model *ret);

/* A step of these rows took so long. Ignores what is no time (<= 0, not finite). */
void cost_model_learn(struct cost_model *model, struct cost_rows rows, double ms);

/* Of a whole step, and what rows add to a step that runs anyway; both ms, never below 0. Before the
 * first step there is a guess that makes one chunk a whole budget. */
double cost_model_step(const struct cost_model *model, struct cost_rows rows);
double cost_model_more(const struct cost_model *model, struct cost_rows rows);
