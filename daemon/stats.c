#include "daemon/stats.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/connection.h"
#include "daemon/engine_thread.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "proto/message.h"

/* As seekd.proto promises. */
#define LISTED_MAX 128

struct listing {
        Seekd__V1__ClientStats clients[LISTED_MAX];
        Seekd__V1__RequestStats requests[LISTED_MAX];
        Seekd__V1__ClientStats *client_pointers[LISTED_MAX];
        Seekd__V1__RequestStats *request_pointers[LISTED_MAX];
        size_t n_clients, n_requests;
};

static bool may_see(const struct connection *asker, const struct connection *other) {
        return asker->peer.uid == 0 || asker->peer.uid == geteuid() ||
                asker->peer.uid == other->peer.uid;
}

static void list_request(struct listing *listing, const struct connection *connection,
                         const struct request *request, uint64_t now_ns) {
        if (listing->n_requests == LISTED_MAX || request->slot == SLOT_NONE)
                return;
        Seekd__V1__RequestStats *entry = &listing->requests[listing->n_requests];
        *entry = (Seekd__V1__RequestStats)SEEKD__V1__REQUEST_STATS__INIT;
        entry->connection = connection->number;
        entry->request_id = request->id;
        entry->pid = (uint32_t)connection->peer.pid;
        entry->slot = request->slot;
        entry->phase = (Seekd__V1__Phase)atomic_load(&request->live.phase);
        entry->prompt_tokens = atomic_load(&request->live.n_prompt);
        entry->prompt_done = atomic_load(&request->live.n_prompt_done);
        entry->generated_tokens = atomic_load(&request->live.n_generated);
        entry->class_ = (Seekd__V1__Class)atomic_load(&request->live.class);
        entry->age_ms = (double)(now_ns - request->received_ns) / (double)NS_PER_MS;
        listing->request_pointers[listing->n_requests++] = entry;
}

static void list_client(struct listing *listing, const struct connection *connection,
                        uint64_t now_ns) {
        if (listing->n_clients == LISTED_MAX)
                return;
        Seekd__V1__ClientStats *entry = &listing->clients[listing->n_clients];
        *entry = (Seekd__V1__ClientStats)SEEKD__V1__CLIENT_STATS__INIT;
        entry->pid = (uint32_t)connection->peer.pid;
        entry->uid = connection->peer.uid;
        entry->connection = connection->number;
        for (const struct request *request = connection->requests; request;
             request = request->connection_next) {
                bool queued = atomic_load(&request->live.phase) == SEEKD__V1__PHASE__PHASE_QUEUED;
                entry->queued += queued;
                entry->running += !queued;
                list_request(listing, connection, request, now_ns);
        }
        listing->client_pointers[listing->n_clients++] = entry;
}

/* A connection that is closed but still has requests is listed: its work is not yet undone. */
static bool is_listed(const struct connection *connection) {
        return connection->state == CONNECTION_OPEN || connection->n_requests > 0;
}

static void fill_totals(Seekd__V1__StatsResult *result, const struct server *server,
                        uint64_t now_ns) {
        struct engine_thread_status status;
        engine_thread_status(server->engine, &status);
        const struct engine *engine = engine_thread_engine(server->engine);
        result->version = (char *)(uintptr_t)SEEKD_VERSION;
        result->model = (char *)(uintptr_t)server->model_name;
        result->backend = (char *)(uintptr_t)(engine ? engine_backend_name(engine) : "");
        result->uptime_ms = (double)(now_ns - server->started_ns) / (double)NS_PER_MS;
        result->model_ready = engine != NULL;
        result->requests_done = server->n_done;
        result->requests_refused = server->n_refused;
        result->requests_cancelled = status.n_cancelled;
        result->prompt_tokens = status.n_prompt_tokens;
        result->generated_tokens = status.n_generated_tokens;
        result->steps = status.n_steps;
        result->connections = server->n_connections;
        result->running = status.n_running;
        result->queued = status.n_queued;
        result->kv_bytes = status.kv_bytes;
}

uint8_t *stats_pack(const struct server *server, const struct connection *asker,
                    uint32_t request_id, size_t *ret_n) {
        struct listing *listing = calloc(1, sizeof(*listing));
        if (!listing)
                return NULL;
        uint64_t now_ns = clock_ns();
        for (const struct connection *c = server->connections; c; c = c->next)
                if (is_listed(c) && may_see(asker, c))
                        list_client(listing, c, now_ns);

        Seekd__V1__StatsResult result = SEEKD__V1__STATS_RESULT__INIT;
        result.request_id = request_id;
        result.n_clients = listing->n_clients;
        result.clients = listing->client_pointers;
        result.n_requests = listing->n_requests;
        result.requests = listing->request_pointers;
        fill_totals(&result, server, now_ns);

        size_t n = message_packed_bytes(&result.base);
        uint8_t *bytes = malloc(n);
        if (bytes)
                *ret_n = (size_t)message_pack(&result.base, bytes, n);
        free(listing);
        return bytes;
}
