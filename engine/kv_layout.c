#include "engine/attention.h"
#include "engine/kv.h"
#include "engine/kv_pool.h"

int kv_layout_add(struct kv_layout *layout, enum kv_part part, uint32_t row_bytes,
                  uint32_t tokens_per_row) {
        uint32_t bytes = row_bytes * (KV_PAGE_TOKENS / tokens_per_row);
        layout->stream[layout->n_streams] = (struct kv_stream){
                .row_bytes = row_bytes,
                .tokens_per_row = tokens_per_row,
                .slab_offset = layout->page_bytes,
                .part = part,
                .block_offset = layout->block_bytes[part],
        };
        layout->page_bytes += bytes;
        layout->block_bytes[part] += bytes;
        return (int)layout->n_streams++;
}

int kv_layout_add_rows(struct kv_layout *layout, enum kv_part part, enum row_format format,
                       uint32_t n_values, uint32_t tokens_per_row) {
        int stream =
                kv_layout_add(layout, part, (uint32_t)row_bytes(format, n_values), tokens_per_row);
        layout->stream[stream].format = format;
        layout->stream[stream].n_values = n_values;
        return stream;
}

void frontier_add_state(struct frontier_layout *layout, uint32_t layer, size_t n_floats) {
        layout->state_offset[layer] = layout->state_bytes;
        layout->state_bytes += n_floats * sizeof(float);
}

void frontier_add_window(struct frontier_layout *layout, uint32_t layer, uint32_t n_rows,
                         enum row_format format, uint32_t n_values) {
        layout->window_format = format;
        layout->window_values = n_values;
        layout->window_row_bytes = (uint32_t)row_bytes(format, n_values);
        layout->window_offset[layer] = layout->window_bytes;
        layout->window_bytes += (size_t)n_rows * layout->window_row_bytes;
}

void kv_layout_init(struct kv_layout *ret, struct frontier_layout *ret_frontier,
                    const struct model_config *config) {
        *ret = (struct kv_layout){ 0 };
        *ret_frontier = (struct frontier_layout){ 0 };
        for (uint32_t l = 0; l < config->n_layers; l++) {
                ret->main_stream[l] = ret->key_stream[l] = -1;
                attention_operations(config->layer[l].attention)
                        ->layout(config, l, ret, ret_frontier);
        }
        /* Floats follow the header, bytes without alignment come last. */
        size_t states = sizeof(struct frontier_header),
               windows = states + ret_frontier->state_bytes;
        for (uint32_t l = 0; l < config->n_layers; l++) {
                ret_frontier->state_offset[l] += states;
                ret_frontier->window_offset[l] += windows;
        }
        ret_frontier->bytes = windows + ret_frontier->window_bytes;
}

uint64_t kv_pool_hot_bytes(const struct kv_pool *pool, const struct kv_layout *layout) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < layout->n_streams; i++)
                if (layout->stream[i].part == KV_SELECTED)
                        bytes += (uint64_t)pool->hot_rows * layout->stream[i].row_bytes;
        return bytes;
}
