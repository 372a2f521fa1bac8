/* A bump arena: one zeroed block, handed out front to back, released all at once.
 * Bounds what hostile input can make a parser allocate: past its capacity it returns NULL. One
 * thread at a time. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct arena {
        uint8_t *base;
        size_t capacity;
        size_t used;
};

int arena_init(struct arena *arena, size_t capacity); /* 0 or -ENOMEM */
void arena_deinit(struct arena *arena);               /* NULL-safe, also on a zeroed struct */
void arena_reset(struct arena *arena);                /* forgets and zeroes what was handed out */

/* Zeroed, 16-byte aligned; NULL when it does not fit. */
void *arena_alloc(struct arena *arena, size_t bytes);
