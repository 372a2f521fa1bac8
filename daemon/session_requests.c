#include "daemon/session_requests.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/remembered.h"
#include "daemon/request.h"
#include "daemon/session_table.h"
#include "proto/message.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

/* As seekd.proto promises; 200 bytes each with the longest subject. */
#define LISTED_MAX 4096

static uint64_t now_s(void) {
        return (uint64_t)time(NULL);
}

bool session_requests_serve(uint16_t type) {
        switch (type) {
        case RECORD_SESSION_OPEN:
        case RECORD_SESSION_ATTACH:
        case RECORD_SESSION_FORK:
        case RECORD_SESSION_REWIND:
        case RECORD_SESSION_PIN:
        case RECORD_SESSION_CLOSE:
        case RECORD_SESSION_LIST:
        case RECORD_APPEND:
        case RECORD_REMEMBER:
        case RECORD_RECALL: return true;
        default: return false;
        }
}

/* -------- turns -------- */

/* Whether the message is about a session that exists, and which. */
static bool names_session(const struct request *request, uint64_t *ret) {
        const ProtobufCMessage *m = request->message;
        switch (request->type) {
        case RECORD_GENERATE: *ret = ((const Seekd__V1__Generate *)m)->session; return *ret != 0;
        case RECORD_HINT: *ret = ((const Seekd__V1__Hint *)m)->session; return *ret != 0;
        case RECORD_REMEMBER: *ret = ((const Seekd__V1__Remember *)m)->session; return *ret != 0;
        case RECORD_APPEND: *ret = ((const Seekd__V1__Append *)m)->session; return true;
        case RECORD_SESSION_ATTACH: *ret = ((const Seekd__V1__SessionAttach *)m)->session; break;
        case RECORD_SESSION_FORK: *ret = ((const Seekd__V1__SessionFork *)m)->session; break;
        case RECORD_SESSION_REWIND: *ret = ((const Seekd__V1__SessionRewind *)m)->session; break;
        case RECORD_SESSION_PIN: *ret = ((const Seekd__V1__SessionPin *)m)->session; break;
        case RECORD_SESSION_CLOSE: *ret = ((const Seekd__V1__SessionClose *)m)->session; break;
        default: return false;
        }
        return true;
}

static int refuse_unknown(struct request *request, uint64_t id) {
        return refuse(&request->refusal, CODE(NOT_FOUND), "session",
                      "session: this user has none with the id %016llx", (unsigned long long)id);
}

static int refuse_forgotten(struct request *request) {
        return refuse(&request->refusal, CODE(NOT_FOUND), "key",
                      "key: nothing is remembered under it");
}

/* What a Recall asks for is had by it as sessions are. */
static enum session_turn enter_remembered(struct session_table *table, struct request *request) {
        const Seekd__V1__Recall *recall = (const Seekd__V1__Recall *)request->message;
        const struct remembered_key key = { request->uid, recall->subject, recall->key.data,
                                            recall->key.len };
        if (remembered_check_key(&key, &request->refusal) < 0)
                return SESSION_TURN_REFUSED;
        struct session *entry = remembered_find(table, &key, now_s());
        if (!entry) {
                refuse_forgotten(request);
                return SESSION_TURN_REFUSED;
        }
        return session_enter(entry, request) ? SESSION_TURN_NOW : SESSION_TURN_LATER;
}

enum session_turn session_requests_enter(struct session_table *table, struct request *request) {
        uint64_t id;
        if (request->type == RECORD_RECALL)
                return enter_remembered(table, request);
        if (!names_session(request, &id))
                return SESSION_TURN_NOW;
        struct session *session = session_find(table, request->uid, id);
        if (!session) {
                refuse_unknown(request, id);
                return SESSION_TURN_REFUSED;
        }
        return session_enter(session, request) ? SESSION_TURN_NOW : SESSION_TURN_LATER;
}

struct request *session_requests_leave(struct request *request) {
        return request->session ? session_leave(request) : NULL;
}

/* -------- results -------- */

static void set_session_result(struct request *request, const struct session *session) {
        Seekd__V1__SessionResult result = SEEKD__V1__SESSION_RESULT__INIT;
        result.request_id = request->id;
        result.session = session->id;
        result.position = session->n_tokens;
        request_set_result(request, RECORD_SESSION_RESULT, &result.base);
}

