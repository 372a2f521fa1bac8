#include "daemon/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/connection.h"
#include "daemon/dispatch.h"
#include "daemon/engine_thread.h"
#include "daemon/job.h"
#include "daemon/limits.h"
#include "daemon/notify.h"
#include "daemon/preparing.h"
#include "daemon/request.h"
#include "daemon/session_requests.h"
#include "daemon/waiting.h"
#include "memory/kv_store.h"

#define TICK_MS 1000

/* While a model loads the log has a line about it every so many ticks. */
#define LOADING_LOG_TICKS 5

/* After the drain timeout every request is told to end; this long they may take to say so to their
 * clients. */
#define LAST_WORDS_MS 2000

/* Clients hear of load progress in steps of a hundredth. */
#define PROGRESS_STEP_PERMILLE 10

uint32_t server_version(void) {
        unsigned major = 0, minor = 0, patch = 0;
        sscanf(SEEKD_VERSION, "%u.%u.%u", &major, &minor, &patch);
        return major << 16 | minor << 8 | patch;
}

/* -------- connections -------- */

void server_add_connection(struct server *server, struct connection *connection) {
        connection->number = ++server->n_connected;
        connection->next = server->connections;
        if (server->connections)
                server->connections->previous = connection;
        server->connections = connection;
        server->n_connections++;
}

static void close_for_good(struct server *server);

void server_remove_connection(struct server *server, struct connection *connection) {
        if (connection->previous)
                connection->previous->next = connection->next;
        else
                server->connections = connection->next;
        if (connection->next)
                connection->next->previous = connection->previous;
        server->n_connections--;
        if (server->stopping && server->n_connections == 0)
                close_for_good(server);
}

static void on_listener(uv_poll_t *handle, int status, int events) {
        struct server *server = handle->data;
        (void)events;
        if (status < 0) {
                log_error("the listening socket failed: %s", uv_strerror(status));
                return;
        }
        for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
                int fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        connection_open(server, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                        /* Polling on would spin; the next tick tries again. */
                        log_warning("a connection cannot be accepted: %s", strerror(errno));
                        uv_poll_stop(handle);
                }
                if (errno == EINTR || errno == ECONNABORTED)
                        continue;
                break;
        }
}

/* -------- requests -------- */

static void start_preparing(struct server *server, struct request *request) {
        switch (session_requests_enter(&server->sessions, request)) {
        case SESSION_TURN_NOW: preparing_start(server, request); break;
        case SESSION_TURN_LATER: break;
        case SESSION_TURN_REFUSED: dispatch_prepared(request); break;
        }
}

void server_prepare(struct server *server, struct request *request) {
        server->n_requests++;
        if (engine_thread_engine(server->engine)) {
                start_preparing(server, request);
                return;
        }
        request->next = NULL;
        if (server->unprepared_last)
                server->unprepared_last->next = request;
        else
                server->unprepared_first = request;
        server->unprepared_last = request;
}

/* The model is ready: all that wait are prepared. Or it never will be: all are refused. */
static void release_unprepared(struct server *server, int refusal_code, const char *why) {
        struct request *request = server->unprepared_first;
        server->unprepared_first = server->unprepared_last = NULL;
        while (request) {
                struct request *next = request->next;
                if (why) {
                        refuse(&request->refusal, refusal_code, NULL, "%s", why);
                        dispatch_prepared(request);
                } else {
                        start_preparing(server, request);
                }
                request = next;
        }
}

static void check_drained(struct server *server);

void server_request_done(struct server *server) {
        server->n_requests--;
        check_drained(server);
}

/* -------- model -------- */

static void tell_model_state(struct server *server, const struct engine_thread_status *status) {
        uint32_t step = status->load_permille - server->told_permille;
        if (status->model == server->told_model && step < PROGRESS_STEP_PERMILLE)
                return;
        server->told_model = status->model;
        server->told_permille = status->load_permille;
        if (status->model == MODEL_LOADING)
                notify_loading((double)status->load_permille / 1000, status->what);
        struct frame frame = { .kind = FRAME_STATE, .fds = { -1, -1 } };
        frame.state = (struct frame_state){ status->model, status->load_permille };
        for (struct connection *c = server->connections; c; c = c->next)
                if (c->state == CONNECTION_OPEN)
                        frame_send(c->fd,
                                   &frame); /* a full socket: its owner is not looking anyway */
}

