#include "engine/describe.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/model.h"
#include "engine/step.h"

static int count(void *userdata, const struct tensor_entry *entry) {
        struct description *d = userdata;
        struct component_size *sizes[] = { &d->component[entry->component], &d->all };
        for (unsigned i = 0; i < 2; i++) {
                sizes[i]->n_tensors++;
                sizes[i]->parameters += entry->parameters;
                sizes[i]->bytes += entry->bytes;
        }
        return 0;
}

static void sum_text(struct description *d) {
        static const enum component others[] = { COMPONENT_DRAFT_EXPERTS, COMPONENT_DRAFT,
                                                 COMPONENT_VISION };
        d->text = d->all;
        for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
                d->text.n_tensors -= d->component[others[i]].n_tensors;
                d->text.parameters -= d->component[others[i]].parameters;
                d->text.bytes -= d->component[others[i]].bytes;
        }
}

/* Takes away the share `unread` of `total` equal rows or experts that one token does not read. */
static void leave_out(struct description *d, struct component_size part, uint64_t unread,
                      uint64_t total) {
        if (total == 0)
                return;
        d->active_parameters -= part.parameters / total * unread;
        d->decode_bytes -= part.bytes / total * unread;
}

static void sum_active(struct description *d, const struct model_config *c) {
        d->active_parameters = d->text.parameters;
        d->decode_bytes = d->text.bytes;

        uint64_t vocab = c->vocab_size, row = c->hidden_size;
        struct component_size embedding = { 1, vocab * row, vocab * row * sizeof(uint16_t) };
        leave_out(d, embedding, vocab - 1, vocab);
        uint64_t expert_layers = model_config_expert_layers(c);
        leave_out(d, d->component[COMPONENT_EXPERTS],
                  expert_layers * (c->n_experts - c->n_experts_per_token),
                  expert_layers * c->n_experts);
        uint64_t rows = 0, read = 0;
        for (uint32_t i = 0; i < c->n_engram_layers; i++) {
                rows += c->engram_rows[i];
                read += (uint64_t)(c->engram_ngram_max - 1) * c->engram_n_heads;
        }
        leave_out(d, d->component[COMPONENT_ENGRAM_TABLES], rows - read, rows);
}

/* An engine that has what its buffers are sized by, and nothing else. */
static int measure_memory(struct description *d, const struct model_config *c) {
        struct engine *engine = calloc(1, sizeof(*engine));
        if (!engine)
                return -ENOMEM;
        engine->config = *c;
        engine->rows_max = DESCRIBE_ROWS;
        engine->hash.n_rows = (c->engram_ngram_max - 1) * c->engram_n_heads;
        engine->engram_tables.code_bytes = c->engram_head_dim;
        engine->engram_tables.scale_bytes = c->engram_head_dim / FP8_BLOCK;
        kv_layout_init(&engine->kv_layout, &engine->frontier_layout, c);
        d->kv_page_bytes = engine->kv_layout.page_bytes;
        d->frontier_bytes = engine->frontier_layout.bytes;
        d->workspace_bytes = workspace_measure(engine);
        free(engine);
        return 0;
}

int describe(const struct tensor_table *table, struct description *ret) {
        *ret = (struct description){ 0 };
        tensor_table_visit(table, count, ret);
        sum_text(ret);
        sum_active(ret, table->config);
        return measure_memory(ret, table->config);
}

uint64_t describe_kv_bytes(const struct description *description, uint64_t n_tokens) {
        return (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS * description->kv_page_bytes;
}

uint64_t describe_resident(const struct description *description, enum placement placement) {
        uint64_t bytes = description->text.bytes;
        if (placement >= PLACEMENT_NO_TABLES)
                bytes -= description->component[COMPONENT_ENGRAM_TABLES].bytes;
        if (placement >= PLACEMENT_DENSE)
                bytes -= description->component[COMPONENT_EXPERTS].bytes;
        return bytes;
}

int64_t describe_room(const struct description *description, enum placement placement,
                      uint64_t capacity) {
        uint64_t fixed = describe_resident(description, placement) + description->frontier_bytes;
        if (description->workspace_bytes > capacity ||
            fixed > capacity - description->workspace_bytes)
                return -1;
        if (description->kv_page_bytes == 0) /* windows only: nothing grows */
                return INT64_MAX;
        uint64_t left = capacity - description->workspace_bytes - fixed;
        return (int64_t)(left / description->kv_page_bytes * KV_PAGE_TOKENS);
}
