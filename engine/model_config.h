/* A model's description, read from config.json.
 *
 * Every field that changes the result is read and bounded; a value we do not support, and any
 * unknown field that could change the result, is refused by name. Immutable after
 * model_config_read(); any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/formats.h"

struct error;

/* Limits: the largest released models (61 layers, 384 experts, 128 heads, 7,168 wide) with room to
 * spare; they bound what a hostile config.json can make us allocate before its tensors are checked.
 */
#define LAYERS_MAX        256
#define ENGRAM_LAYERS_MAX 16
#define NGRAM_MAX         8
#define HC_MAX            8

/* Channels of an index row, packed on the stack; released models have 128. */
#define INDEX_HEAD_DIM_MAX 512

/* Shared experts of a layer, which are one MLP; released models have 1 or 2. */
#define SHARED_EXPERTS_MAX 16

/* Rotated channel pairs of a vector, their tables on the stack; released models have 32. */
#define ROPE_PAIRS_MAX 128

/* Who reads config.json (engine/config) and lists the tensors (engine/tensors). */
enum model_family {
        FAMILY_DEEPSEEK_V41,
        FAMILY_NSA,
        FAMILY_DEEPSEEK_V3, /* V2 as well */
        FAMILY_DEEPSEEK_V4,
};
#define N_MODEL_FAMILIES (FAMILY_DEEPSEEK_V4 + 1)

/* How a layer attends: attention.h has the operations of each. */
enum attention_kind {
        ATTENTION_CSA2, /* V4.1: a window, and rows selected from a layer that may be another */
        ATTENTION_MLA,  /* V2, V3: one latent row a token, of which heads make keys and values */
        ATTENTION_CSA,  /* V4: a window, and rows of the layer, selected or all */
        ATTENTION_NSA,  /* entries that stand for many tokens, blocks that they choose, a window */
};
#define N_ATTENTION_KINDS (ATTENTION_NSA + 1)

enum feed_forward {
        FEED_FORWARD_EXPERTS, /* routed experts and shared ones */
        FEED_FORWARD_DENSE,   /* one MLP of dense_dim */
};

/* What a router makes of its products, before any bias. */
enum router_scores { ROUTER_SQRTSOFTPLUS, ROUTER_SOFTMAX, ROUTER_SIGMOID };

/* What groups of experts are chosen by. */
enum group_score {
        GROUP_BEST,     /* V2: its best expert's score */
        GROUP_BEST_TWO, /* V3: the sum of its two best experts' scores, each with its bias */
};

/* How sublayers are joined to the residual streams: residual.h. */
enum residual_kind {
        RESIDUAL_SINGLE_PASS_MHC, /* V4.1: the mix before a sublayer comes from the one before */
        RESIDUAL_PLAIN,           /* one stream: h + sublayer(norm(h)) */
        RESIDUAL_MHC,             /* V4: every sublayer makes its own mix */
};
#define N_RESIDUAL_KINDS (RESIDUAL_MHC + 1)

struct layer_config {
        enum attention_kind attention;
        enum feed_forward feed_forward;
        bool routed_by_table;    /* experts by token id, weights by the router's scores */
        unsigned compress_ratio; /* 0 = window only, else positions per compressed row */
        int kv_source;           /* layer whose compressed rows this layer attends, -1 = none */
        int index_source;        /* layer whose selection this layer uses, -1 = none */
        bool owns_kv;            /* keeps rows of its own (kv_source == this layer) */
        bool owns_index;         /* has an index query (index_source == this layer) */
        bool in_candidates;      /* selects only inside the candidate source's blocks */
        int engram;              /* which Engram table is applied before this layer, -1 = none */
};

struct yarn_config {
        bool enabled;
        float factor, beta_fast, beta_slow;
        uint32_t original_positions;
        float mscale, mscale_all_dim; /* 0: the family has none */
};

/* Frequencies of a rotation. A family says which of its layers use which. */
enum rope_kind { ROPE_MAIN, ROPE_COMPRESS };
#define N_ROPE_KINDS (ROPE_COMPRESS + 1)

struct rope_config {
        double theta; /* 0: no layer uses it */
        struct yarn_config yarn;
};

