#include "daemon/constrain.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/request.h"
#include "engine/chat/chat.h"
#include "engine/engine.h"
#include "engine/grammar/grammar.h"

#define INVALID     SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID
#define UNSUPPORTED SEEKD__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED
#define INTERNAL    SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL

static int refuse_grammar(struct request *request, int code, const char *field,
                          const struct error *err) {
        return refuse(&request->refusal, code == -ENOMEM ? INTERNAL : INVALID, field, "%s: %s",
                      field, err->text);
}

/* OpenAI's "strict": true, in a function object or beside it. */
static bool is_strict(ProtobufCBinaryData text) {
        json_t *tool = json_loadb((const char *)text.data, text.len,
                                  JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
        bool strict = json_is_true(json_object_get(tool, "strict")) ||
                json_is_true(json_object_get(json_object_get(tool, "function"), "strict"));
        json_decref(tool);
        return strict;
}

static bool any_strict(const Seekd__V1__Chat *chat) {
        for (size_t i = 0; i < chat->n_tools; i++)
                if (is_strict(chat->tools[i]))
                        return true;
        return false;
}

/* What conversation_encode() takes for "auto". */
static bool is_auto(const char *choice) {
        return choice[0] == '\0' || strcmp(choice, "auto") == 0;
}

/* The field of a message that begins "tools[2].parameters: " or "json_schema: ". */
static int refuse_chat_grammar(struct request *request, int code, const struct error *err) {
        if (code == -ENOMEM)
                return refuse(&request->refusal, INTERNAL, NULL, "out of memory");
        char field[sizeof(request->refusal.field)];
        const char *prefix = strncmp(err->text, "tools", 5) == 0 ? "chat." : "";
        snprintf(field, sizeof(field), "%s%.*s", prefix, (int)strcspn(err->text, ":"), err->text);
        return refuse(&request->refusal, INVALID, field, "%s%s", prefix, err->text);
}

static int constrain_chat(struct request *request, const struct engine *engine,
                          const Seekd__V1__Generate *generate) {
        const Seekd__V1__Chat *chat = generate->chat;
        bool none = strcmp(chat->tool_choice, "none") == 0,
             forced = !none && !is_auto(chat->tool_choice);
        bool has_schema = generate->json_schema.len > 0, with_tools = chat->n_tools > 0 && !none;
        if (!has_schema && !forced && !(with_tools && any_strict(chat)))
                return 0;
        if (chat->messages[chat->n_messages - 1]->open)
                return refuse(&request->refusal, UNSUPPORTED, "chat.messages",
                              "chat.messages[%zu].open: an answer that was begun cannot be held "
                              "to a schema",
                              chat->n_messages - 1);
        struct chat_tokens tokens;
        struct error err = { 0 };
        CLEANUP_FREE struct grammar_json *tools = calloc(chat->n_tools + 1, sizeof(*tools));
        if (!tools || chat_tokens_find(engine_tokenizer(engine), &tokens, &err) < 0)
                return refuse(&request->refusal, INTERNAL, NULL, "out of memory");
        for (size_t i = 0; i < chat->n_tools; i++)
                tools[i] = (struct grammar_json){ (const char *)chat->tools[i].data,
                                                  chat->tools[i].len };
        bool any = strcmp(chat->tool_choice, "required") == 0;
        struct grammar_chat language = {
                .reasoning = chat_is_reasoning(&tokens, &request->tokens),
                .tools = tools,
                .n_tools = with_tools ? chat->n_tools : 0,
                .dialect = tokens.dialect == CHAT_V41 ? GRAMMAR_DIALECT_V41 : GRAMMAR_DIALECT_V4,
                .call_required = forced,
                .tool = forced && !any ? chat->tool_choice : NULL,
        };
        if (has_schema)
                language.schema = (struct grammar_json){ (const char *)generate->json_schema.data,
                                                         generate->json_schema.len };
        int r = grammar_from_chat(&language, &request->grammar, &err);
        return r < 0 ? refuse_chat_grammar(request, r, &err) : 0;
}

int constrain_prepare(struct request *request, const struct engine *engine,
                      const Seekd__V1__Generate *generate) {
        if (generate->prompt_case == SEEKD__V1__GENERATE__PROMPT_CHAT)
                return constrain_chat(request, engine, generate);
        if (generate->json_schema.len == 0)
                return 0;
        struct error err = { 0 };
        int r = grammar_from_schema((const char *)generate->json_schema.data,
                                    generate->json_schema.len, &request->grammar, &err);
        return r < 0 ? refuse_grammar(request, r, "json_schema", &err) : 0;
}
