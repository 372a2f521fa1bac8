#include "daemon/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/account.h"
#include "daemon/dispatch.h"
#include "daemon/engine_thread.h"
#include "daemon/limits.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/handshake.h"
#include "proto/message.h"
#include "proto/slots.h"

/* When to try again after a refusal that others' leaving would mend. */
#define REFUSED_RETRY_MS 1000

/* -------- end -------- */

static void try_free(struct connection *connection) {
        if (connection->state != CONNECTION_CLOSED || connection->n_handles > 0 ||
            connection->n_requests > 0)
                return;
        outbox_deinit(&connection->replies);
        if (connection->has_channel) {
                channel_close(&connection->channel);
                outlet_deinit(&connection->outlet);
        }
        peer_close(&connection->peer);
        close(connection->fd);
        server_remove_connection(connection->server, connection);
        free(connection);
}

static void on_handle_closed(uv_handle_t *handle) {
        struct connection *connection = handle->data;
        connection->n_handles--;
        try_free(connection);
}

/* A poll handle that could not be initialised has no type. */
static void close_handle(uv_handle_t *handle) {
        if (uv_handle_get_type(handle) != UV_UNKNOWN_HANDLE)
                uv_close(handle, on_handle_closed);
}

void connection_close(struct connection *connection) {
        if (connection->state == CONNECTION_CLOSED)
                return;
        if (connection->state == CONNECTION_HELLO) {
                connection->account->n_half_open--;
        } else {
                connection->account->n_connections--;
                connection->account->region_bytes -= connection->region_bytes;
        }
        connection->state = CONNECTION_CLOSED;
        if (connection->has_channel)
                atomic_store(&connection->outlet.gone, true);
        if (connection->n_requests > 0)
                engine_thread_wake(connection->server->engine);
        /* The descriptor stays open: the engine thread may be sending a kick on it. */
        shutdown(connection->fd, SHUT_RDWR);
        close_handle((uv_handle_t *)&connection->socket_poll);
        close_handle((uv_handle_t *)&connection->pidfd_poll);
        close_handle((uv_handle_t *)&connection->hello_timer);
        close_handle((uv_handle_t *)&connection->more);
}

static void log_peer(int level, const struct connection *connection, const char *what,
                     const char *why, uint64_t n_unlogged) {
        char uid[32], pid[32], number[40], marks[40];
        snprintf(uid, sizeof(uid), "PEER_UID=%u", (unsigned)connection->peer.uid);
        snprintf(pid, sizeof(pid), "PEER_PID=%d", (int)connection->peer.pid);
        snprintf(number, sizeof(number), "CONNECTION=%llu", (unsigned long long)connection->number);
        snprintf(marks, sizeof(marks), "PEER_VIOLATIONS=%llu",
                 (unsigned long long)connection->account->n_violations);
        const char *fields[] = { uid, pid, number, marks, NULL };
        if (n_unlogged > 0)
                log_event(level, fields, "%s: %s (and %llu more from this user, not logged)", what,
                          why, (unsigned long long)n_unlogged);
        else
                log_event(level, fields, "%s: %s", what, why);
}

/* About what the peer does wrong, or is refused: at most one line a second about its uid. */
static void log_trouble(int level, const struct connection *connection, const char *what,
                        const char *why) {
        uint64_t n_unlogged;
        if (account_may_log(connection->account, clock_ns(), &n_unlogged))
                log_peer(level, connection, what, why, n_unlogged);
}

void connection_poison(struct connection *connection, const struct error *reason) {
        if (connection->state == CONNECTION_CLOSED)
                return;
        connection->account->n_violations++;
        log_trouble(LOG_WARNING, connection, "connection closed", reason->text);
        frame_send_error(connection->fd, reason->code, reason->text);
        connection_close(connection);
}

void connection_forget_request(struct connection *connection, struct request *request) {
        struct request **at = &connection->requests;
        while (*at != request)
                at = &(*at)->connection_next;
        *at = request->connection_next;
        connection->n_requests--;
        if (request->slot != SLOT_NONE) {
                slot_store(&connection->channel.own, request->slot, &(struct slot_progress){ 0 });
                connection->slots_used &= ~(1u << request->slot);
        }
        struct error reason = { 0 };
        if (outlet_is_broken(&connection->outlet, &reason))
                connection_poison(connection, &reason);
        try_free(connection);
}

