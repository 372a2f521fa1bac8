#include "daemon/prepare.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/constrain.h"
#include "daemon/prompt.h"
#include "daemon/request.h"
#include "daemon/session_table.h"
#include "engine/engine.h"
#include "engine/fim.h"
#include "engine/text_stream.h"
#include "engine/tokenizer.h"
#include "proto/message.h"

#define INVALID     SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID
#define TOO_LARGE   SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE
#define UNSUPPORTED SEEKD__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED
#define INTERNAL    SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL

static int refuse_memory(struct refusal *refusal) {
        return refuse(refusal, INTERNAL, NULL, "out of memory");
}

/* -------- parameters -------- */

static int check_served(struct request *request, const Seekd__V1__Generate *generate) {
        if (generate->sampling && generate->sampling->top_logprobs > 0)
                return refuse(&request->refusal, UNSUPPORTED, "sampling.top_logprobs",
                              "sampling.top_logprobs: is not served");
        return 0;
}

/* The one given, or its session's. */
static int read_subject(struct request *request, const char *subject) {
        const struct session *session = request->session;
        if (strlen(subject) > SUBJECT_BYTES_MAX)
                return refuse(&request->refusal, INVALID, "subject",
                              "subject: %zu bytes, at most %d", strlen(subject), SUBJECT_BYTES_MAX);
        if (session && subject[0] != '\0' && strcmp(subject, session->subject) != 0)
                return refuse(&request->refusal, INVALID, "subject",
                              "subject: is '%s', the session's is '%s'", subject, session->subject);
        strcpy(request->subject, session ? session->subject : subject);
        return 0;
}

static int check_stops(struct request *request, char *const *stops, size_t n) {
        if (n > STOP_STRINGS_MAX)
                return refuse(&request->refusal, INVALID, "sampling.stop",
                              "sampling.stop: %zu strings, at most %d", n, STOP_STRINGS_MAX);
        for (size_t i = 0; i < n; i++) {
                size_t bytes = strlen(stops[i]);
                if (bytes == 0 || bytes > STOP_STRING_BYTES_MAX)
                        return refuse(&request->refusal, INVALID, "sampling.stop",
                                      "sampling.stop[%zu]: %zu bytes, 1 to %d are possible", i,
                                      bytes, STOP_STRING_BYTES_MAX);
        }
        return 0;
}

/* sampling_check() names the field first in its message: "top_p: ...". */
static int refuse_sampling(struct request *request, const struct error *err) {
        char field[64];
        int n = (int)strcspn(err->text, ": ");
        snprintf(field, sizeof(field), "sampling.%.*s", n < 48 ? n : 48, err->text);
        return refuse(&request->refusal, INVALID, field, "sampling.%s", err->text);
}

static int read_sampling(struct request *request, const Seekd__V1__Sampling *given) {
        struct sampling sampling = SAMPLING_DEFAULT;
        if (given) {
                sampling.temperature = given->temperature;
                sampling.top_k = given->top_k;
                sampling.top_p = given->top_p == 0 ? 1 : given->top_p;
                sampling.min_p = given->min_p;
                sampling.seed = given->seed;
                request->logprobs = given->logprobs;
                request->n_generate_max = given->max_tokens;
        }
        struct error err = { 0 };
        if (sampling_check(&sampling, &err) < 0)
                return refuse_sampling(request, &err);
        if ((!given || !given->seed_given) &&
            getrandom(&sampling.seed, sizeof(sampling.seed), 0) != (ssize_t)sizeof(sampling.seed))
                return refuse(&request->refusal, INTERNAL, NULL, "no random seed could be drawn");
        request->sampling = sampling;
        return 0;
}

