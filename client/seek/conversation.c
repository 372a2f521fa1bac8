#include "client/seek/conversation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/seek/seek.h"

bool conversation_init(struct conversation *conversation) {
        *conversation = (struct conversation){ .messages = json_array(), .chat = SEEKD_CHAT_INIT };
        return conversation->messages != NULL;
}

void conversation_deinit(struct conversation *conversation) {
        json_decref(conversation->messages);
        for (size_t i = 0; i < conversation->n_tools; i++)
                free(conversation->tools[i]);
        free(conversation->tools);
        input_deinit(&conversation->schema);
}

/* -------- options -------- */

static bool read_tools(struct conversation *conversation, const char *path, int *ret_exit) {
        json_error_t at;
        json_t *array = json_load_file(path, 0, &at);
        size_t n = json_array_size(array);
        *ret_exit = EXIT_REFUSED;
        if (!array)
                fprintf(stderr, "seek: --tools: %s: line %d: %s\n", path, at.line, at.text);
        else if (!json_is_array(array))
                fprintf(stderr, "seek: --tools: %s: not a JSON array\n", path);
        char **tools = n > 0 ? calloc(n, sizeof(*tools)) : NULL;
        for (size_t i = 0; i < n && tools; i++) {
                /* OpenAI's API wraps functions: {"type": "function", "function": {...}}. */
                const json_t *tool = json_array_get(array, i);
                const json_t *inner = json_object_get(tool, "function");
                tools[i] = json_dumps(inner ? inner : tool, JSON_ENCODE_ANY);
        }
        bool ok = json_is_array(array) && (tools || n == 0);
        json_decref(array);
        conversation->tools = tools;
        conversation->n_tools = tools ? n : 0;
        for (size_t i = 0; i < conversation->n_tools; i++)
                ok = ok && tools[i];
        return ok;
}

bool conversation_take_option(struct conversation *conversation, int option, const char *argument,
                              int *ret_exit) {
        struct seekd_chat *chat = &conversation->chat;
        *ret_exit = EXIT_USAGE;
        switch (option) {
        case OPTION_SYSTEM:
                if (conversation_add(conversation, "system", argument, strlen(argument)))
                        return true;
                usage_error("--system: not UTF-8");
                return false;
        case OPTION_THINK: chat->thinking = 1; return true;
        case OPTION_NO_THINK: chat->thinking = 0; return true;
        case OPTION_EFFORT:
                chat->thinking = 1;
                return parse_u32("--effort", argument, 1, 100, &chat->effort);
        case OPTION_TOOLS: return read_tools(conversation, argument, ret_exit);
        case OPTION_TOOL_CHOICE: chat->tool_choice = argument; return true;
        case OPTION_SCHEMA:
                input_deinit(&conversation->schema);
                return read_input(argument, &conversation->schema, ret_exit);
        default: return false; /* getopt_long() has said what is wrong */
        }
}

/* -------- messages -------- */

bool conversation_add(struct conversation *conversation, const char *role, const char *text,
                      size_t n) {
        json_t *content = json_stringn(text, n);
        return content &&
                json_array_append_new(conversation->messages,
                                      json_pack("{s:s, s:o}", "role", role, "content", content)) ==
                0;
}

/* The text of a message: a string, or text parts, which are joined by a blank line. NULL: it is
 * neither.
 */
static json_t *content_of(const json_t *given) {
        if (!given || json_is_null(given))
                return json_string("");
        if (json_is_string(given))
                return json_stringn(json_string_value(given), json_string_length(given));
        if (!json_is_array(given))
                return NULL;
        char *text = NULL;
        size_t n = 0;
        FILE *out = open_memstream(&text, &n);
        bool ok = out != NULL;
        for (size_t i = 0; ok && i < json_array_size(given); i++) {
                const json_t *part = json_object_get(json_array_get(given, i), "text");
                ok = json_is_string(part);
                if (i > 0)
                        fputs("\n\n", out);
                if (ok)
                        fwrite(json_string_value(part), 1, json_string_length(part), out);
        }
        ok = out && fclose(out) == 0 && ok;
        json_t *content = ok ? json_stringn(text, n) : NULL;
        free(text);
        return content;
}

/* {id, name, arguments}, from that or from OpenAI's form. NULL: it is neither. */
static json_t *call_of(const json_t *given) {
        const json_t *function = json_object_get(given, "function");
        const json_t *inside = function ? function : given;
        const json_t *id = json_object_get(given, "id");
        const json_t *name = json_object_get(inside, "name");
        const json_t *arguments = json_object_get(inside, "arguments");
        if (!json_is_string(name) || (id && !json_is_string(id)))
                return NULL;
        char *dumped = json_is_string(arguments) ? NULL : json_dumps(arguments, 0);
        const char *text = json_is_string(arguments) ? json_string_value(arguments) : dumped;
        json_t *call = json_pack("{s:s, s:s, s:s}", "id", id ? json_string_value(id) : "", "name",
                                 json_string_value(name), "arguments", text ? text : "");
        free(dumped);
        return call;
}

/* Copies a string member that may be absent; false: it is something else. */
static bool copy_member(json_t *to, const json_t *from, const char *name) {
        json_t *value = json_object_get(from, name);
        if (!value || json_is_null(value))
                return true;
        return json_is_string(value) && json_object_set(to, name, value) == 0;
}

