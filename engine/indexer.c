/* Score of row j: sum over index heads of weight * max(0, query . key_j). Row j is visible to
 * position p when its group is complete: j < floor((p + 1) / ratio). The topk best are taken, ties
 * to the lower row, and kept ascending. Two-level choice for long contexts: the candidate layer
 * also ranks blocks of consecutive rows by their best score (the newest visible block always counts
 * as best); later index layers score only rows inside the blocks it kept. */
#include "engine/indexer.h"

#include <math.h>

#include "engine/pool.h"
#include "engine/topk.h"

/* One packed query on the stack: at most a byte a channel, and its scales. */
#define INDEX_KEY_BYTES_MAX (2 * INDEX_HEAD_DIM_MAX)

static uint32_t visible_rows(const struct step *step, uint32_t layer, uint32_t r) {
        return (uint32_t)((step->ws->position[r] + 1) /
                          step->engine->config.layer[layer].compress_ratio);
}

void indexer_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        ws->index_q = ROOM(ws, rows * c->index_n_heads * c->index_head_dim, float);
        ws->index_w = ROOM(ws, rows * c->index_n_heads, float);
        ws->selected = ROOM(ws, rows * c->index_topk, uint32_t);
        ws->n_selected = ROOM(ws, rows, uint32_t);
        ws->candidate = ROOM(ws, rows * c->candidate_blocks, uint32_t);
        ws->n_candidate = ROOM(ws, rows, uint32_t);
}

void indexer_scratch(const struct model_config *c, struct scratch_needs *needs) {
        scratch_at_least(&needs->rows, INDEX_KEYS_TILE);
        scratch_at_least(&needs->keys, (size_t)INDEX_KEYS_TILE * c->index_head_dim);
}

static unsigned key_stream(const struct engine *e, uint32_t layer) {
        return (unsigned)e->kv_layout.key_stream[e->config.layer[layer].kv_source];
}

void indexer_quantise_query(struct step *step, uint32_t layer, uint32_t r) {
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        uint32_t dim = e->config.index_head_dim, n = e->config.index_n_heads;
        float scale = 1.0f / sqrtf((float)dim) * (1.0f / sqrtf((float)n));
        enum row_format format = e->kv_layout.stream[key_stream(e, layer)].format;
        float *q = ws->index_q + (size_t)r * n * dim, *weight = ws->index_w + (size_t)r * n;
        uint8_t packed[INDEX_KEY_BYTES_MAX];

        for (uint32_t head = 0; head < n; head++) {
                offer_values(e, CHOICE_INDEX_QUERY, layer, ws->position[r], head, dim,
                             q + (size_t)head * dim);
                if (!row_pack(format, q + (size_t)head * dim, dim, packed))
                        step->bad_row = r;
                e->backend->row_unpack(format, packed, 1, dim, q + (size_t)head * dim);
                weight[head] *= scale;
                if (!isfinite(weight[head]))
                        step->bad_row = r;
        }
}

void indexer_project(struct step *step, uint32_t layer, bool hadamard) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        const struct layer_weights *w = &e->weights.layer[layer];
        uint32_t dim = c->index_head_dim, n = c->index_n_heads, pairs = c->rope_dim / 2;

        linear(step, &w->index_q, ws->qr, step->n_rows, ws->index_q, e->round);
        linear(step, &w->index_weights, ws->x, step->n_rows, ws->index_w, e->round);
        for (uint32_t r = 0; r < step->n_rows; r++) {
                float *q = ws->index_q + (size_t)r * n * dim;
                e->backend->rope(q, n, dim, ws->cos[ROPE_COMPRESS] + (size_t)r * pairs,
                                 ws->sin[ROPE_COMPRESS] + (size_t)r * pairs, pairs, false,
                                 e->round);
                if (hadamard)
                        e->backend->hadamard(q, n, dim, e->round);
                indexer_quantise_query(step, layer, r);
        }
}

struct select_job {
        struct step *step;
        uint32_t layer;
        unsigned key_stream;
        enum row_format key_format;
};

/* Scores of rows [0, visible) for up to INDEX_ROWS_TILE queries of one part, sharing each unpacked
 * tile of keys. */
static void score_all(const struct select_job *job, uint32_t first, uint32_t last,
                      struct worker_scratch *scratch) {
        struct step *step = job->step;
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        const struct model_config *c = &e->config;
        uint32_t dim = c->index_head_dim, n_heads = c->index_n_heads;
        const struct kv *kv = step->parts[ws->part[first]].sequence->kv;
        uint32_t n_keys = visible_rows(step, job->layer, last - 1);

        for (uint32_t k = 0; k < n_keys; k += INDEX_KEYS_TILE) {
                uint32_t n = n_keys - k < INDEX_KEYS_TILE ? n_keys - k : INDEX_KEYS_TILE;
                for (uint32_t done = 0; done < n;) {
                        struct kv_slot slot;
                        uint32_t run = e->kv->run(kv, job->key_stream, k + done, &slot);
                        run = run < n - done ? run : n - done;
                        e->backend->row_unpack(job->key_format, slot.row, run, dim,
                                               scratch->keys + (size_t)done * dim);
                        done += run;
                }
                for (uint32_t r = first; r < last; r++)
                        e->backend->index_scores(
                                ws->index_q + (size_t)r * n_heads * dim,
                                ws->index_w + (size_t)r * n_heads, n_heads, dim, scratch->keys, n,
                                scratch->scores + (size_t)(r - first) * ws->n_keys_max + k);
        }
}

