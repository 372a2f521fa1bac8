#include "engine/residual.h"

#include <string.h>

void residual_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        size_t hc = c->hc;
        ws->h = ROOM(ws, rows * hc * c->hidden_size, float);
        if (c->residual == RESIDUAL_PLAIN)
                return;
        ws->pre = ROOM(ws, rows * hc, float);
        ws->next_pre = ROOM(ws, rows * hc, float);
        ws->post = ROOM(ws, rows * hc, float);
        ws->comb = ROOM(ws, rows * hc * hc, float);
        ws->fx = ROOM(ws, rows * (2 * hc + hc * hc), float);
}

void residual_scratch(const struct model_config *c, struct scratch_needs *needs) {
        scratch_at_least(&needs->input, (size_t)c->hc * c->hidden_size);
}

/* Every stream begins as the embedding. */
static void fill_streams(struct step *step) {
        const struct model_config *c = &step->engine->config;
        size_t d = c->hidden_size;
        for (uint32_t r = 0; r < step->n_rows; r++)
                for (uint32_t j = 0; j < c->hc; j++)
                        memcpy(step->ws->h + (r * c->hc + j) * d, step->ws->x + r * d,
                               d * sizeof(float));
}

/* -------- one stream: h + sublayer(norm(h)) -------- */

static void enter_plain(struct step *step, const struct hc_weights *hc) {
        (void)hc;
        memcpy(step->ws->x, step->ws->h,
               (size_t)step->n_rows * step->engine->config.hidden_size * sizeof(float));
}

static void leave_plain(struct step *step, const struct hc_weights *hc) {
        (void)hc;
        const struct engine *e = step->engine;
        uint32_t d = e->config.hidden_size;
        for (uint32_t r = 0; r < step->n_rows; r++)
                e->backend->add(step->ws->h + (size_t)r * d, step->ws->y + (size_t)r * d, d,
                                e->round);
}

static void end_plain(struct step *step, uint32_t row, float *x) {
        uint32_t d = step->engine->config.hidden_size;
        memcpy(x, step->ws->h + (size_t)row * d, d * sizeof(float));
}

static const struct residual_operations plain = {
        .start = fill_streams,
        .enter = enter_plain,
        .leave = leave_plain,
        .end = end_plain,
};

/* -------- hyper-connections, which both kinds of mHC are made of -------- */

static struct hc_mixes make_mixes(const struct model_config *c, const struct hc_weights *hc) {
        return (struct hc_mixes){ c->hc,           c->hc_sinkhorn_iters,
                                  c->rms_norm_eps, c->hc_eps,
                                  hc->base,        hc->scale };
}

/* A sublayer's coefficients of all rows: `pre` [R][hc], ws->post, ws->comb. */
static void mix(struct step *step, const struct hc_weights *hc, float *pre) {
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        size_t streams = (size_t)c->hc * c->hidden_size;
        struct hc_mixes mixes = make_mixes(c, hc);

        linear(step, &hc->fn, ws->h, step->n_rows, ws->fx, false);
        for (uint32_t r = 0; r < step->n_rows; r++)
                e->backend->hc_mixes(&mixes, ws->fx + (size_t)r * hc->fn.n, ws->h + r * streams,
                                     (uint32_t)streams, pre + r * c->hc, ws->post + r * c->hc,
                                     ws->comb + r * c->hc * c->hc);
}

static void collapse(struct step *step, uint32_t row, float *x) {
        const struct engine *e = step->engine;
        const struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        size_t d = c->hidden_size;
        e->backend->hc_collapse(ws->h + row * c->hc * d, ws->pre + row * c->hc, c->hc, (uint32_t)d,
                                e->round, x);
}

static void expand(struct step *step, const struct hc_weights *hc) {
        (void)hc;
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        size_t d = c->hidden_size, streams = c->hc * d;
        for (uint32_t r = 0; r < step->n_rows; r++)
                e->backend->hc_expand(ws->h + r * streams, ws->y + r * d, ws->post + r * c->hc,
                                      ws->comb + r * c->hc * c->hc, c->hc, (uint32_t)d, e->round);
}

/* -------- single-pass mHC (V4.1): the collapse uses the mix that was made at the sublayer before,
 * post and comb are the sublayer's own. The first mix takes stream 0. -------- */

static void start_single_pass(struct step *step) {
        uint32_t hc = step->engine->config.hc;
        fill_streams(step);
        for (uint32_t r = 0; r < step->n_rows; r++)
                for (uint32_t j = 0; j < hc; j++)
                        step->ws->pre[r * hc + j] = j == 0 ? 1.0f : 0.0f;
}

static void enter_single_pass(struct step *step, const struct hc_weights *hc) {
        struct workspace *ws = step->ws;
        size_t d = step->engine->config.hidden_size;
        mix(step, hc, ws->next_pre);
        for (uint32_t r = 0; r < step->n_rows; r++)
                collapse(step, r, ws->x + r * d);
}

static void leave_single_pass(struct step *step, const struct hc_weights *hc) {
        struct workspace *ws = step->ws;
        expand(step, hc);
        float *used = ws->pre;
        ws->pre = ws->next_pre;
        ws->next_pre = used;
}

static const struct residual_operations single_pass_mhc = {
        .start = start_single_pass,
        .enter = enter_single_pass,
        .leave = leave_single_pass,
        .end = collapse,
};

/* -------- mHC (V4): every sublayer's collapse uses its own mix; the end has one of its own, which
 * only collapses. -------- */

static void enter_mhc(struct step *step, const struct hc_weights *hc) {
        struct workspace *ws = step->ws;
        size_t d = step->engine->config.hidden_size;
        mix(step, hc, ws->pre);
        for (uint32_t r = 0; r < step->n_rows; r++)
                collapse(step, r, ws->x + r * d);
}

static void end_mhc(struct step *step, uint32_t row, float *x) {
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct hc_weights *hc = &e->weights.hc_head;
        size_t streams = (size_t)c->hc * c->hidden_size;
        struct hc_mixes mixes = make_mixes(c, hc);
        const float *h = ws->h + row * streams;
        linear(step, &hc->fn, h, 1, ws->fx, false);
        e->backend->hc_pre(&mixes, ws->fx, h, (uint32_t)streams, ws->pre + row * c->hc);
        collapse(step, row, x);
}

static const struct residual_operations mhc = {
        .start = fill_streams,
        .enter = enter_mhc,
        .leave = expand,
        .end = end_mhc,
};

const struct residual_operations *residual_operations(enum residual_kind kind) {
        static const struct residual_operations *const kinds[N_RESIDUAL_KINDS] = {
                [RESIDUAL_SINGLE_PASS_MHC] = &single_pass_mhc,
                [RESIDUAL_PLAIN] = &plain,
                [RESIDUAL_MHC] = &mhc,
        };
        return kinds[kind];
}
