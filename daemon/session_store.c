#include "daemon/session_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/refusal.h"
#include "daemon/remembered.h"
#include "daemon/session_table.h"
#include "proto/seekd.pb-c.h"

/* What the store said about one put. */
struct session_outcome {
        struct session_outcome *next;
        struct session_store *store;
        uint64_t session, version;
        int status;
};

void session_store_init(struct session_store *store) {
        pthread_mutex_init(&store->lock, NULL);
}

static struct session_outcome *take_outcomes(struct session_store *store) {
        pthread_mutex_lock(&store->lock);
        struct session_outcome *list = store->outcomes;
        store->outcomes = NULL;
        pthread_mutex_unlock(&store->lock);
        return list;
}

void session_store_deinit(struct session_store *store) {
        struct session_outcome *outcome = take_outcomes(store), *next;
        for (; outcome; outcome = next) {
                next = outcome->next;
                free(outcome);
        }
        pthread_mutex_destroy(&store->lock);
}

/* -------- at start -------- */

struct restoring {
        struct session_table *table;
        size_t n, n_remembered, n_left_out;
        uint64_t n_tokens;
};

static void restore(void *context, const struct kv_session *kept) {
        struct restoring *restoring = context;
        if (kept->n_name > 0 ? !remembered_restore(restoring->table, kept)
                             : !session_restore(restoring->table, kept)) {
                restoring->n_left_out++;
                return;
        }
        restoring->n_remembered += kept->n_name > 0;
        restoring->n++;
        restoring->n_tokens += kept->n_tokens;
}

void session_store_attach(struct session_table *table, struct kv_store *kv) {
        table->store.kv = kv;
        if (!kv)
                return;
        struct restoring restoring = { .table = table };
        kv_store_each_session(kv, restore, &restoring);
        remembered_restored(table);
        if (restoring.n > 0)
                log_info("sessions: %zu, and %zu remembered keys, with %llu tokens",
                         restoring.n - restoring.n_remembered, restoring.n_remembered,
                         (unsigned long long)restoring.n_tokens);
        if (restoring.n_left_out > 0)
                log_warning("sessions: %zu of the state folder are left out", restoring.n_left_out);
}

/* -------- saving -------- */

/* The store's writer thread. */
static void note_outcome(void *context, int status) {
        struct session_outcome *outcome = context;
        struct session_store *store = outcome->store;
        outcome->status = status;
        pthread_mutex_lock(&store->lock);
        outcome->next = store->outcomes;
        store->outcomes = outcome;
        pthread_mutex_unlock(&store->lock);
}

static int put(const struct session *session) {
        struct session_store *store = &session->table->store;
        struct session_outcome *outcome = malloc(sizeof(*outcome));
        if (!outcome)
                return -ENOMEM;
        *outcome = (struct session_outcome){
                .store = store,
                .session = session->id,
                .version = session->saving.version,
        };
        struct kv_session record = {
                .id = session->id,
                .owner = session->owner,
                .flags = session->pinned ? SESSION_PINNED : 0,
                .created_s = session->created_s,
                .used_s = session->used_s,
                .n_tokens = session->n_tokens,
                .tied_to = session->tied_to,
                .n_name = session->n_name,
        };
        if (session->name)
                memcpy(record.name, session->name, session->n_name);
        strcpy(record.subject, session->subject); /* fits: SUBJECT_BYTES_MAX is less */
        int r = kv_store_put_session(store->kv, &record, session->tokens.ids, note_outcome,
                                     outcome);
        if (r < 0)
                free(outcome);
        else
                kv_store_flush(store->kv);
        return r;
}

void session_save(struct session *session) {
        struct session_store *store = &session->table->store;
        session->saving.version++;
        if (!store->kv)
                return;
        session->saving.unsaved = put(session) < 0;
        store->behind |= session->saving.unsaved;
}

void session_unsave(const struct session *session) {
        struct kv_store *kv = session->table->store.kv;
        if (!kv)
                return;
        if (kv_store_delete_session(kv, session->id) < 0)
                log_warning("a forgotten session stays on disk: out of memory");
        kv_store_flush(kv);
}

/* Sessions change seldom while the disk refuses, so one look at all of them a second is little. */
static void save_again(struct session_table *table) {
        struct session *session;
        table->store.behind = false;
        for (size_t at = 0; (session = id_table_next(&table->by_id, &at));) {
                if (!session->saving.unsaved || !session->loaded)
                        continue;
                session->saving.unsaved = put(session) < 0;
                table->store.behind |= session->saving.unsaved;
                if (session->saving.unsaved)
                        return; /* neither will the store take the others */
        }
}

void session_store_settle(struct session_table *table) {
        struct session_outcome *outcome = take_outcomes(&table->store), *next;
        for (; outcome; outcome = next) {
                next = outcome->next;
                struct session *session = id_table_get(&table->by_id, outcome->session);
                struct session_saving *saving = session ? &session->saving : NULL;
                if (saving && outcome->status == 0 && outcome->version > saving->durable)
                        saving->durable = outcome->version;
                if (saving && outcome->status < 0 && outcome->version == saving->version)
                        table->store.behind = saving->unsaved = true;
                free(outcome);
        }
        if (table->store.behind)
                save_again(table);
}

bool session_is_durable(const struct session *session) {
        return session->table->store.kv && session->saving.durable == session->saving.version;
}

/* -------- reading -------- */

int session_load(struct session *session, struct refusal *refusal) {
        if (session->loaded)
                return 0;
        struct token_list tokens = { .n = session->n_tokens, .capacity = session->n_tokens };
        tokens.ids = malloc(tokens.n * sizeof(*tokens.ids));
        if (!tokens.ids)
                return refuse(refusal, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL,
                              "out of memory");
        int r = kv_store_read_session(session->table->store.kv, session->id, tokens.ids, tokens.n);
        if (r < 0) {
                token_list_deinit(&tokens);
                session->damaged = r == -ENOENT;
                return refuse(refusal,
                              session->damaged ? SEEKD__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND
                                               : SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL,
                              "session", "session: its tokens cannot be read: %s", strerror(-r));
        }
        session->tokens = tokens;
        session->loaded = true;
        return 0;
}
