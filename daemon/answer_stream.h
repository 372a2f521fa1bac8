/* The answer in a conversation while it is generated: tokens in, deltas of reasoning, text and tool
 * calls out. Made by a pool thread, then the engine thread's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/chat/chat_tokens.h"
#include "engine/chat/parse.h"

struct answer_stream;
struct text_stream;
struct token_delta;

struct answer_options {
        struct chat_tokens tokens;
        bool reasoning;       /* it begins within the reasoning */
        bool calls_forbidden; /* no tool call may begin */
};

/* "call_", 64 random bits, an index. */
#define CALL_ID_BYTES 32

/* Sends one delta; the text is not NUL-terminated. */
typedef void (*delta_fn)(void *userdata, const struct token_delta *delta, const char *text,
                         size_t n);

/* -ENOMEM, also when the system has no random bytes. */
int answer_stream_new(const struct answer_options *options, struct answer_stream **ret);
struct answer_stream *answer_stream_free(struct answer_stream *stream); /* NULL-safe */

/* Takes the token of `delta`, whose text `text` makes. Sends that delta with what it told first,
 * and further deltas without a token. True: a stop string was completed. */
bool answer_stream_token(struct answer_stream *stream, struct text_stream *text,
                         const struct token_delta *delta, delta_fn send, void *userdata);

/* The answer is over; with `rest`, what the text held back belongs to it. 0 or -ENOMEM: something
 * of it was lost. */
int answer_stream_finish(struct answer_stream *stream, struct text_stream *rest, uint64_t position,
                         delta_fn send, void *userdata);

/* The calls that are whole. */
const struct chat_call *answer_stream_calls(struct answer_stream *stream, size_t *ret_n);
void answer_stream_call_id(const struct answer_stream *stream, size_t call,
                           char ret[CALL_ID_BYTES]);
bool answer_stream_incomplete(const struct answer_stream *stream, struct chat_text *ret_raw);

/* The token that may not be drawn now, TOKEN_NONE when all may. */
uint32_t answer_stream_forbidden(const struct answer_stream *stream);
