/* Engram: rows of a large table, addressed by the last few tokens, gated into every residual
 * stream.
 *
 * A step hashes all its tokens for all tables before its first layer, finds the rows that occur
 * more than once, and asks the source of rows for each different one (engram_rows.h); a layer then
 * finds them packed in its staging buffer. */
#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "engine/step.h"

/* Hashes are found in an open-addressed table of at least twice as many places as rows; a place
 * holds 1 + the number of a row in the list of different rows, 0 = free. */
static uint32_t home(uint64_t row, uint32_t mask) {
        return (uint32_t)(row * 0x9E3779B97F4A7C15U >> 32) & mask; /* 2^64 / golden ratio */
}

static uint32_t distinct(struct engram_staging *staging, uint32_t mask, uint64_t row) {
        uint32_t at = home(row, mask);
        for (; staging->place[at] != 0; at = (at + 1) & mask)
                if (staging->row[staging->place[at] - 1] == row)
                        return staging->place[at] - 1;
        staging->row[staging->n] = row;
        staging->place[at] = ++staging->n;
        return staging->n - 1;
}

/* Compressed ids of `n` tokens behind those of the sequence's history: ret[history + i] belongs to
 * token i. */
static void compress_ids(const struct sequence *sequence, const uint32_t *ids, uint32_t n,
                         uint32_t *ret) {
        const struct engine *e = sequence->engine;
        const struct frontier_header *header = sequence_header(sequence);
        uint32_t n_history = e->hash.ngram_max - 1;
        for (uint32_t i = 0; i < n_history; i++)
                ret[i] = header->history[n_history - 1 - i];
        for (uint32_t i = 0; i < n; i++)
                ret[n_history + i] = e->hash.map[ids[i]];
}

/* Row numbers of the token whose compressed id is *id, for one table. */
static void rows_of(const struct engine *e, unsigned table, const uint32_t *id, uint64_t *ret) {
        uint32_t history[NGRAM_MAX];
        for (uint32_t back = 0; back < e->hash.ngram_max; back++)
                history[back] = *(id - back);
        engram_hash_rows(&e->hash, table, history, ret);
}

static void find_rows(struct step *step, unsigned table) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        struct engram_staging *staging = &ws->engram[table];
        uint32_t per_token = e->hash.n_rows, n_places = 2;
        uint64_t rows[(NGRAM_MAX - 1) * ENGRAM_HEADS_MAX];
        while (n_places < 2 * step->n_rows * per_token)
                n_places *= 2;
        memset(staging->place, 0, n_places * sizeof(*staging->place));
        staging->n = 0;

        uint32_t *slot = staging->slot;
        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                compress_ids(part->sequence, part->ids, part->n, ws->compressed_ids);
                for (uint32_t i = 0; i < part->n; i++) {
                        rows_of(e, table, ws->compressed_ids + e->hash.ngram_max - 1 + i, rows);
                        for (uint32_t r = 0; r < per_token; r++)
                                *slot++ = distinct(staging, n_places - 1, rows[r]);
                }
        }
}

void engram_request(struct step *step) {
        const struct engram_rows *source = &step->engine->engram_rows;
        for (unsigned t = 0; t < step->engine->config.n_engram_layers; t++) {
                struct engram_staging *staging = &step->ws->engram[t];
                find_rows(step, t);
                source->operations->request(source->context, t, staging->row, staging->n,
                                            staging->packed);
                staging->requested = true;
        }
}

static int collect(struct step *step, unsigned table, struct error *err) {
        const struct engram_rows *source = &step->engine->engram_rows;
        step->ws->engram[table].requested = false;
        return source->operations->collect(source->context, table, err);
}

void engram_abandon(struct step *step) {
        for (unsigned t = 0; t < step->engine->config.n_engram_layers; t++)
                if (step->ws->engram[t].requested)
                        collect(step, t, NULL);
}

/* Dequantises the rows of all tokens side by side: [tokens][n_rows][head_dim], exact in BF16. */
static void unpack(struct step *step, const struct engram_staging *staging) {
        uint32_t dim = step->engine->config.engram_head_dim;
        size_t row_bytes = dim + dim / FP8_BLOCK;
        float *x = step->ws->engram_x;
        for (size_t i = 0; i < (size_t)step->n_rows * step->engine->hash.n_rows; i++) {
                const uint8_t *codes = staging->packed + staging->slot[i] * row_bytes,
                              *scales = codes + dim;
                for (uint32_t d = 0; d < dim; d++)
                        *x++ = e4m3_decode(codes[d]) * ue8m0_decode(scales[d / FP8_BLOCK]);
        }
}

int engram_layer(struct step *step, uint32_t layer, struct error *err) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct engram_weights *w = &e->weights.layer[layer].engram;
        unsigned table = (unsigned)c->layer[layer].engram;
        size_t d = c->hidden_size, streams = c->hc * d;

        int r = collect(step, table, err);
        if (r < 0)
                return error_prefix(err, "Engram rows of layer %u", layer);
        unpack(step, &ws->engram[table]);
        const float *x = linear_input(step, &w->wkv, ws->engram_x, step->n_rows, ws->engram_x);
        linear(step, &w->wkv, x, step->n_rows, ws->engram_kv, e->round);
        for (uint32_t row = 0; row < step->n_rows; row++) {
                const float *kv = ws->engram_kv + row * (streams + d);
                e->backend->engram_gate(ws->h + row * streams, kv, kv + streams, w->q_weight,
                                        w->k_weight, c->hc, (uint32_t)d, c->rms_norm_eps, e->round);
        }
        return 0;
}

void engine_prefetch(struct sequence *sequence, const uint32_t *ids, uint32_t first, uint32_t n) {
        struct engine *e = sequence->engine;
        const struct engram_rows *source = &e->engram_rows;
        uint32_t per_token = e->hash.n_rows;
        if (e->config.n_engram_layers == 0 || !source->operations->prefetch || n > e->rows_max)
                return;
        for (uint32_t i = 0; i < n; i++)
                if (ids[i] >= e->config.vocab_size)
                        return; /* the step will say so */
        struct workspace *ws = e->workspace;
        compress_ids(sequence, ids, n, ws->compressed_ids);
        for (unsigned t = 0; t < e->config.n_engram_layers; t++) {
                uint64_t *rows = ws->engram[t].row;
                uint32_t n_rows = 0;
                for (uint32_t i = first; i < n; i++, n_rows += per_token)
                        rows_of(e, t, ws->compressed_ids + e->hash.ngram_max - 1 + i,
                                rows + n_rows);
                source->operations->prefetch(source->context, t, rows, n_rows);
        }
}
