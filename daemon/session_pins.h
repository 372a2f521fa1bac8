/* What is kept of pinned sessions' tokens, held so that it does not make room for others. The KV
 * cache forgets pins at its end; they are set again from the sessions in the store. Engine thread.
 */
#pragma once

#include <stdint.h>

#include "memory/id_table.h"

struct kv_cache;
struct kv_store;

struct session_pins {
        struct kv_cache *cache;     /* borrowed */
        struct id_table by_session; /* of struct kv_pin */
};

void session_pins_deinit(struct session_pins *pins); /* before the cache is closed */

/* Those of the sessions that the store says are pinned. What cannot be is logged. */
void session_pins_restore(struct session_pins *pins, struct kv_store *store);

/* Pins what is kept of a session that has these ids now, instead of what was. 0 (also when nothing
 * is kept yet); -EDQUOT: more than one user may pin, -ENOMEM: what was pinned stays. */
int session_pins_set(struct session_pins *pins, uint64_t session, uint32_t owner,
                     const char *subject, const uint32_t *ids, uint32_t n);

void session_pins_drop(struct session_pins *pins, uint64_t session);
