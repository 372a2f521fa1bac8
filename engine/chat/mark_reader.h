/* Finds the written forms of the marks that an answer may hold (<think>, </think>, ｜DSML｜) in
 * bytes that come one by one. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/chat/tags.h"

#define MARK_READER_BYTES 16 /* more than the longest written form */

/* Zero-initialise. */
struct mark_reader {
        char held[MARK_READER_BYTES]; /* the beginning of a written form */
        size_t n;
};

typedef void (*symbol_fn)(void *userdata, symbol s);

void mark_reader_take(struct mark_reader *reader, uint8_t byte, symbol_fn fn, void *userdata);

/* Gives out what is held, as bytes. */
void mark_reader_finish(struct mark_reader *reader, symbol_fn fn, void *userdata);