/* -------- records -------- */

void connection_reply(struct connection *connection, uint16_t type, uint32_t stream,
                      const uint8_t *bytes, size_t n) {
        if (connection->state != CONNECTION_OPEN)
                return;
        bool urgent = type == RECORD_ERROR;
        if (outbox_send(&connection->replies, &connection->outlet, type, stream, urgent, bytes,
                        n) == -ENOMEM) {
                log_peer(LOG_ERR, connection, "connection closed", "out of memory for a reply", 0);
                connection_close(connection);
        }
}

static void on_more(uv_idle_t *handle) {
        connection_pump(handle->data);
}

void connection_pump(struct connection *connection) {
        uv_idle_stop(&connection->more);
        if (connection->state != CONNECTION_OPEN)
                return;
        struct error err = { 0 };
        int flushed = outbox_flush(&connection->replies, &connection->outlet);
        if (outlet_is_broken(&connection->outlet, &err)) {
                connection_poison(connection, &err);
                return;
        }
        if (flushed < 0)
                return; /* the kick for room brings us back */

        channel_turn(&connection->channel);
        while (connection->state == CONNECTION_OPEN && outbox_is_empty(&connection->replies)) {
                struct channel_message message;
                int r = channel_receive(&connection->channel, &message, &err);
                if (r == CHANNEL_MESSAGE)
                        r = dispatch(connection, &message, &err);
                else if (r == CHANNEL_BUDGET) {
                        uv_idle_start(&connection->more, on_more);
                        return;
                } else if (r == CHANNEL_EMPTY && channel_sleep(&connection->channel, 0))
                        return;
                if (r < 0)
                        connection_poison(connection, &err);
        }
}

/* -------- frames -------- */

static void receive_bulk(struct connection *connection, struct frame *frame) {
        const struct frame_bulk *bulk = &frame->bulk;
        struct error err = { 0 };
        uint8_t *buffer = NULL;
        int r = 0;
        if (bulk->bytes > MESSAGE_PROMPT_BYTES_MAX)
                r = error_set(&err, -EMSGSIZE, "bulk payload of %llu bytes, at most %u",
                              (unsigned long long)bulk->bytes, MESSAGE_PROMPT_BYTES_MAX);
        if (r == 0 && !(buffer = malloc(bulk->bytes > 0 ? bulk->bytes : 1)))
                r = error_set(&err, -ENOMEM, "out of memory");
        if (r == 0)
                r = bulk_read(frame->fds[0], bulk->bytes, MESSAGE_PROMPT_BYTES_MAX, buffer, &err);
        if (r == 0) {
                struct channel_message message = {
                        .stream = bulk->stream,
                        .type = bulk->type,
                        .bytes = buffer,
                        .n_bytes = bulk->bytes,
                };
                r = dispatch(connection, &message, &err);
        }
        free(buffer);
        if (r < 0)
                connection_poison(connection, &err);
}

static void refuse_and_close(struct connection *connection, enum refuse_code code,
                             uint32_t retry_after_ms, const char *text) {
        log_trouble(LOG_INFO, connection, "connection refused", text);
        frame_send_refuse(connection->fd, code, retry_after_ms, text);
        connection_close(connection);
}

/* Ring sizes as wished, or the defaults when the uid's budget is short. -EDQUOT: not even those
 * fit.
 */
static int choose_sizes(const struct account *account, const struct frame_hello *hello,
                        struct channel_options *options, struct error *err) {
        uint64_t left = REGION_BYTES_PER_UID_MAX - account->region_bytes;
        uint64_t d_wanted = hello->d_data_bytes, c_wanted = hello->c_data_bytes;
        for (unsigned attempt = 0; attempt < 2; attempt++) {
                options->d_data_bytes = region_data_bytes(REGION_D, d_wanted);
                options->c_data_bytes = region_data_bytes(REGION_C, c_wanted);
                if (options->d_data_bytes + options->c_data_bytes + 2 * (uint64_t)REGION_DATA_OFF <=
                    left)
                        return 0;
                d_wanted = c_wanted = 0;
        }
        return error_set(err, -EDQUOT,
                         "this user's connections have rings of %llu bytes, at most %llu",
                         (unsigned long long)account->region_bytes, REGION_BYTES_PER_UID_MAX);
}

