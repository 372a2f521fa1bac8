/* The tags of tool calls, read from symbols: bytes of text, and marks that no text can imitate. No
 * state: any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/chat/chat_tokens.h"

/* A byte, or SYMBOL_MARK + an enum chat_mark. */
typedef uint16_t symbol;
#define SYMBOL_MARK 256

/* White space between two tags. Models write one newline; a few more do no harm. */
#define TAG_SPACE_MAX 16

/* Of a name inside a tag. */
#define TAG_NAME_BYTES_MAX 256

/* Two newlines, the block's tag, white space, the longest tag. */
#define TAG_SYMBOLS_MAX (TAG_NAME_BYTES_MAX + TAG_SPACE_MAX + 96)

enum tag {
        TAG_NONE = 0, /* the symbols do not begin a tag that is wanted */
        TAG_BEGUN = 1 << 0,
        TAG_CALLS = 1 << 1,
        TAG_CALLS_END = 1 << 2,
        TAG_INVOKE = 1 << 3,
        TAG_INVOKE_END = 1 << 4,
        TAG_STRING = 1 << 5, /* a parameter whose value is text */
        TAG_JSON = 1 << 6,   /* one whose value is JSON, or which does not say */
        TAG_PARAMETER_END = 1 << 7,
};

struct tag_match {
        enum tag tag;
        size_t n;               /* symbols of the tag */
        size_t name_at, n_name; /* of TAG_INVOKE, TAG_STRING, TAG_JSON */
};

/* What the first of n symbols are, of the `wanted` tags (a set). */
struct tag_match tag_read(const symbol *symbols, size_t n, unsigned wanted);

/* A block's beginning, with up to two newlines before it, up to the end of its first invoke tag.
 * TAG_NONE, TAG_BEGUN, or TAG_INVOKE with that tag's place in *ret_at. `at_start`: no newline is
 * needed. */
struct tag_match tag_read_opening(const symbol *symbols, size_t n, bool at_start, size_t *ret_at);

bool symbol_is_space(symbol s);
