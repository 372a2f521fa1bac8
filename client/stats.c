/* The daemon's statistics, as one block of memory. */
#include "client/client.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "proto/record_types.h"

/* One allocation holds the struct, the lists, what they point to and the strings, so that one
 * free() frees all. */
struct stats_block {
        struct seekd_stats stats;
        size_t bytes;
        size_t used;
};

#define BLOCK_ALIGN ((size_t)16)

/* That block_take() may use for so many bytes. */
static size_t room(size_t bytes) {
        return bytes + BLOCK_ALIGN;
}

static void *block_take(struct stats_block *block, size_t bytes) {
        block->used = (block->used + BLOCK_ALIGN - 1) & ~(BLOCK_ALIGN - 1);
        void *p = (uint8_t *)block + block->used;
        block->used += bytes;
        assert(block->used <= block->bytes); /* block_bytes() has counted everything */
        return p;
}

static const uint64_t *block_counts(struct stats_block *block, const uint64_t *counts, size_t n) {
        uint64_t *ret = block_take(block, n * sizeof(*ret));
        if (n > 0)
                memcpy(ret, counts, n * sizeof(*ret));
        return ret;
}

static const char *block_string(struct stats_block *block, const char *text) {
        size_t n = strlen(text) + 1;
        return memcpy(block_take(block, n), text, n);
}

static const struct seekd_client_stats *block_client(struct stats_block *block,
                                                     const Seekd__V1__ClientStats *client) {
        struct seekd_client_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_client_stats){
                .connection = client->connection,
                .pid = client->pid,
                .uid = client->uid,
                .running = client->running,
                .queued = client->queued,
        };
        return ret;
}

static int public_phase(Seekd__V1__Phase phase) {
        switch (phase) {
        case SEEKD__V1__PHASE__PHASE_PREFILL: return SEEKD_PHASE_PREFILL;
        case SEEKD__V1__PHASE__PHASE_DECODE: return SEEKD_PHASE_DECODE;
        case SEEKD__V1__PHASE__PHASE_PAUSED: return SEEKD_PHASE_PAUSED;
        case SEEKD__V1__PHASE__PHASE_WORKING: return SEEKD_PHASE_WORKING;
        default: return SEEKD_PHASE_QUEUED;
        }
}

static const struct seekd_request_stats *block_request(struct stats_block *block,
                                                       const Seekd__V1__RequestStats *request) {
        struct seekd_request_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_request_stats){
                .connection = request->connection,
                .request_id = request->request_id,
                .pid = request->pid,
                .slot = request->slot,
                .phase = public_phase(request->phase),
                .service = (int)request->class_,
                .prompt_tokens = request->prompt_tokens,
                .prompt_done = request->prompt_done,
                .generated_tokens = request->generated_tokens,
                .age_ms = request->age_ms,
        };
        return ret;
}

static const struct seekd_kv_stats *block_kv(struct stats_block *block,
                                             const Seekd__V1__KvStats *kv) {
        if (!kv)
                return NULL;
        struct seekd_kv_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_kv_stats){
                .device_bytes = kv->device_bytes,
                .device_bytes_max = kv->device_bytes_max,
                .parked = kv->parked,
                .parked_bytes = kv->parked_bytes,
                .spills = kv->spills,
                .rows_gathered = kv->rows_gathered,
                .rows_missed = kv->rows_missed,
                .gave_way = kv->gave_way,
                .host_bytes = kv->host_bytes,
                .host_bytes_max = kv->host_bytes_max,
                .on_disk = kv->on_disk,
                .disk_bytes = kv->disk_bytes,
                .disk_bytes_max = kv->disk_bytes_max,
                .disk_file_bytes = kv->disk_file_bytes,
                .disk_pages = kv->disk_pages,
                .disk_states = kv->disk_states,
                .disk_sessions = kv->disk_sessions,
                .disk_written_bytes = kv->disk_written_bytes,
                .disk_read_bytes = kv->disk_read_bytes,
                .day_bytes = kv->day_bytes,
                .day_bytes_max = kv->day_bytes_max,
                .suspended = block_string(block, kv->suspended),
                .quarantined = kv->quarantined,
                .moved_aside = kv->moved_aside,
                .load_ms = kv->load_ms,
                .device_hits = kv->device_hits,
                .host_hits = kv->host_hits,
                .disk_hits = kv->disk_hits,
                .misses = kv->misses,
                .asked_tokens = kv->asked_tokens,
                .reused_tokens = kv->reused_tokens,
                .evicted = kv->evicted,
                .deleted = kv->deleted,
                .thinned = kv->thinned,
                .refused = kv->refused,
                .failed_reads = kv->failed_reads,
                .device_bytes_limit = kv->device_bytes_limit,
        };
        return ret;
}

