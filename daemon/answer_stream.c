#include "daemon/answer_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/text_stream.h"
#include "engine/tokenizer.h"
#include "proto/token_delta.h"

struct answer_stream {
        struct answer_options options;
        struct chat_parser *parser;
        uint64_t id; /* of the answer, in the ids of its calls */
        /* During a call from outside: where deltas go, and the next one. */
        delta_fn send;
        void *userdata;
        struct token_delta next;
        bool sent; /* the delta with the token */
};

static uint8_t channel_of(enum chat_event_kind kind) {
        switch (kind) {
        case CHAT_EVENT_REASONING: return TOKEN_CHANNEL_REASONING;
        case CHAT_EVENT_TEXT: return TOKEN_CHANNEL_TEXT;
        default: return TOKEN_CHANNEL_TOOL;
        }
}

/* Sends the next delta; those that follow have no token. */
static void send_next(struct answer_stream *stream, unsigned flags, enum chat_event_kind kind,
                      const char *text, size_t n) {
        struct token_delta delta = stream->next;
        delta.flags = (uint8_t)(delta.flags | flags);
        delta.channel = channel_of(kind);
        stream->send(stream->userdata, &delta, text, n);
        stream->next =
                (struct token_delta){ .flags = TOKEN_FLAG_TEXT_ONLY, .position = delta.position };
        stream->sent = true;
}

static void take_event(void *userdata, const struct chat_event *event) {
        struct answer_stream *stream = userdata;
        char begin[CALL_ID_BYTES + 1 + CHAT_NAME_BYTES_MAX];
        if (event->kind == CHAT_EVENT_CALL_BEGIN) {
                answer_stream_call_id(stream, event->call, begin);
                size_t n = strlen(begin);
                begin[n++] = ' ';
                memcpy(begin + n, event->text, event->n);
                send_next(stream, TOKEN_FLAG_CALL_BEGIN, event->kind, begin, n + event->n);
        } else {
                send_next(stream, event->kind == CHAT_EVENT_CALL_END ? TOKEN_FLAG_CALL_END : 0,
                          event->kind, event->text, event->n);
        }
}

int answer_stream_new(const struct answer_options *options, struct answer_stream **ret) {
        struct answer_stream *stream = calloc(1, sizeof(*stream));
        if (!stream)
                return -ENOMEM;
        stream->options = *options;
        struct chat_parser_options parser_options = { .reasoning = options->reasoning,
                                                      .event = take_event,
                                                      .userdata = stream };
        if (getrandom(&stream->id, sizeof(stream->id), 0) != (ssize_t)sizeof(stream->id) ||
            chat_parser_new(&parser_options, &stream->parser) < 0) {
                free(stream);
                return -ENOMEM;
        }
        *ret = stream;
        return 0;
}

struct answer_stream *answer_stream_free(struct answer_stream *stream) {
        if (!stream)
                return NULL;
        chat_parser_free(stream->parser);
        free(stream);
        return NULL;
}

static void begin(struct answer_stream *stream, const struct token_delta *delta, delta_fn send,
                  void *userdata) {
        stream->send = send;
        stream->userdata = userdata;
        stream->next = *delta;
        stream->sent = false;
}

bool answer_stream_token(struct answer_stream *stream, struct text_stream *text,
                         const struct token_delta *delta, delta_fn send, void *userdata) {
        begin(stream, delta, send, userdata);
        enum chat_mark mark = chat_mark_of(&stream->options.tokens, delta->id);
        const char *piece;
        size_t n;
        bool stopped;
        if (mark < CHAT_MARKS) {
                /* Stop strings do not reach over a special token. */
                text_stream_finish(text, &piece, &n);
                stopped = text_stream_stop(text) != NULL;
        } else {
                stopped = text_stream_push(text, delta->id, &piece, &n);
        }
        chat_parser_text(stream->parser, piece, n);
        if (mark < CHAT_MARKS && !stopped)
                chat_parser_mark(stream->parser, mark);
        if (!stream->sent)
                send_next(stream, 0, chat_parser_channel(stream->parser), NULL, 0);
        return stopped;
}

int answer_stream_finish(struct answer_stream *stream, struct text_stream *rest, uint64_t position,
                         delta_fn send, void *userdata) {
        struct token_delta delta = { .flags = TOKEN_FLAG_TEXT_ONLY, .position = position };
        begin(stream, &delta, send, userdata);
        if (rest) {
                const char *piece;
                size_t n;
                text_stream_finish(rest, &piece, &n);
                chat_parser_text(stream->parser, piece, n);
        }
        return chat_parser_finish(stream->parser);
}

const struct chat_call *answer_stream_calls(struct answer_stream *stream, size_t *ret_n) {
        return chat_parser_calls(stream->parser, ret_n);
}

void answer_stream_call_id(const struct answer_stream *stream, size_t call,
                           char ret[CALL_ID_BYTES]) {
        snprintf(ret, CALL_ID_BYTES, "call_%016llx_%u", (unsigned long long)stream->id,
                 (unsigned)call);
}

bool answer_stream_incomplete(const struct answer_stream *stream, struct chat_text *ret_raw) {
        return chat_parser_incomplete(stream->parser, ret_raw);
}

uint32_t answer_stream_forbidden(const struct answer_stream *stream) {
        return stream->options.calls_forbidden ? stream->options.tokens.ids[CHAT_DSML] : TOKEN_NONE;
}