/* Scores of the listed rows for one query. */
static void score_list(const struct select_job *job, uint32_t r, uint32_t n_list,
                       struct worker_scratch *scratch) {
        struct step *step = job->step;
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        uint32_t dim = e->config.index_head_dim, n_heads = e->config.index_n_heads;
        const struct kv *kv = step->parts[ws->part[r]].sequence->kv;

        for (uint32_t k = 0; k < n_list; k += INDEX_KEYS_TILE) {
                uint32_t n = n_list - k < INDEX_KEYS_TILE ? n_list - k : INDEX_KEYS_TILE;
                e->kv->slots(kv, job->key_stream, scratch->list + k, n, scratch->slots);
                e->backend->slots_unpack(job->key_format, scratch->slots, n, dim, scratch->keys);
                e->backend->index_scores(ws->index_q + (size_t)r * n_heads * dim,
                                         ws->index_w + (size_t)r * n_heads, n_heads, dim,
                                         scratch->keys, n, scratch->scores + k);
        }
}

static void keep_candidates(const struct select_job *job, uint32_t r, const float *scores,
                            uint32_t visible, struct worker_scratch *scratch) {
        struct workspace *ws = job->step->ws;
        const struct model_config *c = &job->step->engine->config;
        uint32_t size = c->candidate_block_size, n_blocks = (visible + size - 1) / size;

        for (uint32_t b = 0; b < n_blocks; b++) {
                float best = -INFINITY;
                for (uint32_t i = b * size; i < (b + 1) * size && i < visible; i++)
                        best = scores[i] > best ? scores[i] : best;
                scratch->blocks[b] = best;
        }
        if (n_blocks > 0)
                scratch->blocks[n_blocks - 1] = INFINITY;
        ws->n_candidate[r] =
                topk_select(scratch->blocks, n_blocks, c->candidate_blocks, scratch->order,
                            ws->candidate + (size_t)r * c->candidate_blocks);
}

/* Rows of the kept blocks, ascending, into scratch->list. */
static uint32_t list_candidates(const struct select_job *job, uint32_t r, uint32_t visible,
                                uint32_t *list) {
        const struct workspace *ws = job->step->ws;
        const struct model_config *c = &job->step->engine->config;
        const uint32_t *block = ws->candidate + (size_t)r * c->candidate_blocks;
        uint32_t n = 0;
        for (uint32_t b = 0; b < ws->n_candidate[r]; b++)
                for (uint32_t i = 0; i < c->candidate_block_size; i++) {
                        uint32_t row = block[b] * c->candidate_block_size + i;
                        if (row < visible)
                                list[n++] = row;
                }
        return n;
}

/* Lets choices.h's caller see or replace the rows selected for r. */
static void offer_selection(const struct select_job *job, uint32_t r) {
        const struct engine *e = job->step->engine;
        struct workspace *ws = job->step->ws;
        uint32_t topk = e->config.index_topk;
        if (e->choices && e->choices->selection)
                ws->n_selected[r] = e->choices->selection(
                        e->choices->userdata, job->layer, ws->position[r], 0, topk,
                        ws->n_selected[r], ws->selected + (size_t)r * topk);
}

static void select_in_candidates(const struct select_job *job, uint32_t r,
                                 struct worker_scratch *scratch) {
        struct workspace *ws = job->step->ws;
        uint32_t topk = job->step->engine->config.index_topk;
        uint32_t *selected = ws->selected + (size_t)r * topk;
        uint32_t n_list =
                list_candidates(job, r, visible_rows(job->step, job->layer, r), scratch->list);

        score_list(job, r, n_list, scratch);
        ws->n_selected[r] = topk_select(scratch->scores, n_list, topk, scratch->order, selected);
        for (uint32_t i = 0; i < ws->n_selected[r]; i++)
                selected[i] = scratch->list[selected[i]];
        offer_selection(job, r);
}

static void select_from_all(const struct select_job *job, uint32_t first, uint32_t last,
                            struct worker_scratch *scratch) {
        struct workspace *ws = job->step->ws;
        const struct model_config *c = &job->step->engine->config;

        score_all(job, first, last, scratch);
        for (uint32_t r = first; r < last; r++) {
                const float *scores = scratch->scores + (size_t)(r - first) * ws->n_keys_max;
                uint32_t visible = visible_rows(job->step, job->layer, r);
                ws->n_selected[r] = topk_select(scores, visible, c->index_topk, scratch->order,
                                                ws->selected + (size_t)r * c->index_topk);
                offer_selection(job, r);
                if ((int)job->layer == c->candidate_layer)
                        keep_candidates(job, r, scores, visible, scratch);
        }
}

/* Last row of the tile that starts at `first`: same part, at most INDEX_ROWS_TILE rows. */
static uint32_t tile_end(const struct workspace *ws, uint32_t first, uint32_t last) {
        uint32_t end = first;
        while (end < last && end - first < INDEX_ROWS_TILE && ws->part[end] == ws->part[first])
                end++;
        return end;
}

static void select_rows(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct select_job *job = context;
        struct workspace *ws = job->step->ws;
        struct worker_scratch *scratch = &ws->worker[worker];

        if (job->step->engine->config.layer[job->layer].in_candidates) {
                for (uint32_t r = first; r < last; r++)
                        select_in_candidates(job, r, scratch);
                return;
        }
        for (uint32_t r = first; r < last;) {
                uint32_t end = tile_end(ws, r, last);
                select_from_all(job, r, end, scratch);
                r = end;
        }
}

void indexer_select(struct step *step, uint32_t layer) {
        struct engine *e = step->engine;
        unsigned stream = key_stream(e, layer);
        struct select_job job = { step, layer, stream, e->kv_layout.stream[stream].format };
        step->ws->selection++;
        pool_run(e->pool, step->n_rows, INDEX_ROWS_TILE, select_rows, &job);
}
