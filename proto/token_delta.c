#include "proto/token_delta.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

int64_t token_delta_put(void *buffer, size_t capacity, const struct token_delta *delta,
                        const struct token_top *top, const char *text) {
        size_t bytes = token_delta_bytes(delta);
        if (bytes > capacity)
                return -ENOSPC;
        uint8_t *out = buffer;
        size_t top_bytes = delta->n_top * sizeof(*top);
        size_t used = sizeof(*delta) + top_bytes + delta->text_bytes;
        memcpy(out, delta, sizeof(*delta));
        if (top_bytes > 0)
                memcpy(out + sizeof(*delta), top, top_bytes);
        if (delta->text_bytes > 0)
                memcpy(out + sizeof(*delta) + top_bytes, text, delta->text_bytes);
        memset(out + used, 0, bytes - used);
        return (int64_t)bytes;
}

int token_delta_next(const void *payload, size_t bytes, size_t *at, struct token_view *ret) {
        if (*at >= bytes)
                return 0;
        const uint8_t *in = (const uint8_t *)payload + *at;
        size_t left = bytes - *at;
        struct token_delta delta;
        if (left < sizeof(delta))
                return -EPROTO;
        memcpy(&delta, in, sizeof(delta));
        if (token_delta_bytes(&delta) > left)
                return -EPROTO;
        const uint8_t *top = in + sizeof(delta);
        const char *text = (const char *)top + delta.n_top * sizeof(struct token_top);
        if (utf8_valid_prefix(text, delta.text_bytes) != delta.text_bytes)
                return -EPROTO;
        *ret = (struct token_view){ delta, top, text };
        *at += token_delta_bytes(&delta);
        return 1;
}