/* Whether its user may have one more connection, and with which rings. */
static int admit(const struct connection *connection, const struct frame_hello *hello,
                 struct channel_options *options, struct error *err) {
        const struct account *account = connection->account;
        unsigned n_max = connection->server->config.n_connections_per_uid_max;
        if (account->n_connections >= n_max)
                return error_set(err, -EDQUOT,
                                 "this user has %u connections, the limit is %u "
                                 "(connections_per_uid in seekd.conf)",
                                 account->n_connections, n_max);
        return choose_sizes(account, hello, options, err);
}

static void welcome_state(const struct connection *connection, struct frame_welcome *welcome) {
        struct engine_thread_status status;
        engine_thread_status(connection->server->engine, &status);
        welcome->model_state = status.model;
        welcome->load_permille = status.load_permille;
}

static void receive_hello(struct connection *connection, const struct frame_hello *hello) {
        struct account *account = connection->account;
        struct frame frame = { .kind = FRAME_WELCOME };
        struct error err = { 0 };
        struct channel_options options = {
                .session_id = connection->number,
                .generation = 1,
                .message_bytes_max = MESSAGE_PROMPT_BYTES_MAX,
        };

        if (hello_negotiate(hello, CAPS_KNOWN, &frame.welcome, &err) < 0) {
                refuse_and_close(connection, REFUSE_VERSION, 0, err.text);
                return;
        }
        if (admit(connection, hello, &options, &err) < 0) {
                refuse_and_close(connection, REFUSE_QUOTA, REFUSED_RETRY_MS, err.text);
                return;
        }
        options.caps = frame.welcome.caps;
        int r = channel_open(&connection->channel, connection->fd, &options, frame.fds, &err);
        if (r == 0) {
                connection->has_channel = true;
                r = outlet_init(&connection->outlet, &connection->channel);
        }
        if (r < 0) {
                frame_close_fds(&frame);
                refuse_and_close(connection, REFUSE_INTERNAL, REFUSED_RETRY_MS,
                                 "the rings could not be made");
                return;
        }
        frame.welcome.session_id = options.session_id;
        frame.welcome.generation = options.generation;
        frame.welcome.message_bytes_max = MESSAGE_PROMPT_BYTES_MAX;
        frame.welcome.n_requests_max = REGION_N_SLOTS;
        frame.welcome.daemon_version = server_version();
        welcome_state(connection, &frame.welcome);
        r = frame_send(connection->fd, &frame);
        frame_close_fds(&frame);

        account->n_half_open--;
        account->n_connections++;
        connection->region_bytes = connection->channel.own.bytes + connection->channel.peer.bytes;
        account->region_bytes += connection->region_bytes;
        connection->state = CONNECTION_OPEN;
        uv_timer_stop(&connection->hello_timer);
        if (r < 0)
                connection_close(connection);
        else
                log_peer(LOG_DEBUG, connection, "connected",
                         connection->channel.futex ? "futex" : "kicks", 0);
}

static void receive_frame(struct connection *connection, struct frame *frame) {
        switch (frame->kind) {
        case FRAME_HELLO: receive_hello(connection, &frame->hello); break;
        case FRAME_BULK: receive_bulk(connection, frame); break;
        case FRAME_ERROR:
                log_trouble(LOG_INFO, connection, "the client closed the connection",
                            frame->error.text);
                connection_close(connection);
                break;
        case FRAME_GOODBYE: connection_close(connection); break;
        default: break; /* a kick: the pump looks at the rings anyway */
        }
        frame_close_fds(frame);
}

static void on_socket(uv_poll_t *handle, int status, int events) {
        struct connection *connection = handle->data;
        (void)events;
        if (status < 0) {
                connection_close(connection);
                return;
        }
        for (unsigned i = 0; i < FRAMES_PER_TURN && connection->state != CONNECTION_CLOSED; i++) {
                bool hello = connection->state == CONNECTION_HELLO;
                struct frame frame;
                struct error err = { 0 };
                int r = frame_recv(connection->fd, hello ? FRAMES_HELLO : FRAMES_FROM_CLIENT,
                                   &frame, &err);
                if (r == -EAGAIN)
                        break;
                if (r == -EPROTO && hello) {
                        refuse_and_close(connection, REFUSE_MALFORMED, 0, err.text);
                        return;
                }
                if (r == -EPROTO) {
                        connection_poison(connection, &err);
                        return;
                }
                if (r <= 0) {
                        connection_close(connection);
                        return;
                }
                receive_frame(connection, &frame);
        }
        if (connection->state == CONNECTION_OPEN && connection->n_requests > 0)
                engine_thread_wake(
                        connection->server->engine); /* room in the ring, or a cancel word */
        connection_pump(connection);
}

