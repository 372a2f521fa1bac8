/* DeepSeek-V4.1's attention (CSA2): every position attends its last `window` positions and, in
 * layers with a compressed source, the rows that the indexer chose. Sources own compressed rows and
 * selections; other layers reuse the last source's. */
#include "engine/attention.h"
#include "engine/attention_tile.h"
#include "engine/attention_window.h"
#include "engine/compressor.h"
#include "engine/indexer.h"
#include "engine/shared_kv.h"

static void layout(const struct model_config *c, uint32_t l, struct kv_layout *layout,
                   struct frontier_layout *frontier) {
        const struct layer_config *layer = &c->layer[l];
        frontier_add_window(frontier, l, c->window, ROW_FP8, c->head_dim);
        if (!layer->owns_kv)
                return;
        if (layer->compress_ratio == 2) /* the open group: value, then gate */
                frontier_add_state(frontier, l, 2 * (size_t)c->head_dim);
        layout->main_stream[l] = kv_layout_add_rows(layout, KV_SELECTED, ROW_FP4_LATENT,
                                                    c->head_dim, layer->compress_ratio);
        layout->key_stream[l] = kv_layout_add_rows(layout, KV_SCANNED, ROW_FP4_KEY,
                                                   c->index_head_dim, layer->compress_ratio);
}

static void buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        shared_kv_buffers(ws, e, rows);
        compressor_buffers(ws, &e->config, rows);
        indexer_buffers(ws, &e->config, rows);
        tile_buffers(ws, rows);
}

static void scratch(const struct model_config *c, struct scratch_needs *needs) {
        shared_kv_scratch(c, c->index_topk, needs);
        indexer_scratch(c, needs);
}

static void attend_row(struct step *step, uint32_t layer, uint32_t r,
                       struct worker_scratch *scratch) {
        uint32_t n = unpack_selected(step, layer, r, scratch);
        shared_kv_attend(step, layer, r, scratch->keys, n, scratch->attend);
}

static void compute(struct step *step, uint32_t layer) {
        const struct layer_config *l = &step->engine->config.layer[layer];
        shared_kv_project(step, layer, false);
        window_unpack(step, layer);
        if (l->owns_kv)
                compressor_append(step, layer);
        if (l->owns_index) {
                indexer_project(step, layer, false);
                indexer_select(step, layer);
        }
        attend_rows(step, layer, attend_row);
        window_store(step, layer);
        shared_kv_output(step, layer);
}

const struct attention_operations attention_csa2 = {
        .name = "CSA2",
        .layout = layout,
        .buffers = buffers,
        .scratch = scratch,
        .compute = compute,
};
