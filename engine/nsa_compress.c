/* Compressed entries: the mean of compress_block tokens' keys and values, or what a small network
 * makes of them. The last tokens are kept in the frontier as they are, so that an entry can reach
 * back over the start of a step. */
#include <string.h>

#include "engine/attention.h"
#include "engine/nsa.h"
#include "engine/numerics.h"

/* Entries that one part can close in a step of `rows` rows. */
static size_t entries_max(const struct model_config *c, size_t rows) {
        return rows / c->nsa.compress_stride + 1;
}

void nsa_compress_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        size_t entries = entries_max(c, rows);
        ws->nsa.entry = ROOM(ws, entries * nsa_row_values(c), float);
        if (c->nsa.compress_dim == 0)
                return;
        size_t vectors = entries * c->n_kv_heads,
               widest = c->head_dim > c->nsa.value_dim ? c->head_dim : c->nsa.value_dim;
        ws->nsa.block = ROOM(ws, vectors * c->nsa.compress_block * widest, float);
        ws->nsa.inner = ROOM(ws, vectors * c->nsa.compress_dim, float);
        ws->nsa.learned = ROOM(ws, vectors * widest, float);
}

/* One part's rows that close in this step. */
struct closing {
        struct step *step;
        uint32_t layer;
        size_t part;
        uint64_t start; /* the part's first position */
        uint64_t first; /* row of the stream */
        uint32_t n;
};

/* The token's row: of this step, or kept from an earlier one. */
static const float *token_row(const struct closing *c, uint64_t position) {
        const struct step *step = c->step;
        const struct model_config *config = &step->engine->config;
        size_t values = nsa_row_values(config);
        if (position >= c->start)
                return step->ws->nsa.token[NSA_COMPRESSED] +
                        (step->first_row[c->part] + (position - c->start)) * values;
        return sequence_state(step->parts[c->part].sequence, c->layer) +
                position % config->nsa.compress_block * values;
}

/* First token of the entry in row `first + i`; false: the row has none. */
static bool entry_start(const struct closing *c, uint32_t i, uint64_t *ret) {
        const struct model_config *config = &c->step->engine->config;
        uint64_t row = c->first + i, before = nsa_rows_before_entries(config);
        if (row < before)
                return false;
        *ret = (row - before) * config->nsa.compress_stride;
        return true;
}

/* Tokens are added in ascending order. */
static void average(const struct closing *c) {
        const struct engine *e = c->step->engine;
        uint32_t n_tokens = e->config.nsa.compress_block, values = nsa_row_values(&e->config);
        for (uint32_t i = 0; i < c->n; i++) {
                float *entry = c->step->ws->nsa.entry + (size_t)i * values;
                uint64_t start;
                if (!entry_start(c, i, &start))
                        continue;
                for (uint32_t t = 0; t < n_tokens; t++) {
                        const float *row = token_row(c, start + t);
                        for (uint32_t k = 0; k < values; k++)
                                entry[k] += row[k];
                }
                for (uint32_t k = 0; k < values; k++) {
                        entry[k] /= (float)n_tokens;
                        if (e->round)
                                entry[k] = bf16_round(entry[k]);
                }
        }
}

/* Keys (or values) of the entries, each group's: down(max(0, up(block + position))), the block's
 * tokens side by side. They begin at `offset` in a group's part of a row and are `dim` wide. */
static void learn(const struct closing *c, const struct nsa_compression *w, uint32_t offset,
                  uint32_t dim) {
        struct step *step = c->step;
        const struct engine *e = step->engine;
        const struct model_config *config = &e->config;
        struct nsa_buffers *b = &step->ws->nsa;
        uint32_t n_tokens = config->nsa.compress_block, groups = config->n_kv_heads,
                 group_values = nsa_group_values(config), n = c->n * groups;
        uint64_t start;

        for (uint32_t i = 0; i < n; i++) {
                if (!entry_start(c, i / groups, &start))
                        continue;
                float *block = b->block + (size_t)i * n_tokens * dim;
                for (uint32_t t = 0; t < n_tokens; t++, block += dim) {
                        const float *row =
                                token_row(c, start + t) + i % groups * group_values + offset;
                        for (uint32_t k = 0; k < dim; k++) {
                                float x = row[k] + bf16_to_float(w->position[t * dim + k]);
                                block[k] = e->round ? bf16_round(x) : x;
                        }
                }
        }
        linear(step, &w->up, b->block, n, b->inner, e->round);
        for (size_t i = 0; i < (size_t)n * w->up.n; i++)
                if (b->inner[i] < 0.0f) /* NaN stays */
                        b->inner[i] = 0.0f;
        linear(step, &w->down, b->inner, n, b->learned, e->round);
        for (uint32_t i = 0; i < n; i++)
                if (entry_start(c, i / groups, &start))
                        memcpy(b->entry + (size_t)i * group_values + offset,
                               b->learned + (size_t)i * dim, dim * sizeof(float));
}

static void append(const struct closing *c) {
        struct step *step = c->step;
        const struct engine *e = step->engine;
        unsigned stream = (unsigned)e->kv_layout.key_stream[c->layer];
        const struct kv_stream *s = &e->kv_layout.stream[stream];
        for (uint32_t i = 0; i < c->n; i++)
                if (!row_pack(s->format, step->ws->nsa.entry + (size_t)i * s->n_values, s->n_values,
                              step->ws->nsa.rows + (size_t)i * s->row_bytes))
                        step->bad_row = step->first_row[c->part] +
                                (uint32_t)((c->first + i + 1) * s->tokens_per_row - 1 - c->start);
        e->kv->append(step->parts[c->part].sequence->kv, stream, c->first, c->n,
                      step->ws->nsa.rows);
}

/* The last rows, for entries that later steps close. */
static void keep_tokens(const struct closing *c) {
        const struct step *step = c->step;
        const struct batch_part *part = &step->parts[c->part];
        uint32_t n_kept = step->engine->config.nsa.compress_block;
        size_t values = nsa_row_values(&step->engine->config);
        float *ring = sequence_state(part->sequence, c->layer);
        for (uint32_t i = part->n > n_kept ? part->n - n_kept : 0; i < part->n; i++)
                memcpy(ring + (c->start + i) % n_kept * values, token_row(c, c->start + i),
                       values * sizeof(float));
}

void nsa_compress(struct step *step, uint32_t layer) {
        const struct engine *e = step->engine;
        const struct model_config *config = &e->config;
        const struct nsa_weights *w = &e->weights.layer[layer].nsa;
        for (size_t p = 0; p < step->n_parts; p++) {
                uint64_t start = sequence_header(step->parts[p].sequence)->position,
                         first = start / config->nsa.compress_stride,
                         end = (start + step->parts[p].n) / config->nsa.compress_stride;
                struct closing c = { step, layer, p, start, first, (uint32_t)(end - first) };
                memset(step->ws->nsa.entry, 0,
                       (size_t)c.n * nsa_row_values(config) * sizeof(float));
                if (config->nsa.compress_dim == 0) {
                        average(&c);
                } else if (c.n > 0) {
                        learn(&c, &w->key_compression, 0, config->head_dim);
                        learn(&c, &w->value_compression, config->head_dim, config->nsa.value_dim);
                }
                if (c.n > 0)
                        append(&c);
                keep_tokens(&c);
        }
}
