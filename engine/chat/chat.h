/* A conversation, and its way into the tokens that a DeepSeek-V4.1 or V4 model was trained on.
 *
 * Every byte of messages, tools and schemas stays text: special tokens enter a prompt only where
 * the encoding puts them, as ids, so a file that contains "<｜User｜>" cannot open a turn.
 * Immutable input, no state: any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/chat/chat_tokens.h"

struct error;
struct token_list;

enum chat_role {
        CHAT_SYSTEM,
        CHAT_DEVELOPER, /* instructions inside the conversation; rendered as a user's turn */
        CHAT_USER,
        CHAT_ASSISTANT,
        CHAT_TOOL, /* the result of a call */
        CHAT_REMINDER,
        CHAT_ROLES,
};

/* UTF-8, not NUL-terminated. Zero: empty. */
struct chat_text {
        const char *data;
        size_t n;
};

struct chat_call {
        struct chat_text id; /* what the tool message that answers it names; may be empty */
        struct chat_text name;
        /* A JSON object. Anything else is shown to the model as one string parameter "arguments".
         */
        struct chat_text arguments;
};

struct chat_message {
        enum chat_role role;
        struct chat_text content;
        struct chat_text reasoning;    /* assistant */
        struct chat_text tool_call_id; /* tool */
        const struct chat_call *calls; /* assistant */
        size_t n_calls;
        enum chat_task task; /* user, or CHAT_NO_TASK */
        bool open;           /* assistant, the last message: the model goes on in its content */
};

struct chat {
        const struct chat_message *messages;
        size_t n_messages;
        const struct chat_text *tools; /* JSON objects with at least a "name" */
        size_t n_tools;
        struct chat_text response_format; /* JSON schema; empty: none */
        bool thinking;
        unsigned effort; /* 1 to CHAT_EFFORT_MAX; 0 = CHAT_EFFORT_DEFAULT */
};

#define CHAT_EFFORT_MAX     100
#define CHAT_EFFORT_DEFAULT 75 /* the release's "high" */

/* OpenAI's API allows 64 characters, MCP servers prefix theirs. Bounds what the parser holds back
 * until it knows a call's name. */
#define CHAT_NAME_BYTES_MAX 256

/* "system" and so on; false: there is no such role. */
bool chat_role_of(const char *name, enum chat_role *ret);

/* Whether chat_encode() can encode it. -EINVAL names the field at fault and says what is wrong:
 * "messages[3].role: ...", as every message of this folder does. */
int chat_check(const struct chat *chat, struct error *err);

/* Appends the prompt, BOS first and everything up to where the model's answer begins. `chat` must
 * have passed chat_check(). Errors, of which all leave `ids` as it was: -ENOTSUP (the tokenizer has
 * no token for something), -E2BIG, -ENOMEM. */
int chat_encode(const struct chat_tokens *tokens, const struct chat *chat, struct token_list *ids,
                struct error *err);

/* Whether an answer behind these ids begins within reasoning. */
bool chat_is_reasoning(const struct chat_tokens *tokens, const struct token_list *ids);
