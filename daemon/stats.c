#include "daemon/stats.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/connection.h"
#include "daemon/engine_thread.h"
#include "daemon/request.h"
#include "daemon/server.h"
#include "memory/kv_store.h"
#include "proto/message.h"

/* As seekd.proto promises. */
#define LISTED_MAX 128

struct class_entry {
        Seekd__V1__ClassStats stats;
        Seekd__V1__Histogram queue, first_token, token;
};

/* What the message points to. */
struct listing {
        Seekd__V1__ClientStats clients[LISTED_MAX];
        Seekd__V1__RequestStats requests[LISTED_MAX];
        Seekd__V1__ClientStats *client_pointers[LISTED_MAX];
        Seekd__V1__RequestStats *request_pointers[LISTED_MAX];
        size_t n_clients, n_requests;
        struct engine_thread_status status;
        struct class_entry classes[SCHEDULE_CLASSES];
        Seekd__V1__ClassStats *class_pointers[SCHEDULE_CLASSES];
        double bounds_s[HISTOGRAM_BOUNDS];
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

/* `engine` NULL: the model loads. */
static void fill_totals(Seekd__V1__StatsResult *result, const struct server *server,
                        const struct engine *engine, const struct engine_thread_status *status,
                        uint64_t now_ns) {
        result->version = (char *)(uintptr_t)SEEKD_VERSION;
        result->model = (char *)(uintptr_t)server->model_name;
        result->backend = (char *)(uintptr_t)(engine ? engine_backend_name(engine) : "");
        result->uptime_ms = (double)(now_ns - server->started_ns) / (double)NS_PER_MS;
        result->model_ready = engine != NULL;
        result->requests_done = server->n_done;
        result->n_refused = ERROR_CODES;
        result->refused = (uint64_t *)(uintptr_t)server->n_refused;
        for (size_t code = 0; code < ERROR_CODES; code++)
                result->requests_refused += server->n_refused[code];
        result->requests_cancelled = status->n_cancelled;
        result->prompt_tokens = status->n_prompt_tokens;
        result->generated_tokens = status->n_generated_tokens;
        result->steps = status->n_steps;
        result->connections = server->n_connections;
        result->running = status->n_running;
        result->queued = status->n_queued;
        result->kv_bytes = status->kv_bytes;
}

static void fill_device(Seekd__V1__KvStats *kv, const struct engine_thread_status *status) {
        const struct keeper_statistics *kept = &status->kept;
        kv->device_bytes = kept->device.device_bytes;
        kv->device_bytes_max = kept->device.device_bytes_max;
        kv->parked = (uint32_t)kept->n_parked;
        kv->parked_bytes = kept->parked_bytes;
        kv->spills = kept->device.spills;
        kv->rows_gathered = kept->device.rows_gathered;
        kv->rows_missed = kept->device.rows_missed;
        kv->gave_way = status->n_gave_way;
        kv->device_bytes_limit = status->device_bytes_limit;
}

static void fill_memory(Seekd__V1__KvStats *kv, const struct keeper_statistics *kept) {
        kv->host_bytes = kept->cache.host_bytes;
        kv->host_bytes_max = kept->cache.host_bytes_max;
        kv->misses = kept->hits[KV_TIER_NONE];
        kv->device_hits = kept->hits[KV_TIER_DEVICE];
        kv->host_hits = kept->hits[KV_TIER_HOST];
        kv->disk_hits = kept->hits[KV_TIER_DISK];
        kv->asked_tokens = kept->asked_tokens;
        kv->reused_tokens = kept->reused_tokens;
        kv->evicted = kept->cache.evicted_nodes;
        kv->deleted = kept->cache.deleted_values;
        kv->thinned = kept->cache.thinned;
        kv->refused = kept->cache.refused_adds;
        kv->failed_reads = kept->cache.failed_reads;
}

static void fill_disk(Seekd__V1__KvStats *kv, struct kv_store *store) {
        struct kv_store_statistics s;
        if (!store)
                return;
        kv_store_statistics(store, &s);
        kv->on_disk = true;
        kv->disk_bytes = s.value_bytes;
        kv->disk_bytes_max = s.bytes_max;
        kv->disk_file_bytes = s.file_bytes;
        kv->disk_pages = s.n_pages;
        kv->disk_states = s.n_frontiers;
        kv->disk_sessions = s.n_sessions;
        kv->disk_written_bytes = s.written_bytes;
        kv->disk_read_bytes = s.read_bytes;
        kv->day_bytes = s.day_bytes;
        kv->day_bytes_max = s.write_bytes_per_day;
        kv->suspended = s.suspended ? strerror(-s.suspended_by) : (char *)(uintptr_t) "";
        kv->quarantined = s.quarantined_values;
        kv->moved_aside = s.moved_aside;
        kv->load_ms = (double)s.load_ns / (double)NS_PER_MS;
}

static void fill_histogram(Seekd__V1__Histogram *ret, const struct histogram *histogram,
                           double *bounds_s) {
        *ret = (Seekd__V1__Histogram)SEEKD__V1__HISTOGRAM__INIT;
        ret->n_bounds_s = HISTOGRAM_BOUNDS;
        ret->bounds_s = bounds_s;
        ret->n_counts = HISTOGRAM_BOUNDS + 1;
        ret->counts = (uint64_t *)(uintptr_t)histogram->counts;
        ret->sum_s = (double)histogram->sum_ns / (double)NS_PER_S;
}

static void fill_class(struct class_entry *entry, const struct class_counters *counters,
                       double *bounds_s) {
        Seekd__V1__ClassStats *stats = &entry->stats;
        stats->running = counters->n_running;
        stats->queued = counters->n_queued;
        stats->n_finished = FINISH_REASONS;
        stats->finished = (uint64_t *)(uintptr_t)counters->finished;
        stats->prompt_tokens = counters->n_prompt_tokens;
        stats->generated_tokens = counters->n_generated_tokens;
        stats->engine_ms = (double)counters->engine_ns / (double)NS_PER_MS;
        fill_histogram(&entry->queue, &counters->queue, bounds_s);
        fill_histogram(&entry->first_token, &counters->first_token, bounds_s);
        fill_histogram(&entry->token, &counters->token, bounds_s);
        stats->queue = &entry->queue;
        stats->first_token = &entry->first_token;
        stats->token = &entry->token;
}

static void list_classes(struct listing *listing) {
        for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++)
                listing->bounds_s[i] = (double)histogram_bounds_ns[i] / (double)NS_PER_S;
        for (unsigned class = 0; class < SCHEDULE_CLASSES; class ++) {
                struct class_entry *entry = &listing->classes[class];
                entry->stats = (Seekd__V1__ClassStats)SEEKD__V1__CLASS_STATS__INIT;
                /* As the protocol's, from 0. */
                entry->stats.class_ = SEEKD__V1__CLASS__CLASS_INTERACTIVE + class;
                fill_class(entry, &listing->status.classes[class], listing->bounds_s);
                listing->class_pointers[class] = &entry->stats;
        }
}

