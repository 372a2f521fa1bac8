#include "engine/token_index.h"

#include <assert.h>

#include "engine/indexer.h"
#include "engine/numerics.h"

#define LAYERNORM_EPS 1e-6f /* as released; not a field of config.json */

void token_index_layout(const struct model_config *c, uint32_t layer, struct kv_layout *layout) {
        layout->key_stream[layer] =
                kv_layout_add_rows(layout, KV_SCANNED, ROW_FP8_128, c->index_head_dim, 1);
}

void token_index_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->index_key = ROOM(ws, rows * c->index_head_dim, float);
        ws->index_key_rows = ROOM(ws, rows * row_bytes(ROW_FP8_128, c->index_head_dim), uint8_t);
        indexer_buffers(ws, c, rows);
}

/* n vectors of row r, rotated at its position and transformed. */
static void rotate(const struct step *step, uint32_t r, uint32_t n, float *x) {
        const struct engine *e = step->engine;
        uint32_t dim = e->config.index_head_dim, pairs = e->config.rope_dim / 2;
        e->backend->rope_half(x, n, dim, step->ws->cos[ROPE_MAIN] + (size_t)r * pairs,
                              step->ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, e->round);
        e->backend->hadamard(x, n, dim, e->round);
}

/* Released as BF16 or as float32. */
static const float *as_floats(const struct float_vector *v, uint32_t n, float *room) {
        assert(n <= INDEX_HEAD_DIM_MAX);
        if (v->format == WEIGHT_F32)
                return v->data;
        for (uint32_t i = 0; i < n; i++)
                room[i] = bf16_to_float(((const uint16_t *)v->data)[i]);
        return room;
}

static void append_keys(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];
        unsigned stream = (unsigned)e->kv_layout.key_stream[layer];
        uint32_t dim = e->config.index_head_dim;
        size_t bytes = e->kv_layout.stream[stream].row_bytes;
        float weight_room[INDEX_HEAD_DIM_MAX], bias_room[INDEX_HEAD_DIM_MAX];
        const float *weight = as_floats(&w->index_k_weight, dim, weight_room),
                    *bias = as_floats(&w->index_k_bias, dim, bias_room);

        const float *x = linear_input(step, &w->index_k, ws->x, step->n_rows, ws->quantised_x);
        linear(step, &w->index_k, x, step->n_rows, ws->index_key, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *key = ws->index_key + (size_t)r * dim;
                e->backend->layernorm(key, weight, bias, dim, LAYERNORM_EPS, e->round, key);
                rotate(step, r, 1, key);
                offer_values(e, CHOICE_INDEX_KEY, layer, ws->position[r], 0, dim, key);
                if (!row_pack(ROW_FP8_128, key, dim, ws->index_key_rows + r * bytes))
                        step->bad_row = r;
        }
        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                e->kv->append(part->sequence->kv, stream, sequence_header(part->sequence)->position,
                              part->n, ws->index_key_rows + step->first_row[p] * bytes);
        }
}

void token_index_select(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];

        append_keys(step, layer);
        linear(step, &w->index_q, ws->qr, step->n_rows, ws->index_q, e->round);
        linear(step, &w->index_weights, ws->x, step->n_rows, ws->index_w, false);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                rotate(step, r, c->index_n_heads,
                       ws->index_q + (size_t)r * c->index_n_heads * c->index_head_dim);
                indexer_quantise_query(step, layer, r);
        }
        indexer_select(step, layer);
}
