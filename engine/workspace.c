#include <errno.h>
#include <stdlib.h>

#include "engine/pool.h"
#include "engine/step.h"

/* Buffers that do not depend on the number of workers: 55 today, and four for each Engram table.
 * Each worker adds four. */
#define BLOCKS_MAX (64 + 4 * ENGRAM_LAYERS_MAX)

#define ALIGNMENT 64 /* a cache line, a vector */

/* Aligned, zeroed, remembered for workspace_free(). Sets *failed instead of returning an error, so
 * that the list of buffers reads as a list. calloc() takes the zeros from the kernel: rows that no
 * step has used yet are not resident. A vector more than asked for may be read. */
static void *room(struct workspace *ws, size_t n, size_t bytes, int *failed) {
        size_t total;
        if (ws->n_blocks == BLOCKS_MAX + 4 * (size_t)ws->n_workers ||
            __builtin_mul_overflow(n, bytes, &total) || total > SIZE_MAX / 2) {
                *failed = -ENOMEM;
                return NULL;
        }
        if (ws->measuring) {
                if (__builtin_add_overflow(ws->measured, total, &ws->measured))
                        *failed = -ENOMEM;
                return NULL;
        }
        void *p = calloc(1, total + 2 * ALIGNMENT);
        if (!p) {
                *failed = -ENOMEM;
                return NULL;
        }
        ws->block[ws->n_blocks++] = p;
        return (uint8_t *)p + (ALIGNMENT - (uintptr_t)p % ALIGNMENT);
}

#define ROOM(n, type) room(ws, (n), sizeof(type), &failed)

static int residual_buffers(struct workspace *ws, const struct model_config *c, size_t rows) {
        int failed = 0;
        size_t hc = c->hc, d = c->hidden_size, pairs = c->rope_dim / 2;
        ws->position = ROOM(rows, uint64_t);
        ws->part = ROOM(rows, uint32_t);
        ws->h = ROOM(rows * hc * d, float);
        ws->pre = ROOM(rows * hc, float);
        ws->next_pre = ROOM(rows * hc, float);
        ws->post = ROOM(rows * hc, float);
        ws->comb = ROOM(rows * hc * hc, float);
        ws->fx = ROOM(rows * (2 * hc + hc * hc), float);
        ws->x = ROOM(rows * d, float);
        ws->y = ROOM(rows * d, float);
        ws->quantised_x = ROOM(rows * d, float);
        for (int i = 0; i < 2; i++) {
                ws->cos[i] = ROOM(rows * pairs, float);
                ws->sin[i] = ROOM(rows * pairs, float);
        }
        return failed;
}

static int attention_buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        int failed = 0;
        size_t heads = (size_t)c->n_heads * c->head_dim;
        ws->qr = ROOM(rows * c->q_lora_rank, float);
        ws->q = ROOM(rows * heads, float);
        ws->o = ROOM(rows * heads, float);
        ws->z = ROOM(rows * c->o_groups * c->o_lora_rank, float);
        ws->kv = ROOM(rows * c->head_dim, float);
        ws->window_rows = ROOM(rows * e->frontier_layout.window_row_bytes, uint8_t);
        ws->window_start = ROOM(rows, size_t);

        ws->group_value = ROOM(rows * c->head_dim, float);
        ws->group_gate = ROOM(rows * c->head_dim, float);
        ws->latent = ROOM(rows * c->head_dim, float);
        ws->index_key = ROOM(rows * c->index_head_dim, float);
        size_t row = row_bytes(ROW_FP4_LATENT, c->head_dim),
               key = row_bytes(ROW_FP4_KEY, c->index_head_dim);
        ws->stream_rows = ROOM(rows * (row > key ? row : key), uint8_t);
        ws->index_q = ROOM(rows * c->index_n_heads * c->index_head_dim, float);
        ws->index_w = ROOM(rows * c->index_n_heads, float);
        ws->selected = ROOM(rows * c->index_topk, uint32_t);
        ws->n_selected = ROOM(rows, uint32_t);
        ws->tile = ROOM(rows, uint32_t);
        ws->n_attended = ROOM(rows, uint32_t);
        ws->candidate = ROOM(rows * c->candidate_blocks, uint32_t);
        ws->n_candidate = ROOM(rows, uint32_t);
        return failed;
}

static int engram_buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        int failed = 0;
        size_t packed = e->engram_tables.code_bytes + e->engram_tables.scale_bytes, places = 2;
        while (places < 2 * rows)
                places *= 2;
        for (uint32_t t = 0; t < e->config.n_engram_layers; t++) {
                ws->engram[t].slot = ROOM(rows, uint32_t);
                ws->engram[t].row = ROOM(rows, uint64_t);
                ws->engram[t].place = ROOM(places, uint32_t);
                ws->engram[t].packed = ROOM(rows * packed, uint8_t);
        }
        return failed;
}

