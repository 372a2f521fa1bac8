/* The compressed branch, and the choice that falls from it. All heads of a group attend the entries
 * before a position; what they took of each, summed, is its share. A block of tokens is as
 * important as the shares of the entries that overlap it, each once for every stride of the
 * overlap. The first blocks and the last are always taken, then the most important, ties to the
 * earlier. */
#include <errno.h>
#include <math.h>

#include "engine/attention.h"
#include "engine/nsa.h"
#include "engine/numerics.h"
#include "engine/pool.h"
#include "engine/topk.h"

/* Rows per piece of work: they share one unpacking of the entries. */
#define ROWS_PER_PIECE 8

int nsa_select_grow(struct workspace *ws, const struct engine *e, uint32_t n_tokens) {
        const struct model_config *c = &e->config;
        uint32_t n = n_tokens / c->nsa.compress_stride + 1;
        n += n / 2; /* so that a growing context seldom asks */
        for (unsigned i = 0; i < ws->n_workers; i++) {
                struct nsa_scratch *s = &ws->worker[i].nsa;
                if (n_tokens / c->nsa.compress_stride <= s->n_entries_max)
                        continue;
                s->n_entries_max = 0;
                if (workspace_regrow(&s->entries, (size_t)n * nsa_group_values(c), sizeof(float)) <
                            0 ||
                    workspace_regrow(&s->attend, (size_t)nsa_group_heads(c) * (n + 16),
                                     sizeof(float)) < 0)
                        return -ENOMEM;
                s->n_entries_max = n;
        }
        return 0;
}

/* The group's part of entries [first, last) of a sequence, to scratch->nsa.entries. */
static void unpack_entries(const struct step *step, uint32_t layer, uint32_t part, uint64_t first,
                           uint64_t last, struct worker_scratch *scratch) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        const struct kv *kv = step->parts[part].sequence->kv;
        unsigned stream = (unsigned)e->kv_layout.key_stream[layer];
        const struct kv_stream *s = &e->kv_layout.stream[stream];
        uint32_t values = nsa_group_values(c);
        size_t offset = step->ws->nsa.group * row_bytes(s->format, values);
        while (first < last) {
                struct kv_slot slot;
                uint32_t n = e->kv->run(kv, stream, first + nsa_rows_before_entries(c), &slot);
                n = n < last - first ? n : (uint32_t)(last - first);
                for (uint32_t i = 0; i < n; i++)
                        scratch->slots[i].row = slot.row + (size_t)i * s->row_bytes + offset;
                e->backend->slots_unpack(s->format, scratch->slots, n, values,
                                         scratch->nsa.entries + first * values);
                first += n;
        }
}

/* Into ws->o, gated; scratch->scores: the entries' shares. */
static void attend_entries(const struct step *step, uint32_t r, uint32_t n,
                           struct worker_scratch *scratch) {
        const struct engine *e = step->engine;
        const struct model_config *c = &e->config;
        uint32_t heads = nsa_group_heads(c), values = nsa_group_values(c);
        size_t first_head = (size_t)r * c->n_heads + step->ws->nsa.group * heads;
        e->backend->attend_group(&(struct attend_group){
                .q = step->ws->q + first_head * c->head_dim,
                .keys = scratch->nsa.entries,
                .values = scratch->nsa.entries + c->head_dim,
                .key_stride = values,
                .value_stride = values,
                .n_keys = n,
                .n_heads = heads,
                .key_dim = c->head_dim,
                .value_dim = c->nsa.value_dim,
                .scale = 1.0f / sqrtf((float)c->head_dim),
                .round = e->round,
                .shares = scratch->scores,
                .scratch = scratch->nsa.attend,
                .o = scratch->nsa.branch,
        });
        float *o = step->ws->o + first_head * c->nsa.value_dim;
        for (size_t i = 0; i < (size_t)heads * c->nsa.value_dim; i++)
                o[i] = 0.0f;
        nsa_add_branch(step, r, NSA_COMPRESSED, scratch->nsa.branch);
}

/* Of block `block`, from the shares of n entries. */
static float importance(const struct model_config *c, uint64_t block, uint32_t n,
                        const float *share) {
        uint64_t stride = c->nsa.compress_stride, length = c->nsa.compress_block,
                 start = block * c->nsa.block_size, end = start + c->nsa.block_size;
        float sum = 0.0f;
        for (uint64_t i = start < length ? 0 : (start - length) / stride + 1;
             i < n && i * stride < end; i++) {
                uint64_t from = i * stride > start ? i * stride : start,
                         to = i * stride + length < end ? i * stride + length : end;
                sum += (float)((to - from) / stride) * share[i];
        }
        return sum;
}

static uint32_t choose_blocks(const struct model_config *c, uint64_t position, uint32_t n_entries,
                              struct worker_scratch *scratch) {
        uint32_t n = (uint32_t)(position / c->nsa.block_size) + 1;
        for (uint32_t i = 0; i < n; i++)
                scratch->blocks[i] = i < c->nsa.n_first || i + c->nsa.n_last >= n
                        ? INFINITY
                        : importance(c, i, n_entries, scratch->scores);
        return topk_select(scratch->blocks, n, c->nsa.n_blocks, scratch->order, scratch->list);
}

/* The chosen blocks' tokens up to row r's, ascending. */
static void select_tokens(const struct step *step, uint32_t r, uint32_t n_blocks,
                          const uint32_t *block) {
        const struct model_config *c = &step->engine->config;
        struct workspace *ws = step->ws;
        uint32_t *selected = ws->selected + (size_t)r * c->index_topk, n = 0;
        for (uint32_t i = 0; i < n_blocks; i++) {
                uint64_t first = (uint64_t)block[i] * c->nsa.block_size;
                for (uint32_t t = 0; t < c->nsa.block_size && first + t <= ws->position[r]; t++)
                        selected[n++] = (uint32_t)first + t;
        }
        ws->n_selected[r] = n;
}

struct select_job {
        struct step *step;
        uint32_t layer;
};

static void select_rows(void *context, uint32_t first, uint32_t last, unsigned worker) {
        const struct select_job *job = context;
        const struct step *step = job->step;
        const struct engine *e = step->engine;
        struct workspace *ws = step->ws;
        struct worker_scratch *scratch = &ws->worker[worker];
        uint64_t n_unpacked = 0;
        for (uint32_t r = first; r < last; r++) {
                uint64_t n = nsa_entries(&e->config, ws->position[r]);
                if (r > first && ws->part[r] != ws->part[r - 1])
                        n_unpacked = 0;
                unpack_entries(step, job->layer, ws->part[r], n_unpacked, n, scratch);
                n_unpacked = n;
                attend_entries(step, r, (uint32_t)n, scratch);
                uint32_t n_blocks =
                        choose_blocks(&e->config, ws->position[r], (uint32_t)n, scratch);
                if (e->choices && e->choices->selection)
                        n_blocks = e->choices->selection(
                                e->choices->userdata, job->layer, ws->position[r], ws->nsa.group,
                                e->config.nsa.n_blocks, n_blocks, scratch->list);
                select_tokens(step, r, n_blocks, scratch->list);
        }
}

void nsa_select(struct step *step, uint32_t layer) {
        struct select_job job = { step, layer };
        step->ws->selection++;
        pool_run(step->engine->pool, step->n_rows, ROWS_PER_PIECE, select_rows, &job);
}