static const struct seekd_engram_stats *block_engram(struct stats_block *block,
                                                     const Seekd__V1__EngramStats *engram) {
        if (!engram)
                return NULL;
        struct seekd_engram_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_engram_stats){
                .rows_requested = engram->rows_requested,
                .rows_cached = engram->rows_cached,
                .rows_resident = engram->rows_resident,
                .rows_read = engram->rows_read,
                .rows_prefetched = engram->rows_prefetched,
                .rows_damaged = engram->rows_damaged,
                .late = engram->late,
                .late_ms = engram->late_ms,
        };
        return ret;
}

static const struct seekd_hint_stats *block_hints(struct stats_block *block,
                                                  const Seekd__V1__HintStats *hints) {
        if (!hints)
                return NULL;
        struct seekd_hint_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_hint_stats){
                .noted = hints->noted,
                .done = hints->done,
                .replaced = hints->replaced,
                .dropped = hints->dropped,
                .tokens = hints->tokens,
                .waiting = hints->waiting,
        };
        return ret;
}

/* -------- classes -------- */

/* What a daemon that counts nothing of the kind says. */
static const Seekd__V1__Histogram no_histogram = {
        .base = PROTOBUF_C_MESSAGE_INIT(&seekd__v1__histogram__descriptor),
        .n_counts = 1,
        .counts = (uint64_t[]){ 0 },
};

static const Seekd__V1__Histogram *or_none(const Seekd__V1__Histogram *histogram) {
        return histogram ? histogram : &no_histogram;
}

static int check_histogram(const Seekd__V1__Histogram *histogram, struct error *err) {
        double before = 0;
        if (histogram->n_counts != histogram->n_bounds_s + 1)
                return error_set(err, SEEKD_E_PROTOCOL,
                                 "statistics: a histogram of %zu bounds has %zu counts",
                                 histogram->n_bounds_s, histogram->n_counts);
        for (size_t i = 0; i < histogram->n_bounds_s; before = histogram->bounds_s[i++])
                if (!(histogram->bounds_s[i] > before) || !isfinite(histogram->bounds_s[i]))
                        return error_set(err, SEEKD_E_PROTOCOL,
                                         "statistics: bound %zu of a histogram is %g behind %g", i,
                                         histogram->bounds_s[i], before);
        return 0;
}

