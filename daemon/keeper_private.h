/* What the keeper's files share. */
#pragma once

#include "daemon/keeper.h"
#include "daemon/parking.h"
#include "daemon/session_pins.h"
#include "daemon/tool_pauses.h"

struct kv_store;

struct keeper {
        struct kv_store *store;
        struct kv_cache *cache;
        struct parking parking;
        struct tool_pauses pauses;
        struct session_pins pins;
        uint64_t pinned_bytes_max; /* of one user */
        struct keeper_limits limits;
        bool other_model;                /* what was on disk at start is of another model */
        uint64_t hits[KV_TIER_DISK + 1]; /* as in the statistics, with the following two */
        uint64_t asked_tokens, reused_tokens;
};
