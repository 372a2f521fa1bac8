/* Latent attention (MLA: DeepSeek-V2 and V3). A token keeps one row for all heads: a normed latent,
 * of which every head makes its keys and values by an up-projection, and a rotated part that all
 * heads share.
 *
 * Always in its absorbed form: the key's up-projection is moved to the query, the value's to the
 * weighted sum, and the kept rows themselves are keys and values. The expanded form, which makes
 * keys and values of every row, rounds differently, so that a model that used it for prompts and
 * this one for single tokens would answer differently from how a prompt was cut. */
#include <math.h>
#include <string.h>

#include "engine/attention.h"
#include "engine/attention_tile.h"
#include "engine/indexer.h"
#include "engine/numerics.h"
#include "engine/pool.h"
#include "engine/step.h"
#include "engine/token_index.h"

/* Heads that read a sequence's rows together. They share each row's way from memory; more would
 * leave threads without work when one token is computed. */
#define HEADS_TOGETHER 8

static uint32_t latent_row(const struct model_config *c) {
        return c->kv_lora_rank + c->rope_dim;
}

/* V3.2: a token attends the rows that an index chose, and these are quantised. */
static bool selects(const struct model_config *c) {
        return c->index_topk > 0;
}

static enum row_format latent_format(const struct model_config *c) {
        return selects(c) ? ROW_FP8_TAIL128 : c->exact_rows;
}

static void layout(const struct model_config *c, uint32_t layer, struct kv_layout *layout,
                   struct frontier_layout *frontier) {
        (void)frontier;
        layout->main_stream[layer] = kv_layout_add_rows(
                layout, selects(c) ? KV_SELECTED : KV_SCANNED, latent_format(c), latent_row(c), 1);
        if (selects(c))
                token_index_layout(c, layer, layout);
}

static void buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        ws->qr = ROOM(ws, rows * c->q_lora_rank, float);
        ws->q = ROOM(ws, rows * c->n_heads * c->head_dim, float);
        ws->kv = ROOM(ws, rows * latent_row(c), float);
        ws->stream_rows = ROOM(ws, rows * row_bytes(latent_format(c), latent_row(c)), uint8_t);
        ws->o = ROOM(ws, rows * c->n_heads * c->v_dim, float);
        ws->mla.query = ROOM(ws, rows * c->n_heads * latent_row(c), float);
        ws->mla.output = ROOM(ws, rows * c->n_heads * c->kv_lora_rank, float);
        if (!selects(c))
                return;
        token_index_buffers(ws, c, rows);
        tile_buffers(ws, rows);
}

/* Floats of an attention operation's scratch (backend.h). */
static size_t scores_size(uint32_t n_keys) {
        return (size_t)HEADS_TOGETHER * (n_keys + LANES);
}

static void scratch(const struct model_config *c, struct scratch_needs *needs) {
        scratch_at_least(&needs->input, c->q_lora_rank);
        scratch_at_least(&needs->input, c->kv_lora_rank);
        scratch_at_least(&needs->input, c->nope_dim);
        scratch_at_least(&needs->input, (size_t)c->n_heads * c->v_dim);
        if (!selects(c))
                return;
        scratch_at_least(&needs->attend, scores_size(c->index_topk));
        scratch_at_least(&needs->rows, c->index_topk);
        scratch_at_least(&needs->keys, (size_t)c->index_topk * latent_row(c));
        indexer_scratch(c, needs);
}

static int grow(struct workspace *ws, const struct engine *e, uint32_t n_tokens) {
        struct mla_buffers *mla = &ws->mla;
        if (selects(&e->config) || n_tokens <= mla->n_tokens_max)
                return 0;
        uint32_t n = n_tokens + n_tokens / 2;
        mla->n_tokens_max = 0;
        int r = workspace_regrow(&mla->keys, (size_t)n * latent_row(&e->config), sizeof(float));
        if (r == 0)
                r = workspace_regrow(&mla->scores, ws->n_workers * scores_size(n), sizeof(float));
        if (r == 0)
                mla->n_tokens_max = n;
        return r;
}

/* 1 / sqrt(head_dim), and what YaRN's longer context adds to it. */
static float softmax_scale(const struct model_config *c) {
        const struct yarn_config *yarn = &c->rope[ROPE_MAIN].yarn;
        double m = 1.0;
        if (yarn->enabled && yarn->factor > 1.0f)
                m += 0.1 * (double)yarn->mscale_all_dim * math_log((double)yarn->factor);
        return (float)(m * m / sqrt((double)c->head_dim));
}

