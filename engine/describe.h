/* What a model is, from its configuration alone: parameters, bytes, and the memory it needs.
 *
 * Sizes are those of the files (the engine maps them as they are). Draft layers and vision are
 * counted, but belong to no total of what runs: the engine skips them. Pure functions; any
 * thread. */
#pragma once

#include <stdint.h>

#include "engine/tensor_table.h"

struct component_size {
        uint64_t n_tensors, parameters, bytes;
};

struct description {
        struct component_size component[N_COMPONENTS];
        struct component_size all;  /* every tensor of the files */
        struct component_size text; /* what the engine binds: without drafts and vision */

        /* One decoded token: its own rows of embedding and Engram tables, its own experts. */
        uint64_t active_parameters, decode_bytes;

        uint64_t kv_page_bytes; /* all streams, for KV_PAGE_TOKENS tokens */
        uint64_t frontier_bytes;
        uint64_t workspace_bytes; /* of a step of DESCRIBE_ROWS tokens on one thread */
};

#define DESCRIBE_ROWS 512 /* engine_open()'s default */

/* 0 or -ENOMEM. */
int describe(const struct tensor_table *table, struct description *ret);

/* KV bytes of n tokens, whole pages. */
uint64_t describe_kv_bytes(const struct description *description, uint64_t n_tokens);

/* Where the parts of a model that not every token reads may live. */
enum placement {
        PLACEMENT_ALL,       /* everything in the device's memory */
        PLACEMENT_NO_TABLES, /* Engram tables elsewhere: host memory or disk */
        PLACEMENT_DENSE,     /* routed experts elsewhere as well */
};
#define N_PLACEMENTS (PLACEMENT_DENSE + 1)

/* Weight bytes that then lie in the device's memory. */
uint64_t describe_resident(const struct description *description, enum placement placement);

/* Tokens of KV, in whole pages, for which `capacity` bytes have room beside the weights, the
 * workspace and one sequence's frontier. -1: not even those fit. */
int64_t describe_room(const struct description *description, enum placement placement,
                      uint64_t capacity);
