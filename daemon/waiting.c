#include "daemon/waiting.h"

#include <stdbool.h>

#include "base/clock.h"
#include "daemon/connection.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/slots.h"

/* Twice in the tenth of a second that a client can rely on. */
#define SHOW_MS 50

/* In its session's queue: how many have to be answered first. */
static uint32_t place_in_session(const struct request *request) {
        uint32_t place = 0;
        if (!request->session)
                return 0;
        for (const struct request *r = request->session->first; r && r != request;
             r = r->session_next)
                place++;
        return place;
}

static void show(const struct request *request, uint64_t now_ns) {
        struct slot_progress progress = {
                .request_id = request->id,
                .phase = SLOT_QUEUED,
                .tokens_total = atomic_load(&request->live.n_prompt),
                .queue_place = place_in_session(request),
                .estimate_ms = SLOT_ESTIMATE_UNKNOWN,
                .heartbeat_ns = now_ns,
        };
        slot_store(&request->connection->channel.own, request->slot, &progress);
}

static bool show_all(const struct server *server) {
        uint64_t now_ns = clock_ns();
        bool any = false;
        for (const struct connection *c = server->connections; c; c = c->next)
                for (const struct request *r = c->requests; r; r = r->connection_next) {
                        if (!r->waits || c->state != CONNECTION_OPEN)
                                continue;
                        show(r, now_ns);
                        any = true;
                }
        return any;
}

static void on_timer(uv_timer_t *timer) {
        if (!show_all(timer->data))
                uv_timer_stop(timer);
}

void waiting_show(const struct request *request) {
        show(request, clock_ns());
}

void waiting_init(struct server *server) {
        server->waiting.data = server;
        uv_timer_init(&server->loop, &server->waiting);
}

void waiting_begin(struct request *request) {
        uv_timer_t *timer = &request->connection->server->waiting;
        request->waits = true;
        waiting_show(request);
        if (!uv_is_active((uv_handle_t *)timer))
                uv_timer_start(timer, on_timer, SHOW_MS, SHOW_MS);
}

void waiting_end(struct request *request) {
        waiting_show(request); /* the prompt's length is known by now */
        request->waits = false;
}
