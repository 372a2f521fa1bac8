/* A program's conversation as protobuf messages: sized structs in, messages in an arena out. */
#include "client/client.h"

#include <stdio.h>
#include <string.h>

/* Of one message, call, or pointer to one: what arena_alloc() rounds up to at most. */
#define ROUNDING 16

struct filling {
        struct seekd_client *client;
        struct arena *arena;
};

static int not_initialised(struct filling *f, const char *field, const char *init) {
        return client_fail(f->client, SEEKD_E_INVALID,
                           "%s: made for a later library, or not initialised with %s", field, init);
}

static int fill_string(struct filling *f, const char *where, const char *name, const char *text,
                       char **ret) {
        char field[160];
        snprintf(field, sizeof(field), "%s.%s", where, name);
        return text ? client_string_field(f->client, field, text, ret) : 0;
}

static int fill_text(struct filling *f, const char *where, const char *name, const char *text,
                     size_t bytes, ProtobufCBinaryData *ret) {
        char field[160];
        snprintf(field, sizeof(field), "%s.%s", where, name);
        return client_text_field(f->client, field, text, text ? bytes : 0, ret);
}

static int fill_call(struct filling *f, const char *where, const struct seekd_tool_call *given,
                     Seekd__V1__ToolCall *ret) {
        struct seekd_tool_call call;
        if (!given || versioned_read(&call, sizeof(call), given, sizeof(call)) < 0)
                return not_initialised(f, where, "SEEKD_TOOL_CALL_INIT");
        seekd__v1__tool_call__init(ret);
        int r = fill_string(f, where, "id", call.id, &ret->id);
        if (r == 0)
                r = fill_string(f, where, "name", call.name, &ret->name);
        if (r == 0)
                r = fill_text(f, where, "arguments", call.arguments, call.arguments_bytes,
                              &ret->arguments);
        return r;
}

static int fill_calls(struct filling *f, const char *where, const struct seekd_message *message,
                      Seekd__V1__ChatMessage *ret) {
        size_t n = message->n_tool_calls;
        Seekd__V1__ToolCall *calls = arena_alloc(f->arena, n * sizeof(*calls));
        ret->tool_calls = arena_alloc(f->arena, n * sizeof(Seekd__V1__ToolCall *));
        ret->n_tool_calls = n;
        for (size_t i = 0; i < n; i++) {
                char field[128];
                snprintf(field, sizeof(field), "%s.tool_calls[%zu]", where, i);
                ret->tool_calls[i] = &calls[i];
                int r = fill_call(f, field, message->tool_calls[i], &calls[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int fill_message(struct filling *f, const char *where, const struct seekd_message *given,
                        Seekd__V1__ChatMessage *ret) {
        struct seekd_message message;
        if (!given || versioned_read(&message, sizeof(message), given, sizeof(message)) < 0)
                return not_initialised(f, where, "SEEKD_MESSAGE_INIT");
        seekd__v1__chat_message__init(ret);
        ret->open = message.open != 0;
        int r = fill_string(f, where, "role", message.role, &ret->role);
        if (r == 0)
                r = fill_text(f, where, "content", message.content, message.content_bytes,
                              &ret->content);
        if (r == 0)
                r = fill_text(f, where, "reasoning", message.reasoning, message.reasoning_bytes,
                              &ret->reasoning);
        if (r == 0)
                r = fill_string(f, where, "tool_call_id", message.tool_call_id, &ret->tool_call_id);
        if (r == 0)
                r = fill_string(f, where, "task", message.task, &ret->task);
        return r < 0 ? r : fill_calls(f, where, &message, ret);
}

static int fill_messages(struct filling *f, const struct seekd_chat *chat, Seekd__V1__Chat *ret) {
        size_t n = chat->n_messages;
        Seekd__V1__ChatMessage *messages = arena_alloc(f->arena, n * sizeof(*messages));
        ret->messages = arena_alloc(f->arena, n * sizeof(Seekd__V1__ChatMessage *));
        ret->n_messages = n;
        for (size_t i = 0; i < n; i++) {
                char field[64];
                snprintf(field, sizeof(field), "chat.messages[%zu]", i);
                ret->messages[i] = &messages[i];
                int r = fill_message(f, field, chat->messages[i], &messages[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int fill_tools(struct filling *f, const struct seekd_chat *chat, Seekd__V1__Chat *ret) {
        ret->tools = arena_alloc(f->arena, chat->n_tools * sizeof(*ret->tools));
        ret->n_tools = chat->n_tools;
        for (size_t i = 0; i < chat->n_tools; i++) {
                char field[64];
                snprintf(field, sizeof(field), "chat.tools[%zu]", i);
                int r = client_text_field(f->client, field, chat->tools[i], SEEKD_ZERO_TERMINATED,
                                          &ret->tools[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* What the messages below take; the structs are only looked at as far as their size says. */
static size_t arena_bytes(const struct seekd_chat *chat) {
        size_t bytes = ROUNDING + chat->n_tools * sizeof(ProtobufCBinaryData);
        size_t per_message = sizeof(Seekd__V1__ChatMessage) + sizeof(void *) + 4 * ROUNDING;
        size_t per_call = sizeof(Seekd__V1__ToolCall) + sizeof(void *);
        bytes += 2 * ROUNDING + chat->n_messages * per_message;
        for (size_t i = 0; i < chat->n_messages; i++) {
                struct seekd_message message;
                if (chat->messages[i] &&
                    versioned_read(&message, sizeof(message), chat->messages[i], sizeof(message)) ==
                            0)
                        bytes += message.n_tool_calls * per_call;
        }
        return bytes;
}

int conversation_fill(struct seekd_client *client, const struct seekd_chat *given,
                      struct arena *arena, Seekd__V1__Chat *ret) {
        struct seekd_chat chat;
        struct filling f = { client, arena };
        if (versioned_read(&chat, sizeof(chat), given, sizeof(chat)) < 0)
                return not_initialised(&f, "chat", "SEEKD_CHAT_INIT");
        if (arena_init(arena, arena_bytes(&chat)) < 0)
                return client_fail(client, SEEKD_E_NO_MEMORY, "no memory for chat");
        ret->thinking = chat.thinking != 0;
        ret->effort = chat.effort;
        int r = fill_string(&f, "chat", "tool_choice", chat.tool_choice, &ret->tool_choice);
        if (r == 0)
                r = fill_text(&f, "chat", "response_format", chat.response_format,
                              SEEKD_ZERO_TERMINATED, &ret->response_format);
        if (r == 0)
                r = fill_tools(&f, &chat, ret);
        return r < 0 ? r : fill_messages(&f, &chat, ret);
}
