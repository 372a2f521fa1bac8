#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/seek/seek.h"

static bool read_all(FILE *file, struct input *ret) {
        size_t capacity = 64U << 10;
        struct input input = { malloc(capacity + 1), 0 };
        while (input.bytes) {
                input.n += fread(input.bytes + input.n, 1, capacity - input.n, file);
                if (input.n < capacity || capacity == INPUT_BYTES_MAX)
                        break;
                capacity = capacity * 2 < INPUT_BYTES_MAX ? capacity * 2 : INPUT_BYTES_MAX;
                char *larger = realloc(input.bytes, capacity + 1);
                if (!larger) {
                        free(input.bytes);
                        errno = ENOMEM;
                }
                input.bytes = larger;
        }
        if (!input.bytes || ferror(file)) {
                free(input.bytes);
                return false;
        }
        input.bytes[input.n] = 0;
        *ret = input;
        return true;
}

bool read_input(const char *path, struct input *ret, int *ret_exit) {
        if (!path && isatty(STDIN_FILENO)) {
                *ret_exit = usage_error("name a FILE, or '-' to type the text");
                return false;
        }
        bool is_stdin = !path || strcmp(path, "-") == 0;
        FILE *file = is_stdin ? stdin : fopen(path, "re");
        bool ok = file && read_all(file, ret);
        if (!ok) {
                fprintf(stderr, "seek: %s: %s\n", is_stdin ? "standard input" : path,
                        strerror(errno));
                *ret_exit = EXIT_REFUSED;
        }
        if (file && !is_stdin)
                fclose(file);
        return ok;
}

void input_deinit(struct input *input) {
        free(input->bytes);
        *input = (struct input){ NULL, 0 };
}

bool input_ids(const struct input *input, uint32_t **ret_ids, size_t *ret_n) {
        uint32_t *ids = malloc((input->n / 2 + 1) * sizeof(*ids));
        size_t n = 0, at = 0;
        while (ids) {
                at += strspn(input->bytes + at, " ,[]\t\r\n");
                size_t digits = strspn(input->bytes + at, "0123456789");
                unsigned long long value = strtoull(input->bytes + at, NULL, 10);
                if (at == input->n) {
                        *ret_ids = ids;
                        *ret_n = n;
                        return true;
                }
                if (digits == 0 || digits > 10 || value > UINT32_MAX) {
                        fprintf(stderr, "seek: input: no token id at byte %zu\n", at);
                        break;
                }
                ids[n++] = (uint32_t)value;
                at += digits;
        }
        free(ids);
        return false;
}
