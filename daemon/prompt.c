#include "daemon/prompt.h"

#include <errno.h>

#include "base/error.h"
#include "daemon/conversation.h"
#include "daemon/request.h"
#include "daemon/session_table.h"
#include "engine/engine.h"
#include "engine/fim.h"
#include "engine/tokenizer.h"

#define INVALID     SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID
#define UNSUPPORTED SEEKD__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED
#define INTERNAL    SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL

static int refuse_memory(struct refusal *refusal) {
        return refuse(refusal, INTERNAL, NULL, "out of memory");
}

int prompt_add_bos(struct request *request, const struct engine *engine) {
        uint32_t bos = engine_config(engine)->bos_id;
        return token_list_append(&request->tokens, &bos, 1) < 0 ? refuse_memory(&request->refusal)
                                                                : 0;
}

int prompt_add_text(struct request *request, const struct engine *engine, const char *field,
                    const ProtobufCBinaryData *text, bool parse_special) {
        struct error err = { 0 };
        /* Released tokenizers do not mark all their special tokens special ("<｜User｜>" of V4):
         * text stays text only when none is looked for. */
        unsigned flags = parse_special ? TOKENIZE_SPECIAL : TOKENIZE_LITERAL;
        int r = tokenizer_encode(engine_tokenizer(engine), (const char *)text->data, text->len,
                                 flags, &request->tokens, &err);
        if (r == -EILSEQ)
                return refuse(&request->refusal, INVALID, field, "%s: %s", field, err.text);
        return r < 0 ? refuse(&request->refusal, INTERNAL, field, "%s: %s", field, err.text) : 0;
}

static int encode_fim(struct request *request, const struct engine *engine,
                      const Seekd__V1__FillInMiddle *fim) {
        if (fim->prefix.len == 0 && fim->suffix.len == 0)
                return refuse(&request->refusal, INVALID, "fim",
                              "fim: prefix and suffix are both empty");
        struct error err = { 0 };
        int r = fim_encode(engine_tokenizer(engine), (const char *)fim->prefix.data,
                           fim->prefix.len, (const char *)fim->suffix.data, fim->suffix.len,
                           &request->tokens, &err);
        if (r == -EILSEQ)
                return refuse(&request->refusal, INVALID, "fim", "fim.%s", err.text);
        if (r == -ENOTSUP)
                return refuse(&request->refusal, UNSUPPORTED, "fim", "fim: %s", err.text);
        return r < 0 ? refuse(&request->refusal, INTERNAL, "fim", "fim: %s", err.text) : 0;
}

int prompt_check_ids(struct request *request, const struct engine *engine, const char *field,
                     const uint32_t *ids, size_t n) {
        uint32_t n_ids = engine_config(engine)->vocab_size;
        for (size_t i = 0; i < n; i++)
                if (ids[i] >= n_ids)
                        return refuse(&request->refusal, INVALID, field,
                                      "%s[%zu]: token id %u is unknown, the model has ids below %u",
                                      field, i, ids[i], n_ids);
        return 0;
}

/* BOS, unless the tokens of a session are before. */
static int begin_with_bos(struct request *request, const struct engine *engine) {
        return request->tokens.n > 0 ? 0 : prompt_add_bos(request, engine);
}

int prompt_begin(struct request *request) {
        const struct session *session = request->session;
        if (session && session->tokens.n > 0 &&
            token_list_append(&request->tokens, session->tokens.ids, session->tokens.n) < 0)
                return refuse_memory(&request->refusal);
        return 0;
}

int prompt_text(struct request *request, const struct engine *engine,
                const ProtobufCBinaryData *text, bool parse_special) {
        if (text->len == 0)
                return refuse(&request->refusal, INVALID, "text",
                              "text: is empty, there is nothing to continue");
        if (begin_with_bos(request, engine) < 0)
                return -1;
        return prompt_add_text(request, engine, "text", text, parse_special);
}

int prompt_ids(struct request *request, const struct engine *engine,
               const Seekd__V1__TokenIds *tokens) {
        uint32_t bos = engine_config(engine)->bos_id;
        if (tokens->n_ids == 0)
                return refuse(&request->refusal, INVALID, "tokens.ids", "tokens.ids: is empty");
        if (prompt_check_ids(request, engine, "tokens.ids", tokens->ids, tokens->n_ids) < 0)
                return -1;
        if (request->tokens.n == 0 && tokens->ids[0] != bos)
                return refuse(&request->refusal, INVALID, "tokens.ids",
                              "tokens.ids[0]: is %u, a prompt of ids starts with BOS (%u)",
                              tokens->ids[0], bos);
        if (token_list_append(&request->tokens, tokens->ids, tokens->n_ids) < 0)
                return refuse_memory(&request->refusal);
        return 0;
}

int prompt_chat(struct request *request, const struct engine *engine, const Seekd__V1__Chat *chat) {
        if (request->tokens.n > 0)
                return refuse(&request->refusal, INVALID, "chat",
                              "chat: a conversation is encoded whole, for a session without "
                              "tokens; this one has %zu: append text or token ids",
                              request->tokens.n);
        return conversation_encode(request, engine, chat);
}

int prompt_read(struct request *request, const struct engine *engine,
                const Seekd__V1__Generate *generate) {
        if (prompt_begin(request) < 0)
                return -1;
        switch (generate->prompt_case) {
        case SEEKD__V1__GENERATE__PROMPT_TEXT:
                return prompt_text(request, engine, &generate->text, generate->parse_special);
        case SEEKD__V1__GENERATE__PROMPT_TOKENS:
                return prompt_ids(request, engine, generate->tokens);
        case SEEKD__V1__GENERATE__PROMPT_FIM:
                if (begin_with_bos(request, engine) < 0)
                        return -1;
                return encode_fim(request, engine, generate->fim);
        case SEEKD__V1__GENERATE__PROMPT_CHAT: return prompt_chat(request, engine, generate->chat);
        default:
                if (request->tokens.n > 0)
                        return 0; /* goes on where the session ends */
                return refuse(&request->refusal, INVALID, "prompt",
                              "prompt: one of text, tokens, fim and chat is needed");
        }
}
