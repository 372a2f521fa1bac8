/* A KV store in this process's memory that fails when it is told to: the functions of
 * memory/kv_store.h that the cache calls, for tests that link it instead of the real one. */
#pragma once

#include <stdint.h>

#include "memory/kv_store.h"

struct faulty_store_rates { /* of 256 calls, how many fail */
        unsigned put, read;
};

struct kv_store *faulty_store_new(uint64_t seed, const struct page_key *key, uint32_t page_bytes,
                                  uint32_t frontier_bytes, uint64_t bytes_max);
void faulty_store_set(struct kv_store *store, struct faulty_store_rates rates);
void faulty_store_free(struct kv_store *store);
