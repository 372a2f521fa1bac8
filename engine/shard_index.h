/* A checkpoint's index: which tensor is in which of several files (model.safetensors.index.json).
 *
 * File format: {"metadata": {"total_size": bytes}, "weight_map": {tensor: file name}}; metadata may
 * be absent. Everything is bounded and checked here but what only the files can tell. Immutable
 * once read; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Tensor and shard names point into the index; numbers are those of `shards`. */
struct shard_entry {
        const char *tensor;
        const char *shard;
        unsigned shard_number;
};

struct shard_index {
        struct shard_entry *entries; /* by tensor name, no two alike */
        size_t n;
        const char **shards; /* by name, no two alike */
        unsigned n_shards;
        bool has_total;
        uint64_t total_bytes;
        void *document; /* owns the names */
};

/* `file` names the text in messages, which name entry and fault. */
int shard_index_parse(const char *file, const char *text, size_t n, struct shard_index *ret,
                      struct error *err);
void shard_index_deinit(struct shard_index *index); /* safe on a zeroed one */

/* NULL when there is none of that name. */
const struct shard_entry *shard_index_find(const struct shard_index *index, const char *tensor);
