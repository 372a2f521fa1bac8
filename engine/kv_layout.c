#include "engine/formats.h"
#include "engine/kv.h"
#include "engine/kv_pool.h"

int kv_layout_add(struct kv_layout *layout, enum kv_part part, uint32_t row_bytes,
                  uint32_t tokens_per_row) {
        uint32_t bytes = row_bytes * (KV_PAGE_TOKENS / tokens_per_row);
        layout->stream[layout->n_streams] = (struct kv_stream){
                row_bytes, tokens_per_row, layout->page_bytes, part, layout->block_bytes[part],
        };
        layout->page_bytes += bytes;
        layout->block_bytes[part] += bytes;
        return (int)layout->n_streams++;
}

void kv_layout_init(struct kv_layout *ret, const struct model_config *config) {
        *ret = (struct kv_layout){ 0 };
        for (uint32_t l = 0; l < config->n_layers; l++) {
                const struct layer_config *layer = &config->layer[l];
                ret->latent_stream[l] = ret->key_stream[l] = -1;
                if (!layer->owns_kv)
                        continue;
                ret->latent_stream[l] = kv_layout_add(
                        ret, KV_MAIN, (uint32_t)row_bytes(ROW_FP4_LATENT, config->head_dim),
                        layer->compress_ratio);
                ret->key_stream[l] = kv_layout_add(
                        ret, KV_KEYS, (uint32_t)row_bytes(ROW_FP4_KEY, config->index_head_dim),
                        layer->compress_ratio);
        }
}

uint64_t kv_pool_hot_bytes(const struct kv_pool *pool, const struct kv_layout *layout) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < layout->n_streams; i++)
                if (layout->stream[i].part == KV_MAIN)
                        bytes += (uint64_t)pool->hot_rows * layout->stream[i].row_bytes;
        return bytes;
}

void frontier_layout_init(struct frontier_layout *ret, const struct model_config *config) {
        *ret = (struct frontier_layout){ .window_row_bytes =
                                                 (uint32_t)row_bytes(ROW_FP8, config->head_dim) };
        size_t at = sizeof(struct frontier_header);
        for (uint32_t l = 0; l < config->n_layers; l++) {
                ret->group_offset[l] = at;
                if (config->layer[l].owns_kv && config->layer[l].compress_ratio == 2)
                        at += 2 * (size_t)config->head_dim * sizeof(float);
        }
        ret->window_offset = at; /* bytes without alignment come last */
        ret->bytes = at + (size_t)config->n_layers * config->window * ret->window_row_bytes;
}
