/* Payload of RECORD_TOKENS: one or more generated tokens, little-endian, written by the daemon at
 * every step.
 *
 * Each is a `struct token_delta`, then n_top `struct token_top`, then text_bytes bytes of UTF-8,
 * then zero bytes up to a multiple of 8. Text never ends within a character and never holds part of
 * a stop string: a token may therefore carry the text of those before it, or none. Any thread; the
 * functions keep no state. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum token_channel {
        TOKEN_CHANNEL_TEXT = 0,
        TOKEN_CHANNEL_REASONING = 1,
        TOKEN_CHANNEL_TOOL = 2,
};

enum token_flag {
        TOKEN_FLAG_LOGPROB = 1 << 0, /* logprob is set */
        TOKEN_FLAG_TEXT_ONLY = 1
                << 1, /* no token: text that was held back and is now known to be output; id is 0 */
        TOKEN_FLAG_SPECIAL = 1 << 2, /* the id is a special token */
        /* On TOKEN_CHANNEL_TOOL: a call begins (the text is its id, a space, and the function's
         * name), or the call is whole. Text without either is the next piece of the JSON of its
         * arguments.
         */
        TOKEN_FLAG_CALL_BEGIN = 1 << 3,
        TOKEN_FLAG_CALL_END = 1 << 4,
};

struct token_delta {
        uint32_t id;
        uint8_t channel; /* enum token_channel; others: treat as text */
        uint8_t flags;   /* enum token_flag; unknown bits are ignored */
        uint16_t n_top;
        float logprob;
        uint32_t text_bytes;
        uint64_t position; /* index of the token in its sequence: the first generated one has that
                              of prompt_tokens */
};
_Static_assert(sizeof(struct token_delta) == 24, "wire layout");

struct token_top {
        uint32_t id;
        float logprob;
};

/* A reader's view into a payload. */
struct token_view {
        struct token_delta delta;
        const uint8_t *top; /* n_top struct token_top, not necessarily aligned */
        const char *text;   /* text_bytes bytes, checked UTF-8, no terminating NUL */
};

/* Bytes that a delta takes. */
static inline size_t token_delta_bytes(const struct token_delta *delta) {
        size_t bytes = sizeof(*delta) + delta->n_top * sizeof(struct token_top) + delta->text_bytes;
        return (bytes + 7) & ~(size_t)7;
}

/* Writes one delta with its tops (n_top) and text (text_bytes) at `buffer`. Returns the bytes
 * written, or -ENOSPC. */
int64_t token_delta_put(void *buffer, size_t capacity, const struct token_delta *delta,
                        const struct token_top *top, const char *text);

/* Reads the delta at *at of a private copy of a payload and moves *at past it. 1 = read, 0 = end of
 * payload, -EPROTO = cut off, or the text is not UTF-8. */
int token_delta_next(const void *payload, size_t bytes, size_t *at, struct token_view *ret);
