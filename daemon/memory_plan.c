#include "daemon/memory_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>

#include "base/error.h"
#include "daemon/limits.h"
#include "engine/engine.h"

/* Bytes that a sequence alone pins in the host tier: its pages, the state that it went on from and
 * the one that is on its way to the disk. */
static uint64_t host_bytes(const struct engine *engine, uint64_t n_tokens) {
        return n_tokens / ENGINE_PAGE_TOKENS * engine_page_bytes(engine) +
                2 * (uint64_t)engine_state_bytes(engine);
}

static bool can_spill(const struct engine *engine, const struct memory_plan *plan,
                      uint64_t n_tokens) {
        return plan->host_bytes > 0 && host_bytes(engine, n_tokens) <= plan->host_bytes;
}

uint64_t memory_plan_commit(const struct engine *engine, const struct memory_plan *plan,
                            uint64_t n_tokens) {
        uint64_t resident = engine_kv_bytes(engine, n_tokens, false);
        if (!can_spill(engine, plan, n_tokens))
                return resident;
        uint64_t spilled = engine_kv_bytes(engine, n_tokens, true);
        return spilled < resident ? spilled : resident;
}

static bool fits(const struct engine *engine, const struct memory_plan *plan, uint64_t n_tokens) {
        return plan->device_bytes == 0 ||
                memory_plan_commit(engine, plan, n_tokens) <= plan->device_bytes;
}

int memory_plan(const struct engine *engine, uint64_t device_bytes, uint64_t host_bytes_max,
                struct memory_plan *ret, struct error *err) {
        uint32_t context = engine_config(engine)->max_positions, low = 1, high = context;
        struct memory_plan plan = { device_bytes, host_bytes_max, context };
        uint32_t least = context < CHUNK_TOKENS ? context : CHUNK_TOKENS;
        if (!fits(engine, &plan, least))
                return error_set(err, -ENOSPC,
                                 "device_kv: %" PRIu64 " bytes do not hold the KV of %u tokens, "
                                 "at least %" PRIu64,
                                 device_bytes, least, memory_plan_commit(engine, &plan, least));
        while (low < high) { /* the largest that fits lies in [low, high] */
                uint32_t middle = low + (high - low + 1) / 2;
                if (fits(engine, &plan, middle))
                        low = middle;
                else
                        high = middle - 1;
        }
        plan.context = low;
        *ret = plan;
        return 0;
}
