/* The device memory that sequences keep their KV in, as one account of bytes for the engine.
 *
 * Counted is what lies on the device: frontiers, index keys of all rows, resident main rows, hot
 * pools. Page tables and the like are host memory and not counted. Engine thread. */
#pragma once

#include <stdint.h>

struct kv_layout;

struct kv_pool {
        uint64_t limit; /* at most INT64_MAX, which is no bound */
        uint64_t used, used_max;
        uint32_t hot_rows; /* slots of each source's hot pool */
        uint64_t rows_gathered, rows_missed;
};

static inline void kv_pool_take(struct kv_pool *pool, uint64_t bytes) {
        pool->used += bytes;
        if (pool->used > pool->used_max)
                pool->used_max = pool->used;
}

static inline void kv_pool_give(struct kv_pool *pool, uint64_t bytes) {
        pool->used -= bytes;
}

static inline uint64_t kv_pool_room(const struct kv_pool *pool) {
        return pool->used < pool->limit ? pool->limit - pool->used : 0;
}

/* Device bytes of one spilled sequence's hot pools. */
uint64_t kv_pool_hot_bytes(const struct kv_pool *pool, const struct kv_layout *layout);
