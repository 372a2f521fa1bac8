#include "daemon/session_pins.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/session_store.h"
#include "memory/kv_cache.h"

void session_pins_deinit(struct session_pins *pins) {
        struct kv_pin *pin;
        for (size_t at = 0; (pin = id_table_next(&pins->by_session, &at));)
                kv_cache_unpin(pin);
        id_table_deinit(&pins->by_session);
}

int session_pins_set(struct session_pins *pins, uint64_t session, uint32_t owner,
                     const char *subject, const uint32_t *ids, uint32_t n) {
        struct kv_pin *before = id_table_get(&pins->by_session, session), *pin;
        int r = id_table_reserve(&pins->by_session, pins->by_session.n + 1);
        if (r == 0)
                r = kv_cache_pin(pins->cache, owner, subject, ids, n, &pin);
        if (r == -ENOENT)
                session_pins_drop(pins, session);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        id_table_set(&pins->by_session, session, pin); /* there is room */
        kv_cache_unpin(before); /* now, so that what both have never was without */
        return 0;
}

void session_pins_drop(struct session_pins *pins, uint64_t session) {
        struct kv_pin *pin = id_table_get(&pins->by_session, session);
        if (!pin)
                return;
        id_table_remove(&pins->by_session, session);
        kv_cache_unpin(pin);
}

/* -------- at start -------- */

struct found {
        struct kv_session *sessions;
        size_t n, capacity;
};

static void find(void *context, const struct kv_session *session) {
        struct found *found = context;
        if (!(session->flags & SESSION_PINNED) || session->n_tokens == 0)
                return;
        if (found->n == found->capacity) {
                size_t more = found->capacity ? 2 * found->capacity : 16;
                void *grown = reallocarray(found->sessions, more, sizeof(*session));
                if (!grown)
                        return;
                found->sessions = grown;
                found->capacity = more;
        }
        found->sessions[found->n++] = *session;
}

static int pin_stored(struct session_pins *pins, struct kv_store *store,
                      const struct kv_session *session) {
        CLEANUP_FREE uint32_t *ids = malloc(session->n_tokens * sizeof(*ids));
        if (!ids)
                return -ENOMEM;
        int r = kv_store_read_session(store, session->id, ids, session->n_tokens);
        if (r < 0)
                return r;
        return session_pins_set(pins, session->id, session->owner, session->subject, ids,
                                (uint32_t)session->n_tokens);
}

void session_pins_restore(struct session_pins *pins, struct kv_store *store) {
        struct found found = { 0 };
        kv_store_each_session(store, find, &found);
        for (size_t i = 0; i < found.n; i++) {
                int r = pin_stored(pins, store, &found.sessions[i]);
                if (r < 0)
                        log_warning("session %016llx of user %u is not pinned: %s",
                                    (unsigned long long)found.sessions[i].id,
                                    found.sessions[i].owner, strerror(-r));
        }
        free(found.sessions);
}
