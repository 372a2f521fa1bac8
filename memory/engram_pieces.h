/* The extents of an import, made of the source's rows ahead of whoever writes them, by a thread of
 * their own. All calls from one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memory/engram_import.h"

struct engram_pieces;

/* Goes through all extents, in the order of the file. Zeroed at first. */
struct engram_cursor {
        unsigned table;
        uint64_t extent;
};

/* An extent on its way from the source to the file. */
struct engram_piece {
        struct engram_cursor of;
        const uint8_t *bytes; /* the value */
        size_t n;
        uint32_t crc;
};

/* The next extent, without its bytes; false: that was the last one. */
bool engram_cursor_next(struct engram_cursor *cursor, const struct engram_layout *layout,
                        struct engram_piece *ret);

/* Begins to make the extents from the cursor on. What is pointed to outlives it. 0, or a negative
 * errno with message. */
int engram_pieces_start(const struct engram_source *source, const struct engram_layout *layout,
                        struct engram_cursor from, struct engram_pieces **ret, struct error *err);

/* Ends the thread. NULL-safe, returns NULL. */
struct engram_pieces *engram_pieces_free(struct engram_pieces *pieces);

/* Waits for the next one. 1: *ret is it, until it is released; 0: there is none; or what the source
 * said, with message. */
int engram_pieces_take(struct engram_pieces *pieces, const struct engram_piece **ret,
                       struct error *err);
void engram_pieces_release(struct engram_pieces *pieces);