/* Prompt and generated tokens share the context; at least one must fit behind the prompt. */
static int check_length(struct request *request, const struct engine *engine) {
        uint32_t context = request->context_tokens;
        if (request->tokens.n >= context)
                return refuse(&request->refusal, TOO_LARGE, "prompt",
                              "prompt: %zu tokens do not fit the %s of %u, at most %u leave room "
                              "for an answer",
                              request->tokens.n,
                              context < engine_config(engine)->max_positions
                                      ? "daemon's memory (device_kv, host_kv)"
                                      : "model's context",
                              context, context - 1);
        request->n_prompt = (uint32_t)request->tokens.n;
        uint32_t room = context - request->n_prompt;
        if (request->n_generate_max == 0 || request->n_generate_max > room)
                request->n_generate_max = room;
        return 0;
}

static int prepare_generate(struct request *request, const struct engine *engine) {
        const Seekd__V1__Generate *generate = (const Seekd__V1__Generate *)request->message;
        const Seekd__V1__Sampling *sampling = generate->sampling;
        char *const *stops = sampling ? sampling->stop : NULL;
        size_t n_stops = sampling ? sampling->n_stop : 0;

        atomic_store(&request->live.class, (int)generate->class_);
        if (generate->deadline_ms > 0)
                request->deadline_ns = request->received_ns + generate->deadline_ms * NS_PER_MS;
        if (check_served(request, generate) < 0 || read_subject(request, generate->subject) < 0 ||
            read_sampling(request, sampling) < 0 || check_stops(request, stops, n_stops) < 0 ||
            prompt_read(request, engine, generate) < 0 || check_length(request, engine) < 0 ||
            constrain_prepare(request, engine, generate) < 0)
                return -1;
        if (text_stream_new(engine_tokenizer(engine), (const char *const *)stops, n_stops,
                            generate->echo_special && !request->answer, &request->text) < 0)
                return refuse_memory(&request->refusal);
        atomic_store(&request->live.n_prompt, request->n_prompt);
        return 0;
}

/* A prompt as that of the Generate that it announces. */
static void announced(const Seekd__V1__Hint *hint, Seekd__V1__Generate *ret) {
        ret->parse_special = hint->parse_special;
        switch (hint->prompt_case) {
        case SEEKD__V1__HINT__PROMPT_TEXT:
                ret->prompt_case = SEEKD__V1__GENERATE__PROMPT_TEXT;
                ret->text = hint->text;
                break;
        case SEEKD__V1__HINT__PROMPT_TOKENS:
                ret->prompt_case = SEEKD__V1__GENERATE__PROMPT_TOKENS;
                ret->tokens = hint->tokens;
                break;
        case SEEKD__V1__HINT__PROMPT_FIM:
                ret->prompt_case = SEEKD__V1__GENERATE__PROMPT_FIM;
                ret->fim = hint->fim;
                break;
        case SEEKD__V1__HINT__PROMPT_CHAT:
                ret->prompt_case = SEEKD__V1__GENERATE__PROMPT_CHAT;
                ret->chat = hint->chat;
                break;
        default: break; /* the session's tokens */
        }
}

static int prepare_hint(struct request *request, const struct engine *engine) {
        const Seekd__V1__Hint *hint = (const Seekd__V1__Hint *)request->message;
        Seekd__V1__Generate generate = SEEKD__V1__GENERATE__INIT;
        announced(hint, &generate);
        if (read_subject(request, hint->subject) < 0 ||
            prompt_read(request, engine, &generate) < 0 || check_length(request, engine) < 0)
                return -1;
        return 0;
}

/* -------- questions -------- */

/* Packs a result; -EMSGSIZE when it is larger than its record type may be. */
static int pack_result(struct request *request, uint16_t type, const ProtobufCMessage *message) {
        size_t bytes = message_packed_bytes(message);
        if (bytes > message_bytes_max(type))
                return -EMSGSIZE;
        uint8_t *buffer = malloc(bytes > 0 ? bytes : 1);
        if (!buffer)
                return refuse_memory(&request->refusal);
        if (message_pack(message, buffer, bytes) < 0) {
                free(buffer);
                return refuse(&request->refusal, INTERNAL, NULL, "the result could not be packed");
        }
        request->result = buffer;
        request->result_bytes = bytes;
        request->result_type = type;
        return 0;
}

