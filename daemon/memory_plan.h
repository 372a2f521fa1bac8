/* What device_kv and host_kv allow: the device bytes that one request may come to need, and the
 * longest request that can run. Pure arithmetic over the engine's sizes; any thread. */
#pragma once

#include <stdint.h>

struct engine;
struct error;

struct memory_plan {
        uint64_t device_bytes; /* for the KV of all sequences; 0 = no bound */
        uint64_t host_bytes;   /* of one user, for pages that are lent; 0 = nothing is spilled */
        uint32_t context;      /* tokens of the longest request that can run when it is alone */
};

/* -ENOSPC: not even a chunk of a prompt fits; the message says how much would do. */
int memory_plan(const struct engine *engine, uint64_t device_bytes, uint64_t host_bytes,
                struct memory_plan *ret, struct error *err);

/* What a request commits that comes to n_tokens in all: no more than this is needed on the device,
 * resident or spilled. */
uint64_t memory_plan_commit(const struct engine *engine, const struct memory_plan *plan,
                            uint64_t n_tokens);
