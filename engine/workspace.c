#include "engine/workspace.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/attention.h"
#include "engine/feed_forward.h"
#include "engine/indexer.h"
#include "engine/pool.h"
#include "engine/residual.h"
#include "engine/step.h"

#define ALIGNMENT 64 /* a cache line, a vector */

/* Remembers a block for workspace_free(). */
static int keep(struct workspace *ws, void *block) {
        if (ws->n_blocks == ws->blocks_max) {
                size_t wanted = ws->blocks_max ? 2 * ws->blocks_max : 64;
                void **blocks = reallocarray(ws->block, wanted, sizeof(*blocks));
                if (!blocks)
                        return -ENOMEM;
                ws->block = blocks;
                ws->blocks_max = wanted;
        }
        ws->block[ws->n_blocks++] = block;
        return 0;
}

/* calloc() takes the zeros from the kernel: rows that no step has used yet are not resident. */
void *workspace_room(struct workspace *ws, size_t n, size_t bytes) {
        size_t total;
        if (__builtin_mul_overflow(n, bytes, &total) || total > SIZE_MAX / 2)
                ws->failed = -ENOMEM;
        else if (ws->measuring && __builtin_add_overflow(ws->measured, total, &ws->measured))
                ws->failed = -ENOMEM;
        if (ws->failed < 0 || ws->measuring)
                return NULL;
        void *p = calloc(1, total + 2 * ALIGNMENT);
        if (!p || keep(ws, p) < 0) {
                free(p);
                ws->failed = -ENOMEM;
                return NULL;
        }
        return (uint8_t *)p + (ALIGNMENT - (uintptr_t)p % ALIGNMENT);
}

static void row_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        size_t pairs = c->rope_dim / 2;
        ws->position = ROOM(ws, rows, uint64_t);
        ws->part = ROOM(ws, rows, uint32_t);
        ws->x = ROOM(ws, rows * c->hidden_size, float);
        ws->y = ROOM(ws, rows * c->hidden_size, float);
        ws->quantised_x = ROOM(ws, rows * c->hidden_size, float);
        for (int i = 0; i < N_ROPE_KINDS; i++) {
                ws->cos[i] = ROOM(ws, rows * pairs, float);
                ws->sin[i] = ROOM(ws, rows * pairs, float);
        }
}

static void engram_buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        size_t packed = e->engram_tables.code_bytes + e->engram_tables.scale_bytes,
               n = rows * e->hash.n_rows, places = 2;
        while (places < 2 * n)
                places *= 2;
        ws->compressed_ids = ROOM(ws, rows + NGRAM_MAX, uint32_t);
        ws->engram_x = ROOM(ws, n * c->engram_head_dim, float);
        ws->engram_kv = ROOM(ws, rows * (c->hc + 1) * c->hidden_size, float);
        for (uint32_t t = 0; t < c->n_engram_layers; t++) {
                ws->engram[t].slot = ROOM(ws, n, uint32_t);
                ws->engram[t].row = ROOM(ws, n, uint64_t);
                ws->engram[t].place = ROOM(ws, places, uint32_t);
                ws->engram[t].packed = ROOM(ws, n * packed, uint8_t);
        }
}

static struct scratch_needs find_needs(const struct engine *e) {
        const struct model_config *c = &e->config;
        struct scratch_needs needs = { 0 };
        for (unsigned kind = 0; kind < N_ATTENTION_KINDS; kind++)
                if (attention_in_use(c, kind))
                        attention_operations(kind)->scratch(c, &needs);
        residual_scratch(c, &needs);
        feed_forward_scratch(c, &needs);
        if (c->n_engram_layers > 0)
                scratch_at_least(&needs.input, (size_t)e->hash.n_rows * c->engram_head_dim);
        return needs;
}

static void worker_buffers(struct workspace *ws, const struct engine *e) {
        struct scratch_needs needs = find_needs(e);
        for (unsigned i = 0; i < ws->n_workers; i++) {
                struct worker_scratch *w = &ws->worker[i];
                w->matmul = ROOM(ws, matmul_scratch((uint32_t)needs.input), float);
                w->attend = ROOM(ws, needs.attend, float);
                w->slots = ROOM(ws, needs.rows, struct kv_slot);
                w->keys = ROOM(ws, needs.keys, float);
        }
}

