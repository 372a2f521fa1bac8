/* One step of the model: rows of all parts through all layers, then the head for the rows whose
 * logits are wanted. */
#include "engine/step.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/attention.h"
#include "engine/feed_forward.h"
#include "engine/kv_room.h"
#include "engine/numerics.h"
#include "engine/residual.h"

/* Everything that can be refused is refused here, before anything changes. */
static int check_parts(const struct engine *e, const struct batch_part *parts, size_t n_parts,
                       uint32_t *ret_rows, struct error *err) {
        uint64_t n_rows = 0;
        for (size_t p = 0; p < n_parts; p++) {
                const struct batch_part *part = &parts[p];
                uint64_t position = sequence_header(part->sequence)->position;
                n_rows += part->n;
                if (part->n == 0 || n_rows > e->rows_max)
                        return error_set(err, -EINVAL,
                                         "part %zu: %u tokens, a step holds 1 to %u in all", p,
                                         part->n, e->rows_max);
                if (part->n_logits > part->n)
                        return error_set(err, -EINVAL,
                                         "part %zu: logits of %u tokens wanted, it has %u", p,
                                         part->n_logits, part->n);
                if (position + part->n > e->config.max_positions)
                        return error_set(
                                err, -EINVAL,
                                "part %zu: position %llu is past the model's context of %u", p,
                                (unsigned long long)(position + part->n), e->config.max_positions);
                for (uint32_t i = 0; i < part->n; i++)
                        if (part->ids[i] >= e->config.vocab_size)
                                return error_set(
                                        err, -EINVAL,
                                        "part %zu: token %u is id %u, the vocabulary has %u", p, i,
                                        part->ids[i], e->config.vocab_size);
        }
        *ret_rows = (uint32_t)n_rows;
        return 0;
}

static int make_room(struct engine *e, const struct batch_part *parts, size_t n_parts,
                     struct error *err) {
        uint64_t longest = 0, missing = 0;
        size_t n_window_rows = 0;
        for (size_t p = 0; p < n_parts; p++) {
                uint64_t end = sequence_header(parts[p].sequence)->position + parts[p].n;
                longest = end > longest ? end : longest;
                n_window_rows += e->config.window > 0 ? e->config.window + parts[p].n : 0;
                missing += e->kv->missing(parts[p].sequence->kv, end);
        }
        int r = kv_room_make(e, missing, err);
        if (r < 0)
                return r;
        for (size_t p = 0; p < n_parts; p++) {
                uint64_t end = sequence_header(parts[p].sequence)->position + parts[p].n;
                if (e->kv->reserve(parts[p].sequence->kv, end, 0) < 0)
                        return error_set(err, -ENOMEM,
                                         "part %zu: out of memory for the KV of %llu tokens", p,
                                         (unsigned long long)end);
        }
        if (workspace_grow(e->workspace, e, (uint32_t)longest, n_window_rows) < 0)
                return error_set(err, -ENOMEM, "out of memory for a context of %llu tokens",
                                 (unsigned long long)longest);
        return 0;
}

/* Rows, their positions, rotations and embeddings. */
static void start_rows(struct step *step) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t pairs = c->rope_dim / 2, r = 0;
        size_t d = c->hidden_size;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                step->first_row[p] = r;
                for (uint32_t i = 0; i < part->n; i++, r++) {
                        const uint16_t *embed =
                                (const uint16_t *)e->weights.embed.data + part->ids[i] * d;
                        ws->part[r] = (uint32_t)p;
                        ws->position[r] = sequence_header(part->sequence)->position + i;
                        for (unsigned kind = 0; kind < N_ROPE_KINDS; kind++)
                                if (c->rope[kind].theta > 0)
                                        rope_table(e->rope.frequency[kind], pairs, ws->position[r],
                                                   ws->cos[kind] + (size_t)r * pairs,
                                                   ws->sin[kind] + (size_t)r * pairs);
                        for (size_t k = 0; k < d; k++)
                                ws->x[r * d + k] = bf16_to_float(embed[k]);
                }
        }
        residual_operations(c->residual)->start(step);
}

/* The streams to a sublayer's normed input, and its output back to them. */
static void sublayer(struct step *step, uint32_t layer, const struct hc_weights *hc,
                     const uint16_t *norm, void (*compute)(struct step *step, uint32_t layer)) {
        struct engine *e = step->engine;
        const struct residual_operations *residual = residual_operations(e->config.residual);
        uint32_t d = e->config.hidden_size;

        residual->enter(step, hc);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *x = step->ws->x + (size_t)r * d;
                e->backend->rmsnorm(x, norm, d, e->config.rms_norm_eps, e->round, x);
        }
        compute(step, layer);
        residual->leave(step, hc);
}

