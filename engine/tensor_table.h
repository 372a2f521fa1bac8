/* The tensors of a checkpoint, as its configuration implies them: names, types, shapes and places
 * in the model, without opening one. Each family lists its own (engine/tensors). Pure functions;
 * any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/formats.h"
#include "engine/other_parts.h"
#include "engine/safetensors.h"

struct model_config;

/* What a tensor is part of: where a model's bytes are. */
enum component {
        COMPONENT_EMBEDDING, /* embedding and head */
        COMPONENT_ATTENTION,
        COMPONENT_COMPRESSOR,
        COMPONENT_INDEXER,
        COMPONENT_MIXING, /* coefficients of the residual streams (mHC) */
        COMPONENT_ROUTER,
        COMPONENT_DENSE_MLP, /* feed-forward layers without experts */
        COMPONENT_SHARED_EXPERTS,
        COMPONENT_EXPERTS,
        COMPONENT_ENGRAM_TABLES,
        COMPONENT_ENGRAM_DENSE, /* the projection of the rows that were looked up */
        COMPONENT_NORMS, /* and what else is a vector: Engram's q and k weights, delimiters */
        COMPONENT_DRAFT_EXPERTS,
        COMPONENT_DRAFT, /* the draft layers without their experts */
        COMPONENT_VISION,
};
#define N_COMPONENTS (COMPONENT_VISION + 1)
const char *component_name(enum component component);

/* What the numbers of a tensor are for. */
enum tensor_content {
        CONTENT_MATRIX,    /* sums over the last dimension */
        CONTENT_EMBEDDING, /* rows that are looked up */
        CONTENT_SCALES,    /* of the matrix or table of the same name */
        CONTENT_NORM,      /* factors */
        CONTENT_SINKS,
        CONTENT_BIAS,
        CONTENT_MIX_BASE,
        CONTENT_MIX_SCALE,
        CONTENT_EXPERT_IDS, /* of each token id, different ones */
};

/* Where a tensor belongs: an offset in struct weights, in struct layer_weights of `layer`, or in
 * struct mlp_weights of its `expert`. There is a pointer to the numbers; for CONTENT_MATRIX and
 * CONTENT_EMBEDDING a struct matrix, into which CONTENT_SCALES go as well, unless `plain`. */
struct tensor_place {
        enum { PLACE_NONE, PLACE_MODEL, PLACE_LAYER, PLACE_EXPERT } of;
        size_t offset;
        bool plain; /* a pointer, whatever the content */
};

struct tensor_entry {
        char name[96];
        enum dtype dtype;
        unsigned n_dims;
        uint64_t shape[2]; /* as stored: FP4 codes count as bytes, two a byte */
        uint64_t bytes;
        uint64_t parameters; /* numbers that were trained: none for scales, two per FP4 byte */
        enum component component;
        enum tensor_content content;
        enum weight_format format; /* of the matrix or table; for scales, of what they belong to */
        uint32_t scaled_columns;   /* of scales: columns that share one */
        bool exact_input;          /* a quantised matrix whose input is not quantised */
        bool any_float;            /* may be F32 as well: bound as a struct float_vector */
        uint64_t n_ids;            /* CONTENT_EXPERT_IDS: they are below it */

        struct tensor_place place; /* PLACE_NONE: the engine does not read it */
        uint32_t layer, expert;

        /* Releases put tensors of one group in one file, groups in ascending order: embedding,
         * vision, the layers, the head, the draft layers, the Engram tables. */
        unsigned group;
};

struct tensor_table {
        const struct model_config *config;
        struct other_parts parts; /* what there is beside the text model */
};

/* Calls `visit` for each tensor, group by group; inside a group an expert's scales stand before its
 * weights, as released. Ends with the first result that is not 0 and returns it. */
int tensor_table_visit(const struct tensor_table *table,
                       int (*visit)(void *userdata, const struct tensor_entry *entry),
                       void *userdata);
