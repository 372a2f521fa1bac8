/* The daemon's life: listening, loading, serving, draining. Owns everything. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/account.h"
#include "daemon/config.h"
#include "daemon/listener.h"
#include "daemon/refusal.h"
#include "daemon/session_table.h"
#include "proto/handshake.h"

struct connection;
struct engine_thread;
struct job;
struct request;

/* What the process ends with: seekd(8) documents them. */
enum exit_status {
        EXIT_STATUS_OK = 0,
        EXIT_STATUS_REFUSED = 1, /* configuration or model */
        EXIT_STATUS_USAGE = 2,   /* command line */
        EXIT_STATUS_SOCKET = 3,  /* cannot listen, or the state folder is in use */
        EXIT_STATUS_INTERNAL = 4,
};

struct server {
        uv_loop_t loop;
        struct config config;
        const char *model_name; /* last part of the model's path */
        struct listener listener;
        uv_poll_t listener_poll;
        uv_async_t engine_async; /* the engine thread has news */
        uv_signal_t sigterm, sigint;
        uv_timer_t tick;     /* once a second */
        uv_timer_t drain;    /* while draining */
        uv_timer_t watchdog; /* when the supervisor wants it */
        uv_timer_t waiting;  /* while requests wait for the engine thread: daemon/waiting.h */
        struct engine_thread *engine;

        struct account_table accounts;
        struct session_table sessions;
        struct connection *connections;
        unsigned n_connections;
        uint64_t n_connected;                               /* ever: numbers them */
        struct request *unprepared_first, *unprepared_last; /* wait for the model, by `next` */
        unsigned n_requests;                                /* not freed */
        struct job *jobs;                                   /* that run */

        bool draining; /* no new requests */
        bool stopping; /* every connection is closed or closing */
        bool model_failed;
        int exit_status;
        uint64_t started_ns;
        uint64_t n_done, n_refused[ERROR_CODES]; /* by Seekd__V1__ErrorCode */

        /* Last told to clients and supervisor. */
        enum model_state told_model;
        uint32_t told_permille;
        unsigned n_loading_ticks;
        uint64_t watched_turns;
        uint64_t told_status; /* digest of the status line's numbers */
};

/* Serves until a signal ends it or it cannot go on. */
enum exit_status server_run(const struct config *config);

/* For connection.c and dispatch.c. */
void server_add_connection(struct server *server, struct connection *connection); /* numbers it */
void server_remove_connection(struct server *server, struct connection *connection);
void server_prepare(struct server *server,
                    struct request *request);    /* now, or when the model is ready */
void server_request_done(struct server *server); /* it is about to be freed */
uint32_t server_version(void);                   /* major << 16 | minor << 8 | patch */