static int prepare_tokenize(struct request *request, const struct engine *engine) {
        const Seekd__V1__Tokenize *tokenize = (const Seekd__V1__Tokenize *)request->message;
        if (tokenize->add_bos && prompt_add_bos(request, engine) < 0)
                return -1;
        if (prompt_add_text(request, engine, "text", &tokenize->text, tokenize->parse_special) < 0)
                return -1;

        Seekd__V1__TokenizeResult result = SEEKD__V1__TOKENIZE_RESULT__INIT;
        result.request_id = request->id;
        result.n_ids = request->tokens.n;
        result.ids = request->tokens.ids;
        int r = pack_result(request, RECORD_TOKENIZE_RESULT, &result.base);
        if (r == -EMSGSIZE)
                return refuse(&request->refusal, TOO_LARGE, "text",
                              "text: its %zu token ids do not fit %u bytes", request->tokens.n,
                              MESSAGE_PROMPT_BYTES_MAX);
        return r;
}

/* The bytes an id shows: none for a special token, unless asked. */
static const char *shown_bytes(const struct tokenizer *tokenizer, uint32_t id, bool echo_special,
                               size_t *ret_n) {
        *ret_n = 0;
        if (tokenizer_is_special(tokenizer, id) && !echo_special)
                return NULL;
        return tokenizer_bytes(tokenizer, id, ret_n);
}

static int prepare_detokenize(struct request *request, const struct engine *engine) {
        const Seekd__V1__Detokenize *detokenize = (const Seekd__V1__Detokenize *)request->message;
        const struct tokenizer *tokenizer = engine_tokenizer(engine);
        if (prompt_check_ids(request, engine, "ids", detokenize->ids, detokenize->n_ids) < 0)
                return -1;

        size_t total = 0, n;
        for (size_t i = 0; i < detokenize->n_ids; i++) {
                shown_bytes(tokenizer, detokenize->ids[i], detokenize->echo_special, &n);
                total += n;
        }
        if (total > MESSAGE_PROMPT_BYTES_MAX)
                return refuse(&request->refusal, TOO_LARGE, "ids",
                              "ids: their %zu bytes of text do not fit %u", total,
                              MESSAGE_PROMPT_BYTES_MAX);
        uint8_t *text = malloc(total > 0 ? total : 1);
        if (!text)
                return refuse_memory(&request->refusal);
        size_t at = 0;
        for (size_t i = 0; i < detokenize->n_ids; i++) {
                const char *bytes =
                        shown_bytes(tokenizer, detokenize->ids[i], detokenize->echo_special, &n);
                if (bytes && n > 0)
                        memcpy(text + at, bytes, n);
                at += bytes ? n : 0;
        }

        Seekd__V1__DetokenizeResult result = SEEKD__V1__DETOKENIZE_RESULT__INIT;
        result.request_id = request->id;
        result.text = (ProtobufCBinaryData){ total, text };
        int r = pack_result(request, RECORD_DETOKENIZE_RESULT, &result.base);
        free(text);
        if (r == -EMSGSIZE)
                return refuse(&request->refusal, TOO_LARGE, "ids",
                              "ids: their %zu bytes of text do not fit %u", total,
                              MESSAGE_PROMPT_BYTES_MAX);
        return r;
}

static int prepare_append(struct request *request, const struct engine *engine) {
        const Seekd__V1__Append *append = (const Seekd__V1__Append *)request->message;
        const ProtobufCBinaryData *text =
                append->what_case == SEEKD__V1__APPEND__WHAT_TEXT ? &append->text : NULL;
        const Seekd__V1__TokenIds *tokens =
                append->what_case == SEEKD__V1__APPEND__WHAT_TOKENS ? append->tokens : NULL;
        const Seekd__V1__Chat *chat =
                append->what_case == SEEKD__V1__APPEND__WHAT_CHAT ? append->chat : NULL;
        if (prompt_begin(request) < 0)
                return -1;
        if (text)
                return prompt_text(request, engine, text, append->parse_special);
        if (tokens)
                return prompt_ids(request, engine, tokens);
        if (chat)
                return prompt_chat(request, engine, chat);
        return refuse(&request->refusal, INVALID, "what",
                      "what: one of text, tokens and chat is needed");
}

