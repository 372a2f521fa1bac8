#include "daemon/dispatch.h"

#include <errno.h>
#include <stdlib.h>

#include "base/error.h"
#include "daemon/account.h"
#include "daemon/answer.h"
#include "daemon/cache_requests.h"
#include "daemon/connection.h"
#include "daemon/engine_thread.h"
#include "daemon/job.h"
#include "daemon/limits.h"
#include "daemon/preparing.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "daemon/session_requests.h"
#include "daemon/stats.h"
#include "daemon/waiting.h"
#include "proto/message.h"

#define CODE(name) SEEKD__V1__ERROR_CODE__ERROR_CODE_##name

/* How long a caller waits before it asks again when others must finish first: about a short
 * completion. */
#define BUSY_RETRY_MS 200

static void send_refusal(struct connection *connection, uint32_t request_id,
                         const struct refusal *refusal) {
        uint8_t bytes[ANSWER_BYTES_MAX];
        size_t n = answer_error(request_id, refusal, bytes);
        connection->server->n_refused[refusal->code]++;
        connection_reply(connection, RECORD_ERROR, request_id, bytes, n);
}

static void release(struct request *request) {
        struct connection *connection = request->connection;
        struct request *next = session_requests_leave(request);
        if (next)
                preparing_start(connection->server, next);
        cache_requests_leave(request);
        connection->account->n_requests--;
        connection->account->request_bytes -= request->message_bytes;
        server_request_done(connection->server);
        connection_forget_request(connection, request); /* may free the connection */
        request_free(request);
}

static bool id_in_use(const struct connection *connection, uint32_t id) {
        for (const struct request *r = connection->requests; r; r = r->connection_next)
                if (r->id == id)
                        return true;
        return false;
}

static int refuse_busy(struct refusal *refusal, unsigned n, const char *where) {
        refuse(refusal, CODE(BUSY), NULL, "%u requests are queued or running %s, the limit", n,
               where);
        refusal->retry_after_ms = BUSY_RETRY_MS;
        return -1;
}

/* Whether one more request may be taken on. */
static int admit(const struct connection *connection, uint32_t id, size_t message_bytes,
                 struct refusal *refusal) {
        const struct server *server = connection->server;
        const struct account *account = connection->account;
        if (server->draining)
                return refuse(refusal, CODE(SHUTTING_DOWN), NULL,
                              "the daemon is stopping and takes no new requests");
        if (server->model_failed)
                return refuse(refusal, CODE(INTERNAL), NULL, "the model could not be loaded");
        if (id_in_use(connection, id))
                return refuse(refusal, CODE(DUPLICATE), "request_id",
                              "request_id: %u is in use on this connection", id);
        if (connection->n_requests >= REGION_N_SLOTS)
                return refuse_busy(refusal, REGION_N_SLOTS, "on this connection");
        if (account->n_requests >= REQUESTS_PER_UID_MAX)
                return refuse_busy(refusal, REQUESTS_PER_UID_MAX, "for this user");
        if (message_bytes > REQUEST_BYTES_PER_UID_MAX - account->request_bytes) {
                refuse(refusal, CODE(BUSY), NULL,
                       "requests of %llu bytes wait for this user, at most %llu may",
                       (unsigned long long)account->request_bytes, REQUEST_BYTES_PER_UID_MAX);
                refusal->retry_after_ms = BUSY_RETRY_MS;
                return -1;
        }
        return 0;
}

static void take_slot(struct request *request) {
        struct connection *connection = request->connection;
        /* There are as many slots as a connection may have requests. */
        request->slot = (uint32_t)__builtin_ctz(~connection->slots_used);
        connection->slots_used |= 1u << request->slot;
}

static int take_on(struct connection *connection, const struct channel_message *from,
                   struct arena *arena, const ProtobufCMessage *message, struct refusal *refusal) {
        if (admit(connection, from->stream, from->n_bytes, refusal) < 0)
                return -1;
        struct request *request =
                request_new(connection, &connection->outlet, from->type, from->stream);
        if (!request)
                return refuse(refusal, CODE(INTERNAL), NULL, "out of memory");
        request->uid = connection->peer.uid;
        request->origin = connection->number;
        request->arena = *arena;
        *arena = (struct arena){ 0 };
        request->message = message;
        request->message_bytes = from->n_bytes;
        request->connection_next = connection->requests;
        connection->requests = request;
        connection->n_requests++;
        connection->account->n_requests++;
        connection->account->request_bytes += from->n_bytes;
        if (from->type == RECORD_GENERATE) {
                take_slot(request);
                waiting_begin(request);
        }
        server_prepare(connection->server, request);
        return 0;
}

static void answer_stats(struct connection *connection, uint32_t id) {
        struct refusal refusal;
        size_t n;
        uint8_t *bytes = stats_pack(connection->server, connection, id, &n);
        if (!bytes) {
                refuse(&refusal, CODE(INTERNAL), NULL, "out of memory");
                send_refusal(connection, id, &refusal);
                return;
        }
        connection_reply(connection, RECORD_STATS_RESULT, id, bytes, n);
        free(bytes);
}

