/* Which of the chat encodings a tokenizer's special tokens allow, and their ids. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct error;
struct tokenizer;

enum chat_dialect {
        CHAT_V4,
        CHAT_V41, /* a system token; tag names that begin with a space; effort in numbers */
};

/* The tokens of every encoding. */
enum chat_mark {
        CHAT_BOS,
        CHAT_EOS,
        CHAT_USER_TURN,
        CHAT_ASSISTANT_TURN,
        CHAT_THINK,
        CHAT_THINK_END,
        CHAT_DSML, /* within the tags of tool calls */
        CHAT_MARKS_NEEDED,
        CHAT_SYSTEM_TURN = CHAT_MARKS_NEEDED, /* CHAT_V41 */
        CHAT_REMINDER_TURN,
        CHAT_TASK_FIRST,
        CHAT_MARKS = CHAT_TASK_FIRST + 6,
};

/* What the model was trained to answer with a word instead of a text. */
enum chat_task {
        CHAT_NO_TASK,
        CHAT_ACTION,
        CHAT_QUERY,
        CHAT_AUTHORITY,
        CHAT_DOMAIN,
        CHAT_TITLE,
        CHAT_READ_URL,
        CHAT_TASKS,
};

struct chat_tokens {
        const struct tokenizer *tokenizer;
        enum chat_dialect dialect;
        uint32_t ids[CHAT_MARKS]; /* TOKEN_NONE: the tokenizer has none */
};

/* V4.1 where the tokenizer has the system token, else V4. -ENOTSUP names the first token that is
 * missing. */
int chat_tokens_find(const struct tokenizer *tokenizer, struct chat_tokens *ret, struct error *err);

/* The written form. */
const char *chat_mark_text(enum chat_mark mark);

/* CHAT_MARKS when the id is none of them. */
enum chat_mark chat_mark_of(const struct chat_tokens *tokens, uint32_t id);

/* "title" and so on; false: there is no such task. */
bool chat_task_of(const char *name, enum chat_task *ret);
enum chat_mark chat_task_mark(enum chat_task task); /* not CHAT_NO_TASK */

/* The names in the tags of tool calls, with the space that begins them in V4.1. */
struct chat_tags {
        const char *calls, *invoke, *parameter;
};
const struct chat_tags *chat_tags_of(enum chat_dialect dialect);
