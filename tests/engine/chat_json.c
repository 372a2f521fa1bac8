#include "tests/engine/chat_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/chat/bytes.h"
#include "engine/chat/parse.h"
#include "engine/tokenizer.h"

static struct chat_text text_of(const json_t *value) {
        return (struct chat_text){ json_string_value(value), json_string_length(value) };
}

static const char *name_of(const json_t *object, const char *key) {
        const char *name = json_string_value(json_object_get(object, key));
        return name ? name : "";
}

static struct chat_call *calls_of(const json_t *array) {
        struct chat_call *calls = calloc(json_array_size(array) + 1, sizeof(*calls));
        for (size_t i = 0; calls && i < json_array_size(array); i++) {
                const json_t *call = json_array_get(array, i);
                calls[i].id = text_of(json_object_get(call, "id"));
                calls[i].name = text_of(json_object_get(call, "name"));
                calls[i].arguments = text_of(json_object_get(call, "arguments"));
        }
        return calls;
}

/* False: a role or task that does not exist. */
static bool read_message(const json_t *from, struct chat_message *ret) {
        ret->content = text_of(json_object_get(from, "content"));
        ret->reasoning = text_of(json_object_get(from, "reasoning"));
        ret->tool_call_id = text_of(json_object_get(from, "tool_call_id"));
        ret->calls = calls_of(json_object_get(from, "tool_calls"));
        ret->n_calls = json_array_size(json_object_get(from, "tool_calls"));
        ret->open = json_is_true(json_object_get(from, "open"));
        const char *task = name_of(from, "task");
        return chat_role_of(name_of(from, "role"), &ret->role) &&
                (!*task || chat_task_of(task, &ret->task));
}

static json_t *ids_json(const struct token_list *ids) {
        json_t *array = json_array();
        for (size_t i = 0; i < ids->n; i++)
                json_array_append_new(array, json_integer(ids->ids[i]));
        return json_pack("{s:o}", "ids", array);
}

static json_t *error_json(const char *text) {
        return json_pack("{s:s}", "error", text);
}

static json_t *encode(const struct chat_tokens *tokens, const json_t *question) {
        const json_t *messages = json_object_get(question, "messages");
        const json_t *tools = json_object_get(question, "tools");
        CLEANUP_FREE struct chat_message *list =
                calloc(json_array_size(messages) + 1, sizeof(*list));
        CLEANUP_FREE struct chat_text *tool_texts =
                calloc(json_array_size(tools) + 1, sizeof(*tool_texts));
        if (!list || !tool_texts)
                return error_json("out of memory");
        struct chat chat = {
                .messages = list,
                .n_messages = json_array_size(messages),
                .tools = tool_texts,
                .n_tools = json_array_size(tools),
                .response_format = text_of(json_object_get(question, "response_format")),
                .thinking = json_is_true(json_object_get(question, "thinking")),
                .effort = (unsigned)json_integer_value(json_object_get(question, "effort")),
        };
        bool known = true;
        for (size_t i = 0; i < chat.n_messages; i++)
                known = read_message(json_array_get(messages, i), &list[i]) && known;
        for (size_t i = 0; i < chat.n_tools; i++)
                tool_texts[i] = text_of(json_array_get(tools, i));

        struct token_list ids = { 0 };
        struct error err = { 0 };
        json_t *answer;
        if (!known)
                answer = error_json("unknown role or task");
        else if (chat_check(&chat, &err) < 0 || chat_encode(tokens, &chat, &ids, &err) < 0)
                answer = error_json(err.text);
        else
                answer = ids_json(&ids);
        token_list_deinit(&ids);
        for (size_t i = 0; i < chat.n_messages; i++)
                free((struct chat_call *)(uintptr_t)list[i].calls);
        return answer;
}

/* What the events told, which must agree with what the parser keeps. */
struct told {
        struct bytes reasoning, content, arguments;
        size_t n_begun, n_ended;
};

static void hear(void *userdata, const struct chat_event *event) {
        struct told *told = userdata;
        switch (event->kind) {
        case CHAT_EVENT_REASONING: bytes_add(&told->reasoning, event->text, event->n); break;
        case CHAT_EVENT_TEXT: bytes_add(&told->content, event->text, event->n); break;
        case CHAT_EVENT_CALL_BEGIN:
                told->n_begun++;
                told->arguments.n = 0;
                break;
        case CHAT_EVENT_CALL_ARGUMENTS: bytes_add(&told->arguments, event->text, event->n); break;
        case CHAT_EVENT_CALL_END: told->n_ended++; break;
        }
}