/* ws->q: every head's query, its last part rotated. */
static void project_query(struct step *step, const struct layer_weights *w) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t pairs = c->rope_dim / 2;
        const float *x = ws->x;
        if (c->q_lora_rank > 0) {
                linear(step, &w->wq_a, x, step->n_rows, ws->qr, e->round);
                for (uint32_t r = 0; r < step->n_rows; r++) {
                        float *qr = ws->qr + (size_t)r * c->q_lora_rank;
                        e->backend->rmsnorm(qr, w->q_norm, c->q_lora_rank, c->rms_norm_eps,
                                            e->round, qr);
                }
                x = ws->qr;
        }
        linear(step, &w->wq_b, x, step->n_rows, ws->q, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++)
                e->backend->rope(ws->q + (size_t)r * c->n_heads * c->head_dim, c->n_heads,
                                 c->head_dim, ws->cos[ROPE_MAIN] + (size_t)r * pairs,
                                 ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, false, e->round);
}

/* One row for each token, appended. */
static void project_latents(struct step *step, uint32_t layer, const struct layer_weights *w) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t pairs = c->rope_dim / 2, n = latent_row(c);
        unsigned stream = (unsigned)e->kv_layout.main_stream[layer];
        size_t bytes = e->kv_layout.stream[stream].row_bytes;

        linear(step, &w->wkv, ws->x, step->n_rows, ws->kv, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *kv = ws->kv + (size_t)r * n;
                e->backend->rmsnorm(kv, w->kv_norm, c->kv_lora_rank, c->rms_norm_eps, e->round, kv);
                e->backend->rope(kv, 1, n, ws->cos[ROPE_MAIN] + (size_t)r * pairs,
                                 ws->sin[ROPE_MAIN] + (size_t)r * pairs, pairs, false, e->round);
                if (selects(c))
                        offer_values(e, CHOICE_LATENT, layer, ws->position[r], 0, n, kv);
                if (!row_pack(latent_format(c), kv, n, ws->stream_rows + r * bytes))
                        step->bad_row = r;
        }
        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                e->kv->append(part->sequence->kv, stream, sequence_header(part->sequence)->position,
                              part->n, ws->stream_rows + step->first_row[p] * bytes);
        }
}

struct heads_job {
        struct step *step;
        const struct matrix *w; /* kv_b: of each head nope_dim rows for keys, v_dim for values */
};

/* Heads [first, last): the part of the query that meets the latent, through the keys'
 * up-projection; the rotated part as it is. */
static void absorb_heads(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct heads_job *job = context;
        struct step *step = job->step;
        struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        size_t n = latent_row(c), rank = c->kv_lora_rank;
        for (uint32_t h = first; h < last; h++) {
                const float *q = ws->q + (size_t)h * c->head_dim;
                float *y = ws->mla.query + h * n;
                struct matmul m = {
                        .x = q,
                        .x_stride = (size_t)c->n_heads * c->head_dim,
                        .n_rows = step->n_rows,
                        .w = matrix_rows(job->w, h * (c->nope_dim + c->v_dim), c->nope_dim),
                        .y = y,
                        .y_stride = c->n_heads * n,
                        .round = step->engine->round,
                        .scratch = ws->worker[worker].matmul,
                };
                step->engine->backend->matmul_transposed(&m, 0, c->kv_lora_rank);
                for (uint32_t r = 0; r < step->n_rows; r++)
                        memcpy(y + r * m.y_stride + rank, q + r * m.x_stride + c->nope_dim,
                               c->rope_dim * sizeof(float));
        }
}

/* Heads [first, last): the weighted latents through the values' up-projection. */
static void expand_heads(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct heads_job *job = context;
        struct step *step = job->step;
        struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        for (uint32_t h = first; h < last; h++) {
                struct matmul m = {
                        .x = ws->mla.output + (size_t)h * c->kv_lora_rank,
                        .x_stride = (size_t)c->n_heads * c->kv_lora_rank,
                        .n_rows = step->n_rows,
                        .w = matrix_rows(job->w, h * (c->nope_dim + c->v_dim) + c->nope_dim,
                                         c->v_dim),
                        .y = ws->o + (size_t)h * c->v_dim,
                        .y_stride = (size_t)c->n_heads * c->v_dim,
                        .round = step->engine->round,
                        .scratch = ws->worker[worker].matmul,
                };
                step->engine->backend->matmul(&m, 0, c->v_dim);
        }
}

struct attend_job {
        struct step *step;
        size_t part;
        unsigned stream;
        uint32_t n_groups; /* of heads */
        float scale;
};

