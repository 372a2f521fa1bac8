/* The text of a tokenizer.json. One that is accepted must encode any text to ids below its number
 * of ids, whose bytes join to the text, and have a token map. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/token_map.h"
#include "engine/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_text(const struct tokenizer *tokenizer, const char *text, size_t n,
                       unsigned flags) {
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        int r = tokenizer_encode(tokenizer, text, n, flags, &ids, &err);
        /* A pattern may need too many steps, and says so. */
        if (r < 0 && (r != -E2BIG || err.text[0] == 0 || ids.n != 0))
                abort();
        size_t at = 0;
        for (size_t i = 0; i < ids.n; i++) {
                size_t n_bytes = 0;
                if (ids.ids[i] >= tokenizer_n_ids(tokenizer) ||
                    !tokenizer_bytes(tokenizer, ids.ids[i], &n_bytes) ||
                    n_bytes > tokenizer_bytes_max(tokenizer))
                        abort();
                at += n_bytes;
        }
        if (r == 0 && n > 0 && at == 0)
                abort();
}

static void check(const struct tokenizer *tokenizer, const char *file, size_t bytes) {
        static const char text[] =
                "int main(void)\n{\n\treturn 42; /* \xE4\xBD\xA0\xE5\xA5\xBD */\n}"
                "<|User|><think>aaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbabababab \r\n  "
                "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB";
        for (unsigned flags = 0; flags <= TOKENIZE_LITERAL; flags++)
                check_text(tokenizer, text, sizeof(text) - 1, flags);
        /* The file itself is a text, and has its tokens in it. */
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        if (tokenizer_encode(tokenizer, file, 0, 0, &ids, NULL) < 0 || ids.n != 0)
                abort();
        if (bytes < 4096)
                check_text(tokenizer, file, bytes, TOKENIZE_SPECIAL);
        if (tokenizer_n_ids(tokenizer) > 4096) /* a high id makes a large map: slow, nothing new */
                return;
        CLEANUP_FREE uint32_t *map = NULL;
        uint32_t n_numbers = 0;
        if (token_map_build(tokenizer, &map, &n_numbers, NULL) < 0)
                abort();
        for (uint32_t id = 0; id < tokenizer_n_ids(tokenizer); id++)
                if (map[id] >= n_numbers)
                        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        struct error err = { 0 };
        struct tokenizer *tokenizer = NULL;
        int r = tokenizer_parse("input", (const char *)data, bytes, &tokenizer, &err);
        if (r < 0 && (err.text[0] == 0 || tokenizer))
                abort();
        if (r == 0)
                check(tokenizer, (const char *)data, bytes);
        tokenizer_close(tokenizer);
        return 0;
}
