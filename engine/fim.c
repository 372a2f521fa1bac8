#include "engine/fim.h"

#include <errno.h>

#include "base/error.h"
#include "engine/tokenizer.h"

/* As the DeepSeek tokenizers spell them: fullwidth bars, and a lower block for the space. */
#define FIM_BEGIN "<｜fim▁begin｜>"
#define FIM_HOLE  "<｜fim▁hole｜>"
#define FIM_END   "<｜fim▁end｜>"

bool fim_supported(const struct tokenizer *tokenizer) {
        return tokenizer_added(tokenizer, FIM_BEGIN) != TOKEN_NONE &&
                tokenizer_added(tokenizer, FIM_HOLE) != TOKEN_NONE &&
                tokenizer_added(tokenizer, FIM_END) != TOKEN_NONE;
}

static int append_added(const struct tokenizer *tokenizer, const char *name, struct token_list *ids,
                        struct error *err) {
        uint32_t id = tokenizer_added(tokenizer, name);
        if (id == TOKEN_NONE)
                return error_set(err, -ENOTSUP,
                                 "the tokenizer has no %s: this model does not fill in the middle",
                                 name);
        if (token_list_append(ids, &id, 1) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        return 0;
}

static int append_half(const struct tokenizer *tokenizer, const char *half, const char *text,
                       size_t n, struct token_list *ids, struct error *err) {
        int r = tokenizer_encode(tokenizer, text, n, TOKENIZE_LITERAL, ids, err);
        if (r < 0)
                error_prefix(err, "%s", half);
        return r;
}

int fim_encode(const struct tokenizer *tokenizer, const char *prefix, size_t n_prefix,
               const char *suffix, size_t n_suffix, struct token_list *ids, struct error *err) {
        int r = append_added(tokenizer, FIM_BEGIN, ids, err);
        if (r == 0)
                r = append_half(tokenizer, "prefix", prefix, n_prefix, ids, err);
        if (r == 0)
                r = append_added(tokenizer, FIM_HOLE, ids, err);
        if (r == 0)
                r = append_half(tokenizer, "suffix", suffix, n_suffix, ids, err);
        if (r == 0)
                r = append_added(tokenizer, FIM_END, ids, err);
        return r;
}