static json_t *string_json(const char *data, size_t n) {
        json_t *string = json_stringn(data ? data : "", n);
        return string ? string : json_null();
}

static json_t *parsed_json(struct chat_parser *parser, const struct told *told) {
        size_t n;
        const struct chat_call *calls = chat_parser_calls(parser, &n);
        json_t *array = json_array();
        for (size_t i = 0; i < n; i++)
                json_array_append_new(
                        array,
                        json_pack("{s:o, s:o}", "name",
                                  string_json(calls[i].name.data, calls[i].name.n), "arguments",
                                  string_json(calls[i].arguments.data, calls[i].arguments.n)));
        struct chat_text raw;
        bool incomplete = chat_parser_incomplete(parser, &raw);
        if (n != told->n_ended)
                return error_json("the events do not tell of every call");
        if (n > 0 && n == told->n_begun &&
            (told->arguments.n != calls[n - 1].arguments.n ||
             memcmp(told->arguments.data, calls[n - 1].arguments.data, told->arguments.n) != 0))
                return error_json("the pieces of the arguments do not make them");
        return json_pack("{s:o, s:o, s:o, s:b, s:o}", "reasoning",
                         string_json(told->reasoning.data, told->reasoning.n), "content",
                         string_json(told->content.data, told->content.n), "calls", array,
                         "incomplete", incomplete, "raw",
                         incomplete ? string_json(raw.data, raw.n) : json_null());
}

static void feed_text(struct chat_parser *parser, const json_t *question) {
        struct chat_text text = text_of(json_object_get(question, "text"));
        size_t split = (size_t)json_integer_value(json_object_get(question, "split"));
        if (split == 0)
                split = text.n;
        for (size_t at = 0; at < text.n; at += split)
                chat_parser_text(parser, text.data + at, split < text.n - at ? split : text.n - at);
}

static void feed_ids(struct chat_parser *parser, const struct chat_tokens *tokens,
                     const json_t *question) {
        const json_t *ids = json_object_get(question, "ids");
        for (size_t i = 0; i < json_array_size(ids); i++) {
                uint32_t id = (uint32_t)json_integer_value(json_array_get(ids, i));
                enum chat_mark mark = chat_mark_of(tokens, id);
                size_t n = 0;
                const char *bytes = tokenizer_bytes(tokens->tokenizer, id, &n);
                if (mark < CHAT_MARKS)
                        chat_parser_mark(parser, mark);
                else if (bytes)
                        chat_parser_text(parser, bytes, n);
        }
}

static json_t *parse(const struct chat_tokens *tokens, const json_t *question) {
        struct told told = { 0 };
        bool is_text = strcmp(name_of(question, "op"), "parse") == 0;
        struct chat_parser_options options = {
                .reasoning = json_is_true(json_object_get(question, "reasoning")),
                .written_marks = is_text,
                .event = hear,
                .userdata = &told,
        };
        struct chat_parser *parser = NULL;
        if (chat_parser_new(&options, &parser) < 0)
                return error_json("out of memory");
        if (is_text)
                feed_text(parser, question);
        else
                feed_ids(parser, tokens, question);
        json_t *answer = chat_parser_finish(parser) < 0 ? error_json("out of memory")
                                                        : parsed_json(parser, &told);
        chat_parser_free(parser);
        bytes_deinit(&told.reasoning);
        bytes_deinit(&told.content);
        bytes_deinit(&told.arguments);
        return answer;
}

json_t *chat_answer(const struct chat_tokens *tokens, const json_t *question) {
        struct chat_tokens own = *tokens;
        const char *op = name_of(question, "op"), *dialect = name_of(question, "dialect");
        if (*dialect)
                own.dialect = strcmp(dialect, "v4") == 0 ? CHAT_V4 : CHAT_V41;
        if (strcmp(op, "encode") == 0)
                return encode(&own, question);
        if (strcmp(op, "parse") == 0 || strcmp(op, "parse_ids") == 0)
                return parse(&own, question);
        return error_json("unknown op");
}