static const char *read_message(const json_t *given, json_t **ret) {
        if (json_is_string(given)) {
                *ret = json_pack("{s:s, s:O}", "role", "user", "content", given);
                return *ret ? NULL : "no memory";
        }
        const json_t *role = json_object_get(given, "role");
        if (!json_is_string(role))
                return "a message needs a \"role\"";
        json_t *content = content_of(json_object_get(given, "content"));
        if (!content)
                return "\"content\" is neither text nor an array of text parts";
        *ret = json_pack("{s:O, s:o}", "role", role, "content", content);
        if (!*ret)
                return "no memory";
        if (!copy_member(*ret, given, "reasoning") || !copy_member(*ret, given, "tool_call_id") ||
            !copy_member(*ret, given, "task"))
                return "\"reasoning\", \"tool_call_id\" and \"task\" are texts";
        const json_t *calls = json_object_get(given, "tool_calls");
        for (size_t i = 0; i < json_array_size(calls); i++) {
                json_t *call = call_of(json_array_get(calls, i));
                if (i == 0)
                        json_object_set_new(*ret, "tool_calls", json_array());
                if (json_array_append_new(json_object_get(*ret, "tool_calls"), call) < 0)
                        return "\"tool_calls\" are objects with id, name and arguments";
        }
        return NULL;
}

const char *conversation_add_json(struct conversation *conversation, const json_t *value) {
        size_t n_before = json_array_size(conversation->messages);
        size_t n = json_is_array(value) ? json_array_size(value) : 1;
        const char *wrong = n == 0 ? "an empty array" : NULL;
        for (size_t i = 0; i < n && !wrong; i++) {
                json_t *message = NULL;
                wrong = read_message(json_is_array(value) ? json_array_get(value, i) : value,
                                     &message);
                if (wrong)
                        json_decref(message);
                else
                        json_array_append_new(conversation->messages, message);
        }
        while (wrong && json_array_size(conversation->messages) > n_before)
                json_array_remove(conversation->messages, n_before);
        return wrong;
}

/* -------- for libseekd -------- */

static const char *text_member(const json_t *object, const char *name, size_t *ret_n) {
        const json_t *value = json_object_get(object, name);
        *ret_n = json_string_length(value);
        return json_string_value(value);
}

static size_t count_calls(const json_t *messages) {
        size_t n = 0;
        for (size_t i = 0; i < json_array_size(messages); i++)
                n += json_array_size(json_object_get(json_array_get(messages, i), "tool_calls"));
        return n;
}

struct view {
        struct seekd_chat chat;
        struct seekd_message *messages;
        const struct seekd_message **message_list;
        struct seekd_tool_call *calls;
        const struct seekd_tool_call **call_list;
};

/* One block behind the struct: messages, calls, and the lists of pointers to them. */
static struct view *new_view(size_t n_messages, size_t n_calls) {
        size_t per_message = sizeof(struct seekd_message) + sizeof(void *);
        size_t per_call = sizeof(struct seekd_tool_call) + sizeof(void *);
        struct view *view =
                calloc(1, sizeof(*view) + n_messages * per_message + n_calls * per_call);
        if (!view)
                return NULL;
        view->messages = (struct seekd_message *)(void *)(view + 1);
        view->calls = (struct seekd_tool_call *)(void *)(view->messages + n_messages);
        view->message_list = (const struct seekd_message **)(void *)(view->calls + n_calls);
        view->call_list =
                (const struct seekd_tool_call **)(void *)(view->message_list + n_messages);
        return view;
}

struct seekd_chat *conversation_view(const struct conversation *conversation) {
        size_t n = json_array_size(conversation->messages);
        struct view *view = new_view(n, count_calls(conversation->messages));
        if (!view)
                return NULL;
        struct seekd_tool_call *call = view->calls;
        for (size_t i = 0; i < n; i++) {
                const json_t *from = json_array_get(conversation->messages, i);
                const json_t *calls = json_object_get(from, "tool_calls");
                struct seekd_message *message = &view->messages[i];
                size_t unused;
                view->message_list[i] = message;
                *message = (struct seekd_message)SEEKD_MESSAGE_INIT;
                message->role = text_member(from, "role", &unused);
                message->content = text_member(from, "content", &message->content_bytes);
                message->reasoning = text_member(from, "reasoning", &message->reasoning_bytes);
                message->tool_call_id = text_member(from, "tool_call_id", &unused);
                message->task = text_member(from, "task", &unused);
                message->tool_calls = view->call_list + (call - view->calls);
                message->n_tool_calls = json_array_size(calls);
                for (size_t k = 0; k < message->n_tool_calls; k++, call++) {
                        const json_t *its = json_array_get(calls, k);
                        *call = (struct seekd_tool_call)SEEKD_TOOL_CALL_INIT;
                        call->id = text_member(its, "id", &unused);
                        call->name = text_member(its, "name", &unused);
                        call->arguments = text_member(its, "arguments", &call->arguments_bytes);
                        view->call_list[call - view->calls] = call;
                }
        }
        view->chat = conversation->chat;
        view->chat.messages = view->message_list;
        view->chat.n_messages = n;
        view->chat.tools = (const char *const *)conversation->tools;
        view->chat.n_tools = conversation->n_tools;
        view->chat.response_format = conversation->schema.bytes;
        return &view->chat;
}

void conversation_fill(const struct conversation *conversation, const struct seekd_chat *view,
                       struct seekd_params *params) {
        params->chat = view;
        params->json_schema = conversation->schema.bytes;
        params->json_schema_bytes = conversation->schema.n;
}
