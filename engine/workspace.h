/* The memory that the layers of a step share. Buffers are allocated once for rows_max rows; those
 * that grow with the context are grown at the start of a step, before anything is changed. A buffer
 * belongs to the part that takes it (its NAME_buffers()); kinds of attention that have a part in
 * common have its buffers in common. Sizes: R rows, D hidden, H heads. One thread, but for what
 * belongs to a worker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/attention_csa.h"
#include "engine/kv_slot.h"
#include "engine/mla_buffers.h"
#include "engine/model_config.h"
#include "engine/nsa_buffers.h"

struct engine;

/* Private to one worker. */
struct worker_scratch {
        float *matmul;         /* matmul_scratch(widest input) */
        float *attend;         /* of an attention operation */
        struct kv_slot *slots; /* KV rows to unpack */
        float *keys;           /* the same, unpacked */
        float *scores;         /* [INDEX_ROWS_TILE][n_keys_max] */
        float *blocks;         /* [n_keys_max] best score per candidate block */
        uint64_t *order;       /* [n_keys_max] */
        uint32_t *list;        /* [n_keys_max] key numbers of the candidate blocks */
        struct nsa_scratch nsa;
};

/* One Engram table's rows of the step in flight. E = R * rows per token. */
struct engram_staging {
        uint32_t *slot;  /* [E] each token's rows as numbers of different ones */
        uint64_t *row;   /* [E] the different ones, in the order in which they occur */
        uint32_t *place; /* [power of two >= 2 E] scratch for finding them */
        uint8_t *packed; /* [E][packed row] filled by the source of rows */
        uint32_t n;      /* different ones */
        bool requested;  /* not collected yet */
};

struct workspace {
        uint64_t *position;       /* [R] */
        uint32_t *part;           /* [R] index into the batch's parts */
        float *h;                 /* [R][hc][D] residual streams */
        float *pre, *post, *comb; /* [R][hc], [R][hc], [R][hc][hc] */
        float *next_pre;
        float *fx;          /* [R][2 hc + hc hc] */
        float *x, *y;       /* [R][D] a sublayer's normed input and output */
        float *quantised_x; /* [R][D] x as quantised products read it */
        float *cos[N_ROPE_KINDS], *sin[N_ROPE_KINDS]; /* [R][rope pairs] */

        float *qr, *q, *o, *z; /* [R][q_lora], [R][H head_dim] twice, [R][groups o_lora] */
        float *kv;             /* [R][head_dim] */
        uint8_t *window_rows;  /* [R][window_row_bytes] this step's rows, packed */
        float *window_keys;    /* all parts' visible window rows, unpacked; grows */
        size_t window_keys_max;
        size_t *window_start; /* [R parts] row offset of a part in window_keys */

        float *group_value, *group_gate;   /* [R][head_dim] */
        float *latent, *index_key;         /* [R][head_dim], [R][index_head_dim] */
        uint8_t *index_key_rows;           /* [R][index row] packed keys of V3.2's index */
        uint8_t *stream_rows;              /* [R][longest stream row] */
        float *index_q, *index_w;          /* [R][index heads][index_head_dim], [R][index heads] */
        uint32_t *selected, *n_selected;   /* [R][topk], [R]: of the last index source */
        uint64_t selection;                /* its number, never twice */
        uint32_t *tile;                    /* [R] rows whose attention is computed together */
        uint32_t *n_attended;              /* [R parts] rows of a part that are done */
        uint32_t *candidate, *n_candidate; /* [R][candidate_blocks], [R] */
        struct csa_buffers csa;

        struct mla_buffers mla;
        struct nsa_buffers nsa;

        float *router;        /* [R][experts] */
        float *router_biased; /* [experts] scores plus bias of one row */
        uint64_t *router_order;
        float *group_score;                     /* [groups of experts] */
        uint32_t *chosen_group;                 /* [groups of experts] ascending */
        uint32_t *expert;                       /* [R][experts_per_token] ascending */
        float *expert_weight;                   /* [R][experts_per_token] */
        uint32_t *expert_rows;                  /* [R] rows that chose the current expert, */
        float *expert_row_weight;               /* [R] and their weights for it */
        float *expert_x, *gate, *up, *expert_y; /* [R][D], [R][F], [R][F], [R][D] */

        uint32_t *compressed_ids; /* [R + ngram history] */
        float *engram_x;          /* [R][rows per token * head_dim] */
        float *engram_kv;         /* [R][(hc + 1) D] */
        struct engram_staging engram[ENGRAM_LAYERS_MAX];

        struct worker_scratch *worker;
        unsigned n_workers;
        uint32_t n_keys_max; /* grows */

        void **block; /* everything above that is fixed in size, for freeing */
        size_t n_blocks, blocks_max;

        int failed;     /* of workspace_room(): the first error */
        bool measuring; /* buffers are only counted */
        uint64_t measured;
};

/* Room for n times `bytes`, for as long as the workspace: zeroed, aligned to a cache line; a vector
 * more than asked for may be read. Takes ws->failed for an error, so that the list of buffers reads
 * as a list; NULL then, and when buffers are only counted. */
void *workspace_room(struct workspace *ws, size_t n, size_t bytes);
#define ROOM(ws, n, type) workspace_room((ws), (n), sizeof(type))

int workspace_new(const struct engine *engine, struct workspace **ret); /* 0 or -ENOMEM */

/* Bytes of what is fixed in size, with one worker; UINT64_MAX: more than can be counted. Of the
 * engine it takes config, frontier_layout, hash.n_rows, engram_tables' row sizes and rows_max. */
uint64_t workspace_measure(const struct engine *engine);
struct workspace *workspace_free(struct workspace *workspace);

/* *pointer anew, with room for n times `bytes`, zeroed; what was in it is lost. 0 or -ENOMEM, and
 * then it is NULL. For buffers that grow with the context: their contents live within one step. */
int workspace_regrow(void *pointer, size_t n, size_t bytes);

/* Room for n_keys index keys per row and n_window_rows unpacked window rows in all. 0 or -ENOMEM.
 */
int workspace_grow(struct workspace *workspace, const struct engine *engine, uint32_t n_keys,
                   size_t n_window_rows);
