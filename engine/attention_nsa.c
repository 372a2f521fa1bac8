/* Native sparse attention: grouped queries attend, each in a softmax of its own, entries that stand
 * for many tokens, the tokens of blocks that were chosen by these entries, and the last `window`
 * tokens; each head adds the three up by its gates. The heads of a group share keys, values and the
 * choice. Tokens are kept as they are, a stream for each group; entries in one stream. */
#include <math.h>
#include <string.h>

#include "engine/attention.h"
#include "engine/attention_tile.h"
#include "engine/attention_window.h"
#include "engine/nsa.h"
#include "engine/numerics.h"

static void layout(const struct model_config *c, uint32_t l, struct kv_layout *layout,
                   struct frontier_layout *frontier) {
        frontier_add_state(frontier, l, (size_t)c->nsa.compress_block * nsa_row_values(c));
        if (c->window > 0)
                frontier_add_window(frontier, l, c->window, c->exact_rows, nsa_row_values(c));
        layout->key_stream[l] = kv_layout_add_rows(layout, KV_SCANNED, c->exact_rows,
                                                   nsa_row_values(c), c->nsa.compress_stride);
        for (uint32_t g = 0; g < c->n_kv_heads; g++) { /* main_stream: of the first group */
                int stream = kv_layout_add_rows(layout, KV_SELECTED, c->exact_rows,
                                                nsa_group_values(c), 1);
                if (g == 0)
                        layout->main_stream[l] = stream;
        }
}

static void buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        ws->q = ROOM(ws, rows * c->n_heads * c->head_dim, float);
        ws->o = ROOM(ws, rows * c->n_heads * c->nsa.value_dim, float);
        ws->nsa.k = ROOM(ws, rows * c->n_kv_heads * c->head_dim, float);
        ws->nsa.v = ROOM(ws, rows * c->n_kv_heads * c->nsa.value_dim, float);
        for (unsigned b = 0; b < N_NSA_BRANCHES; b++)
                ws->nsa.token[b] = b > 0 && !c->nsa.separate
                        ? ws->nsa.token[0]
                        : ROOM(ws, rows * nsa_row_values(c), float);
        ws->nsa.gates = ROOM(ws, rows * c->n_heads * N_NSA_BRANCHES, float);
        ws->nsa.rows = ROOM(ws, rows * row_bytes(c->exact_rows, nsa_row_values(c)), uint8_t);
        ws->selected = ROOM(ws, rows * c->index_topk, uint32_t);
        ws->n_selected = ROOM(ws, rows, uint32_t);
        for (unsigned i = 0; i < ws->n_workers; i++)
                ws->worker[i].nsa.branch =
                        ROOM(ws, (size_t)nsa_group_heads(c) * c->nsa.value_dim, float);
        nsa_compress_buffers(ws, c, rows);
        window_buffers(ws, e, rows);
        tile_buffers(ws, rows);
}

static void scratch(const struct model_config *c, struct scratch_needs *needs) {
        uint32_t widest = c->head_dim > c->nsa.value_dim ? c->head_dim : c->nsa.value_dim,
                 most = c->index_topk > c->window ? c->index_topk : c->window;
        scratch_at_least(&needs->input, (size_t)c->n_heads * c->nsa.value_dim);
        if (c->nsa.compress_dim > 0) {
                scratch_at_least(&needs->input, (size_t)c->nsa.compress_block * widest);
                scratch_at_least(&needs->input, c->nsa.compress_dim);
        }
        scratch_at_least(&needs->attend, (size_t)nsa_group_heads(c) * (most + 16));
        scratch_at_least(&needs->rows, c->index_topk);
        scratch_at_least(&needs->rows, KV_PAGE_TOKENS); /* entries of a page */
        scratch_at_least(&needs->keys, (size_t)c->index_topk * nsa_group_values(c));
}

/* Keys, rotated, and values of one branch for all rows, to `token`. */
static void project_tokens(struct step *step, const struct nsa_source *w, const float *x,
                           float *token) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t groups = c->n_kv_heads, kd = c->head_dim, vd = c->nsa.value_dim, pairs = kd / 2;
        linear(step, &w->k, x, step->n_rows, ws->nsa.k, e->round);
        linear(step, &w->v, x, step->n_rows, ws->nsa.v, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *k = ws->nsa.k + (size_t)r * groups * kd,
                      *v = ws->nsa.v + (size_t)r * groups * vd;
                e->backend->rope_half(k, groups, kd, ws->cos[ROPE_MAIN] + (size_t)r * pairs,
                                      ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, e->round);
                for (uint32_t g = 0; g < groups; g++, token += kd + vd) {
                        memcpy(token, k + (size_t)g * kd, kd * sizeof(float));
                        memcpy(token + kd, v + (size_t)g * vd, vd * sizeof(float));
                }
        }
}