static int prepare_remember(struct request *request, const struct engine *engine) {
        const Seekd__V1__Remember *remember = (const Seekd__V1__Remember *)request->message;
        const Seekd__V1__TokenIds *tokens = remember->tokens;
        if (!tokens || tokens->n_ids == 0)
                return refuse(&request->refusal, INVALID, "tokens.ids", "tokens.ids: is empty");
        if (prompt_check_ids(request, engine, "tokens.ids", tokens->ids, tokens->n_ids) < 0)
                return -1;
        return token_list_append(&request->tokens, tokens->ids, tokens->n_ids) < 0
                ? refuse_memory(&request->refusal)
                : 0;
}

/* What is remembered is loaded, and the request's. */
static int prepare_recall(struct request *request) {
        Seekd__V1__TokenIds tokens = SEEKD__V1__TOKEN_IDS__INIT;
        Seekd__V1__RecallResult result = SEEKD__V1__RECALL_RESULT__INIT;
        tokens.n_ids = request->session->tokens.n;
        tokens.ids = request->session->tokens.ids;
        result.request_id = request->id;
        result.tokens = &tokens;
        int r = pack_result(request, RECORD_RECALL_RESULT, &result.base);
        if (r == -EMSGSIZE) /* cannot be: they came in a message of that size */
                return refuse(&request->refusal, INTERNAL, "key", "key: its token ids do not fit");
        return r;
}

static int prepare_model_info(struct request *request, const struct engine *engine) {
        const struct model_config *config = engine_config(engine);
        Seekd__V1__ModelInfoResult result = SEEKD__V1__MODEL_INFO_RESULT__INIT;
        result.request_id = request->id;
        result.name = (char *)(uintptr_t)request->model_name;
        result.architecture = (char *)(uintptr_t)config->architecture;
        result.backend = (char *)(uintptr_t)engine_backend_name(engine);
        result.vocab_size = config->vocab_size;
        result.context_tokens = request->context_tokens;
        result.bos_id = config->bos_id;
        result.eos_id = config->eos_id;
        result.fim = fim_supported(engine_tokenizer(engine));
        result.weight_bytes = engine_weight_bytes(engine);
        result.prompt_bytes_max = MESSAGE_PROMPT_BYTES_MAX;
        return pack_result(request, RECORD_MODEL_INFO_RESULT, &result.base);
}

void request_prepare(struct request *request, const struct engine *engine) {
        if (request->session && session_load(request->session, &request->refusal) < 0)
                return;
        switch (request->type) {
        case RECORD_GENERATE: prepare_generate(request, engine); break;
        case RECORD_HINT: prepare_hint(request, engine); break;
        case RECORD_TOKENIZE: prepare_tokenize(request, engine); break;
        case RECORD_DETOKENIZE: prepare_detokenize(request, engine); break;
        case RECORD_MODEL_INFO: prepare_model_info(request, engine); break;
        case RECORD_APPEND: prepare_append(request, engine); break;
        case RECORD_REMEMBER: prepare_remember(request, engine); return;
        case RECORD_RECALL: prepare_recall(request); break;
        case RECORD_SESSION_OPEN:
        case RECORD_SESSION_ATTACH:
        case RECORD_SESSION_FORK:
        case RECORD_SESSION_REWIND:
        case RECORD_SESSION_PIN:
        case RECORD_SESSION_CLOSE:
        case RECORD_SESSION_LIST:
        case RECORD_CACHE_LIST:
        case RECORD_CACHE_VERIFY:
        case RECORD_CACHE_PURGE:
        case RECORD_IMPORT: return; /* the loop thread's, with their message */
        default:
                refuse(&request->refusal, UNSUPPORTED, NULL, "record type %u is not served",
                       request->type);
                break;
        }
        request->message = NULL;
        arena_deinit(&request->arena);
}