static void on_pidfd(uv_poll_t *handle, int status, int events) {
        (void)status;
        (void)events;
        struct connection *connection = handle->data;
        log_peer(LOG_DEBUG, connection, "disconnected", "the process has ended", 0);
        connection_close(connection);
}

static void on_hello_timeout(uv_timer_t *handle) {
        refuse_and_close(handle->data, REFUSE_MALFORMED, 0,
                         "no HELLO within a second of connecting");
}

/* -------- start -------- */

static struct connection *connection_new(struct server *server, int fd, const struct peer *peer,
                                         struct account *account) {
        struct connection *connection = calloc(1, sizeof(*connection));
        if (!connection)
                return NULL;
        connection->server = server;
        connection->fd = fd;
        connection->peer = *peer;
        connection->account = account;
        connection->socket_poll.data = connection;
        connection->pidfd_poll.data = connection;
        connection->hello_timer.data = connection;
        connection->more.data = connection;
        return connection;
}

static int start_poll(struct connection *connection, uv_poll_t *poll, int fd, int events,
                      uv_poll_cb callback) {
        int r = uv_poll_init(&connection->server->loop, poll, fd);
        if (r < 0)
                return r;
        connection->n_handles++;
        return uv_poll_start(poll, events, callback);
}

/* Whether one more may shake hands. */
static int check_room(const struct server *server, const struct account *account,
                      struct error *err) {
        if (server->n_connections >= CONNECTIONS_MAX)
                return error_set(err, -EBUSY, "the daemon has %u connections, the limit is %d",
                                 server->n_connections, CONNECTIONS_MAX);
        if (account->n_half_open >= HALF_OPEN_PER_UID_MAX)
                return error_set(err, -EBUSY,
                                 "this user has %u connections without HELLO, the limit is %d",
                                 account->n_half_open, HALF_OPEN_PER_UID_MAX);
        return 0;
}

int connection_open(struct server *server, int fd) {
        struct error err = { 0 };
        struct peer peer;
        int r = peer_open(fd, &peer, &err);
        if (r < 0) {
                struct account *account = account_get(&server->accounts, UID_NOBODY);
                uint64_t n_unlogged;
                if (account && account_may_log(account, clock_ns(), &n_unlogged))
                        log_info("connection refused: %s (and %llu more, not logged)", err.text,
                                 (unsigned long long)n_unlogged);
                frame_send_refuse(fd, REFUSE_PEER, 0, err.text);
                close(fd);
                return r;
        }
        struct account *account = account_get(&server->accounts, peer.uid);
        struct connection *connection = NULL;
        if (account && check_room(server, account, &err) == 0)
                connection = connection_new(server, fd, &peer, account);
        if (!connection) {
                frame_send_refuse(fd, REFUSE_QUOTA, HELLO_TIMEOUT_MS,
                                  err.code != 0 ? err.text : "out of memory");
                peer_close(&peer);
                close(fd);
                return -EBUSY;
        }
        account->n_half_open++;
        server_add_connection(server, connection);

        /* The first two cannot fail. */
        uv_timer_init(&server->loop, &connection->hello_timer);
        uv_idle_init(&server->loop, &connection->more);
        connection->n_handles = 2;
        r = start_poll(connection, &connection->socket_poll, fd, UV_READABLE | UV_DISCONNECT,
                       on_socket);
        if (r == 0)
                r = start_poll(connection, &connection->pidfd_poll, peer.pidfd, UV_READABLE,
                               on_pidfd);
        if (r < 0) {
                refuse_and_close(connection, REFUSE_INTERNAL, HELLO_TIMEOUT_MS, uv_strerror(r));
                return r;
        }
        uv_timer_start(&connection->hello_timer, on_hello_timeout, HELLO_TIMEOUT_MS, 0);
        return 0;
}