/* False: nothing is counted. */
static bool fill_engram(Seekd__V1__EngramStats *engram, const struct server *server) {
        struct engram_fetch_stats s;
        const struct engram *source = engine_thread_engram(server->engine);
        if (!source || !engram_statistics(source, &s))
                return false;
        engram->rows_requested = s.n_requested;
        engram->rows_cached = s.n_cached;
        engram->rows_resident = s.n_resident;
        engram->rows_read = s.n_read;
        engram->rows_prefetched = s.n_prefetched;
        engram->rows_damaged = s.n_damaged;
        engram->late = s.n_late;
        engram->late_ms = (double)s.late_ns / (double)NS_PER_MS;
        return true;
}

static void fill_hints(Seekd__V1__HintStats *hints, const struct hint_statistics *statistics) {
        hints->noted = statistics->n_noted;
        hints->done = statistics->n_done;
        hints->replaced = statistics->n_replaced;
        hints->dropped = statistics->n_dropped;
        hints->tokens = statistics->n_tokens;
        hints->waiting = statistics->n_waiting;
}

uint8_t *stats_pack(const struct server *server, const struct connection *asker,
                    uint32_t request_id, size_t *ret_n) {
        struct listing *listing = calloc(1, sizeof(*listing));
        if (!listing)
                return NULL;
        uint64_t now_ns = clock_ns();
        /* In this order: who sees the engine sees what was published before it. */
        const struct engine *engine = engine_thread_engine(server->engine);
        engine_thread_status(server->engine, &listing->status);
        for (const struct connection *c = server->connections; c; c = c->next)
                if (is_listed(c) && may_see(asker, c))
                        list_client(listing, c, now_ns);

        Seekd__V1__StatsResult result = SEEKD__V1__STATS_RESULT__INIT;
        result.request_id = request_id;
        result.n_clients = listing->n_clients;
        result.clients = listing->client_pointers;
        result.n_requests = listing->n_requests;
        result.requests = listing->request_pointers;
        fill_totals(&result, server, engine, &listing->status, now_ns);
        Seekd__V1__KvStats kv = SEEKD__V1__KV_STATS__INIT;
        Seekd__V1__EngramStats engram = SEEKD__V1__ENGRAM_STATS__INIT;
        Seekd__V1__HintStats hints = SEEKD__V1__HINT_STATS__INIT;
        if (result.model_ready) {
                fill_hints(&hints, &listing->status.hints);
                result.hints = &hints;
                fill_device(&kv, &listing->status);
                fill_memory(&kv, &listing->status.kept);
                fill_disk(&kv, engine_thread_store(server->engine));
                result.kv = &kv;
                list_classes(listing);
                result.n_classes = SCHEDULE_CLASSES;
                result.classes = listing->class_pointers;
        }
        if (fill_engram(&engram, server))
                result.engram = &engram;

        size_t n = message_packed_bytes(&result.base);
        uint8_t *bytes = malloc(n);
        if (bytes)
                *ret_n = (size_t)message_pack(&result.base, bytes, n);
        free(listing);
        return bytes;
}
