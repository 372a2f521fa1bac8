/* Questions about sessions. */
#include "client/client.h"

struct answer {
        uint64_t session, tokens;
};

static int take_answer(void *userdata, const ProtobufCMessage *message, struct error *err) {
        (void)err;
        const Seekd__V1__SessionResult *result = (const Seekd__V1__SessionResult *)message;
        *(struct answer *)userdata = (struct answer){ result->session, result->position };
        return 0;
}

static struct seekd_request *question(struct seekd_client *client, struct answer *answer) {
        return client_question(client, RECORD_SESSION_RESULT, take_answer, answer);
}

int seekd_session_open(struct seekd_client *client, const char *subject, uint64_t *ret_session) {
        struct answer answer;
        Seekd__V1__SessionOpen open = SEEKD__V1__SESSION_OPEN__INIT;
        if (subject && client_string_field(client, "subject", subject, &open.subject) < 0)
                return client->error.code;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        open.request_id = request->id;
        int code = client_ask(client, request, RECORD_SESSION_OPEN, &open.base);
        if (code == 0)
                *ret_session = answer.session;
        return code;
}

int seekd_session_attach(struct seekd_client *client, uint64_t session, uint64_t *ret_tokens) {
        struct answer answer;
        Seekd__V1__SessionAttach attach = SEEKD__V1__SESSION_ATTACH__INIT;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        attach.request_id = request->id;
        attach.session = session;
        int code = client_ask(client, request, RECORD_SESSION_ATTACH, &attach.base);
        if (code == 0 && ret_tokens)
                *ret_tokens = answer.tokens;
        return code;
}

static int append(struct seekd_client *client, Seekd__V1__Append *append, uint64_t session,
                  uint64_t *ret_tokens) {
        struct answer answer;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        append->request_id = request->id;
        append->session = session;
        int code = client_ask(client, request, RECORD_APPEND, &append->base);
        if (code == 0 && ret_tokens)
                *ret_tokens = answer.tokens;
        return code;
}

int seekd_session_append(struct seekd_client *client, uint64_t session, const char *text,
                         size_t text_bytes, uint32_t flags, uint64_t *ret_tokens) {
        Seekd__V1__Append message = SEEKD__V1__APPEND__INIT;
        message.what_case = SEEKD__V1__APPEND__WHAT_TEXT;
        message.parse_special = (flags & SEEKD_PARSE_SPECIAL) != 0;
        int code = client_text_field(client, "text", text, text_bytes, &message.text);
        return code < 0 ? code : append(client, &message, session, ret_tokens);
}

int seekd_session_append_tokens(struct seekd_client *client, uint64_t session, const uint32_t *ids,
                                size_t n_ids, uint64_t *ret_tokens) {
        Seekd__V1__TokenIds tokens = SEEKD__V1__TOKEN_IDS__INIT;
        Seekd__V1__Append message = SEEKD__V1__APPEND__INIT;
        tokens.n_ids = n_ids;
        tokens.ids = (uint32_t *)(uintptr_t)ids;
        message.what_case = SEEKD__V1__APPEND__WHAT_TOKENS;
        message.tokens = &tokens;
        return append(client, &message, session, ret_tokens);
}

int seekd_session_fork(struct seekd_client *client, uint64_t session, uint64_t position,
                       uint64_t *ret_session) {
        struct answer answer;
        Seekd__V1__SessionFork fork = SEEKD__V1__SESSION_FORK__INIT;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        fork.request_id = request->id;
        fork.session = session;
        fork.position = position;
        int code = client_ask(client, request, RECORD_SESSION_FORK, &fork.base);
        if (code == 0)
                *ret_session = answer.session;
        return code;
}

int seekd_session_rewind(struct seekd_client *client, uint64_t session, uint64_t position) {
        struct answer answer;
        Seekd__V1__SessionRewind rewind = SEEKD__V1__SESSION_REWIND__INIT;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        rewind.request_id = request->id;
        rewind.session = session;
        rewind.position = position;
        return client_ask(client, request, RECORD_SESSION_REWIND, &rewind.base);
}

int seekd_session_pin(struct seekd_client *client, uint64_t session, int pinned) {
        struct answer answer;
        Seekd__V1__SessionPin pin = SEEKD__V1__SESSION_PIN__INIT;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        pin.request_id = request->id;
        pin.session = session;
        pin.pinned = pinned != 0;
        return client_ask(client, request, RECORD_SESSION_PIN, &pin.base);
}

int seekd_session_close(struct seekd_client *client, uint64_t session, int forget) {
        struct answer answer;
        Seekd__V1__SessionClose close = SEEKD__V1__SESSION_CLOSE__INIT;
        struct seekd_request *request = question(client, &answer);
        if (!request)
                return client->error.code;
        close.request_id = request->id;
        close.session = session;
        close.forget = forget != 0;
        return client_ask(client, request, RECORD_SESSION_CLOSE, &close.base);
}
