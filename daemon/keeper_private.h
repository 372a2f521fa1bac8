/* What the keeper's files share. */
#pragma once

#include "daemon/keeper.h"
#include "daemon/parking.h"
#include "daemon/session_pins.h"

struct kv_store;

struct keeper {
        struct kv_store *store;
        struct kv_cache *cache;
        struct parking parking;
        struct session_pins pins;
        uint64_t pinned_bytes_max; /* of one user */
        uint64_t device_hits, device_reused_tokens;
};
