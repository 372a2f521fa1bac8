/* Requests: their life in the client's list, and how parameters become a message. */
#include "client/client.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "proto/slots.h"

#define STOP_MAX       16  /* as seekd.proto says */
#define STOP_BYTES_MAX 256 /* likewise */

/* Size of the first version of the struct. */
#define PARAMS_BYTES_MIN offsetof(struct seekd_params, json_schema)

/* What a Generate points to while it is packed. */
struct generate_parts {
        char *stop[STOP_MAX];
        Seekd__V1__Sampling sampling;
        Seekd__V1__TokenIds ids;
        Seekd__V1__FillInMiddle fim;
        Seekd__V1__Chat chat;
        struct arena arena; /* of the chat */
};

struct seekd_request *request_new(struct seekd_client *client) {
        struct seekd_request *request = calloc(1, sizeof(*request));
        if (!request)
                return NULL;
        request->client = client;
        request->orphan = true;
        request->result.size = sizeof(request->result);
        /* Ids count up, so that one is not used again while anything about its last use is under
         * way. */
        request->id = ++client->next_request_id;
        if (client->next_request_id == UINT32_MAX)
                client->next_request_id = 0;
        request->next = client->requests;
        client->requests = request;
        return request;
}

void request_delete(struct seekd_request *request) {
        struct seekd_request **at = &request->client->requests;
        while (*at != request)
                at = &(*at)->next;
        *at = request->next;
        seekd_free((void *)(uintptr_t)request->result.tool_calls);
        free(request);
}

void request_finish(struct seekd_request *request) {
        struct seekd_client *client = request->client;
        request->over = true;
        if (request->done) {
                bool outer = client->calling_back;
                client->calling_back = true;
                request->running = true;
                request->done(request->userdata, request, &request->result);
                request->running = false;
                client->calling_back = outer;
        }
        if (request->orphan)
                request_delete(request);
}

void request_send_cancel(struct seekd_request *request) {
        slot_cancel(&request->client->channel.own, request->slot, request->id);
}

void seekd_cancel(struct seekd_request *request) {
        if (request->over)
                return;
        request->cancel_wanted = true;
        if (request->accepted)
                request_send_cancel(request);
}

int seekd_finished(const struct seekd_request *request) {
        return request->over;
}

struct seekd_request *seekd_request_free(struct seekd_request *request) {
        if (!request)
                return NULL;
        seekd_cancel(request);
        request->silent = true;
        request->done = NULL;
        request->orphan = true;
        if (request->over && !request->running)
                request_delete(request);
        return NULL;
}

static int phase_of(uint32_t phase) {
        switch (phase) {
        case SLOT_QUEUED: return SEEKD_PHASE_QUEUED;
        case SLOT_PREFILL: return SEEKD_PHASE_PREFILL;
        case SLOT_DECODE: return SEEKD_PHASE_DECODE;
        case SLOT_PAUSED: return SEEKD_PHASE_PAUSED;
        case SLOT_WORKING: return SEEKD_PHASE_WORKING;
        case SLOT_DONE:
        case SLOT_CANCELLED:
        case SLOT_FAILED: return SEEKD_PHASE_FINISHED;
        default: return SEEKD_PHASE_SUBMITTED;
        }
}

/* Before the daemon has said which slot it is, it is found by what is in it. */
static bool load_slot(const struct seekd_request *request, struct slot_progress *ret) {
        const struct region *region = &request->client->channel.peer;
        if (request->client->lost)
                return false;
        int slot = request->accepted ? (int)request->slot : slot_find(region, request->id);
        return slot >= 0 && slot_load(region, (uint32_t)slot, request->id, ret) == 0;
}

int seekd_progress(const struct seekd_request *request, struct seekd_progress *ret) {
        struct seekd_progress progress = { .phase = SEEKD_PHASE_SUBMITTED, .estimate_ms = -1 };
        struct slot_progress slot;
        if (request->over) {
                progress.phase = SEEKD_PHASE_FINISHED;
        } else if (load_slot(request, &slot)) {
                progress.phase = phase_of(slot.phase);
                progress.tokens_done = slot.tokens_done;
                progress.tokens_total = slot.tokens_total;
                progress.tokens_cached = slot.tokens_cached;
                progress.queue_place = slot.queue_place;
                if (slot.estimate_ms != SLOT_ESTIMATE_UNKNOWN)
                        progress.estimate_ms = slot.estimate_ms;
        }
        return versioned_write(ret, &progress, sizeof(progress), sizeof(progress));
}

static size_t length_of(const char *text, size_t bytes) {
        if (bytes == SEEKD_ZERO_TERMINATED)
                return text ? strlen(text) : 0;
        return bytes;
}

