/* Where one row lies in device memory: the only way in which attention and the indexer reach rows.
 * Host memory has types of its own (struct kv_slab), so that a row that is not on the device cannot
 * be attended. */
#pragma once

#include <stdint.h>

struct kv_slot {
        const uint8_t *row;
};
