/* File descriptors: sealed memory files and read-only file mappings. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;

/* A memory file of `bytes` zero bytes that can be sealed; close-on-exec, not executable where the
 * kernel can say so. Returns the descriptor (owned by the caller) or a negative errno. */
int fd_memory(const char *name, uint64_t bytes);

/* Adds F_SEAL_* bits. 0 or a negative errno. */
int fd_seal(int fd, unsigned seals);

/* A whole file mapped read-only and private. */
struct file_map {
        const uint8_t *data; /* NULL when the file is empty */
        size_t bytes;
};

int file_map_open(const char *path, struct file_map *ret, struct error *err);
void file_map_close(struct file_map *map); /* NULL-safe; leaves an empty map */