/* protobuf-c does not write through the pointer. */
int client_text_field(struct seekd_client *client, const char *name, const char *text, size_t bytes,
                      ProtobufCBinaryData *ret) {
        size_t n = length_of(text, bytes);
        if (!text && n > 0)
                return client_fail(client, SEEKD_E_INVALID, "%s: NULL with a length of %zu", name,
                                   n);
        if (message_check_utf8(name, text, n, &client->error) < 0)
                return client->error.code = SEEKD_E_INVALID;
        *ret = (ProtobufCBinaryData){ n, (uint8_t *)(uintptr_t)text };
        return 0;
}

int client_string_field(struct seekd_client *client, const char *name, const char *text,
                        char **ret) {
        if (message_check_utf8(name, text, strlen(text), &client->error) < 0)
                return client->error.code = SEEKD_E_INVALID;
        *ret = (char *)(uintptr_t)text;
        return 0;
}

static int fill_prompt(struct seekd_client *client, const struct seekd_params *params,
                       Seekd__V1__Generate *generate, struct generate_parts *parts) {
        bool is_fim = params->prefix || params->suffix;
        int n = (params->prompt != NULL) + (params->tokens != NULL) + is_fim +
                (params->chat != NULL);
        if (n == 0 && params->session != 0)
                return 0; /* goes on where the session ends */
        if (n != 1)
                return client_fail(
                        client, SEEKD_E_INVALID,
                        "params: give exactly one of prompt, tokens, prefix with suffix, and chat");
        if (params->prompt) {
                generate->prompt_case = SEEKD__V1__GENERATE__PROMPT_TEXT;
                return client_text_field(client, "prompt", params->prompt, params->prompt_bytes,
                                         &generate->text);
        }
        if (params->tokens) {
                parts->ids.n_ids = params->n_tokens;
                parts->ids.ids = (uint32_t *)(uintptr_t)params->tokens;
                generate->prompt_case = SEEKD__V1__GENERATE__PROMPT_TOKENS;
                generate->tokens = &parts->ids;
                return 0;
        }
        if (params->chat) {
                generate->prompt_case = SEEKD__V1__GENERATE__PROMPT_CHAT;
                generate->chat = &parts->chat;
                return conversation_fill(client, params->chat, &parts->arena, &parts->chat);
        }
        Seekd__V1__FillInMiddle *fim = &parts->fim;
        generate->prompt_case = SEEKD__V1__GENERATE__PROMPT_FIM;
        generate->fim = fim;
        int r = client_text_field(client, "prefix", params->prefix, params->prefix_bytes,
                                  &fim->prefix);
        return r < 0 ? r
                     : client_text_field(client, "suffix", params->suffix, params->suffix_bytes,
                                         &fim->suffix);
}

static int fill_stop(struct seekd_client *client, const struct seekd_params *params,
                     Seekd__V1__Sampling *sampling, char **strings) {
        if (params->n_stop > STOP_MAX)
                return client_fail(client, SEEKD_E_INVALID,
                                   "stop: %zu strings, at most %d are allowed", params->n_stop,
                                   STOP_MAX);
        for (size_t i = 0; i < params->n_stop; i++) {
                size_t n = params->stop[i] ? strlen(params->stop[i]) : 0;
                if (n == 0 || n > STOP_BYTES_MAX)
                        return client_fail(client, SEEKD_E_INVALID,
                                           "stop: string %zu has %zu bytes, 1 to %d are allowed",
                                           i + 1, n, STOP_BYTES_MAX);
                int r = client_string_field(client, "stop", params->stop[i], &strings[i]);
                if (r < 0)
                        return r;
        }
        sampling->n_stop = params->n_stop;
        sampling->stop = strings;
        return 0;
}

static void fill_sampling(const struct seekd_params *params, Seekd__V1__Sampling *sampling) {
        sampling->max_tokens = params->max_tokens;
        sampling->temperature = params->temperature;
        sampling->top_k = params->top_k;
        sampling->top_p = params->top_p;
        sampling->min_p = params->min_p;
        sampling->seed_given = params->seed_given != 0;
        sampling->seed = params->seed;
        sampling->logprobs = (params->flags & SEEKD_LOGPROBS) != 0;
}

static int send_generate(struct seekd_client *client, uint32_t id,
                         const struct seekd_params *params) {
        struct generate_parts parts = {
                .sampling = SEEKD__V1__SAMPLING__INIT,
                .ids = SEEKD__V1__TOKEN_IDS__INIT,
                .fim = SEEKD__V1__FILL_IN_MIDDLE__INIT,
                .chat = SEEKD__V1__CHAT__INIT,
        };
        Seekd__V1__Generate generate = SEEKD__V1__GENERATE__INIT;
        fill_sampling(params, &parts.sampling);
        generate.request_id = id;
        generate.sampling = &parts.sampling;
        generate.class_ = (Seekd__V1__Class)params->service;
        generate.parse_special = (params->flags & SEEKD_PARSE_SPECIAL) != 0;
        generate.echo_special = (params->flags & SEEKD_ECHO_SPECIAL) != 0;
        generate.deadline_ms = params->deadline_ms;
        generate.session = params->session;

        int r = fill_prompt(client, params, &generate, &parts);
        if (r == 0)
                r = fill_stop(client, params, &parts.sampling, parts.stop);
        if (r == 0 && params->subject)
                r = client_string_field(client, "subject", params->subject, &generate.subject);
        if (r == 0 && params->json_schema)
                r = client_text_field(client, "json_schema", params->json_schema,
                                      params->json_schema_bytes, &generate.json_schema);
        if (r == 0)
                r = client_send(client, RECORD_GENERATE, id, &generate.base);
        arena_deinit(&parts.arena);
        return r;
}