static int mlp_buffers(struct workspace *ws, const struct engine *e, size_t rows) {
        const struct model_config *c = &e->config;
        int failed = 0;
        size_t f = (size_t)c->expert_dim * (c->n_shared_experts > 1 ? c->n_shared_experts : 1);
        ws->router = ROOM(rows * c->n_experts, float);
        ws->router_biased = ROOM(c->n_experts, float);
        ws->router_order = ROOM(c->n_experts, uint64_t);
        ws->expert = ROOM(rows * c->n_experts_per_token, uint32_t);
        ws->expert_weight = ROOM(rows * c->n_experts_per_token, float);
        ws->expert_rows = ROOM(rows, uint32_t);
        ws->expert_row_weight = ROOM(rows, float);
        ws->expert_x = ROOM(rows * c->hidden_size, float);
        ws->expert_y = ROOM(rows * c->hidden_size, float);
        ws->gate = ROOM(rows * f, float);
        ws->up = ROOM(rows * f, float);
        ws->compressed_ids = ROOM(rows + NGRAM_MAX, uint32_t);
        if (c->n_engram_layers > 0) {
                ws->engram_x = ROOM(rows * e->hash.n_rows * c->engram_head_dim, float);
                ws->engram_kv = ROOM(rows * (c->hc + 1) * c->hidden_size, float);
                failed = failed ? failed : engram_buffers(ws, e, rows * e->hash.n_rows);
        }
        return failed;
}

/* The widest input of any matrix, for the per-worker copies that fast backends rearrange. */
static size_t widest_input(const struct engine *e) {
        const struct model_config *c = &e->config;
        size_t candidates[] = {
                (size_t)c->hc * c->hidden_size,
                (size_t)c->n_heads * c->head_dim / c->o_groups,
                (size_t)c->o_groups * c->o_lora_rank,
                c->q_lora_rank,
                (size_t)c->expert_dim * (c->n_shared_experts > 1 ? c->n_shared_experts : 1),
                c->n_engram_layers > 0 ? (size_t)e->hash.n_rows * c->engram_head_dim : 0,
        };
        size_t widest = c->head_dim;
        for (size_t i = 0; i < sizeof(candidates) / sizeof(*candidates); i++)
                widest = candidates[i] > widest ? candidates[i] : widest;
        return widest;
}

static int worker_buffers(struct workspace *ws, const struct engine *e) {
        const struct model_config *c = &e->config;
        int failed = 0;
        size_t keys = (size_t)c->index_topk * c->head_dim,
               index_keys = (size_t)INDEX_KEYS_TILE * c->index_head_dim;
        for (unsigned i = 0; i < ws->n_workers; i++) {
                struct worker_scratch *w = &ws->worker[i];
                w->matmul = ROOM(matmul_scratch((uint32_t)widest_input(e)), float);
                w->attend = ROOM((size_t)c->n_heads * (c->window + c->index_topk + 16), float);
                w->slots = ROOM(c->index_topk > INDEX_KEYS_TILE ? c->index_topk : INDEX_KEYS_TILE,
                                struct kv_slot);
                w->keys = ROOM(keys > index_keys ? keys : index_keys, float);
        }
        return failed;
}

static int buffers(struct workspace *ws, const struct engine *engine) {
        size_t rows = engine->rows_max;
        int r = residual_buffers(ws, &engine->config, rows);
        if (r == 0)
                r = attention_buffers(ws, engine, rows);
        if (r == 0)
                r = mlp_buffers(ws, engine, rows);
        return r == 0 ? worker_buffers(ws, engine) : r;
}

int workspace_new(const struct engine *engine, struct workspace **ret) {
        unsigned n_workers = pool_n_workers(engine->pool);
        struct workspace *ws = calloc(1, sizeof(*ws));
        if (!ws)
                return -ENOMEM;
        ws->n_workers = n_workers;
        ws->worker = calloc(n_workers, sizeof(*ws->worker));
        ws->block = calloc(BLOCKS_MAX + 4 * (size_t)n_workers, sizeof(*ws->block));
        int r = ws->worker && ws->block ? buffers(ws, engine) : -ENOMEM;
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
        }
        free(workspace->window_keys);
        free(workspace->worker);
        free(workspace->block);
        free(workspace);
        return NULL;
}

static int regrow(void *pointer, size_t n, size_t bytes) {
        void **p = pointer;
        free(*p); /* contents live within one step only */
        *p = calloc(n, bytes);
        return *p ? 0 : -ENOMEM;
}

int workspace_grow(struct workspace *ws, const struct engine *engine, uint32_t n_keys,
                   size_t n_window_rows) {
        int r = 0;
        if (n_keys > ws->n_keys_max) {
                uint32_t n = (n_keys + n_keys / 2 + INDEX_KEYS_TILE) & ~(uint32_t)63;
                ws->n_keys_max = 0;
                for (unsigned i = 0; r == 0 && i < ws->n_workers; i++) {
                        struct worker_scratch *w = &ws->worker[i];
                        r = regrow(&w->scores, (size_t)INDEX_ROWS_TILE * n, sizeof(float));
                        if (r == 0)
                                r = regrow(&w->blocks, n, sizeof(float));
                        if (r == 0)
                                r = regrow(&w->order, n, sizeof(uint64_t));
                        if (r == 0)
                                r = regrow(&w->list, n, sizeof(uint32_t));
                }
                if (r < 0)
                        return r;
                ws->n_keys_max = n;
        }
        if (n_window_rows > ws->window_keys_max) {
                ws->window_keys_max = 0;
                r = regrow(&ws->window_keys, n_window_rows * engine->config.head_dim,
                           sizeof(float));
                if (r < 0)
                        return r;
                ws->window_keys_max = n_window_rows;
        }
        return 0;
}
