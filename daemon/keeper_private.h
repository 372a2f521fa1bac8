/* What the keeper's files share. */
#pragma once

#include "daemon/keeper.h"
#include "daemon/parking.h"

struct kv_store;

struct keeper {
        struct kv_store *store;
        struct kv_cache *cache;
        struct parking parking;
        uint64_t device_hits, device_reused_tokens;
};
