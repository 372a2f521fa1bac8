#include "base/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int arena_init(struct arena *arena, size_t capacity) {
        uint8_t *base = calloc(1, capacity > 0 ? capacity : 1);
        if (!base)
                return -ENOMEM;
        *arena = (struct arena){ base, capacity, 0 };
        return 0;
}

void arena_deinit(struct arena *arena) {
        if (!arena)
                return;
        free(arena->base);
        *arena = (struct arena){ NULL, 0, 0 };
}

void arena_reset(struct arena *arena) {
        memset(arena->base, 0, arena->used);
        arena->used = 0;
}

void *arena_alloc(struct arena *arena, size_t bytes) {
        size_t at = (arena->used + 15) & ~(size_t)15;
        if (at > arena->capacity || bytes > arena->capacity - at)
                return NULL;
        arena->used = at + bytes;
        return arena->base + at;
}
