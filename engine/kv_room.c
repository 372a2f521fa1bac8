#include "engine/kv_room.h"

#include <errno.h>
#include <inttypes.h>

#include "base/error.h"
#include "engine/model.h"

/* The sequence whose spilling frees most, NULL when none frees any. */
static struct sequence *best_victim(const struct engine *e) {
        struct sequence *s, *best = NULL;
        int64_t most = 0;
        LIST_FOREACH(s, &e->sequences, of_engine) {
                int64_t gain = e->kv->gain(s->kv);
                if (gain > most) {
                        most = gain;
                        best = s;
                }
        }
        return best;
}

static uint64_t spillable(const struct engine *e) {
        struct sequence *s;
        uint64_t sum = 0;
        LIST_FOREACH(s, &e->sequences, of_engine) {
                int64_t gain = e->kv->gain(s->kv);
                sum += gain > 0 ? (uint64_t)gain : 0;
        }
        return sum;
}

int kv_room_make(struct engine *engine, uint64_t bytes, struct error *err) {
        const struct kv_pool *pool = &engine->kv_pool;
        if (bytes <= kv_pool_room(pool))
                return 0;
        uint64_t more = spillable(engine);
        if (bytes > kv_pool_room(pool) + more)
                return error_set(err, -ENOSPC,
                                 "the device pool has no room: %" PRIu64 " bytes more are needed, "
                                 "%" PRIu64 " of %" PRIu64 " are in use, and %" PRIu64
                                 " of these can be spilled",
                                 bytes, pool->used, pool->limit, more);
        while (bytes > kv_pool_room(pool)) {
                struct sequence *victim = best_victim(engine);
                if (!victim || sequence_spill(victim) < 0)
                        return error_set(err, -ENOMEM, "out of memory for a hot pool");
        }
        return 0;
}

uint64_t engine_kv_bytes(const struct engine *engine, uint64_t n_tokens, bool spilled) {
        const struct kv_layout *layout = &engine->kv_layout;
        uint64_t n_pages = kv_pages(n_tokens), frontier = engine->frontier_layout.bytes;
        uint64_t resident = frontier + n_pages * layout->page_bytes;
        if (!spilled)
                return resident;
        /* Not lent yet: what one step may add to a page that lacks one token. */
        uint64_t unlent = kv_pages(KV_PAGE_TOKENS - 1 + (uint64_t)engine->rows_max);
        unlent = unlent < n_pages ? unlent : n_pages;
        uint64_t bytes = frontier + n_pages * layout->block_bytes[KV_SCANNED] +
                unlent * layout->block_bytes[KV_SELECTED] +
                kv_pool_hot_bytes(&engine->kv_pool, layout);
        return bytes < resident ? bytes : resident; /* a sequence too short to gain stays */
}

void engine_kv_statistics(const struct engine *engine, struct engine_kv_statistics *ret) {
        const struct kv_pool *pool = &engine->kv_pool;
        *ret = (struct engine_kv_statistics){
                .device_bytes = pool->used,
                .device_bytes_max = pool->used_max,
                .spills = engine->spills,
                .rows_gathered = pool->rows_gathered,
                .rows_missed = pool->rows_missed,
        };
        struct sequence *s;
        LIST_FOREACH(s, &engine->sequences, of_engine) {
                ret->n_sequences++;
                ret->n_spilled += engine->kv->spilled(s->kv);
        }
}