/* Every request begins with its id. */
static uint32_t message_request_id(const ProtobufCMessage *message) {
        return ((const Seekd__V1__Stats *)message)->request_id;
}

static int act(struct connection *connection, const struct channel_message *message,
               struct arena *arena, const ProtobufCMessage *unpacked, struct refusal *refusal) {
        uint32_t id = message_request_id(unpacked);
        if (id == 0 || id != message->stream)
                return refuse(
                        refusal, CODE(INVALID), "request_id",
                        "request_id: is %u, must be above 0 and the stream of its record (%u)", id,
                        message->stream);
        switch (message->type) {
        case RECORD_GENERATE:
        case RECORD_TOKENIZE:
        case RECORD_DETOKENIZE:
        case RECORD_HINT:
        case RECORD_MODEL_INFO: return take_on(connection, message, arena, unpacked, refusal);
        case RECORD_STATS: answer_stats(connection, id); return 0;
        default:
                if (session_requests_serve(message->type) || cache_requests_serve(message->type))
                        return take_on(connection, message, arena, unpacked, refusal);
                return refuse(refusal, CODE(UNSUPPORTED), NULL, "record type %u is not served",
                              message->type);
        }
}

int dispatch(struct connection *connection, const struct channel_message *message,
             struct error *err) {
        struct refusal refusal = { 0 };
        struct arena arena = { 0 };
        const ProtobufCMessage *unpacked;
        struct error reason = { 0 };
        /* Types from 128 are the daemon's own. */
        bool known = message->type < RECORD_ERROR && message_descriptor(message->type);
        if (!known && (message->flags & RING_MUST_UNDERSTAND))
                return error_set(err, -EPROTO,
                                 "record type %u is unknown and marked MUST_UNDERSTAND",
                                 message->type);

        int r = -1;
        if (!known)
                refuse(&refusal, CODE(UNSUPPORTED), NULL, "record type %u is not known",
                       message->type);
        else if ((r = message_unpack(message->type, message->bytes, message->n_bytes, &arena,
                                     &unpacked, &reason)) == 0)
                r = act(connection, message, &arena, unpacked, &refusal);
        else
                refuse(&refusal,
                       r == -ENOMEM             ? CODE(INTERNAL)
                               : r == -EMSGSIZE ? CODE(TOO_LARGE)
                                                : CODE(INVALID),
                       NULL, "%s", reason.text);
        if (r < 0)
                send_refusal(connection, message->stream, &refusal);
        arena_deinit(&arena);
        return 0;
}

/* -------- the way back -------- */

static void submit(struct request *request) {
        uint8_t bytes[ANSWER_BYTES_MAX];
        size_t n = answer_accepted(request, bytes);
        if (outbox_send(&request->outbox, request->outlet, RECORD_ACCEPTED, request->id, false,
                        bytes, n) == -ENOMEM) {
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
                send_refusal(request->connection, request->id, &request->refusal);
                release(request);
                return;
        }
        waiting_end(request);
        engine_thread_submit(request->connection->server->engine, request);
}

/* A question's result or a refusal. */
static void answer(struct request *request) {
        struct connection *connection = request->connection;
        if (connection->state == CONNECTION_OPEN && request->refusal.code != 0)
                send_refusal(connection, request->id, &request->refusal);
        else if (connection->state == CONNECTION_OPEN)
                connection_reply(connection, request->result_type, request->id, request->result,
                                 request->result_bytes);
        release(request);
}

/* Its progress is visible from now on, and it can be cancelled. */
static void start_job(struct request *request) {
        uint8_t bytes[ANSWER_BYTES_MAX];
        take_slot(request);
        waiting_show(request);
        size_t n = answer_accepted(request, bytes);
        if (outbox_send(&request->outbox, request->outlet, RECORD_ACCEPTED, request->id, false,
                        bytes, n) == -ENOMEM)
                refuse(&request->refusal, CODE(INTERNAL), NULL, "out of memory");
        else if (job_start(request->connection->server, request) == 0)
                return;
        answer(request);
}

/* A question that is prepared, or back from its errand or job. */
static void go_on(struct request *request) {
        if (request->refusal.code == 0 && request->job &&
            request->connection->state == CONNECTION_OPEN)
                start_job(request);
        else
                answer(request);
}

void dispatch_prepared(struct request *request) {
        struct server *server = request->connection->server;
        if (request->connection->state != CONNECTION_OPEN) {
                release(request);
                return;
        }
        if (request->refusal.code == 0 && request->type == RECORD_GENERATE && server->draining)
                refuse(&request->refusal, CODE(SHUTTING_DOWN), NULL,
                       "the daemon is stopping and takes no new requests");
        session_requests_do(&server->sessions, request);
        cache_requests_do(server, request);
        if (request->refusal.code != 0)
                answer(request);
        else if (request->type == RECORD_GENERATE)
                submit(request);
        else if (request->errand || request->type == RECORD_HINT)
                engine_thread_submit(server->engine, request);
        else
                go_on(request);
}

void dispatch_finished(struct request *request) {
        request->connection->server->n_done += request->finished;
        session_requests_finish(request);
        if (request->type == RECORD_GENERATE)
                release(request);
        else
                go_on(request);
}