static void save_and_answer(struct request *request, struct session *session) {
        session_save(session);
        set_session_result(request, session);
}

/* -------- what was asked -------- */

static void forget(struct session *session) {
        session_unsave(session);
        session_forget(session);
}

/* Two passes: forgetting one may take others along. */
int session_requests_purge(struct session_table *table, uint32_t uid, uint64_t **ret_ids,
                           size_t *ret_n) {
        struct session *session;
        uint64_t *ids = malloc((table->by_id.n + 1) * sizeof(*ids));
        size_t n = 0;
        if (!ids)
                return -ENOMEM;
        for (size_t at = 0; (session = id_table_next(&table->by_id, &at));)
                if (session->owner == uid)
                        ids[n++] = session->id;
        for (size_t i = 0; i < n; i++)
                if ((session = id_table_get(&table->by_id, ids[i])))
                        forget(session);
        *ret_ids = ids;
        *ret_n = n;
        return 0;
}

static void open_session(struct session_table *table, struct request *request) {
        const Seekd__V1__SessionOpen *open = (const Seekd__V1__SessionOpen *)request->message;
        struct session *session;
        if (session_open(table, request->uid, open->subject, now_s(), &session,
                         &request->refusal) == 0)
                save_and_answer(request, session);
}

static void fork_session(struct request *request) {
        const Seekd__V1__SessionFork *fork = (const Seekd__V1__SessionFork *)request->message;
        struct session *session;
        if (session_fork(request->session, fork->position, now_s(), &session, &request->refusal) ==
            0)
                save_and_answer(request, session);
}

static void rewind_session(struct request *request) {
        const Seekd__V1__SessionRewind *rewind = (const Seekd__V1__SessionRewind *)request->message;
        if (session_rewind(request->session, rewind->position, now_s(), &request->refusal) == 0)
                save_and_answer(request, request->session);
}

static bool wants_pin(const struct request *request) {
        return ((const Seekd__V1__SessionPin *)request->message)->pinned;
}

/* Engine thread. */
static void pin(struct request *request, struct keeper *keeper) {
        if (keeper_pin(keeper, request->session) < 0)
                refuse(&request->refusal, CODE(BUSY), "pinned",
                       "pinned: with this session the user would have pinned more than the limit, "
                       "%llu bytes of kept KV",
                       (unsigned long long)keeper_pinned_bytes_max(keeper));
}

/* Engine thread. */
static void unpin(struct request *request, struct keeper *keeper) {
        keeper_unpin(keeper, request->session);
}

static void pin_session(struct request *request) {
        request->errand = wants_pin(request) ? pin : unpin;
        set_session_result(request, request->session);
}

static void pinned(struct request *request) {
        if (request->refusal.code != 0)
                return;
        session_set_pinned(request->session, wants_pin(request));
        session_save(request->session);
}

static void close_session(struct request *request) {
        const Seekd__V1__SessionClose *close = (const Seekd__V1__SessionClose *)request->message;
        set_session_result(request, request->session);
        if (close->forget && request->session->pinned)
                request->errand = unpin;
        else if (close->forget)
                forget(request->session);
}

static void append(struct request *request) {
        if (session_check_room(request->session, request->tokens.n, &request->refusal) < 0)
                return;
        session_set_tokens(request->session, &request->tokens, now_s());
        save_and_answer(request, request->session);
}

static void remember_tokens(struct session_table *table, struct request *request) {
        const Seekd__V1__Remember *message = (const Seekd__V1__Remember *)request->message;
        const struct remembered_key key = { request->uid, message->subject, message->key.data,
                                            message->key.len };
        if (remembered_check_key(&key, &request->refusal) < 0 ||
            remember(table, &key, &request->tokens, message->session, now_s(), &request->refusal) <
                    0)
                return;
        Seekd__V1__Acknowledged result = SEEKD__V1__ACKNOWLEDGED__INIT;
        result.request_id = request->id;
        request_set_result(request, RECORD_ACKNOWLEDGED, &result.base);
}

/* -------- listing -------- */

