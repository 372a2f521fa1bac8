/* DeepSeek-V4's attention. Every position attends its last `window` positions and rows compressed
 * from all before; a layer has rows of its own:
 *
 *   ratio    name                            rows
 *   0                                        none
 *   4        compressed sparse (CSA)         overlapping; the indexer chooses index_topk of them
 *   128      heavily compressed (HCA)        all are attended, and never leave the device
 *
 * A window and rows that stand for the same tokens are both attended. */
#include "engine/attention_csa.h"

#include <stdlib.h>

#include "engine/attention_tile.h"
#include "engine/attention_window.h"
#include "engine/indexer.h"
#include "engine/pooled_rows.h"
#include "engine/shared_kv.h"

/* Layers whose rows are all attended have one per this many tokens at least. */
#define TOKENS_PER_ROW 128

static enum row_format row_format(const struct model_config *c) {
        return c->exact_rows == ROW_F32 ? ROW_FP8_TAIL64_F32 : ROW_FP8_TAIL64;
}

static void layout(const struct model_config *c, uint32_t l, struct kv_layout *layout,
                   struct frontier_layout *frontier) {
        const struct layer_config *layer = &c->layer[l];
        frontier_add_window(frontier, l, c->window, row_format(c), c->head_dim);
        if (!layer->owns_kv)
                return;
        frontier_add_state(frontier, l, pooled_rows_state(c, l));
        layout->main_stream[l] =
                kv_layout_add_rows(layout, layer->owns_index ? KV_SELECTED : KV_SCANNED,
                                   row_format(c), c->head_dim, layer->compress_ratio);
        if (layer->owns_index)
                layout->key_stream[l] = kv_layout_add_rows(
                        layout, KV_SCANNED, ROW_FP4_KEY, c->index_head_dim, layer->compress_ratio);
}

static void buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        shared_kv_buffers(ws, e, rows);
        pooled_rows_buffers(ws, &e->config, rows);
        indexer_buffers(ws, &e->config, rows);
        tile_buffers(ws, rows);
}

static void scratch(const struct model_config *c, struct scratch_needs *needs) {
        shared_kv_scratch(c, c->index_topk, needs);
        indexer_scratch(c, needs);
}

/* Floats of one worker's attention over n rows. */
static size_t attend_size(const struct model_config *c, uint32_t n) {
        return c->n_heads * ((size_t)c->window + n + 16);
}

void csa_free(struct csa_buffers *buffers) {
        free(buffers->rows);
        free(buffers->attend);
        *buffers = (struct csa_buffers){ 0 };
}

static int grow(struct workspace *ws, const struct engine *e, uint32_t n_tokens) {
        const struct model_config *c = &e->config;
        struct csa_buffers *b = &ws->csa;
        uint32_t n = n_tokens / TOKENS_PER_ROW;
        if (b->attend && n <= b->n_rows_max) /* windows need the scratch without any row */
                return 0;
        n += n / 2 + 16;
        b->n_rows_max = 0;
        int r = workspace_regrow(&b->rows, (size_t)ws->n_workers * n * c->head_dim, sizeof(float));
        if (r == 0)
                r = workspace_regrow(&b->attend, ws->n_workers * attend_size(c, n), sizeof(float));
        if (r == 0)
                b->n_rows_max = n;
        return r;
}

static void attend_selected(struct step *step, uint32_t layer, uint32_t r,
                            struct worker_scratch *scratch) {
        uint32_t n = unpack_selected(step, layer, r, scratch);
        shared_kv_attend(step, layer, r, scratch->keys, n, scratch->attend);
}

/* Rows [0, n) of the layer, unpacked. */
static void unpack_all(const struct step *step, uint32_t layer, uint32_t r, uint32_t n,
                       float *ret_rows) {
        const struct engine *e = step->engine;
        unsigned stream = (unsigned)e->kv_layout.main_stream[layer];
        const struct kv_stream *s = &e->kv_layout.stream[stream];
        const struct kv *kv = step->parts[step->ws->part[r]].sequence->kv;
        for (uint32_t done = 0; done < n;) {
                struct kv_slot slot;
                uint32_t run = e->kv->run(kv, stream, done, &slot);
                run = run < n - done ? run : n - done;
                e->backend->row_unpack(s->format, slot.row, run, s->n_values,
                                       ret_rows + (size_t)done * s->n_values);
                done += run;
        }
}

static void attend_all(struct step *step, uint32_t layer, uint32_t r,
                       struct worker_scratch *scratch) {
        const struct model_config *c = &step->engine->config;
        struct workspace *ws = step->ws;
        size_t worker = (size_t)(scratch - ws->worker);
        float *rows = ws->csa.rows + worker * ws->csa.n_rows_max * c->head_dim;
        uint32_t n = (uint32_t)((ws->position[r] + 1) / c->layer[layer].compress_ratio);
        unpack_all(step, layer, r, n, rows);
        shared_kv_attend(step, layer, r, rows, n,
                         ws->csa.attend + worker * attend_size(c, ws->csa.n_rows_max));
}

static void compute(struct step *step, uint32_t layer) {
        const struct layer_config *l = &step->engine->config.layer[layer];
        shared_kv_project(step, layer, true);
        window_unpack(step, layer);
        if (l->owns_kv)
                pooled_rows_append(step, layer);
        if (l->owns_index) {
                indexer_project(step, layer, true);
                indexer_select(step, layer);
        }
        attend_rows(step, layer, l->owns_kv && !l->owns_index ? attend_all : attend_selected);
        window_store(step, layer);
        shared_kv_output(step, layer);
}

const struct attention_operations attention_csa = {
        .name = "CSA",
        .layout = layout,
        .buffers = buffers,
        .scratch = scratch,
        .grow = grow,
        .compute = compute,
};
