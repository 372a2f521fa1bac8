#include "engine/attention_tile.h"

#include <string.h>

#include "engine/pool.h"

/* Rows per piece of work when a chunk is split over threads. */
#define ROWS_PER_PIECE 8

void tile_buffers(struct workspace *ws, size_t rows) {
        ws->tile = ROOM(ws, rows, uint32_t);
        ws->n_attended = ROOM(ws, rows, uint32_t);
}

struct tile_job {
        struct step *step;
        uint32_t layer;
        void (*attend)(struct step *step, uint32_t layer, uint32_t row,
                       struct worker_scratch *scratch);
};

static void attend_tile(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct tile_job *job = context;
        struct workspace *ws = job->step->ws;
        for (uint32_t i = first; i < last; i++)
                job->attend(job->step, job->layer, ws->tile[i], &ws->worker[worker]);
}

/* The stream of rows that this layer's queries select from, -1: none. */
static int selected_stream(const struct engine *e, uint32_t layer) {
        int source = e->config.layer[layer].kv_source;
        int stream = source < 0 ? -1 : e->kv_layout.main_stream[source];
        return stream >= 0 && e->kv_layout.stream[stream].part == KV_SELECTED ? stream : -1;
}

/* Of part p's rows that are left, how many next ones have all that they selected on the device. */
static uint32_t stage_rows(struct step *step, int stream, size_t p) {
        struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        uint32_t first = step->first_row[p] + ws->n_attended[p],
                 left = step->parts[p].n - ws->n_attended[p], topk = e->config.index_topk;
        if (left == 0 || stream < 0)
                return left;
        struct kv_queries queries = {
                .rows = ws->selected + (size_t)first * topk,
                .n_rows = ws->n_selected + first,
                .n = left,
                .stride = topk,
                .selection = ws->n_attended[p] == 0 ? ws->selection : 0,
        };
        return e->kv->stage(step->parts[p].sequence->kv, (unsigned)stream, &queries);
}

/* The next tile: consecutive rows of each part, as many as its hot pool has room for. When nothing
 * is spilled, this is all of them. Returns how many rows it has. */
static uint32_t stage_tile(struct step *step, int stream) {
        struct workspace *ws = step->ws;
        uint32_t n_tile = 0;
        for (size_t p = 0; p < step->n_parts; p++) {
                uint32_t n = stage_rows(step, stream, p);
                for (uint32_t i = 0; i < n; i++)
                        ws->tile[n_tile++] = step->first_row[p] + ws->n_attended[p] + i;
                ws->n_attended[p] += n;
        }
        return n_tile;
}

/* A tile of few rows, which a small hot pool makes, is work for all threads as well: a row attends
 * hundreds of keys. */
static uint32_t rows_per_piece(const struct pool *pool, uint32_t n_tile) {
        uint32_t share = n_tile / pool_n_workers(pool);
        if (share >= ROWS_PER_PIECE)
                return ROWS_PER_PIECE;
        return share > 0 ? share : 1;
}

void attend_stream(struct step *step, uint32_t layer, int stream,
                   void (*attend)(struct step *step, uint32_t layer, uint32_t row,
                                  struct worker_scratch *scratch)) {
        struct tile_job job = { step, layer, attend };
        struct pool *pool = step->engine->pool;
        uint32_t n_tile;
        memset(step->ws->n_attended, 0, step->n_parts * sizeof(*step->ws->n_attended));
        while ((n_tile = stage_tile(step, stream)) > 0)
                pool_run(pool, n_tile, rows_per_piece(pool, n_tile), attend_tile, &job);
}

void attend_rows(struct step *step, uint32_t layer,
                 void (*attend)(struct step *step, uint32_t layer, uint32_t row,
                                struct worker_scratch *scratch)) {
        attend_stream(step, layer, selected_stream(step->engine, layer), attend);
}

uint32_t unpack_stream(const struct step *step, int stream, uint32_t r,
                       struct worker_scratch *scratch) {
        const struct engine *e = step->engine;
        const struct workspace *ws = step->ws;
        if (stream < 0)
                return 0;
        const struct kv_stream *s = &e->kv_layout.stream[stream];
        const struct kv *kv = step->parts[ws->part[r]].sequence->kv;
        uint32_t n = ws->n_selected[r];
        e->kv->slots(kv, (unsigned)stream, ws->selected + (size_t)r * e->config.index_topk, n,
                     scratch->slots);
        e->backend->slots_unpack(s->format, scratch->slots, n, s->n_values, scratch->keys);
        return n;
}

uint32_t unpack_selected(const struct step *step, uint32_t layer, uint32_t r,
                         struct worker_scratch *scratch) {
        return unpack_stream(step, selected_stream(step->engine, layer), r, scratch);
}
