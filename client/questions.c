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
