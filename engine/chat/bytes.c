#include "engine/chat/bytes.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64

void bytes_add(struct bytes *bytes, const char *data, size_t n) {
        if (bytes->failed || n == 0)
                return;
        if (n > bytes->capacity - bytes->n) {
                size_t capacity = bytes->capacity < CAPACITY_MIN ? CAPACITY_MIN : bytes->capacity;
                while (capacity - bytes->n < n)
                        capacity *= 2;
                char *grown = realloc(bytes->data, capacity);
                if (!grown) {
                        bytes->failed = true;
                        return;
                }
                bytes->data = grown;
                bytes->capacity = capacity;
        }
        memcpy(bytes->data + bytes->n, data, n);
        bytes->n += n;
}

void bytes_add_string(struct bytes *bytes, const char *string) {
        bytes_add(bytes, string, strlen(string));
}

void bytes_deinit(struct bytes *bytes) {
        free(bytes->data);
        *bytes = (struct bytes){ 0 };
}
