/* The tensors of a checkpoint, as its configuration implies them: names, types and shapes of
 * DeepSeek-V4.1's files, without opening one.
 *
 * Two formats. As released: matrices in FP8 (e4m3) with one ue8m0 scale for each tile of 32 x 32,
 * expert matrices in FP4, two codes a byte, with one ue8m0 scale for 32 inputs of a row; a scale
 * tensor is called like its weight, with `.scale` instead of `.weight`. Or all of them in BF16.
 * Engram tables are FP8 with a scale for 32 columns in both; embeddings, norms, routers,
 * compressors and the residual mixing are BF16 or F32 in both.
 *
 * Pure functions; any thread. */
#pragma once

#include <stdint.h>

#include "engine/other_parts.h"
#include "engine/safetensors.h"

struct error;
struct model_config;

/* How the matrices of dense layers and experts are stored. */
enum table_format { WEIGHT_FORMAT_RELEASED, WEIGHT_FORMAT_BF16 };

/* What a tensor is part of: where a model's bytes are. */
enum component {
        COMPONENT_EMBEDDING, /* embedding and head */
        COMPONENT_ATTENTION,
        COMPONENT_COMPRESSOR,
        COMPONENT_INDEXER,
        COMPONENT_MIXING, /* coefficients of the residual streams (mHC) */
        COMPONENT_ROUTER,
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

        /* Releases put tensors of one group in one file, groups in ascending order: embedding,
         * vision, the layers, the head, the draft layers, the Engram tables. */
        unsigned group;
};

struct tensor_table {
        const struct model_config *config;
        enum table_format format;
        struct other_parts parts; /* what there is beside the text model */
};

/* Calls `visit` for each tensor, group by group; inside a group an expert's scales stand before its
 * weights, as released. Ends with the first result that is not 0 and returns it. */
int tensor_table_visit(const struct tensor_table *table,
                       int (*visit)(void *userdata, const struct tensor_entry *entry),
                       void *userdata);

/* Whether the sizes can be stored in the table's format: tiles and blocks of 32 must divide them.
 * The message names the field. */
int tensor_table_check(const struct tensor_table *table, struct error *err);
