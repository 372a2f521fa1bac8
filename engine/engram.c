/* Engram: rows of a large table, addressed by the last few tokens, gated into every residual
 * stream. */
#include "engine/step.h"

/* Compressed ids of a part's tokens behind those of its history: ids[history + i] belongs to token
 * i. */
static void compress_ids(const struct step *step, size_t p, uint32_t *ids) {
        const struct engine *e = step->engine;
        const struct batch_part *part = &step->parts[p];
        const struct frontier_header *header = sequence_header(part->sequence);
        uint32_t n_history = e->hash.ngram_max - 1;
        for (uint32_t i = 0; i < n_history; i++)
                ids[i] = header->history[n_history - 1 - i];
        for (uint32_t i = 0; i < part->n; i++)
                ids[n_history + i] = e->hash.map[part->ids[i]];
}

/* Dequantises one position's rows side by side: [n_rows][head_dim], exact in BF16. */
static void gather(const struct engine *e, const struct engram_weights *w, const uint64_t *rows,
                   float *ret_x) {
        uint32_t dim = e->config.engram_head_dim;
        for (uint32_t i = 0; i < e->hash.n_rows; i++) {
                const uint8_t *codes = w->codes + rows[i] * dim,
                              *scales = w->scales + rows[i] * (dim / FP8_BLOCK);
                for (uint32_t d = 0; d < dim; d++)
                        ret_x[(size_t)i * dim + d] =
                                e4m3_decode(codes[d]) * ue8m0_decode(scales[d / FP8_BLOCK]);
        }
}

static void gather_part(struct step *step, uint32_t layer, size_t p) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        unsigned table = (unsigned)e->config.layer[layer].engram;
        uint64_t rows[(NGRAM_MAX - 1) * ENGRAM_HEADS_MAX];
        uint32_t history[NGRAM_MAX], n_history = e->hash.ngram_max - 1;
        size_t width = (size_t)e->hash.n_rows * e->config.engram_head_dim;

        compress_ids(step, p, ws->compressed_ids);
        for (uint32_t i = 0; i < step->parts[p].n; i++) {
                for (uint32_t back = 0; back <= n_history; back++)
                        history[back] = ws->compressed_ids[n_history + i - back];
                engram_hash_rows(&e->hash, table, history, rows);
                gather(e, &e->weights.layer[layer].engram, rows,
                       ws->engram_x + (step->first_row[p] + i) * width);
        }
}

void engram_layer(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct engram_weights *w = &e->weights.layer[layer].engram;
        size_t d = c->hidden_size, streams = c->hc * d;

        for (size_t p = 0; p < step->n_parts; p++)
                gather_part(step, layer, p);
        const float *x = linear_input(step, &w->wkv, ws->engram_x, step->n_rows, ws->engram_x);
        linear(step, &w->wkv, x, step->n_rows, ws->engram_kv, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                const float *kv = ws->engram_kv + r * (streams + d);
                e->backend->engram_gate(ws->h + r * streams, kv, kv + streams, w->q_weight,
                                        w->k_weight, c->hc, (uint32_t)d, c->rms_norm_eps, e->round);
        }
}
