/* Attention of one layer: every position attends its last `window` positions and, in layers with a
 * compressed source, the rows that the indexer chose, in one softmax. The latent is key and value
 * for all heads. Rows are read through slots; of sequences that are spilled the selected ones are
 * brought there first, in tiles of queries. */
#include <string.h>

#include "engine/numerics.h"
#include "engine/pool.h"
#include "engine/step.h"

/* Rows per piece of work when a chunk is split over threads. */
#define ROWS_PER_PIECE 8

static unsigned rope_kind(const struct step *step, uint32_t layer) {
        return step->engine->config.layer[layer].compress_ratio > 0 ? 1 : 0;
}

static void project(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        unsigned kind = rope_kind(step, layer);
        uint32_t pairs = c->rope_dim / 2;

        const float *x = linear_input(step, &w->wq_a, ws->x, step->n_rows, ws->quantised_x);
        linear(step, &w->wq_a, x, step->n_rows, ws->qr, e->round);
        linear(step, &w->wkv, x, step->n_rows, ws->kv, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *qr = ws->qr + (size_t)r * c->q_lora_rank;
                e->backend->rmsnorm(qr, w->q_norm, c->q_lora_rank, c->rms_norm_eps, e->round, qr);
        }
        /* In place: the indexer's query is the only other reader, quantised like this one. */
        const float *qr = linear_input(step, &w->wq_b, ws->qr, step->n_rows, ws->qr);
        linear(step, &w->wq_b, qr, step->n_rows, ws->q, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                const float *cos = ws->cos[kind] + (size_t)r * pairs,
                            *sin = ws->sin[kind] + (size_t)r * pairs;
                float *kv = ws->kv + (size_t)r * c->head_dim;
                e->backend->rope(ws->q + (size_t)r * c->n_heads * c->head_dim, c->n_heads,
                                 c->head_dim, cos, sin, pairs, false, e->round);
                e->backend->rmsnorm(kv, w->kv_norm, c->head_dim, c->rms_norm_eps, e->round, kv);
                e->backend->rope(kv, 1, c->head_dim, cos, sin, pairs, false, e->round);
                offer_values(e, CHOICE_WINDOW, layer, ws->position[r], 0, c->head_dim, kv);
                if (!row_pack(ROW_FP8, kv, c->head_dim,
                              ws->window_rows + (size_t)r * e->frontier_layout.window_row_bytes))
                        step->bad_row = r;
        }
}

/* Old rows of the window that the part's first position sees. */
static uint32_t window_old_rows(const struct model_config *c, uint64_t position) {
        return position < c->window - 1 ? (uint32_t)position : c->window - 1;
}

/* Unpacks, per part, the old window rows and this step's, ascending: row i of the part sees a slice
 * that ends with it. */
static void unpack_windows(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        size_t row_size = e->frontier_layout.window_row_bytes, at = 0;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                uint64_t position = sequence_header(part->sequence)->position;
                const uint8_t *ring = sequence_window(part->sequence, layer);
                uint32_t n_old = window_old_rows(c, position);
                ws->window_start[p] = at;
                for (uint32_t done = 0; done < n_old;) {
                        uint32_t slot = (uint32_t)((position - n_old + done) % c->window);
                        uint32_t run =
                                c->window - slot < n_old - done ? c->window - slot : n_old - done;
                        e->backend->row_unpack(ROW_FP8, ring + slot * row_size, run, c->head_dim,
                                               ws->window_keys + (at + done) * c->head_dim);
                        done += run;
                }
                at += n_old;
                e->backend->row_unpack(ROW_FP8, ws->window_rows + step->first_row[p] * row_size,
                                       part->n, c->head_dim, ws->window_keys + at * c->head_dim);
                at += part->n;
        }
}

/* After all rows have read the window: this step's last rows take their slots. */
static void store_windows(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        size_t row_size = e->frontier_layout.window_row_bytes;

        for (size_t p = 0; p < step->n_parts; p++) {
                const struct batch_part *part = &step->parts[p];
                uint64_t position = sequence_header(part->sequence)->position;
                uint8_t *ring = sequence_window(part->sequence, layer);
                for (uint32_t i = part->n > c->window ? part->n - c->window : 0; i < part->n; i++)
                        memcpy(ring + (size_t)((position + i) % c->window) * row_size,
                               step->ws->window_rows + (step->first_row[p] + i) * row_size,
                               row_size);
        }
}

struct attend_job {
        struct step *step;
        uint32_t layer;
};

