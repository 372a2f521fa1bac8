/* One step in flight: the batch as rows, and the workspace its layers share.
 *
 * All tokens of all parts form one list of rows; dense operations run over all rows, attention
 * looks up each row's sequence. Buffers are allocated once for rows_max rows; those that grow with
 * the context are grown at the start of a step, before anything is changed. Sizes: R rows, D
 * hidden, H heads. */
#pragma once

#include "engine/model.h"

/* Query rows that share one unpacking of the index keys, and keys unpacked at a time: 256 keys of
 * 128 floats are 128 KiB, which stays in the second-level cache. */
#define INDEX_ROWS_TILE 8
#define INDEX_KEYS_TILE 256

/* Private to one worker. */
struct worker_scratch {
        float *matmul;         /* matmul_scratch(widest input) */
        float *attend;         /* [H][window + topk + 16] */
        struct kv_slot *slots; /* [max(topk, INDEX_KEYS_TILE)] rows to unpack */
        float *keys;           /* the same, unpacked */
        float *scores;         /* [INDEX_ROWS_TILE][n_keys_max] */
        float *blocks;         /* [n_keys_max] best score per candidate block */
        uint64_t *order;       /* [n_keys_max] */
        uint32_t *list;        /* [n_keys_max] key numbers of the candidate blocks */
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
        float *fx;              /* [R][2 hc + hc hc] */
        float *x, *y;           /* [R][D] a sublayer's normed input and output */
        float *quantised_x;     /* [R][D] x as quantised products read it */
        float *cos[2], *sin[2]; /* [R][rope pairs]: 0 main, 1 compress */

        float *qr, *q, *o, *z; /* [R][q_lora], [R][H head_dim] twice, [R][groups o_lora] */
        float *kv;             /* [R][head_dim] */
        uint8_t *window_rows;  /* [R][window_row_bytes] this step's rows, packed */
        float *window_keys;    /* all parts' visible window rows, unpacked; grows */
        size_t window_keys_max;
        size_t *window_start; /* [R parts] row offset of a part in window_keys */

        float *group_value, *group_gate;   /* [R][head_dim] */
        float *latent, *index_key;         /* [R][head_dim], [R][index_head_dim] */
        uint8_t *stream_rows;              /* [R][longest stream row] */
        float *index_q, *index_w;          /* [R][index heads][index_head_dim], [R][index heads] */
        uint32_t *selected, *n_selected;   /* [R][topk], [R]: of the last index source */
        uint64_t selection;                /* its number, never twice */
        uint32_t *tile;                    /* [R] rows whose attention is computed together */
        uint32_t *n_attended;              /* [R parts] rows of a part that are done */
        uint32_t *candidate, *n_candidate; /* [R][candidate_blocks], [R] */

        float *router;        /* [R][experts] */
        float *router_biased; /* [experts] scores plus bias of one row */
        uint64_t *router_order;
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
        size_t n_blocks;

        bool measuring; /* buffers are only counted */
        uint64_t measured;
};

int workspace_new(const struct engine *engine, struct workspace **ret); /* 0 or -ENOMEM */

/* Bytes of what is fixed in size, with one worker; UINT64_MAX: more than can be counted. Of the
 * engine it takes config, frontier_layout, hash.n_rows, engram_tables' row sizes and rows_max. */
uint64_t workspace_measure(const struct engine *engine);
struct workspace *workspace_free(struct workspace *workspace);

/* Room for n_keys index keys per row and n_window_rows unpacked window rows in all. 0 or -ENOMEM.
 */
int workspace_grow(struct workspace *workspace, const struct engine *engine, uint32_t n_keys,
                   size_t n_window_rows);

/* What choices.h's caller may see or replace, if there is one: values about to be quantised. */
static inline void offer_values(const struct engine *e, enum choice_values kind, uint32_t layer,
                                uint64_t row, uint32_t slot, uint32_t n, float *x) {
        if (e->choices && e->choices->values)
                e->choices->values(e->choices->userdata, kind, layer, row, slot, n, x);
}

struct step {
        struct engine *engine;
        struct workspace *ws;
        const struct batch_part *parts;
        size_t n_parts;
        uint32_t n_rows;
        uint32_t *first_row; /* [n_parts] */

        /* A row in which NaN or infinity came up where it would not reach the check of the residual
         * streams: in keys to be packed, which have no code for it, or in scores, where it would
         * only lose a choice. UINT32_MAX = none. */
        uint32_t bad_row;
};

/* What a product with `w` reads of n_rows rows x: x itself, or, where the model quantises that
 * input, its rows quantised and dequantised in `room` (as large as x; may be x). */
const float *linear_input(struct step *step, const struct matrix *w, const float *x,
                          uint32_t n_rows, float *room);

/* y = x w^T for n_rows rows of the step's size, split over the pool by outputs. x is what
 * linear_input() gave. */
void linear(struct step *step, const struct matrix *w, const float *x, uint32_t n_rows, float *y,
            bool round);

/* Block-diagonal: group g of x (w->k wide each) meets rows [g n/groups, (g+1) n/groups) of w. */
void linear_grouped(struct step *step, const struct matrix *w, uint32_t n_groups, const float *x,
                    uint32_t n_rows, float *y, bool round);

/* Normed input ws->x to output ws->y, for all rows. */
void attention_layer(struct step *step, uint32_t layer);
void moe_layer(struct step *step, uint32_t layer);

/* Inside attention: append the rows that close in this step; choose rows to attend. */
void compressor_append(struct step *step, uint32_t layer);
void indexer_select(struct step *step, uint32_t layer);

/* Asks for the Engram rows of all layers; after that either every layer runs or engram_abandon() is
 * called, which waits until nothing is written to the staging buffers any more. */
void engram_request(struct step *step);
void engram_abandon(struct step *step);

/* ws->h in place. 0, or the source of rows failed. */
int engram_layer(struct step *step, uint32_t layer, struct error *err);
