/* A checkpoint's tensors bound to their places in the model. Nothing is copied: pointers into the
 * mapped checkpoint, which must outlive them. Immutable after weights_bind(); any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/backend.h"
#include "engine/model_config.h"
#include "engine/nsa_buffers.h"

struct checkpoint;
struct error;
struct progress;

struct hc_weights {
        struct matrix fn;          /* [2 hc + hc hc][hc D] float32 */
        const float *base, *scale; /* [2 hc + hc hc], [3] */
};

/* Numbers that some releases store as BF16, others as float32. */
struct float_vector {
        const void *data;
        enum weight_format format; /* WEIGHT_BF16 or WEIGHT_F32 */
};

struct mlp_weights {
        struct matrix gate, up, down; /* w1, w3 [F][D]; w2 [D][F] */
};

/* A compressor: n channels of a row, which stands for `ratio` tokens; twice n where rows overlap.
 */
struct pool_weights {
        struct matrix value, gate; /* [n or 2 n][D] */
        const float *bias;         /* [ratio][n or 2 n] added to the gates */
        const uint16_t *norm;      /* [n] BF16 */
};

struct engram_weights {
        /* The table, where the checkpoint has it: [rows][head_dim] e4m3, [rows][head_dim / 32]
         * ue8m0
         */
        const uint8_t *codes, *scales;
        struct matrix wkv;                   /* [(hc + 1) D][n_rows head_dim] */
        const uint16_t *q_weight, *k_weight; /* [hc][D] BF16 */
};

/* Of native sparse attention. A branch's keys and values; where branches share them, the first. */
struct nsa_source {
        struct matrix k, v;
};

struct nsa_compression {
        const uint16_t *position; /* [compress_block][key or value] BF16, added to the tokens */
        struct matrix up, down;
};

struct nsa_weights {
        struct matrix q, gate, o; /* gate: [n_heads][branches], one head's beside each other */
        struct nsa_source source[N_NSA_BRANCHES];
        struct nsa_compression key_compression, value_compression;
};

struct layer_weights {
        struct hc_weights hc_attn, hc_ffn;
        const uint16_t *attn_norm, *ffn_norm; /* [D] BF16 */

        struct matrix wq_a, wq_b, wkv, wo_a, wo_b; /* wo_a: [groups lora][heads/groups head_dim] */
        const uint16_t *q_norm, *kv_norm;
        const float *sinks;     /* [heads] */
        struct matrix kv_b, wo; /* MLA: [heads (nope_dim + v_dim)][kv_lora], [D][heads v_dim] */

        /* Only where the layer owns its compressed rows: */
        struct matrix compress_kv, compress_gate; /* [head_dim][D]; gate at ratio 2 only */
        const uint16_t *compress_norm;
        struct matrix index_k; /* [index_head_dim][head_dim] */
        const uint16_t *index_k_norm;

        struct float_vector index_k_weight, index_k_bias; /* V3.2: LayerNorm of the key, which is
                                                             [index_head_dim][D] */

        /* Only where the layer selects: */
        struct matrix index_q,
                index_weights; /* [index heads index_head_dim][q_lora], [index heads][D] */

        /* Only where the layer pools rows (V4): */
        struct pool_weights pool_rows, pool_keys;

        struct matrix router; /* [experts][D] */
        const float *router_bias;
        const int64_t *experts_of_id; /* [vocab][experts per token], where the layer has a table */
        struct mlp_weights dense;     /* in place of router and experts */
        struct mlp_weights shared;
        struct mlp_weights *experts; /* [experts], owned by `weights` */

        struct engram_weights engram;
        struct nsa_weights nsa;
};

/* Tensors of the files that the engine does not read: parts of the architecture that do not change
 * the logits of text, and what it does not know. */
enum skipped_kind { SKIPPED_DRAFT, SKIPPED_VISION, SKIPPED_UNKNOWN };
#define N_SKIPPED_KINDS (SKIPPED_UNKNOWN + 1)

struct tensors_skipped {
        const char *what;  /* "draft layers (mtp.*)" */
        uint64_t n, bytes; /* n may be 0 */
        const char *first; /* a name, in the checkpoint */
};

struct weights {
        struct matrix embed, head; /* [vocab][D] */
        const uint16_t *norm;
        struct layer_weights *layer; /* [n_layers] */
        struct hc_weights hc_head;   /* fn [hc][hc D], base [hc], scale [1]: V4's end */
        struct mlp_weights *experts; /* [n_layers][n_experts], backing store */
        uint64_t bytes;              /* of all bound tensors */
        struct tensors_skipped skipped[N_SKIPPED_KINDS];
};

/* Every tensor of the architecture must be there with the right type and shape; the message names
 * the first that is not, or the first scale that is NaN. With `tables_optional` both planes of an
 * Engram table may be missing; its pointers are then NULL.
 * `progress` may be NULL. */
int weights_bind(struct weights *ret, const struct checkpoint *checkpoint,
                 const struct model_config *config, bool tables_optional,
                 const struct progress *progress, struct error *err);

/* The scales of the Engram tables, which weights_bind() leaves alone: for an engine that takes rows
 * from them. All tables are there. */
int weights_check_engram_scales(const struct weights *weights, const struct model_config *config,
                                struct error *err);

void weights_unbind(struct weights *weights); /* safe on a zeroed struct */
