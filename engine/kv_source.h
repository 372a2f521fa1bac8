/* The hot pool of one stream of main rows, with the memory of its slots: of a spilled sequence, in
 * device memory that is this process's memory. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/hot_pool.h"

struct kv_source {
        struct hot_pool hot;
        uint32_t row_bytes;
        uint8_t *memory; /* [n_slots][row_bytes] */
        uint32_t *
                wanted; /* [n_slots] scratch: a query's rows that are not on the device otherwise */
        uint64_t staged; /* number of the selection whose rows all have slots, 0: none */
};

int kv_source_init(struct kv_source *source, uint32_t n_slots, uint32_t row_bytes); /* 0, -ENOMEM */
void kv_source_deinit(struct kv_source *source); /* zeroed: nothing to do */

static inline uint8_t *kv_source_slot(const struct kv_source *source, uint32_t slot) {
        return source->memory + (size_t)slot * source->row_bytes;
}