/* Native sparse attention; sizes in tokens. */
struct nsa_config {
        uint32_t block_size, n_blocks; /* of selected blocks, the always taken included, */
        uint32_t n_first, n_last;      /* which are these */
        uint32_t compress_block, compress_stride; /* of an entry; from one entry to the next */
        uint32_t compress_dim; /* inner width of the learned compression, 0: the mean */
        uint32_t value_dim;    /* of a head; keys have head_dim */
        bool separate;         /* branches have keys and values of their own */
};

struct model_config {
        enum model_family family;
        char architecture[64]; /* model_type */

        uint32_t vocab_size, hidden_size, n_layers, n_draft_layers; /* drafts are not run */
        uint32_t n_heads, n_kv_heads; /* 1: one latent row is key and value of all heads */
        uint32_t head_dim, rope_dim;  /* of a query: rope on the last rope_dim channels */
        uint32_t q_lora_rank, o_groups, o_lora_rank; /* q_lora_rank 0: queries in one step */
        uint32_t kv_lora_rank, nope_dim, v_dim; /* MLA: latent, a head's key without rotation and
                                                   value; head_dim = nope_dim + rope_dim */
        uint32_t window; /* positions, the current one included; 0 = no windows */
        float rms_norm_eps;

        struct rope_config rope[N_ROPE_KINDS];
        uint32_t max_positions;

        uint32_t index_n_heads, index_head_dim, index_topk; /* topk 0: nothing is selected */
        int candidate_layer;                                /* -1 = no candidate rule */
        uint32_t candidate_blocks, candidate_block_size;

        struct nsa_config nsa;

        uint32_t dense_dim; /* of dense feed-forward layers */
        uint32_t n_experts, n_experts_per_token, expert_dim, n_shared_experts; /* 0: no experts */
        enum router_scores router_scores;
        uint32_t n_groups, n_groups_chosen; /* of experts, equal ones; 1: no groups */
        enum group_score group_score;
        bool weight_after_expert; /* V2, V3: it multiplies the output; else before w2 */
        float routed_scaling, swiglu_limit, gate_temp; /* limit INFINITY: no clamp */
        bool norm_topk_prob;

        enum residual_kind residual;
        uint32_t hc; /* residual streams */
        uint32_t hc_sinkhorn_iters;
        float hc_eps;

        uint32_t n_engram_layers;
        uint32_t engram_layers[ENGRAM_LAYERS_MAX];
        uint64_t engram_rows[ENGRAM_LAYERS_MAX]; /* engram_num_embeddings */
        uint32_t engram_vocab_size;              /* where the prime sweeps start */
        uint32_t engram_ngram_max;               /* 4 = bigrams, trigrams, 4-grams */
        uint32_t engram_n_heads, engram_head_dim;
        uint32_t engram_pad_id, engram_compressed_vocab;

        uint32_t bos_id, eos_id, pad_id;

        /* WEIGHT_BF16, or as quantization_config says: dense WEIGHT_FP8, experts WEIGHT_FP4 or
         * WEIGHT_FP8. Which matrices are "dense" in this sense: the family's table of tensors. */
        enum weight_format dense_format, expert_format;
        uint32_t weight_tile; /* of FP8: rows and columns that share a scale */
        uint32_t input_block; /* of inputs of quantised matrices: values that share a scale, 0: they
                                 are not quantised */

        /* KV rows that the model was not trained to read quantised: ROW_BF16, with --compute f32
         * ROW_F32. The engine sets it. */
        enum row_format exact_rows;

        struct layer_config layer[LAYERS_MAX];
};

/* Layers whose feed-forward part is experts. */
static inline uint32_t model_config_expert_layers(const struct model_config *config) {
        uint32_t n = 0;
        for (uint32_t l = 0; l < config->n_layers; l++)
                n += config->layer[l].feed_forward == FEED_FORWARD_EXPERTS;
        return n;
}

/* Reads DIR/config.json, by the reader of its family (engine/config). */
int model_config_read(const char *dir, struct model_config *ret, struct error *err);

/* The same from a string; `file` names it in messages. */
int model_config_parse(const char *file, const char *json, struct model_config *ret,
                       struct error *err);