static void stop(struct server *server, enum exit_status status);

static void log_kept(struct kv_store *store) {
        struct kv_store_statistics s;
        if (!store)
                return;
        kv_store_statistics(store, &s);
        log_info("kept KV: %llu pages, %llu states, %.1f MB, index rebuilt in %.0f ms",
                 (unsigned long long)s.n_pages, (unsigned long long)s.n_frontiers,
                 (double)s.value_bytes / 1e6, (double)s.load_ns / (double)NS_PER_MS);
}

static void model_ready(struct server *server) {
        const struct engine *engine = engine_thread_engine(server->engine);
        log_info("model %s: %.1f MB of weights, context %u, %s", server->model_name,
                 (double)engine_weight_bytes(engine) / 1e6, engine_config(engine)->max_positions,
                 engine_backend_name(engine));
        char skipped[256];
        for (unsigned i = 0; engine_skipped(engine, i, skipped, sizeof(skipped)); i++)
                log_info("model %s: %s", server->model_name, skipped);
        server->sessions.context_tokens = engine_thread_context(server->engine);
        session_store_attach(&server->sessions, engine_thread_store(server->engine));
        log_kept(engine_thread_store(server->engine));
        notify_ready(server->model_name, engine_backend_name(engine));
        release_unprepared(server, 0, NULL);
}

static void model_failed(struct server *server, const struct error *error) {
        server->model_failed = true;
        log_error("%s", error->text);
        notify_failed(error->code, error->text);
        release_unprepared(server, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL,
                           "the model could not be loaded");
        stop(server, EXIT_STATUS_REFUSED);
}

static void on_engine(uv_async_t *handle) {
        struct server *server = handle->data;
        struct engine_thread_status status;
        engine_thread_status(server->engine, &status);
        enum model_state before = server->told_model;
        tell_model_state(server, &status);
        if (before == MODEL_LOADING && status.model == MODEL_READY)
                model_ready(server);
        if (before == MODEL_LOADING && status.model == MODEL_FAILED)
                model_failed(server, &status.error);
        for (struct request *request; (request = engine_thread_take(server->engine));)
                dispatch_finished(request);
}

static void notify_from_engine(void *userdata) {
        struct server *server = userdata;
        uv_async_send(&server->engine_async);
}

/* -------- ending -------- */

static void close_handle(uv_handle_t *handle) {
        if (!uv_is_closing(handle))
                uv_close(handle, NULL);
}

/* No connection is left: without handles the loop ends. */
static void close_for_good(struct server *server) {
        close_handle((uv_handle_t *)&server->engine_async);
        close_handle((uv_handle_t *)&server->tick);
        close_handle((uv_handle_t *)&server->drain);
        close_handle((uv_handle_t *)&server->watchdog);
        close_handle((uv_handle_t *)&server->waiting);
        close_handle((uv_handle_t *)&server->sigterm);
        close_handle((uv_handle_t *)&server->sigint);
}

static void stop_listening(struct server *server) {
        if (uv_is_closing((uv_handle_t *)&server->listener_poll))
                return;
        uv_close((uv_handle_t *)&server->listener_poll, NULL);
        listener_close(&server->listener);
}

/* Closes every connection. What the engine thread still holds comes back within a step, because the
 * outlets are gone. */
static void stop(struct server *server, enum exit_status status) {
        if (server->stopping)
                return;
        server->stopping = server->draining = true;
        jobs_end(server);
        server->exit_status = (int)status;
        stop_listening(server);
        struct connection *next;
        for (struct connection *c = server->connections; c; c = next) {
                next = c->next; /* closing frees nothing yet: the handles are closed in a later turn
                                 */
                frame_send_goodbye(c->fd, GOODBYE_STOPPING);
                connection_close(c);
        }
        if (engine_thread_engine(server->engine) == NULL && status == EXIT_STATUS_OK) {
                /* Nothing interrupts the loading of a model, and nothing depends on its end. */
                log_info("stopped while the model was loading");
                _exit(EXIT_STATUS_OK);
        }
        if (server->n_connections == 0)
                close_for_good(server);
}

