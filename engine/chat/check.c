#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/chat/chat.h"
#include "engine/chat/json_text.h"

static const char *const role_names[CHAT_ROLES] = {
        [CHAT_SYSTEM] = "system", [CHAT_DEVELOPER] = "developer",
        [CHAT_USER] = "user",     [CHAT_ASSISTANT] = "assistant",
        [CHAT_TOOL] = "tool",     [CHAT_REMINDER] = "latest_reminder",
};

bool chat_role_of(const char *name, enum chat_role *ret) {
        for (unsigned i = 0; i < CHAT_ROLES; i++) {
                if (strcmp(role_names[i], name) == 0) {
                        *ret = (enum chat_role)i;
                        return true;
                }
        }
        return false;
}

static int check_text(const char *field, struct chat_text text, struct error *err) {
        size_t valid = utf8_valid_prefix(text.data, text.n);
        return valid == text.n ? 0
                               : error_set(err, -EINVAL, "%s: not UTF-8 at byte %zu", field, valid);
}

static int check_name(const char *field, struct chat_text name, struct error *err) {
        if (name.n == 0 || name.n > CHAT_NAME_BYTES_MAX)
                return error_set(err, -EINVAL, "%s: %zu bytes, 1 to %d are possible", field, name.n,
                                 CHAT_NAME_BYTES_MAX);
        return check_text(field, name, err);
}

static int check_calls(const struct chat_message *message, struct error *err) {
        if (message->n_calls > 0 && message->role != CHAT_ASSISTANT)
                return error_set(err, -EINVAL, "tool_calls: a message of role '%s' has none",
                                 role_names[message->role]);
        for (size_t i = 0; i < message->n_calls; i++) {
                const struct chat_call *call = &message->calls[i];
                int r = check_text("id", call->id, err);
                if (r == 0)
                        r = check_name("name", call->name, err);
                if (r == 0)
                        r = check_text("arguments", call->arguments, err);
                if (r < 0) {
                        struct error inner = *err;
                        return error_set(err, r, "tool_calls[%zu].%s", i, inner.text);
                }
        }
        return 0;
}

/* `before`: the message before it, or NULL. */
static int check_message(const struct chat_message *message, const struct chat_message *before,
                         bool last, struct error *err) {
        const char *role = role_names[message->role];
        bool assistant = message->role == CHAT_ASSISTANT;
        if (message->reasoning.n > 0 && !assistant)
                return error_set(err, -EINVAL, "reasoning: a message of role '%s' has none", role);
        if (message->tool_call_id.n > 0 && message->role != CHAT_TOOL)
                return error_set(err, -EINVAL, "tool_call_id: a message of role '%s' has none",
                                 role);
        if (message->role == CHAT_DEVELOPER && message->content.n == 0)
                return error_set(err, -EINVAL, "content: is empty, a developer's may not be");
        if (message->task != CHAT_NO_TASK && message->role != CHAT_USER)
                return error_set(err, -EINVAL, "task: a message of role '%s' has none", role);
        if (message->task != CHAT_NO_TASK && before &&
            (before->role == CHAT_USER || before->role == CHAT_TOOL))
                return error_set(err, -EINVAL,
                                 "task: the message joins the one before it, whose turn it is");
        if (message->open && (!assistant || !last || message->n_calls > 0))
                return error_set(
                        err, -EINVAL,
                        "open: only the last message can be, an assistant's without calls");
        int r = check_text("content", message->content, err);
        if (r == 0)
                r = check_text("reasoning", message->reasoning, err);
        if (r == 0)
                r = check_text("tool_call_id", message->tool_call_id, err);
        return r < 0 ? r : check_calls(message, err);
}

/* Whether the end of the conversation is something to answer. */
static int check_end(const struct chat *chat, struct error *err) {
        size_t n = chat->n_messages;
        const struct chat_message *last = &chat->messages[n - 1];
        const char *role = role_names[last->role];
        bool begins = n == 1 && (last->role == CHAT_SYSTEM || last->role == CHAT_REMINDER);
        if (begins || (last->role == CHAT_ASSISTANT && !last->open))
                return error_set(err, -EINVAL,
                                 "messages[%zu].role: a conversation that ends with '%s' asks for "
                                 "no answer",
                                 n - 1, role);
        return 0;
}

static int check_json(const char *field, struct chat_text json, enum json_kind kind,
                      struct error *err) {
        if (check_text(field, json, err) < 0)
                return -EINVAL;
        return json_text_check(json, kind, err) < 0 ? error_prefix(err, "%s", field) : 0;
}

int chat_check(const struct chat *chat, struct error *err) {
        if (chat->n_messages == 0)
                return error_set(err, -EINVAL, "messages: there is none");
        if (chat->effort > CHAT_EFFORT_MAX)
                return error_set(err, -EINVAL, "effort: %u, at most %d is possible", chat->effort,
                                 CHAT_EFFORT_MAX);
        for (size_t i = 0; i < chat->n_messages; i++) {
                struct error inner = { 0 };
                const struct chat_message *before = i > 0 ? &chat->messages[i - 1] : NULL;
                if (check_message(&chat->messages[i], before, i + 1 == chat->n_messages, &inner) <
                    0)
                        return error_set(err, inner.code, "messages[%zu].%s", i, inner.text);
        }
        for (size_t i = 0; i < chat->n_tools; i++) {
                char field[32];
                snprintf(field, sizeof(field), "tools[%zu]", i);
                if (check_json(field, chat->tools[i], JSON_TEXT_OBJECT, err) < 0)
                        return -EINVAL;
        }
        if (chat->response_format.n > 0 &&
            check_json("response_format", chat->response_format, JSON_TEXT_ANY, err) < 0)
                return -EINVAL;
        return check_end(chat, err);
}