static int read_params(struct seekd_client *client, const struct seekd_params *params,
                       struct seekd_params *ret) {
        if (client->lost)
                return client_fail(client, client->lost, "%s", client->lost_text);
        if (versioned_read(ret, sizeof(*ret), params, PARAMS_BYTES_MIN) < 0)
                return client_fail(client, SEEKD_E_INVALID,
                                   "params: made for a later library, or not initialised with "
                                   "SEEKD_PARAMS_INIT");
        return 0;
}

/* A request that is sent; NULL: `ret_error` says why not. */
static struct seekd_request *start_request(struct seekd_client *client,
                                           const struct seekd_params *params,
                                           int (*send)(struct seekd_client *client, uint32_t id,
                                                       const struct seekd_params *params),
                                           int *ret_error) {
        struct seekd_params ours;
        *ret_error = read_params(client, params, &ours);
        if (*ret_error < 0)
                return NULL;
        struct seekd_request *request = request_new(client);
        if (!request) {
                *ret_error = client_fail(client, SEEKD_E_NO_MEMORY, "no memory for a request");
                return NULL;
        }
        *ret_error = send(client, request->id, &ours);
        if (*ret_error < 0) {
                request_delete(request);
                return NULL;
        }
        return request;
}

int seekd_submit(struct seekd_client *client, const struct seekd_params *params,
                 seekd_piece_fn piece, seekd_done_fn done, void *userdata,
                 struct seekd_request **ret_request) {
        int r;
        struct seekd_request *request = start_request(client, params, send_generate, &r);
        if (!request)
                return r;
        request->piece = piece;
        request->done = done;
        request->userdata = userdata;
        if (ret_request) {
                request->orphan = false;
                *ret_request = request;
        }
        return 0;
}

/* -- hints ---------------------------------------------------------------------------------------
 */

/* A Generate's prompt as a Hint's. */
static void announce(const Seekd__V1__Generate *generate, Seekd__V1__Hint *hint) {
        switch (generate->prompt_case) {
        case SEEKD__V1__GENERATE__PROMPT_TEXT:
                hint->prompt_case = SEEKD__V1__HINT__PROMPT_TEXT;
                hint->text = generate->text;
                break;
        case SEEKD__V1__GENERATE__PROMPT_TOKENS:
                hint->prompt_case = SEEKD__V1__HINT__PROMPT_TOKENS;
                hint->tokens = generate->tokens;
                break;
        case SEEKD__V1__GENERATE__PROMPT_FIM:
                hint->prompt_case = SEEKD__V1__HINT__PROMPT_FIM;
                hint->fim = generate->fim;
                break;
        case SEEKD__V1__GENERATE__PROMPT_CHAT:
                hint->prompt_case = SEEKD__V1__HINT__PROMPT_CHAT;
                hint->chat = generate->chat;
                break;
        default: break; /* the session's tokens */
        }
}

static int send_hint(struct seekd_client *client, uint32_t id, const struct seekd_params *params) {
        struct generate_parts parts = {
                .ids = SEEKD__V1__TOKEN_IDS__INIT,
                .fim = SEEKD__V1__FILL_IN_MIDDLE__INIT,
                .chat = SEEKD__V1__CHAT__INIT,
        };
        Seekd__V1__Generate generate = SEEKD__V1__GENERATE__INIT;
        Seekd__V1__Hint hint = SEEKD__V1__HINT__INIT;
        hint.request_id = id;
        hint.session = params->session;
        hint.parse_special = (params->flags & SEEKD_PARSE_SPECIAL) != 0;
        int r = fill_prompt(client, params, &generate, &parts);
        if (r == 0 && params->subject)
                r = client_string_field(client, "subject", params->subject, &hint.subject);
        if (r == 0) {
                announce(&generate, &hint);
                r = client_send(client, RECORD_HINT, id, &hint.base);
        }
        arena_deinit(&parts.arena);
        return r;
}

static int take_nothing(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)userdata;
        (void)answer;
        (void)err;
        return 0;
}

int seekd_hint(struct seekd_client *client, const struct seekd_params *params, seekd_done_fn done,
               void *userdata) {
        int r;
        struct seekd_request *request = start_request(client, params, send_hint, &r);
        if (!request)
                return r;
        request->answer_type = RECORD_ACKNOWLEDGED;
        request->answer = take_nothing;
        request->done = done;
        request->userdata = userdata;
        return 0;
}
