#include "daemon/conversation.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/answer_stream.h"
#include "daemon/request.h"
#include "engine/chat/chat.h"
#include "engine/engine.h"

#define INVALID     SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID
#define TOO_LARGE   SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE
#define UNSUPPORTED SEEKD__V1__ERROR_CODE__ERROR_CODE_UNSUPPORTED
#define INTERNAL    SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL

/* Lists that the engine's struct chat points to; one block each. */
struct lists {
        struct chat_message *messages;
        struct chat_call *calls;
        struct chat_text *tools;
};

static void lists_deinit(struct lists *lists) {
        free(lists->messages);
        free(lists->calls);
        free(lists->tools);
}

static int lists_init(struct lists *lists, const Seekd__V1__Chat *chat) {
        size_t n_calls = 0;
        for (size_t i = 0; i < chat->n_messages; i++)
                n_calls += chat->messages[i]->n_tool_calls;
        lists->messages = calloc(chat->n_messages + 1, sizeof(*lists->messages));
        lists->calls = calloc(n_calls + 1, sizeof(*lists->calls));
        lists->tools = calloc(chat->n_tools + 1, sizeof(*lists->tools));
        return lists->messages && lists->calls && lists->tools ? 0 : -ENOMEM;
}

static struct chat_text bytes_text(ProtobufCBinaryData bytes) {
        return (struct chat_text){ (const char *)bytes.data, bytes.len };
}

static struct chat_text string_text(const char *string) {
        return (struct chat_text){ string, strlen(string) };
}

/* What the engine says of a field ("messages[3].role: ...") under the name that the client knows.
 */
static int refuse_chat(struct request *request, int code, const struct error *err) {
        char field[sizeof(request->refusal.field)];
        snprintf(field, sizeof(field), "chat.%.*s", (int)strcspn(err->text, ": "), err->text);
        return refuse(&request->refusal, code, field, "chat.%s", err->text);
}

static int read_message(struct request *request, size_t i, const Seekd__V1__ChatMessage *from,
                        struct chat_call *calls, struct chat_message *ret) {
        struct error err = { 0 };
        *ret = (struct chat_message){
                .content = bytes_text(from->content),
                .reasoning = bytes_text(from->reasoning),
                .tool_call_id = string_text(from->tool_call_id),
                .calls = calls,
                .n_calls = from->n_tool_calls,
                .open = from->open,
        };
        for (size_t k = 0; k < from->n_tool_calls; k++)
                calls[k] = (struct chat_call){
                        .id = string_text(from->tool_calls[k]->id),
                        .name = string_text(from->tool_calls[k]->name),
                        .arguments = bytes_text(from->tool_calls[k]->arguments),
                };
        if (!chat_role_of(from->role, &ret->role)) {
                error_set(&err, -EINVAL, "messages[%zu].role: '%.64s' is none", i, from->role);
                return refuse_chat(request, INVALID, &err);
        }
        if (from->task[0] != '\0' && !chat_task_of(from->task, &ret->task)) {
                error_set(&err, -EINVAL, "messages[%zu].task: '%.64s' is none", i, from->task);
                return refuse_chat(request, INVALID, &err);
        }
        return 0;
}

static bool has_tool(const struct chat *chat, const char *name) {
        for (size_t i = 0; i < chat->n_tools; i++) {
                json_t *tool = json_loadb(chat->tools[i].data, chat->tools[i].n,
                                          JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
                const char *its = json_string_value(json_object_get(tool, "name"));
                bool same = its && strcmp(its, name) == 0;
                json_decref(tool);
                if (same)
                        return true;
        }
        return false;
}

static int read_choice(struct request *request, const struct chat *chat, const char *choice,
                       struct answer_options *options) {
        static const char field[] = "chat.tool_choice";
        if (choice[0] == '\0' || strcmp(choice, "auto") == 0)
                return 0;
        if (strcmp(choice, "none") == 0) {
                options->calls_forbidden = true;
                return 0;
        }
        if (chat->n_tools == 0)
                return refuse(&request->refusal, INVALID, field,
                              "%s: is '%.64s', but there are no tools", field, choice);
        if (strcmp(choice, "required") != 0 && !has_tool(chat, choice))
                return refuse(&request->refusal, INVALID, field, "%s: no tool is called '%.64s'",
                              field, choice);
        return 0; /* constrain_prepare() sees to it */
}

static int refuse_encoding(struct request *request, int code, const struct error *err) {
        int wire = code == -ENOTSUP ? UNSUPPORTED : code == -E2BIG ? TOO_LARGE : INTERNAL;
        return refuse(&request->refusal, wire, "chat", "chat: %s", err->text);
}

int conversation_encode(struct request *request, const struct engine *engine,
                        const Seekd__V1__Chat *chat) {
        CLEANUP(lists_deinit) struct lists lists = { 0 };
        struct chat_tokens tokens;
        struct error err = { 0 };
        int r = chat_tokens_find(engine_tokenizer(engine), &tokens, &err);
        if (r < 0)
                return refuse_encoding(request, r, &err);
        if (lists_init(&lists, chat) < 0)
                return refuse(&request->refusal, INTERNAL, NULL, "out of memory");
        struct chat_call *calls = lists.calls;
        for (size_t i = 0; i < chat->n_messages; i++) {
                if (read_message(request, i, chat->messages[i], calls, &lists.messages[i]) < 0)
                        return -1;
                calls += chat->messages[i]->n_tool_calls;
        }
        for (size_t i = 0; i < chat->n_tools; i++)
                lists.tools[i] = bytes_text(chat->tools[i]);
        struct chat ours = {
                .messages = lists.messages,
                .n_messages = chat->n_messages,
                .tools = lists.tools,
                .n_tools = chat->n_tools,
                .response_format = bytes_text(chat->response_format),
                .thinking = chat->thinking,
                .effort = chat->effort,
        };
        struct answer_options options = { .tokens = tokens };
        if (chat_check(&ours, &err) < 0)
                return refuse_chat(request, INVALID, &err);
        if (read_choice(request, &ours, chat->tool_choice, &options) < 0)
                return -1;
        r = chat_encode(&tokens, &ours, &request->tokens, &err);
        if (r < 0)
                return refuse_encoding(request, r, &err);
        options.reasoning = chat_is_reasoning(&tokens, &request->tokens);
        if (answer_stream_new(&options, &request->answer) < 0)
                return refuse(&request->refusal, INTERNAL, NULL, "out of memory");
        return 0;
}