static int not_finite(const struct step *step, uint32_t row, const char *place, uint32_t layer,
                      struct error *err) {
        return error_set(err, -ERANGE, "part %u, position %llu: not a finite number %s %u",
                         step->ws->part[row], (unsigned long long)step->ws->position[row], place,
                         layer);
}

/* -ERANGE when a residual stream holds NaN or infinity, or something to be quantised did. */
static int check_finite(const struct step *step, uint32_t layer, struct error *err) {
        const struct model_config *c = &step->engine->config;
        size_t streams = (size_t)c->hc * c->hidden_size;
        if (step->bad_row != UINT32_MAX)
                return not_finite(step, step->bad_row, "in layer", layer, err);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                const float *h = step->ws->h + r * streams;
                uint32_t worst = 0;
                for (size_t i = 0; i < streams; i++) {
                        uint32_t magnitude = float_bits(h[i]) & 0x7FFFFFFF;
                        worst = magnitude > worst ? magnitude : worst;
                }
                if (worst >= 0x7F800000)
                        return not_finite(step, r, "after layer", layer, err);
        }
        return 0;
}

static int write_logits(struct step *step, struct error *err) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        size_t d = c->hidden_size;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                uint32_t first = step->first_row[p] + part->n - part->n_logits;
                for (uint32_t i = 0; i < part->n_logits; i++) {
                        uint32_t r = first + i;
                        float *x = ws->x + i * d;
                        residual_operations(c->residual)->end(step, r, x);
                        e->backend->rmsnorm(x, e->weights.norm, (uint32_t)d, c->rms_norm_eps,
                                            e->round, x);
                }
                if (part->n_logits == 0)
                        continue;
                linear(step, &e->weights.head, ws->x, part->n_logits, part->logits, false);
                for (size_t i = 0; i < (size_t)part->n_logits * c->vocab_size; i++)
                        if (!isfinite(part->logits[i]))
                                return error_set(
                                        err, -ERANGE,
                                        "part %zu: logit %zu of its output is not a finite number",
                                        p, i % c->vocab_size);
        }
        return 0;
}

static void advance(struct step *step) {
        const struct engine *e = step->engine;
        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                struct frontier_header *header = sequence_header(part->sequence);
                uint32_t n_history = e->config.n_engram_layers > 0 ? e->hash.ngram_max - 1 : 0;
                for (uint32_t i = n_history;
                     i-- > 0;) /* from the oldest, so that shifted entries are read first */
                        header->history[i] = i < part->n ? e->hash.map[part->ids[part->n - 1 - i]]
                                                         : header->history[i - part->n];
                header->position += part->n;
        }
}

static int run_layers(struct step *step, struct error *err) {
        const struct engine *e = step->engine;
        for (uint32_t l = 0; l < e->config.n_layers; l++) {
                const struct layer_weights *w = &e->weights.layer[l];
                int r = e->config.layer[l].engram >= 0 ? engram_layer(step, l, err) : 0;
                if (r < 0)
                        return r;
                sublayer(step, l, &w->hc_attn, w->attn_norm,
                         attention_operations(e->config.layer[l].attention)->compute);
                sublayer(step, l, &w->hc_ffn, w->ffn_norm, feed_forward_layer);
                r = check_finite(step, l, err);
                if (r < 0)
                        return r;
                if (e->layer_done)
                        e->layer_done(e->layer_done_userdata, l + 1, e->config.n_layers);
        }
        return 0;
}

int engine_step(struct engine *engine, const struct batch_part *parts, size_t n_parts,
                struct error *err) {
        struct step step = {
                .engine = engine,
                .ws = engine->workspace,
                .parts = parts,
                .n_parts = n_parts,
                .bad_row = UINT32_MAX,
        };
        int r = check_parts(engine, parts, n_parts, &step.n_rows, err);
        if (r < 0 || n_parts == 0)
                return r;
        r = make_room(engine, parts, n_parts, err);
        if (r < 0)
                return r;
        CLEANUP_FREE uint32_t *first_row = calloc(n_parts, sizeof(*first_row));
        if (!first_row)
                return error_set(err, -ENOMEM, "out of memory for a batch of %zu parts", n_parts);
        step.first_row = first_row;

        engram_request(&step);
        start_rows(&step);
        r = run_layers(&step, err);
        if (r < 0)
                engram_abandon(&step);
        if (r == 0)
                r = write_logits(&step, err);
        if (r == 0)
                advance(&step);
        return r;
}
