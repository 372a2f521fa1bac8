/* Flags and then any bytes, as a text for nano's tokenizer: its ids' bytes join to the text, or the
 * first byte that is no UTF-8 is named. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/utf8.h"
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const struct tokenizer *nano(void) {
        static struct tokenizer *tokenizer;
        struct error err = { 0 };
        if (!tokenizer && tokenizer_open(MODEL_NANO, &tokenizer, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                abort();
        }
        return tokenizer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        if (bytes == 0)
                return 0;
        const char *text = (const char *)data + 1;
        size_t n = bytes - 1, at = 0;
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        int r = tokenizer_encode(nano(), text, n, data[0], &ids, &err);
        if (r < 0) {
                if (r != -EILSEQ || utf8_valid_prefix(text, n) == n || ids.n != 0)
                        abort();
                return 0;
        }
        for (size_t i = 0; i < ids.n; i++) {
                size_t n_bytes = 0;
                const char *token = tokenizer_bytes(nano(), ids.ids[i], &n_bytes);
                if (!token || n_bytes > n - at || memcmp(token, text + at, n_bytes) != 0)
                        abort();
                at += n_bytes;
        }
        if (at != n)
                abort();
        return 0;
}