static int buffers(struct workspace *ws, const struct engine *e) {
        const struct model_config *c = &e->config;
        size_t rows = e->rows_max;
        row_buffers(ws, c, rows);
        residual_buffers(ws, c, rows);
        for (unsigned kind = 0; kind < N_ATTENTION_KINDS; kind++)
                if (attention_in_use(c, kind))
                        attention_operations(kind)->buffers(ws, e, rows);
        feed_forward_buffers(ws, c, rows);
        if (c->n_engram_layers > 0)
                engram_buffers(ws, e, rows);
        worker_buffers(ws, e);
        return ws->failed;
}

int workspace_new(const struct engine *engine, struct workspace **ret) {
        unsigned n_workers = pool_n_workers(engine->pool);
        struct workspace *ws = calloc(1, sizeof(*ws));
        if (!ws)
                return -ENOMEM;
        ws->n_workers = n_workers;
        ws->worker = calloc(n_workers, sizeof(*ws->worker));
        int r = ws->worker ? buffers(ws, engine) : -ENOMEM;
        if (r < 0) {
                workspace_free(ws);
                return r;
        }
        *ret = ws;
        return 0;
}

uint64_t workspace_measure(const struct engine *engine) {
        struct worker_scratch worker = { 0 };
        struct workspace ws = { .n_workers = 1, .worker = &worker, .measuring = true };
        return buffers(&ws, engine) == 0 ? ws.measured : UINT64_MAX;
}

struct workspace *workspace_free(struct workspace *workspace) {
        if (!workspace)
                return NULL;
        for (size_t i = 0; i < workspace->n_blocks; i++)
                free(workspace->block[i]);
        for (unsigned i = 0; workspace->worker && i < workspace->n_workers; i++) {
                free(workspace->worker[i].scores);
                free(workspace->worker[i].blocks);
                free(workspace->worker[i].order);
                free(workspace->worker[i].list);
                free(workspace->worker[i].nsa.entries);
                free(workspace->worker[i].nsa.attend);
        }
        csa_free(&workspace->csa);
        free(workspace->window_keys);
        free(workspace->mla.keys);
        free(workspace->mla.scores);
        free(workspace->worker);
        free(workspace->block);
        free(workspace);
        return NULL;
}

int workspace_regrow(void *pointer, size_t n, size_t bytes) {
        void **p = pointer;
        free(*p); /* contents live within one step only */
        *p = calloc(n, bytes);
        return *p ? 0 : -ENOMEM;
}

int workspace_grow(struct workspace *ws, const struct engine *engine, uint32_t n_keys,
                   size_t n_window_rows) {
        int r = 0;
        if (engine->config.index_topk > 0 && n_keys > ws->n_keys_max) {
                uint32_t n = (n_keys + n_keys / 2 + INDEX_KEYS_TILE) & ~(uint32_t)63;
                ws->n_keys_max = 0;
                for (unsigned i = 0; r == 0 && i < ws->n_workers; i++) {
                        struct worker_scratch *w = &ws->worker[i];
                        r = workspace_regrow(&w->scores, (size_t)INDEX_ROWS_TILE * n,
                                             sizeof(float));
                        if (r == 0)
                                r = workspace_regrow(&w->blocks, n, sizeof(float));
                        if (r == 0)
                                r = workspace_regrow(&w->order, n, sizeof(uint64_t));
                        if (r == 0)
                                r = workspace_regrow(&w->list, n, sizeof(uint32_t));
                }
                if (r < 0)
                        return r;
                ws->n_keys_max = n;
        }
        for (unsigned kind = 0; r == 0 && kind < N_ATTENTION_KINDS; kind++)
                if (attention_in_use(&engine->config, kind) && attention_operations(kind)->grow)
                        r = attention_operations(kind)->grow(ws, engine, n_keys);
        if (r == 0 && n_window_rows > ws->window_keys_max) {
                ws->window_keys_max = 0;
                r = workspace_regrow(&ws->window_keys,
                                     n_window_rows * engine->frontier_layout.window_values,
                                     sizeof(float));
                if (r < 0)
                        return r;
                ws->window_keys_max = n_window_rows;
        }
        return r;
}