/* Pages [first, last) of the part's rows, unpacked. */
static void unpack_pages(void *context, uint32_t first, uint32_t last, unsigned worker) {
        (void)worker;
        const struct attend_job *job = context;
        struct engine *e = job->step->engine;
        const struct batch_part *part = &job->step->parts[job->part];
        const struct kv_stream *stream = &e->kv_layout.stream[job->stream];
        uint64_t end = sequence_header(part->sequence)->position + part->n;
        for (uint32_t page = first; page < last; page++) {
                uint64_t row = (uint64_t)page * KV_PAGE_TOKENS;
                uint64_t left = end - row;
                struct kv_slot slot;
                uint32_t n = e->kv->run(part->sequence->kv, job->stream, row, &slot);
                e->backend->row_unpack(stream->format, slot.row, left < n ? (uint32_t)left : n,
                                       stream->n_values,
                                       job->step->ws->mla.keys + row * stream->n_values);
        }
}

/* Items [first, last): a row of the part and a group of heads each, which attend the rows up to
 * its own. */
static void attend_groups(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct attend_job *job = context;
        struct step *step = job->step;
        struct workspace *ws = step->ws;
        const struct model_config *c = &step->engine->config;
        uint32_t n = latent_row(c);
        for (uint32_t i = first; i < last; i++) {
                uint32_t r = step->first_row[job->part] + i / job->n_groups,
                         head = i % job->n_groups * HEADS_TOGETHER, left = c->n_heads - head;
                size_t at = (size_t)r * c->n_heads + head;
                step->engine->backend->attend_group(&(struct attend_group){
                        .q = ws->mla.query + at * n,
                        .keys = ws->mla.keys,
                        .values = ws->mla.keys,
                        .key_stride = n,
                        .value_stride = n,
                        .n_keys = (uint32_t)ws->position[r] + 1,
                        .n_heads = left < HEADS_TOGETHER ? left : HEADS_TOGETHER,
                        .key_dim = n,
                        .value_dim = c->kv_lora_rank,
                        .scale = job->scale,
                        .round = step->engine->round,
                        .scratch = ws->mla.scores + worker * scores_size(ws->mla.n_tokens_max),
                        .o = ws->mla.output + at * c->kv_lora_rank,
                });
        }
}

/* Row r of a model that selects: all heads, over the rows chosen for it. */
static void attend_selected(struct step *step, uint32_t layer, uint32_t r,
                            struct worker_scratch *scratch) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t n = latent_row(c), n_keys = unpack_selected(step, layer, r, scratch);
        for (uint32_t head = 0; head < c->n_heads; head += HEADS_TOGETHER) {
                size_t at = (size_t)r * c->n_heads + head;
                uint32_t left = c->n_heads - head;
                e->backend->attend_group(&(struct attend_group){
                        .q = ws->mla.query + at * n,
                        .keys = scratch->keys,
                        .values = scratch->keys,
                        .key_stride = n,
                        .value_stride = n,
                        .n_keys = n_keys,
                        .n_heads = left < HEADS_TOGETHER ? left : HEADS_TOGETHER,
                        .key_dim = n,
                        .value_dim = c->kv_lora_rank,
                        .scale = softmax_scale(c),
                        .round = e->round,
                        .scratch = scratch->attend,
                        .o = ws->mla.output + at * c->kv_lora_rank,
                });
        }
}

/* One part after the other, since only one sequence's rows are unpacked at a time. */
static void attend(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct attend_job job = {
                .step = step,
                .stream = (unsigned)e->kv_layout.main_stream[layer],
                .n_groups = (e->config.n_heads + HEADS_TOGETHER - 1) / HEADS_TOGETHER,
                .scale = softmax_scale(&e->config),
        };
        for (; job.part < step->n_parts; job.part++) {
                const struct batch_part *part = &step->parts[job.part];
                uint64_t end = sequence_header(part->sequence)->position + part->n;
                pool_run(e->pool, (uint32_t)kv_pages(end), 1, unpack_pages, &job);
                pool_run(e->pool, part->n * job.n_groups, 1, attend_groups, &job);
        }
}

static void compute(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];
        struct heads_job heads = { step, &w->kv_b };

        project_query(step, w);
        project_latents(step, layer, w);
        pool_run(e->pool, e->config.n_heads, 1, absorb_heads, &heads);
        if (selects(&e->config)) {
                token_index_select(step, layer);
                attend_rows(step, layer, attend_selected);
        } else {
                attend(step, layer);
        }
        pool_run(e->pool, e->config.n_heads, 1, expand_heads, &heads);
        linear(step, &w->wo, ws->o, step->n_rows, ws->y, e->round);
}

const struct attention_operations attention_mla = {
        .name = "MLA",
        .layout = layout,
        .buffers = buffers,
        .scratch = scratch,
        .grow = grow,
        .compute = compute,
};
