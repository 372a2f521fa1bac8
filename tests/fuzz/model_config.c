/* The text of a config.json. What is accepted must hold together, so that tables can be indexed and
 * sizes computed by it; what is refused says why and leaves the result alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/describe.h"
#include "engine/kv.h"
#include "engine/model_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Listing the tensors of the largest configurations takes a second. */
#define EXPERTS_LISTED_MAX 4096

static void demand(int holds) {
        if (!holds)
                abort();
}

static void check_layer(const struct model_config *c, uint32_t l) {
        const struct layer_config *layer = &c->layer[l];
        demand(layer->compress_ratio <= 2);
        demand((layer->compress_ratio == 0) == (layer->kv_source < 0));
        demand((layer->kv_source < 0) == (layer->index_source < 0));
        demand(layer->kv_source <= (int)l && layer->index_source <= (int)l);
        demand(layer->index_source >= layer->kv_source);
        demand(layer->owns_kv == (layer->kv_source == (int)l));
        demand(layer->owns_index == (layer->index_source == (int)l));
        demand(!layer->in_candidates || (c->candidate_layer >= 0 && (int)l > c->candidate_layer));
        demand(layer->engram < (int)c->n_engram_layers);
        if (layer->kv_source >= 0)
                demand(c->layer[layer->kv_source].compress_ratio == layer->compress_ratio);
}

static void check(const struct model_config *c) {
        demand(c->n_layers >= 1 && c->n_layers <= LAYERS_MAX);
        demand(c->n_engram_layers <= ENGRAM_LAYERS_MAX && c->engram_ngram_max <= NGRAM_MAX);
        demand(c->hc >= 1 && c->hc <= HC_MAX && c->index_head_dim <= INDEX_HEAD_DIM_MAX);
        demand(c->rope_dim % 2 == 0 && c->rope_dim / 2 <= ROPE_PAIRS_MAX);
        demand(c->head_dim % 32 == 0 && c->index_head_dim % 32 == 0);
        demand(c->n_heads % c->o_groups == 0 && c->n_experts_per_token <= c->n_experts);
        demand(c->bos_id < c->vocab_size && c->eos_id < c->vocab_size);
        demand(c->engram_pad_id < c->vocab_size);
        for (uint32_t l = 0; l < c->n_layers; l++)
                check_layer(c, l);
        for (uint32_t i = 0; i < c->n_engram_layers; i++)
                demand(c->layer[c->engram_layers[i]].engram == (int)i);
}

/* Sizes are sums over the tensors; totals must not have wrapped. */
static void check_description(const struct tensor_table *table) {
        const struct model_config *c = table->config;
        struct description d;
        uint64_t experts = (uint64_t)c->n_layers * c->n_experts +
                (uint64_t)table->parts.draft.n_layers * table->parts.draft.n_experts;
        if (experts > EXPERTS_LISTED_MAX)
                return;
        demand(describe(table, &d) == 0);
        uint64_t sum = 0;
        for (unsigned i = 0; i < N_COMPONENTS; i++) {
                demand(d.component[i].bytes < UINT64_C(1) << 62);
                sum += d.component[i].bytes;
        }
        demand(sum == d.all.bytes && d.text.bytes <= d.all.bytes);
        demand(d.decode_bytes <= d.text.bytes && d.active_parameters <= d.text.parameters);
        demand(d.kv_page_bytes % 2 == 0 && d.frontier_bytes > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        static struct model_config config, untouched;
        struct tensor_table table = { .config = &config };
        struct error err = { 0 };
        char *text = malloc(bytes + 1);
        if (!text)
                return 0;
        memcpy(text, data, bytes);
        text[bytes] = 0;
        memset(&config, 0x5a, sizeof(config));
        memset(&untouched, 0x5a, sizeof(untouched));
        if (model_config_parse("input", text, &config, &err) < 0) {
                demand(strncmp(err.text, "input: ", 7) == 0);
                demand(memcmp(&config, &untouched, sizeof(config)) == 0);
        } else {
                check(&config);
                err = (struct error){ 0 };
                if (other_parts_parse("input", text, strlen(text), &table.parts, &err) == 0)
                        check_description(&table);
                else
                        demand(err.text[0] != 0);
        }
        free(text);
        return 0;
}
