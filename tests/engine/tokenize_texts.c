/* Bulk use of the tokenizer, for scripts that compare it with another implementation: one process
 * for any number of texts.
 *
 *     tokenize_texts DIR            texts on stdin, ids on stdout
 *     tokenize_texts --map DIR      the Engram token map on stdout: a number for each id
 *
 * A text is framed as u32 flags, u32 bytes and the bytes; its answer is i32 result (0 or -errno),
 * u32 ids, the ids, and u32 1 when the bytes of the ids join to the text again, else 0. All
 * little-endian. The nanoseconds of processor time spent in tokenizer_encode() are printed on
 * stderr at the end. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/token_map.h"
#include "engine/tokenizer.h"

static uint64_t now_ns(void) {
        struct timespec time;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static bool joins(const struct tokenizer *tokenizer, const struct token_list *ids, const char *text,
                  size_t n) {
        size_t at = 0;
        for (size_t i = 0; i < ids->n; i++) {
                size_t n_bytes = 0;
                const char *bytes = tokenizer_bytes(tokenizer, ids->ids[i], &n_bytes);
                if (!bytes || n_bytes > n - at || memcmp(bytes, text + at, n_bytes) != 0)
                        return false;
                at += n_bytes;
        }
        return at == n;
}

static int answer(const struct tokenizer *tokenizer, const char *text, uint32_t n, unsigned flags,
                  uint64_t *ns) {
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        uint64_t start = now_ns();
        int32_t r = tokenizer_encode(tokenizer, text, n, flags, &ids, &err);
        *ns += now_ns() - start;
        if (r < 0)
                fprintf(stderr, "text of %" PRIu32 " bytes: %s\n", n, err.text);
        uint32_t n_ids = (uint32_t)ids.n, joined = r == 0 && joins(tokenizer, &ids, text, n);
        bool written = fwrite(&r, 4, 1, stdout) == 1 && fwrite(&n_ids, 4, 1, stdout) == 1 &&
                (n_ids == 0 || fwrite(ids.ids, 4, n_ids, stdout) == n_ids) &&
                fwrite(&joined, 4, 1, stdout) == 1;
        return written ? 0 : -EIO;
}

static int answer_all(const struct tokenizer *tokenizer) {
        CLEANUP_FREE char *text = malloc(TOKENIZE_TEXT_MAX);
        uint64_t ns = 0;
        uint32_t head[2];
        if (!text)
                return -ENOMEM;
        while (fread(head, sizeof(head), 1, stdin) == 1) {
                if (head[1] > TOKENIZE_TEXT_MAX ||
                    (head[1] > 0 && fread(text, head[1], 1, stdin) != 1))
                        return -EINVAL;
                int r = answer(tokenizer, text, head[1], head[0], &ns);
                if (r < 0)
                        return r;
        }
        fprintf(stderr, "%" PRIu64 "\n", ns);
        return fflush(stdout) == 0 ? 0 : -EIO;
}

static int print_map(const struct tokenizer *tokenizer, struct error *err) {
        CLEANUP_FREE uint32_t *map = NULL;
        uint32_t n_numbers;
        int r = token_map_build(tokenizer, &map, &n_numbers, err);
        if (r < 0)
                return r;
        size_t n = tokenizer_n_ids(tokenizer);
        return fwrite(map, sizeof(*map), n, stdout) == n && fflush(stdout) == 0 ? 0 : -EIO;
}

int main(int argc, char **argv) {
        bool map = argc == 3 && strcmp(argv[1], "--map") == 0;
        if (argc != 2 && !map)
                return 2;
        struct error err = { 0 };
        struct tokenizer *tokenizer = NULL;
        int r = tokenizer_open(argv[argc - 1], &tokenizer, &err);
        if (r == 0)
                r = map ? print_map(tokenizer, &err) : answer_all(tokenizer);
        if (r < 0)
                fprintf(stderr, "%s\n", err.text[0] ? err.text : strerror(-r));
        tokenizer_close(tokenizer);
        return r < 0;
}