static int check_classes(const Seekd__V1__StatsResult *result, struct error *err) {
        for (size_t i = 0; i < result->n_classes; i++) {
                const Seekd__V1__ClassStats *class = result->classes[i];
                int r = check_histogram(or_none(class->queue), err);
                if (r == 0)
                        r = check_histogram(or_none(class->first_token), err);
                if (r == 0)
                        r = check_histogram(or_none(class->token), err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static size_t histogram_bytes(const Seekd__V1__Histogram *histogram) {
        return room(sizeof(struct seekd_histogram)) + room(histogram->n_bounds_s * sizeof(double)) +
                room(histogram->n_counts * sizeof(uint64_t));
}

static const struct seekd_histogram *block_histogram(struct stats_block *block,
                                                     const Seekd__V1__Histogram *histogram) {
        struct seekd_histogram *ret = block_take(block, sizeof(*ret));
        double *bounds_s = block_take(block, histogram->n_bounds_s * sizeof(*bounds_s));
        for (size_t i = 0; i < histogram->n_bounds_s; i++)
                bounds_s[i] = histogram->bounds_s[i];
        *ret = (struct seekd_histogram){
                .bounds_s = bounds_s,
                .n_bounds = histogram->n_bounds_s,
                .counts = block_counts(block, histogram->counts, histogram->n_counts),
                .sum_s = histogram->sum_s,
        };
        return ret;
}

static size_t class_bytes(const Seekd__V1__ClassStats *class) {
        return room(sizeof(struct seekd_class_stats)) + room(class->n_finished * sizeof(uint64_t)) +
                histogram_bytes(or_none(class->queue)) +
                histogram_bytes(or_none(class->first_token)) +
                histogram_bytes(or_none(class->token));
}

static const struct seekd_class_stats *block_class(struct stats_block *block,
                                                   const Seekd__V1__ClassStats *class) {
        struct seekd_class_stats *ret = block_take(block, sizeof(*ret));
        *ret = (struct seekd_class_stats){
                .service = (int)class->class_,
                .running = class->running,
                .queued = class->queued,
                .finished = block_counts(block, class->finished, class->n_finished),
                .n_finished = class->n_finished,
                .prompt_tokens = class->prompt_tokens,
                .generated_tokens = class->generated_tokens,
                .engine_ms = class->engine_ms,
                .queue = block_histogram(block, or_none(class->queue)),
                .first_token = block_histogram(block, or_none(class->first_token)),
                .token = block_histogram(block, or_none(class->token)),
        };
        return ret;
}

/* -------- all of it -------- */

/* By enum seekd_error, which orders them otherwise. */
#define REFUSED_CODES (1 - SEEKD_E_FORBIDDEN)

static const uint64_t *block_refused(struct stats_block *block,
                                     const Seekd__V1__StatsResult *result) {
        uint64_t *ret = block_take(block, REFUSED_CODES * sizeof(*ret));
        for (size_t i = 0; i < result->n_refused; i++)
                ret[-result_code_of((Seekd__V1__ErrorCode)i)] += result->refused[i];
        return ret;
}

static size_t block_bytes(const Seekd__V1__StatsResult *result) {
        size_t n = sizeof(struct stats_block);
        n += room(strlen(result->version) + 1) + room(strlen(result->model) + 1) +
                room(strlen(result->backend) + 1);
        n += room(result->n_clients * sizeof(void *)) +
                result->n_clients * room(sizeof(struct seekd_client_stats));
        n += room(result->n_requests * sizeof(void *)) +
                result->n_requests * room(sizeof(struct seekd_request_stats));
        if (result->kv)
                n += room(sizeof(struct seekd_kv_stats)) + room(strlen(result->kv->suspended) + 1);
        if (result->engram)
                n += room(sizeof(struct seekd_engram_stats));
        if (result->hints)
                n += room(sizeof(struct seekd_hint_stats));
        n += room(result->n_classes * sizeof(void *)) + room(REFUSED_CODES * sizeof(uint64_t));
        for (size_t i = 0; i < result->n_classes; i++)
                n += class_bytes(result->classes[i]);
        return n;
}

static int take_stats(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__StatsResult *result = (const Seekd__V1__StatsResult *)answer;
        int r = check_classes(result, err);
        if (r < 0)
                return r;
        size_t bytes = block_bytes(result);
        struct stats_block *block = calloc(1, bytes);
        if (!block)
                return error_set(err, SEEKD_E_NO_MEMORY, "no memory for the statistics");
        *block = (struct stats_block){ .bytes = bytes, .used = sizeof(*block) };
        const struct seekd_client_stats **clients =
                block_take(block, result->n_clients * sizeof(*clients));
        for (size_t i = 0; i < result->n_clients; i++)
                clients[i] = block_client(block, result->clients[i]);
        const struct seekd_request_stats **requests =
                block_take(block, result->n_requests * sizeof(*requests));
        for (size_t i = 0; i < result->n_requests; i++)
                requests[i] = block_request(block, result->requests[i]);
        const struct seekd_class_stats **classes =
                block_take(block, result->n_classes * sizeof(*classes));
        for (size_t i = 0; i < result->n_classes; i++)
                classes[i] = block_class(block, result->classes[i]);
        block->stats = (struct seekd_stats){
                .size = sizeof(block->stats),
                .version = block_string(block, result->version),
                .model = block_string(block, result->model),
                .backend = block_string(block, result->backend),
                .uptime_ms = result->uptime_ms,
                .model_ready = result->model_ready,
                .clients = clients,
                .n_clients = result->n_clients,
                .requests = requests,
                .n_requests = result->n_requests,
                .requests_done = result->requests_done,
                .requests_refused = result->requests_refused,
                .requests_cancelled = result->requests_cancelled,
                .prompt_tokens = result->prompt_tokens,
                .generated_tokens = result->generated_tokens,
                .steps = result->steps,
                .connections = result->connections,
                .running = result->running,
                .queued = result->queued,
                .kv_bytes = result->kv_bytes,
                .kv = block_kv(block, result->kv),
                .engram = block_engram(block, result->engram),
                .classes = classes,
                .n_classes = result->n_classes,
                .refused = block_refused(block, result),
                .n_refused = REFUSED_CODES,
                .hints = block_hints(block, result->hints),
        };
        *(struct seekd_stats **)userdata = &block->stats;
        return 0;
}

int seekd_stats(struct seekd_client *client, struct seekd_stats **ret_stats) {
        struct seekd_stats *stats = NULL;
        struct seekd_request *request =
                client_question(client, RECORD_STATS_RESULT, take_stats, &stats);
        if (!request)
                return client->error.code;
        Seekd__V1__Stats question = SEEKD__V1__STATS__INIT;
        question.request_id = request->id;
        int code = client_ask(client, request, RECORD_STATS, &question.base);
        if (code == 0)
                *ret_stats = stats;
        return code;
}
