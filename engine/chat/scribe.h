/* Writes a prompt: runs of text become ids between special tokens, which go in as ids. Text never
 * becomes a special token. The first error sticks; later writing does nothing. One thread. */
#pragma once

#include "engine/chat/bytes.h"
#include "engine/chat/chat.h"

struct scribe {
        const struct chat_tokens *tokens;
        const struct chat_tags *tags;
        struct token_list *ids;
        struct error *err;
        struct bytes text; /* since the last special token: tokens join across what is written */
        int code;          /* 0 or a negative errno, with `err` */
};

/* Zero-initialise, with tokens, tags, ids and err set; scribe_deinit() at the end. */
void scribe_deinit(struct scribe *scribe);

void scribe_text(struct scribe *scribe, struct chat_text text);
void scribe_string(struct scribe *scribe, const char *string);
void scribe_mark(struct scribe *scribe, enum chat_mark mark);

/* Text with stand-ins: SCRIBE_DSML, SCRIBE_THINK and SCRIBE_THINK_END are those tokens,
 * SCRIBE_CALLS, SCRIBE_INVOKE and SCRIBE_PARAMETER the names in tags. */
void scribe_template(struct scribe *scribe, const char *template);
#define SCRIBE_DSML      "\x01"
#define SCRIBE_THINK     "\x02"
#define SCRIBE_THINK_END "\x03"
#define SCRIBE_CALLS     "\x04"
#define SCRIBE_INVOKE    "\x05"
#define SCRIBE_PARAMETER "\x06"

/* Ends the last run of text. 0 or the error that stuck. */
int scribe_finish(struct scribe *scribe);
