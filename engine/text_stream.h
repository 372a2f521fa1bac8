/* Generated tokens to text, piece by piece: whole UTF-8 characters only, and never a part of a stop
 * string.
 *
 * Bytes are held back while they could still become part of a stop string or an unfinished
 * character. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;
struct text_stream;

#define STOP_STRINGS_MAX      16  /* OpenAI's API allows 4; agents pass up to 8 */
#define STOP_STRING_BYTES_MAX 256 /* bounds how long text can be held back */

/* Copies the stop strings; the tokenizer must outlive the stream. Special tokens print nothing
 * unless `show_special`. 0, -ENOMEM, -EINVAL (limits above, a stop string that is empty or not
 * UTF-8). */
int text_stream_new(const struct tokenizer *tokenizer, const char *const *stops, size_t n_stops,
                    bool show_special, struct text_stream **ret);
struct text_stream *text_stream_free(struct text_stream *stream);

/* Takes one token; `*ret_text` (valid until the next call, owned by the stream) is the text that
 * became safe to show, possibly empty. Returns true when a stop string was completed: the text ends
 * right before it (before the longest, if several end at this byte), and further tokens print
 * nothing. */
bool text_stream_push(struct text_stream *stream, uint32_t id, const char **ret_text,
                      size_t *ret_n);

/* End of generation: releases what was held back. Bytes that cannot become a character come out as
 * U+FFFD. */
void text_stream_finish(struct text_stream *stream, const char **ret_text, size_t *ret_n);

/* The stop string that was completed, NULL when none was. Lives as long as the stream. */
const char *text_stream_stop(const struct text_stream *stream);
