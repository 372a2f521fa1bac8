/* Ratio 1: latent = norm(wkv x). Ratio 2: value = wkv x and gate = wgate x (not rounded); the pair
 * of positions (2j, 2j+1) is pooled per channel by a softmax over the two gates, then normed. A
 * group whose second token has not come waits in the frontier. The index key is made from the
 * latent before its rotation. */
#include "engine/compressor.h"

#include <string.h>

void compressor_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        size_t row = row_bytes(ROW_FP4_LATENT, c->head_dim),
               key = row_bytes(ROW_FP4_KEY, c->index_head_dim);
        ws->group_value = ROOM(ws, rows * c->head_dim, float);
        ws->group_gate = ROOM(ws, rows * c->head_dim, float);
        ws->latent = ROOM(ws, rows * c->head_dim, float);
        ws->index_key = ROOM(ws, rows * c->index_head_dim, float);
        ws->stream_rows = ROOM(ws, rows * (row > key ? row : key), uint8_t);
}

static void project(struct step *step, uint32_t layer) {
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &step->engine->weights.layer[layer];
        bool pooled = step->engine->config.layer[layer].compress_ratio == 2;
        linear(step, &w->compress_kv, ws->x, step->n_rows, ws->group_value,
               step->engine->round && !pooled);
        if (pooled)
                linear(step, &w->compress_gate, ws->x, step->n_rows, ws->group_gate, false);
}

/* Pools the groups that close in this part into ws->latent; keeps an opened one. Returns how many
 * closed. */
static uint32_t close_pairs(struct step *step, uint32_t layer, size_t p) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct batch_part *part = &step->parts[p];
        size_t hd = e->config.head_dim;
        uint64_t position = sequence_header(part->sequence)->position;
        float *open = sequence_state(part->sequence, layer);
        uint32_t n_closed = 0;

        for (uint32_t i = 0; i < part->n; i++) {
                const float *value = ws->group_value + (step->first_row[p] + i) * hd;
                const float *gate = ws->group_gate + (step->first_row[p] + i) * hd;
                if ((position + i) % 2 == 0) {
                        memcpy(open, value, hd * sizeof(float));
                        memcpy(open + hd, gate, hd * sizeof(float));
                } else {
                        e->backend->pool_pair(open, open + hd, value, gate, (uint32_t)hd, e->round,
                                              ws->latent + n_closed++ * hd);
                }
        }
        return n_closed;
}

/* The row of part p whose token completed compressed row `latent`. */
static uint32_t closing_row(const struct step *step, size_t p, uint64_t latent, uint32_t ratio) {
        uint64_t position = (latent + 1) * ratio - 1;
        return step->first_row[p] +
                (uint32_t)(position - sequence_header(step->parts[p].sequence)->position);
}

static void append_part(struct step *step, uint32_t layer, size_t p) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        const struct batch_part *part = &step->parts[p];
        uint32_t ratio = c->layer[layer].compress_ratio, hd = c->head_dim, kd = c->index_head_dim,
                 pairs = c->rope_dim / 2;
        uint64_t first = sequence_header(part->sequence)->position / ratio;

        uint32_t n = part->n;
        if (ratio == 2)
                n = close_pairs(step, layer, p);
        else
                memcpy(ws->latent, ws->group_value + (size_t)step->first_row[p] * hd,
                       (size_t)n * hd * sizeof(float));
        for (uint32_t i = 0; i < n; i++) {
                float *latent = ws->latent + (size_t)i * hd;
                e->backend->rmsnorm(latent, w->compress_norm, hd, c->rms_norm_eps, e->round,
                                    latent);
        }
        linear(step, &w->index_k, ws->latent, n, ws->index_key, e->round);

        size_t row = row_bytes(ROW_FP4_LATENT, hd), key_row = row_bytes(ROW_FP4_KEY, kd);
        float cos[ROPE_PAIRS_MAX], sin[ROPE_PAIRS_MAX];
        for (uint32_t i = 0; i < n; i++) {
                float *key = ws->index_key + (size_t)i * kd;
                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * ratio, cos, sin);
                e->backend->rmsnorm(key, w->index_k_norm, kd, c->rms_norm_eps, e->round, key);
                e->backend->rope(key, 1, kd, cos, sin, pairs, false, e->round);
                offer_values(e, CHOICE_INDEX_KEY, layer, first + i, 0, kd, key);
                if (!row_pack(ROW_FP4_KEY, key, kd, ws->stream_rows + i * key_row))
                        step->bad_row = closing_row(step, p, first + i, ratio);
        }
        e->kv->append(part->sequence->kv, (unsigned)e->kv_layout.key_stream[layer], first, n,
                      ws->stream_rows);

        for (uint32_t i = 0; i < n; i++) {
                float *latent = ws->latent + (size_t)i * hd;
                rope_table(e->rope.frequency[ROPE_COMPRESS], pairs, (first + i) * ratio, cos, sin);
                e->backend->rope(latent, 1, hd, cos, sin, pairs, false, e->round);
                offer_values(e, CHOICE_LATENT, layer, first + i, 0, hd, latent);
                if (!row_pack(ROW_FP4_LATENT, latent, hd, ws->stream_rows + i * row))
                        step->bad_row = closing_row(step, p, first + i, ratio);
        }
        e->kv->append(part->sequence->kv, (unsigned)e->kv_layout.main_stream[layer], first, n,
                      ws->stream_rows);
}

void compressor_append(struct step *step, uint32_t layer) {
        project(step, layer);
        for (size_t p = 0; p < step->n_parts; p++)
                append_part(step, layer, p);
}
