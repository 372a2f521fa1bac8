/* Token ids under a key of the program's. */
#include <stdlib.h>
#include <string.h>

#include "client/client.h"

static ProtobufCBinaryData bytes_field(const void *bytes, size_t n) {
        return (ProtobufCBinaryData){ n, (uint8_t *)(uintptr_t)bytes };
}

static int take_nothing(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        (void)userdata;
        (void)answer;
        (void)err;
        return 0;
}

int seekd_remember(struct seekd_client *client, const char *subject, const void *key,
                   size_t key_bytes, const uint32_t *ids, size_t n_ids, uint64_t session) {
        Seekd__V1__TokenIds tokens = SEEKD__V1__TOKEN_IDS__INIT;
        Seekd__V1__Remember remember = SEEKD__V1__REMEMBER__INIT;
        if (subject && client_string_field(client, "subject", subject, &remember.subject) < 0)
                return client->error.code;
        struct seekd_request *request =
                client_question(client, RECORD_ACKNOWLEDGED, take_nothing, NULL);
        if (!request)
                return client->error.code;
        tokens.n_ids = n_ids;
        tokens.ids = (uint32_t *)(uintptr_t)ids;
        remember.request_id = request->id;
        remember.key = bytes_field(key, key_bytes);
        remember.tokens = &tokens;
        remember.session = session;
        return client_ask(client, request, RECORD_REMEMBER, &remember.base);
}

struct ids {
        uint32_t *ids;
        size_t n;
};

static int take_ids(void *userdata, const ProtobufCMessage *answer, struct error *err) {
        const Seekd__V1__TokenIds *tokens = ((const Seekd__V1__RecallResult *)answer)->tokens;
        struct ids *ret = userdata;
        ret->n = tokens ? tokens->n_ids : 0;
        ret->ids = malloc((ret->n > 0 ? ret->n : 1) * sizeof(*ret->ids));
        if (!ret->ids)
                return error_set(err, SEEKD_E_NO_MEMORY, "no memory for %zu token ids", ret->n);
        if (ret->n > 0)
                memcpy(ret->ids, tokens->ids, ret->n * sizeof(*ret->ids));
        return 0;
}

int seekd_recall(struct seekd_client *client, const char *subject, const void *key,
                 size_t key_bytes, uint32_t **ret_ids, size_t *ret_n_ids) {
        struct ids ids = { NULL, 0 };
        Seekd__V1__Recall recall = SEEKD__V1__RECALL__INIT;
        if (subject && client_string_field(client, "subject", subject, &recall.subject) < 0)
                return client->error.code;
        struct seekd_request *request =
                client_question(client, RECORD_RECALL_RESULT, take_ids, &ids);
        if (!request)
                return client->error.code;
        recall.request_id = request->id;
        recall.key = bytes_field(key, key_bytes);
        int code = client_ask(client, request, RECORD_RECALL, &recall.base);
        if (code < 0)
                return code;
        *ret_ids = ids.ids;
        *ret_n_ids = ids.n;
        return 0;
}