static int by_id(const void *a, const void *b) {
        uint64_t x = (*(const struct session *const *)a)->id;
        uint64_t y = (*(const struct session *const *)b)->id;
        return x < y ? -1 : x > y;
}

static void fill_entry(Seekd__V1__SessionEntry *entry, const struct session *session) {
        seekd__v1__session_entry__init(entry);
        entry->session = session->id;
        entry->subject = (char *)(uintptr_t)session->subject;
        entry->tokens = session->n_tokens;
        entry->created = session->created_s;
        entry->used = session->used_s;
        entry->pinned = session->pinned;
        entry->running = session->first != NULL;
        entry->durable = session_is_durable(session);
        entry->uid = session->owner;
}

static void list_sessions(struct session_table *table, struct request *request) {
        const Seekd__V1__SessionList *list = (const Seekd__V1__SessionList *)request->message;
        bool all = list->all && (request->uid == 0 || request->uid == geteuid());
        session_store_settle(table);
        CLEANUP_FREE const struct session **sessions =
                calloc(table->by_id.n + 1, sizeof(*sessions));
        CLEANUP_FREE Seekd__V1__SessionEntry *entries = calloc(LISTED_MAX, sizeof(*entries));
        CLEANUP_FREE Seekd__V1__SessionEntry **pointers = calloc(LISTED_MAX, sizeof(*pointers));
        if (!sessions || !entries || !pointers) {
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
                return;
        }
        size_t n = 0;
        const struct session *session;
        for (size_t at = 0; (session = id_table_next(&table->by_id, &at));)
                if (!session->name && session->id > list->after &&
                    (all || session->owner == request->uid))
                        sessions[n++] = session;
        qsort(sessions, n, sizeof(*sessions), by_id);

        Seekd__V1__SessionListResult result = SEEKD__V1__SESSION_LIST_RESULT__INIT;
        result.request_id = request->id;
        result.more = n > LISTED_MAX;
        result.n_sessions = n < LISTED_MAX ? n : LISTED_MAX;
        result.sessions = pointers;
        for (size_t i = 0; i < result.n_sessions; i++) {
                fill_entry(&entries[i], sessions[i]);
                pointers[i] = &entries[i];
        }
        request_set_result(request, RECORD_SESSION_LIST_RESULT, &result.base);
}

/* -------- in order -------- */

/* Whether the request's session is still there to be used. */
static int check_session(struct request *request) {
        struct session *session = request->session;
        uint64_t id = session->id;
        if (session->name) {
                if (session->damaged && !session->gone)
                        remembered_forget(session);
                return session->damaged ? refuse_forgotten(request) : 0;
        }
        if (session->damaged && !session->gone) {
                log_warning("session %016llx of user %u is dropped: its tokens on disk are damaged",
                            (unsigned long long)id, session->owner);
                forget(session);
        }
        return session->gone ? refuse_unknown(request, id) : 0;
}

void session_requests_do(struct session_table *table, struct request *request) {
        struct session *session = request->session;
        if (session && check_session(request) < 0)
                return;
        if (request->refusal.code != 0)
                return;
        switch (request->type) {
        case RECORD_GENERATE:
                if (session)
                        session_check_room(session, request->tokens.n, &request->refusal);
                break;
        case RECORD_SESSION_OPEN: open_session(table, request); break;
        case RECORD_SESSION_ATTACH:
                session_touch(session, now_s());
                set_session_result(request, session);
                break;
        case RECORD_SESSION_FORK: fork_session(request); break;
        case RECORD_SESSION_REWIND: rewind_session(request); break;
        case RECORD_SESSION_PIN: pin_session(request); break;
        case RECORD_SESSION_CLOSE: close_session(request); break;
        case RECORD_SESSION_LIST: list_sessions(table, request); break;
        case RECORD_APPEND: append(request); break;
        case RECORD_REMEMBER: remember_tokens(table, request); break;
        default: break;
        }
}

void session_requests_finish(struct request *request) {
        struct session *session = request->session;
        if (!session || session->gone)
                return;
        switch (request->type) {
        case RECORD_GENERATE:
                session_set_tokens(session, &request->tokens, now_s());
                session_save(session);
                break;
        case RECORD_SESSION_PIN: pinned(request); break;
        case RECORD_SESSION_CLOSE: forget(session); break;
        default: break;
        }
}