static void attend_row(const struct attend_job *job, uint32_t r, struct worker_scratch *scratch) {
        struct step *step = job->step;
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_config *layer = &c->layer[job->layer];
        const struct batch_part *part = &step->parts[ws->part[r]];
        unsigned kind = rope_kind(step, job->layer);
        uint32_t pairs = c->rope_dim / 2;
        size_t heads = (size_t)c->n_heads * c->head_dim;

        uint64_t position = ws->position[r];
        uint32_t n_window = window_old_rows(c, position) + 1;
        uint32_t n_before = window_old_rows(
                c, sequence_header(part->sequence)->position); /* of the part's start */
        size_t end =
                ws->window_start[ws->part[r]] + n_before + (r - step->first_row[ws->part[r]]) + 1;

        uint32_t n_selected = 0;
        if (layer->kv_source >= 0) {
                n_selected = ws->n_selected[r];
                e->kv->slots(part->sequence->kv,
                             (unsigned)e->kv_layout.latent_stream[layer->kv_source],
                             ws->selected + (size_t)r * c->index_topk, n_selected, scratch->slots);
                e->backend->slots_unpack(ROW_FP4_LATENT, scratch->slots, n_selected, c->head_dim,
                                         scratch->keys);
        }
        float *o = ws->o + r * heads;
        e->backend->attend(&(struct attend){
                .q = ws->q + r * heads,
                .keys = { ws->window_keys + (end - n_window) * c->head_dim, scratch->keys },
                .n_keys = { n_window, n_selected },
                .sinks = e->weights.layer[job->layer].sinks,
                .n_heads = c->n_heads,
                .dim = c->head_dim,
                .scale = 1.0f / sqrtf((float)c->head_dim),
                .round = e->round,
                .scratch = scratch->attend,
                .o = o,
        });
        e->backend->rope(o, c->n_heads, c->head_dim, ws->cos[kind] + (size_t)r * pairs,
                         ws->sin[kind] + (size_t)r * pairs, pairs, true, e->round);
}

static void attend_tile(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct attend_job *job = context;
        const struct workspace *ws = job->step->ws;
        for (uint32_t i = first; i < last; i++)
                attend_row(job, ws->tile[i], &ws->worker[worker]);
}

/* Of part p's rows that are left, how many next ones have all that they selected on the device. */
static uint32_t stage_rows(struct step *step, uint32_t layer, size_t p) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        int source = e->config.layer[layer].kv_source;
        uint32_t first = step->first_row[p] + ws->n_attended[p],
                 left = step->parts[p].n - ws->n_attended[p], topk = e->config.index_topk;
        if (left == 0 || source < 0)
                return left;
        struct kv_queries queries = {
                .rows = ws->selected + (size_t)first * topk,
                .n_rows = ws->n_selected + first,
                .n = left,
                .stride = topk,
                .selection = ws->n_attended[p] == 0 ? ws->selection : 0,
        };
        return e->kv->stage(step->parts[p].sequence->kv,
                            (unsigned)e->kv_layout.latent_stream[source], &queries);
}

/* The next tile: consecutive rows of each part, as many as its hot pool has room for. When nothing
 * is spilled, this is all of them. Returns how many rows it has. */
static uint32_t stage_tile(struct step *step, uint32_t layer) {
        struct workspace *ws = step->ws;
        uint32_t n_tile = 0;
        for (size_t p = 0; p < step->n_parts; p++) {
                uint32_t n = stage_rows(step, layer, p);
                for (uint32_t i = 0; i < n; i++)
                        ws->tile[n_tile++] = step->first_row[p] + ws->n_attended[p] + i;
                ws->n_attended[p] += n;
        }
        return n_tile;
}

/* A tile of few rows, which a small hot pool makes, is work for all threads as well: a row attends
 * hundreds of keys. */
static uint32_t rows_per_piece(const struct pool *pool, uint32_t n_tile) {
        uint32_t share = n_tile / pool_n_workers(pool);
        if (share >= ROWS_PER_PIECE)
                return ROWS_PER_PIECE;
        return share > 0 ? share : 1;
}

static void attend(struct step *step, uint32_t layer) {
        struct attend_job job = { step, layer };
        struct pool *pool = step->engine->pool;
        uint32_t n_tile;
        memset(step->ws->n_attended, 0, step->n_parts * sizeof(*step->ws->n_attended));
        while ((n_tile = stage_tile(step, layer)) > 0)
                pool_run(pool, n_tile, rows_per_piece(pool, n_tile), attend_tile, &job);
}

void attention_layer(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct layer_weights *w = &e->weights.layer[layer];

        project(step, layer);
        unpack_windows(step, layer);
        if (e->config.layer[layer].owns_kv)
                compressor_append(step, layer);
        if (e->config.layer[layer].owns_index)
                indexer_select(step, layer);

        attend(step, layer);
        store_windows(step, layer);

        linear_grouped(step, &w->wo_a, e->config.o_groups, ws->o, step->n_rows, ws->z, e->round);
        const float *z = linear_input(step, &w->wo_b, ws->z, step->n_rows, ws->z);
        linear(step, &w->wo_b, z, step->n_rows, ws->y, e->round);
}
