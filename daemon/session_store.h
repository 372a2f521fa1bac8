/* Sessions on disk: what changed is put into the KV store and is there within a second; what the
 * store could not take is put again. Loop thread, but for session_load(). */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/kv_store.h"

struct refusal;
struct session;
struct session_table;

/* kv_session.flags */
#define SESSION_PINNED 1U

struct session_store {
        struct kv_store *kv; /* borrowed; NULL: sessions live in memory */
        bool behind;         /* some session is `unsaved` */

        pthread_mutex_t lock;             /* of what follows */
        struct session_outcome *outcomes; /* of puts, not looked at yet */
};

/* Of one session: how far the store is. */
struct session_saving {
        uint64_t version; /* counts changes */
        uint64_t durable; /* the version on disk */
        bool unsaved;     /* the store did not take the last one */
};

void session_store_init(struct session_store *store);
void session_store_deinit(struct session_store *store); /* after the KV store was closed */

/* Uses the KV store, which is closed before the table is gone, and takes the sessions that it has.
 * Once. */
void session_store_attach(struct session_table *table, struct kv_store *kv);

/* The session has changed. */
void session_save(struct session *session);

/* It will not be there at the next start. */
void session_unsave(const struct session *session);

/* Now and then: what became of the puts; puts again what failed. */
void session_store_settle(struct session_table *table);

/* Whether it is on disk as it is now, as of the last session_store_settle(). */
bool session_is_durable(const struct session *session);

/* Brings the ids of a session that the request has. 0, or -1 with NOT_FOUND, and session->damaged
 * where they cannot be read. Pool thread. */
int session_load(struct session *session, struct refusal *refusal);
