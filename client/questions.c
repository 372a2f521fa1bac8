/* Requests with one answer, asked and waited for. */
#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int client_ask(struct seekd_client *client, struct seekd_request *request, unsigned question_type,
               const ProtobufCMessage *question) {
        int code = client_send(client, question_type, request->id, question);
        if (code < 0) {
                request_delete(request);
                return code;
        }
        request->orphan = false;
        code = client_wait(client, request);
        if (code == 0 && request->result.code < 0)
                code = client_fail(client, request->result.code, "%s", request->result.error);
        seekd_request_free(request);
        return code;
}

struct seekd_request *client_question(struct seekd_client *client, unsigned answer_type,
                                      answer_fn answer, void *userdata) {
        if (client_check_usable(client) < 0)
                return NULL;
        struct seekd_request *request = request_new(client);
        if (!request) {
                client_fail(client, SEEKD_E_NO_MEMORY, "no memory for a request");
                return NULL;
        }
        request->answer_type = answer_type;
        request->answer = answer;
        request->userdata = userdata;
        return request;
}

struct ids {
        uint32_t *ids;
        size_t n;
};

static int take_ids(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__TokenizeResult *result = (const Seekd__V1__TokenizeResult *)answer;
        struct ids *ret = userdata;
        ret->ids = malloc((result->n_ids > 0 ? result->n_ids : 1) * sizeof(*ret->ids));
        if (!ret->ids)
                return error_set(err, SEEKD_E_NO_MEMORY, "no memory for %zu token ids",
                                 result->n_ids);
        if (result->n_ids > 0)
                memcpy(ret->ids, result->ids, result->n_ids * sizeof(*ret->ids));
        ret->n = result->n_ids;
        return 0;
}

int seekd_tokenize(struct seekd_client *client, const char *text, size_t text_bytes, uint32_t flags,
                   uint32_t **ret_ids, size_t *ret_n_ids) {
        size_t n = text_bytes == SEEKD_ZERO_TERMINATED ? strlen(text) : text_bytes;
        if (message_check_utf8("text", text, n, &client->error) < 0)
                return client->error.code = SEEKD_E_INVALID;
        struct ids ids = { NULL, 0 };
        struct seekd_request *request =
                client_question(client, RECORD_TOKENIZE_RESULT, take_ids, &ids);
        if (!request)
                return client->error.code;
        Seekd__V1__Tokenize question = SEEKD__V1__TOKENIZE__INIT;
        question.request_id = request->id;
        question.text = (ProtobufCBinaryData){ n, (uint8_t *)(uintptr_t)text };
        question.parse_special = (flags & SEEKD_PARSE_SPECIAL) != 0;
        question.add_bos = (flags & SEEKD_ADD_BOS) != 0;
        int code = client_ask(client, request, RECORD_TOKENIZE, &question.base);
        if (code < 0)
                return code;
        *ret_ids = ids.ids;
        *ret_n_ids = ids.n;
        return 0;
}

struct text {
        char *bytes;
        size_t n;
};

static int take_text(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__DetokenizeResult *result = (const Seekd__V1__DetokenizeResult *)answer;
        struct text *ret = userdata;
        ret->bytes = malloc(result->text.len + 1);
        if (!ret->bytes)
                return error_set(err, SEEKD_E_NO_MEMORY, "no memory for %zu bytes of text",
                                 result->text.len);
        if (result->text.len > 0)
                memcpy(ret->bytes, result->text.data, result->text.len);
        ret->bytes[result->text.len] = 0;
        ret->n = result->text.len;
        return 0;
}

int seekd_detokenize(struct seekd_client *client, const uint32_t *ids, size_t n_ids, uint32_t flags,
                     char **ret_text, size_t *ret_text_bytes) {
        struct text text = { NULL, 0 };
        struct seekd_request *request =
                client_question(client, RECORD_DETOKENIZE_RESULT, take_text, &text);
        if (!request)
                return client->error.code;
        Seekd__V1__Detokenize question = SEEKD__V1__DETOKENIZE__INIT;
        question.request_id = request->id;
        question.n_ids = n_ids;
        question.ids = (uint32_t *)(uintptr_t)ids;
        question.echo_special = (flags & SEEKD_ECHO_SPECIAL) != 0;
        int code = client_ask(client, request, RECORD_DETOKENIZE, &question.base);
        if (code < 0)
                return code;
        *ret_text = text.bytes;
        *ret_text_bytes = text.n;
        return 0;
}

static int take_model_info(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)err;
        const Seekd__V1__ModelInfoResult *result = (const Seekd__V1__ModelInfoResult *)answer;
        struct seekd_model_info *ret = userdata;
        snprintf(ret->name, sizeof(ret->name), "%s", result->name);
        snprintf(ret->architecture, sizeof(ret->architecture), "%s", result->architecture);
        snprintf(ret->backend, sizeof(ret->backend), "%s", result->backend);
        ret->vocab_size = result->vocab_size;
        ret->context_tokens = result->context_tokens;
        ret->bos_token = result->bos_id;
        ret->eos_token = result->eos_id;
        ret->fim = result->fim;
        ret->weight_bytes = result->weight_bytes;
        ret->prompt_bytes_max = result->prompt_bytes_max;
        return 0;
}

int seekd_model_info(struct seekd_client *client, struct seekd_model_info *ret) {
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        struct seekd_request *request =
                client_question(client, RECORD_MODEL_INFO_RESULT, take_model_info, &info);
        if (!request)
                return client->error.code;
        Seekd__V1__ModelInfo question = SEEKD__V1__MODEL_INFO__INIT;
        question.request_id = request->id;
        int code = client_ask(client, request, RECORD_MODEL_INFO, &question.base);
        if (code == 0 && versioned_write(ret, &info, sizeof(info), sizeof(info)) < 0)
                code = client_fail(client, SEEKD_E_INVALID,
                                   "model info: not initialised with SEEKD_MODEL_INFO_INIT");
        return code;
}

/* One allocation holds the struct, the lists, what they point to and the strings, so that one
 * free() frees all. */
struct stats_block {
        struct seekd_stats stats;
        size_t bytes;
        size_t used;
};

static void *block_take(struct stats_block *block, size_t bytes) {
        block->used = (block->used + 15) & ~(size_t)15;
        void *p = (uint8_t *)block + block->used;
        block->used += bytes;
        return p;
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

static size_t block_bytes(const Seekd__V1__StatsResult *result) {
        size_t n = 16 + sizeof(struct stats_block);
        n += strlen(result->version) + strlen(result->model) + strlen(result->backend) + 3 * 16;
        n += result->n_clients * (sizeof(void *) + sizeof(struct seekd_client_stats) + 16) + 16;
        n += result->n_requests * (sizeof(void *) + sizeof(struct seekd_request_stats) + 16) + 16;
        if (result->kv)
                n += sizeof(struct seekd_kv_stats) + strlen(result->kv->suspended) + 2 * 16;
        if (result->engram)
                n += sizeof(struct seekd_engram_stats) + 16;
        return n;
}

static int take_stats(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__StatsResult *result = (const Seekd__V1__StatsResult *)answer;
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
