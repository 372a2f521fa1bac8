#include "daemon/cost_model.h"

#include <math.h>
#include <string.h>

/* Terms are scaled to be near 1 in a usual step, so that one spread fits all of them. */
#define ROWS_SCALE   128.0
#define BEHIND_SCALE (128.0 * 4096)

/* A step's weight in the fit halves within about 140 later ones: seconds of decoding, so that a
 * throttled processor is noticed, and single outliers are not. */
#define FORGETTING 0.995

/* Little is known at first: the first steps decide. */
#define SPREAD_FIRST 1e3
/* Forgetting without new terms (nothing but single decodes for hours) would let the spread of the
 * others grow without bound. */
#define SPREAD_MAX 1e6

/* One chunk of 128 rows is taken to be the whole default budget of 50 ms until one has been seen.
 */
#define STEP_GUESS_MS  5.0
#define CHUNK_GUESS_MS 45.0

struct cost_rows cost_rows(uint64_t position, uint64_t n) {
        return (struct cost_rows){ n, n * position + n * (n - (n > 0)) / 2 };
}

struct cost_rows cost_rows_sum(struct cost_rows a, struct cost_rows b) {
        return (struct cost_rows){ a.n + b.n, a.behind + b.behind };
}

void cost_model_init(struct cost_model *ret) {
        *ret = (struct cost_model){ .weight = { STEP_GUESS_MS, CHUNK_GUESS_MS, 0 } };
        for (int i = 0; i < COST_TERMS; i++)
                ret->spread[i][i] = SPREAD_FIRST;
}

static void terms(struct cost_rows rows, double ret[COST_TERMS]) {
        ret[0] = 1;
        ret[1] = (double)rows.n / ROWS_SCALE;
        ret[2] = (double)rows.behind / BEHIND_SCALE;
}

void cost_model_learn(struct cost_model *model, struct cost_rows rows, double ms) {
        double x[COST_TERMS], gain[COST_TERMS], error = ms, scale = FORGETTING;
        if (!(ms > 0) || !isfinite(ms))
                return;
        terms(rows, x);
        for (int i = 0; i < COST_TERMS; i++) {
                gain[i] = 0;
                for (int j = 0; j < COST_TERMS; j++)
                        gain[i] += model->spread[i][j] * x[j];
                scale += x[i] * gain[i];
                error -= model->weight[i] * x[i];
        }
        double forgetting = 1 / FORGETTING;
        for (int i = 0; i < COST_TERMS; i++)
                if (model->spread[i][i] * forgetting > SPREAD_MAX)
                        forgetting = 1;
        for (int i = 0; i < COST_TERMS; i++) {
                model->weight[i] += gain[i] / scale * error;
                for (int j = 0; j < COST_TERMS; j++)
                        model->spread[i][j] =
                                (model->spread[i][j] - gain[i] * gain[j] / scale) * forgetting;
        }
        model->n_steps++;
}

static double at_least_nothing(double ms) {
        return ms > 0 ? ms : 0;
}

double cost_model_more(const struct cost_model *model, struct cost_rows rows) {
        double x[COST_TERMS];
        terms(rows, x);
        return at_least_nothing(model->weight[1] * x[1] + model->weight[2] * x[2]);
}

double cost_model_step(const struct cost_model *model, struct cost_rows rows) {
        return at_least_nothing(model->weight[0]) + cost_model_more(model, rows);
}
