/* A model's answer as it is written: reasoning, text, tool calls.
 *
 * Fed with text in pieces of any size and with special tokens, it tells at once what is certain and
 * holds back what could still become a tag, at most PARSE_PENDING_MAX symbols. How the answer is
 * cut into pieces makes no difference to what is told.
 *
 * Grammar, as both encodings write it; names may begin with a space or not, and a block may be
 * called calls, tool_calls or function_calls:
 *
 *     answer    := [reasoning THINK_END] text [calls] ...
 *     calls     := "\n\n<" DSML "calls>" invoke* "</" DSML "calls>"
 *     invoke    := "<" DSML "invoke name=\"N\">" parameter* "</" DSML "invoke>"
 *     parameter := "<" DSML "parameter name=\"K\" string=\"true|false\">" value "</" DSML
 * "parameter>"
 *
 * What it takes for a block: one at the beginning of the text or of a line, whose first tag is an
 * invoke; everything else is text. Calls inside reasoning are thoughts, not calls. A call counts
 * once its invoke is closed; one that is cut off, holds something else than parameters, or names a
 * parameter twice, is incomplete, and nothing behind it is parsed any more.
 *
 * Where the model's tokens are known, marks come as tokens and the same letters in text are text.
 * Where only text is known (`written_marks`), the letters are the marks. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "engine/chat/chat.h"

/* OpenAI's API allows 128 tools; no agent calls more at once. */
#define CHAT_CALLS_MAX 128

/* Parameters of one call; bounds the search for one that is there twice. */
#define CHAT_PARAMETERS_MAX 256

/* Names, arguments and the raw text of one answer's calls. A million bytes is a quarter of a Done
 * message and more than any context leaves for one answer of sense; a larger call is incomplete. */
#define CHAT_CALLS_BYTES_MAX (1U << 20)

enum chat_event_kind {
        CHAT_EVENT_REASONING,
        CHAT_EVENT_TEXT,
        CHAT_EVENT_CALL_BEGIN,     /* text: the name */
        CHAT_EVENT_CALL_ARGUMENTS, /* text: a piece of the JSON object */
        CHAT_EVENT_CALL_END,       /* no text: the call is whole */
};

struct chat_event {
        enum chat_event_kind kind;
        const char *text; /* valid during the call; UTF-8 when the input's pieces are */
        size_t n;
        size_t call; /* index of the call */
};

typedef void (*chat_event_fn)(void *userdata, const struct chat_event *event);

struct chat_parser;

struct chat_parser_options {
        bool reasoning;      /* the answer begins within the reasoning */
        bool written_marks;  /* no chat_parser_mark(): marks are read from the text */
        chat_event_fn event; /* may be NULL */
        void *userdata;
};

/* -ENOMEM. */
int chat_parser_new(const struct chat_parser_options *options, struct chat_parser **ret);
struct chat_parser *chat_parser_free(struct chat_parser *parser); /* NULL-safe, returns NULL */

void chat_parser_text(struct chat_parser *parser, const char *text, size_t n);

/* A special token. Others than CHAT_THINK, CHAT_THINK_END and CHAT_DSML mean nothing here. */
void chat_parser_mark(struct chat_parser *parser, enum chat_mark mark);

/* The answer is over: tells what was held back. 0, or -ENOMEM when something was lost on the way.
 */
int chat_parser_finish(struct chat_parser *parser);

/* Where the answer is now. */
enum chat_event_kind chat_parser_channel(const struct chat_parser *parser);

/* Whether the reasoning is over and nothing has come behind it. */
bool chat_parser_at_start(const struct chat_parser *parser);

/* The calls that are whole, in order; ids are empty. The parser's, until the next call on it. */
const struct chat_call *chat_parser_calls(struct chat_parser *parser, size_t *ret_n);

/* Whether a call was begun that is not whole, and what there is of it (at most
 * CHAT_CALLS_BYTES_MAX), as it was written. Final after chat_parser_finish(). */
bool chat_parser_incomplete(const struct chat_parser *parser, struct chat_text *ret_raw);
