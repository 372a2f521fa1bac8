/* The files of a made-up checkpoint: which tensor lies where. Nothing is written here.
 *
 * Files are those of the release: one for each group of the tensor table. In a file, tensors whose
 * size is a multiple of 8 come first, so that all of these begin at multiples of 8 without gaps
 * (readers refuse gaps); the few others follow, wider elements first. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "bench/checkpoint_values.h"

struct error;

struct planned_tensor {
        char name[96];
        enum dtype dtype;
        unsigned n_dims;
        uint64_t shape[2];
        uint64_t offset, bytes; /* in the file's data */
        struct value_rule rule;
};

struct planned_shard {
        char name[64];
        struct planned_tensor *tensors; /* by offset */
        size_t n, capacity;
        uint64_t data_bytes;
        char *header; /* length, JSON, spaces up to a multiple of 8 */
        size_t header_bytes;
};

struct checkpoint_plan {
        struct planned_shard *shards;
        size_t n_shards;
        uint64_t n_tensors, n_parameters, data_bytes, file_bytes; /* of all shards */
};

int checkpoint_plan_make(const struct tensor_table *table, uint64_t seed,
                         struct checkpoint_plan *ret, struct error *err);
void checkpoint_plan_deinit(struct checkpoint_plan *plan); /* safe on a zeroed one */

/* Writes bytes [offset, offset + n) of a shard's file. */
void checkpoint_plan_fill(const struct planned_shard *shard, uint64_t offset, size_t n,
                          uint8_t *ret);

/* The text of model.safetensors.index.json, to be freed by the caller; NULL: out of memory. */
char *checkpoint_plan_index(const struct checkpoint_plan *plan, size_t *ret_n);
