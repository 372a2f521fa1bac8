#include "engine/formats.h"
#include "engine/kv.h"

static int add_stream(struct kv_layout *layout, uint32_t row_bytes, uint32_t tokens_per_row) {
        struct kv_stream *s = &layout->stream[layout->n_streams];
        *s = (struct kv_stream){ row_bytes, tokens_per_row, layout->page_bytes };
        layout->page_bytes += row_bytes * (KV_PAGE_TOKENS / tokens_per_row);
        return (int)layout->n_streams++;
}

void kv_layout_init(struct kv_layout *ret, const struct model_config *config) {
        *ret = (struct kv_layout){ 0 };
        for (uint32_t l = 0; l < config->n_layers; l++) {
                const struct layer_config *layer = &config->layer[l];
                ret->latent_stream[l] = ret->key_stream[l] = -1;
                if (!layer->owns_kv)
                        continue;
                ret->latent_stream[l] =
                        add_stream(ret, (uint32_t)row_bytes(ROW_FP4_LATENT, config->head_dim),
                                   layer->compress_ratio);
                ret->key_stream[l] =
                        add_stream(ret, (uint32_t)row_bytes(ROW_FP4_KEY, config->index_head_dim),
                                   layer->compress_ratio);
        }
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