static void project(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct nsa_weights *w = &e->weights.layer[layer].nsa;
        uint32_t pairs = c->head_dim / 2;
        size_t n_gates = (size_t)step->n_rows * c->n_heads * N_NSA_BRANCHES;

        const float *x = linear_input(step, &w->q, ws->x, step->n_rows, ws->quantised_x);
        linear(step, &w->q, x, step->n_rows, ws->q, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++)
                e->backend->rope_half(ws->q + (size_t)r * c->n_heads * c->head_dim, c->n_heads,
                                      c->head_dim, ws->cos[ROPE_MAIN] + (size_t)r * pairs,
                                      ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, e->round);
        for (unsigned b = 0; b < (c->nsa.separate ? N_NSA_BRANCHES : 1); b++)
                project_tokens(step, &w->source[b], x, ws->nsa.token[b]);
        linear(step, &w->gate, x, step->n_rows, ws->nsa.gates, e->round);
        for (size_t i = 0; i < n_gates; i++) {
                float gate = math_sigmoid(ws->nsa.gates[i]);
                ws->nsa.gates[i] = e->round ? bf16_round(gate) : gate;
        }
}

/* The rows of the group's stream. */
static void append_tokens(struct step *step, uint32_t layer, uint32_t g) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        unsigned stream = (unsigned)e->kv_layout.main_stream[layer] + g;
        const struct kv_stream *s = &e->kv_layout.stream[stream];
        const float *token = ws->nsa.token[NSA_SELECTED] + (size_t)g * s->n_values;
        for (uint32_t r = 0; r < step->n_rows; r++, token += nsa_row_values(&e->config))
                if (!row_pack(s->format, token, s->n_values,
                              ws->nsa.rows + (size_t)r * s->row_bytes))
                        step->bad_row = r;
        for (size_t p = 0; p < step->n_parts; p++)
                e->kv->append(step->parts[p].sequence->kv, stream,
                              sequence_header(step->parts[p].sequence)->position, step->parts[p].n,
                              ws->nsa.rows + (size_t)step->first_row[p] * s->row_bytes);
}

static void keep(struct step *step, uint32_t layer) {
        const struct model_config *c = &step->engine->config;
        for (uint32_t g = 0; g < c->n_kv_heads; g++)
                append_tokens(step, layer, g);
        nsa_compress(step, layer);
        for (uint32_t r = 0; c->window > 0 && r < step->n_rows; r++)
                window_pack(step, layer, r,
                            step->ws->nsa.token[NSA_WINDOW] + (size_t)r * nsa_row_values(c));
}

void nsa_add_branch(const struct step *step, uint32_t r, enum nsa_branch branch, const float *x) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        uint32_t heads = nsa_group_heads(c), dim = c->nsa.value_dim;
        size_t first = (size_t)r * c->n_heads + step->ws->nsa.group * heads;
        const float *gate = step->ws->nsa.gates + first * N_NSA_BRANCHES + branch;
        float *o = step->ws->o + first * dim;
        for (uint32_t h = 0; h < heads; h++, gate += N_NSA_BRANCHES)
                for (uint32_t i = 0; i < dim; i++, o++, x++) {
                        *o += *gate * *x;
                        if (e->round)
                                *o = bf16_round(*o);
                }
}

/* n rows of the group, the first at `rows`, `stride` floats apart. */
static void attend_branch(struct step *step, uint32_t r, enum nsa_branch branch, const float *rows,
                          size_t stride, uint32_t n, struct worker_scratch *scratch) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        uint32_t heads = nsa_group_heads(c);
        e->backend->attend_group(&(struct attend_group){
                .q = step->ws->q +
                        ((size_t)r * c->n_heads + step->ws->nsa.group * heads) * c->head_dim,
                .keys = rows,
                .values = rows + c->head_dim,
                .key_stride = stride,
                .value_stride = stride,
                .n_keys = n,
                .n_heads = heads,
                .key_dim = c->head_dim,
                .value_dim = c->nsa.value_dim,
                .scale = 1.0f / sqrtf((float)c->head_dim),
                .round = e->round,
                .scratch = scratch->attend,
                .o = scratch->nsa.branch,
        });
        nsa_add_branch(step, r, branch, scratch->nsa.branch);
}

static void attend_row(struct step *step, uint32_t layer, uint32_t r,
                       struct worker_scratch *scratch) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        uint32_t group = step->ws->nsa.group, values = nsa_group_values(c);
        uint32_t n = unpack_stream(step, e->kv_layout.main_stream[layer] + (int)group, r, scratch);
        attend_branch(step, r, NSA_SELECTED, scratch->keys, values, n, scratch);
        if (c->window == 0)
                return;
        const float *window = window_of_row(step, r, &n);
        attend_branch(step, r, NSA_WINDOW, window + (size_t)group * values, nsa_row_values(c), n,
                      scratch);
}

static void compute(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct nsa_weights *w = &e->weights.layer[layer].nsa;

        project(step, layer);
        keep(step, layer);
        if (c->window > 0)
                window_unpack(step, layer);
        for (ws->nsa.group = 0; ws->nsa.group < c->n_kv_heads; ws->nsa.group++) {
                nsa_select(step, layer);
                attend_stream(step, layer, e->kv_layout.main_stream[layer] + (int)ws->nsa.group,
                              attend_row);
        }
        if (c->window > 0)
                window_store(step, layer);
        const float *o = linear_input(step, &w->o, ws->o, step->n_rows, ws->o);
        linear(step, &w->o, o, step->n_rows, ws->y, e->round);
}

const struct attention_operations attention_nsa = {
        .name = "NSA",
        .layout = layout,
        .buffers = buffers,
        .scratch = scratch,
        .grow = nsa_select_grow,
        .compute = compute,
};
