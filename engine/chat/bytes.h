/* A growing run of bytes. Zero-initialise, free with bytes_deinit(). Adding never fails on the
 * spot: `failed` says, once everything is written, whether memory sufficed. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct bytes {
        char *data;
        size_t n, capacity;
        bool failed; /* something could not be added; nothing is added any more */
};

void bytes_add(struct bytes *bytes, const char *data, size_t n);
void bytes_add_string(struct bytes *bytes, const char *string);
void bytes_deinit(struct bytes *bytes); /* leaves it empty and usable */
