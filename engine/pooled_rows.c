#include "engine/pooled_rows.h"

#include <math.h>
#include <string.h>

/* One of a layer's two compressors. */
struct pooling {
        const struct pool_weights *w;
        uint32_t n;     /* channels of a row */
        uint32_t ratio; /* tokens that it stands for */
        bool overlapping;
        bool hadamard;
        size_t state_at; /* of its open rows, in floats */
        unsigned stream;
        enum choice_values kind;
};

static bool overlapping(const struct model_config *c, uint32_t layer) {
        return c->layer[layer].owns_index;
}

static size_t open_rows(uint32_t n, bool overlapping) {
        return (size_t)(overlapping ? 2 : 1) * POOL_STATE * n;
}

size_t pooled_rows_state(const struct model_config *c, uint32_t layer) {
        const struct layer_config *l = &c->layer[layer];
        return (l->owns_kv ? open_rows(c->head_dim, overlapping(c, layer)) : 0) +
                (l->owns_index ? open_rows(c->index_head_dim, overlapping(c, layer)) : 0);
}

void pooled_rows_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        uint32_t n = c->head_dim > c->index_head_dim ? c->head_dim : c->index_head_dim;
        size_t row = row_bytes(ROW_FP8_TAIL64_F32, c->head_dim),
               key = row_bytes(ROW_FP4_KEY, c->index_head_dim);
        ws->group_value = ROOM(ws, rows * 2 * n, float);
        ws->group_gate = ROOM(ws, rows * 2 * n, float);
        ws->latent = ROOM(ws, rows * n, float);
        ws->stream_rows = ROOM(ws, rows * (row > key ? row : key), uint8_t);
}

static void empty(float *open, uint32_t n) {
        for (uint32_t i = 0; i < n; i++)
                open[i] = -INFINITY;
        memset(open + n, 0, (POOL_STATE - 1) * (size_t)n * sizeof(*open));
}

/* At a row's first token: what the tokens before gave it, or nothing. */
static void begin_row(const struct pooling *k, float *open, uint64_t position) {
        float *next = open + POOL_STATE * (size_t)k->n;
        if (!k->overlapping || position == 0)
                empty(open, k->n);
        else
                memcpy(open, next, POOL_STATE * (size_t)k->n * sizeof(*open));
        if (k->overlapping)
                empty(next, k->n);
}

/* Pools part p's tokens; rows that close go to ws->latent. Returns how many. */
static uint32_t pool(struct step *step, const struct pooling *k, uint32_t layer, size_t p) {
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct batch_part *part = &step->parts[p];
        uint64_t start = sequence_header(part->sequence)->position;
        float *open = sequence_state(part->sequence, layer) + k->state_at,
              *next = open + POOL_STATE * (size_t)k->n;
        /* The values for the next row stand before those for the current one. */
        uint32_t n = k->n, current = k->overlapping ? n : 0, n_closed = 0;
        size_t width = current + n;

        for (uint32_t i = 0; i < part->n; i++) {
                uint64_t position = start + i, at = position % k->ratio;
                const float *value = ws->group_value + (step->first_row[p] + i) * width,
                            *gate = ws->group_gate + (step->first_row[p] + i) * width,
                            *bias = k->w->bias + at * width;
                if (at == 0)
                        begin_row(k, open, position);
                e->backend->pool_add(open, value + current, gate + current, bias + current, n);
                if (k->overlapping)
                        e->backend->pool_add(next, value, gate, bias, n);
                if (at == k->ratio - 1)
                        e->backend->pool_close(open, n, e->round,
                                               ws->latent + (size_t)n_closed++ * n);
        }
        return n_closed;
}

/* Rows that part p closed, from ws->latent to the stream. Row i is rotated as its first token. */
static void append(struct step *step, const struct pooling *k, uint32_t layer, size_t p,
                   uint32_t n_closed) {
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct batch_part *part = &step->parts[p];
        const struct kv_stream *stream = &e->kv_layout.stream[k->stream];
        uint64_t start = sequence_header(part->sequence)->position, first = start / k->ratio;
        uint32_t pairs = c->rope_dim / 2;
        float cos[ROPE_PAIRS_MAX], sin[ROPE_PAIRS_MAX];

        for (uint32_t i = 0; i < n_closed; i++) {
                float *row = ws->latent + (size_t)i * k->n;
                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * k->ratio, cos,
                           sin);
                e->backend->rmsnorm(row, k->w->norm, k->n, c->rms_norm_eps, e->round, row);
                e->backend->rope(row, 1, k->n, cos, sin, pairs, false, e->round);
                if (k->hadamard)
                        e->backend->hadamard(row, 1, k->n, e->round);
                offer_values(e, k->kind, layer, first + i, 0, k->n, row);
                if (!row_pack(stream->format, row, k->n,
                              ws->stream_rows + (size_t)i * stream->row_bytes))
                        step->bad_row = step->first_row[p] +
                                (uint32_t)((first + i + 1) * k->ratio - 1 - start);
        }
        e->kv->append(part->sequence->kv, k->stream, first, n_closed, ws->stream_rows);
}

static void compress(struct step *step, const struct pooling *k, uint32_t layer) {
        struct workspace *ws = step->ws;
        linear(step, &k->w->value, ws->x, step->n_rows, ws->group_value, false);
        linear(step, &k->w->gate, ws->x, step->n_rows, ws->group_gate, false);
        for (size_t p = 0; p < step->n_parts; p++)
                append(step, k, layer, p, pool(step, k, layer, p));
}

void pooled_rows_append(struct step *step, uint32_t layer) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        struct pooling rows = {
                .w = &w->pool_rows,
                .n = c->head_dim,
                .ratio = c->layer[layer].compress_ratio,
                .overlapping = overlapping(c, layer),
                .stream = (unsigned)e->kv_layout.main_stream[layer],
                .kind = CHOICE_LATENT,
        };
        compress(step, &rows, layer);
        if (!c->layer[layer].owns_index)
                return;
        struct pooling keys = {
                .w = &w->pool_keys,
                .n = c->index_head_dim,
                .ratio = rows.ratio,
                .overlapping = rows.overlapping,
                .hadamard = true,
                .state_at = open_rows(rows.n, rows.overlapping),
                .stream = (unsigned)e->kv_layout.key_stream[layer],
                .kind = CHOICE_INDEX_KEY,
        };
        compress(step, &keys, layer);
}