static void check_drained(struct server *server) {
        if (server->draining && !server->stopping && server->n_requests == 0)
                stop(server, EXIT_STATUS_OK);
}

static void on_last_words(uv_timer_t *handle) {
        struct server *server = handle->data;
        log_warning("%u clients did not take the end of their requests", server->n_requests);
        stop(server, EXIT_STATUS_OK);
}

static void on_drain_timeout(uv_timer_t *handle) {
        struct server *server = handle->data;
        log_info("drain timeout: ending %u requests", server->n_requests);
        engine_thread_end_all(server->engine);
        uv_timer_start(handle, on_last_words, LAST_WORDS_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number) {
        struct server *server = handle->data;
        if (server->draining) {
                log_info("second signal: stopping at once, %u requests are lost",
                         server->n_requests);
                stop(server, EXIT_STATUS_OK);
                return;
        }
        log_info("%s: draining %u requests for at most %u s",
                 number == SIGINT ? "SIGINT" : "SIGTERM", server->n_requests,
                 server->config.drain_timeout_s);
        notify_stopping(server->n_requests, server->config.drain_timeout_s);
        server->draining = true;
        jobs_end(server);
        stop_listening(server);
        for (struct connection *c = server->connections; c; c = c->next)
                if (c->state == CONNECTION_OPEN)
                        region_state_store(&c->channel.own, REGION_DRAIN);
        uv_timer_start(&server->drain, on_drain_timeout,
                       (uint64_t)server->config.drain_timeout_s * 1000, 0);
        release_unprepared(server, SEEKD__V1__ERROR_CODE__ERROR_CODE_SHUTTING_DOWN,
                           "the daemon is stopping");
        check_drained(server);
}

/* -------- timers -------- */

/* Asks the supervisor for patience, and logs a line now and then. */
static void tick_loading(struct server *server) {
        struct engine_thread_status status;
        engine_thread_status(server->engine, &status);
        notify_loading((double)status.load_permille / 1000, status.what);
        if (++server->n_loading_ticks % LOADING_LOG_TICKS == 0)
                log_info("loading model %s: %u %% (%s)", server->model_name,
                         status.load_permille / 10, status.what);
}

static void on_tick(uv_timer_t *handle) {
        struct server *server = handle->data;
        if (!server->draining && !uv_is_active((uv_handle_t *)&server->listener_poll))
                uv_poll_start(&server->listener_poll, UV_READABLE, on_listener);
        if (server->told_model == MODEL_LOADING)
                tick_loading(server);
        session_store_settle(&server->sessions);
        if (server->told_model != MODEL_READY || server->draining)
                return;
        struct engine_thread_status status;
        engine_thread_status(server->engine, &status);
        uint64_t digest = (uint64_t)server->n_connections << 40 | (uint64_t)status.n_running << 20 |
                status.n_queued;
        if (digest != server->told_status)
                notify_status(server->n_connections, status.n_running, status.n_queued);
        server->told_status = digest;
}

/* This timer firing shows that the loop lives; the engine thread lives when it is idle or its turns
 * go on. */
static void on_watchdog(uv_timer_t *handle) {
        struct server *server = handle->data;
        struct engine_thread_status status;
        engine_thread_status(server->engine, &status);
        if (status.model == MODEL_LOADING || status.idle || status.n_turns != server->watched_turns)
                notify_watchdog();
        server->watched_turns = status.n_turns;
}

/* -------- start -------- */

static int init_handles(struct server *server) {
        int r = uv_loop_init(&server->loop);
        if (r < 0)
                return r;
        uv_async_init(&server->loop, &server->engine_async, on_engine);
        uv_timer_init(&server->loop, &server->tick);
        uv_timer_init(&server->loop, &server->drain);
        uv_timer_init(&server->loop, &server->watchdog);
        waiting_init(server);
        uv_signal_init(&server->loop, &server->sigterm);
        uv_signal_init(&server->loop, &server->sigint);
        r = uv_poll_init(&server->loop, &server->listener_poll, server->listener.fd);
        if (r < 0)
                return r;
        server->engine_async.data = server->tick.data = server->drain.data = server;
        server->watchdog.data = server->sigterm.data = server->sigint.data =
                server->listener_poll.data = server;

        uv_poll_start(&server->listener_poll, UV_READABLE, on_listener);
        uv_timer_start(&server->tick, on_tick, TICK_MS, TICK_MS);
        uv_signal_start(&server->sigterm, on_signal, SIGTERM);
        uv_signal_start(&server->sigint, on_signal, SIGINT);
        uint64_t watchdog_ms = notify_watchdog_us() / 1000 /
                2; /* twice per interval, as sd_watchdog_enabled(3) advises */
        if (watchdog_ms > 0)
                uv_timer_start(&server->watchdog, on_watchdog, watchdog_ms, watchdog_ms);
        return 0;
}

static int start_engine(struct server *server, struct error *err) {
        struct engine_thread_options options = {
                .engine = {
                        .model_dir = server->config.model_dir,
                        .compute = server->config.compute,
                        .backend = server->config.backend,
                        .n_threads = server->config.n_threads,
                        .batch_rows_max = STEP_ROWS,
                        .device_kv_bytes = server->config.device_kv,
                        .hot_rows = server->config.hot_rows,
                },
                .n_running_max = server->config.n_running_max,
                .prefill_budget_ms = server->config.prefill_budget_ms,
                .keeper = {
                        .model_dir = server->config.model_dir,
                        .state_dir = server->config.state_dir,
                        .host_bytes = server->config.host_kv,
                        .disk_bytes = server->config.disk_kv,
                        .user_percent = server->config.user_kv,
                        .disk_writes_per_day = server->config.disk_writes_per_day,
                },
                .engram = {
                        .state_dir = server->config.state_dir,
                        .import = server->config.engram_import,
                        .cache_rows = server->config.engram_cache_rows,
                },
                .notify = notify_from_engine,
                .userdata = server,
        };
        return engine_thread_start(&options, &server->engine, err);
}

static const char *last_part(const char *path) {
        const char *slash = strrchr(path, '/');
        return slash && slash[1] != '\0' ? slash + 1 : path;
}

static enum exit_status serve(struct server *server) {
        struct error err = { 0 };
        int r = init_handles(server);
        if (r < 0) {
                log_error("the event loop cannot be made: %s", uv_strerror(r));
                return EXIT_STATUS_INTERNAL;
        }
        if (start_engine(server, &err) < 0) {
                log_error("%s", err.text);
                return EXIT_STATUS_INTERNAL;
        }
        log_info("seekd %s listens on %s", SEEKD_VERSION,
                 server->listener.activated ? "the socket passed by systemd"
                                            : server->listener.path);
        uv_run(&server->loop, UV_RUN_DEFAULT);
        engine_thread_stop(server->engine);
        server->engine = engine_thread_free(server->engine);
        uv_loop_close(&server->loop);
        return (enum exit_status)server->exit_status;
}

enum exit_status server_run(const struct config *config) {
        struct server *server = calloc(1, sizeof(*server));
        if (!server)
                return EXIT_STATUS_INTERNAL;
        server->config = *config;
        server->model_name = last_part(server->config.model_dir);
        server->started_ns = clock_ns();
        struct error err = { 0 };
        if (session_table_init(&server->sessions, &server->accounts) < 0) {
                log_error("libsodium has no source of randomness");
                free(server);
                return EXIT_STATUS_INTERNAL;
        }
        if (listener_open(config->socket_path, &server->listener, &err) < 0) {
                log_error("%s", err.text);
                free(server);
                return EXIT_STATUS_SOCKET;
        }
        signal(SIGPIPE, SIG_IGN); /* the log's stderr may be a closed pipe */
        enum exit_status status = serve(server);
        listener_close(&server->listener);
        session_table_deinit(&server->sessions);
        account_table_deinit(&server->accounts);
        free(server);
        return status;
}
