#include "engine/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/utf8.h"
#include "engine/added_tokens.h"
#include "engine/bpe.h"
#include "engine/pretokenize.h"
#include "engine/vocabulary.h"

/* The largest published tokenizer.json files are about 35 MB. */
#define TOKENIZER_FILE_BYTES_MAX (128u << 20)

struct tokenizer {
        struct vocabulary vocabulary;
        struct added_tokens added;
        struct pretokenizer pretokenizer;
        struct bpe bpe;
};

/* Null and an empty Sequence leave text alone; every other normalizer changes ids. */
static int check_normalizer(json_t *json, struct error *err) {
        if (!json || json_is_null(json))
                return 0;
        const char *type = json_string_value(json_object_get(json, "type"));
        if (!type || strcmp(type, "Sequence") != 0)
                return error_set(err, -EINVAL, "normalizer: type '%s' is not supported",
                                 type ? type : "missing");
        json_t *first = json_array_get(json_object_get(json, "normalizers"), 0);
        if (first) {
                type = json_string_value(json_object_get(first, "type"));
                return error_set(err, -EINVAL,
                                 "normalizer: normalizers[0]: type '%s' is not supported",
                                 type ? type : "missing");
        }
        return 0;
}

static int check_decoder(json_t *json, struct error *err) {
        const char *type = json_string_value(json_object_get(json, "type"));
        if (!type || strcmp(type, "ByteLevel") != 0)
                return error_set(err, -EINVAL, "decoder: type '%s', only ByteLevel is supported",
                                 type ? type : "missing");
        return 0;
}

/* The post_processor adds tokens around a text when asked to; here the caller does that. */
static int check_sections(json_t *root, struct error *err) {
        static const char *const known[] = { "version",        "truncation", "padding",
                                             "added_tokens",   "normalizer", "pre_tokenizer",
                                             "post_processor", "decoder",    "model" };
        const char *key;
        json_t *value;
        json_object_foreach(root, key, value) {
                bool found = false;
                for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                        found = found || strcmp(key, known[i]) == 0;
                bool cuts = strcmp(key, "truncation") == 0 || strcmp(key, "padding") == 0;
                if (!found || (cuts && !json_is_null(value)))
                        return error_set(err, -EINVAL, "%.64s: not supported", key);
        }
        int r = check_normalizer(json_object_get(root, "normalizer"), err);
        if (r == 0)
                r = check_decoder(json_object_get(root, "decoder"), err);
        return r;
}

static int read_sections(struct tokenizer *tokenizer, json_t *root, struct error *err) {
        json_t *model = json_object_get(root, "model");
        json_t *added = json_object_get(root, "added_tokens");
        int r = check_sections(root, err);
        if (r == 0)
                r = vocabulary_read(&tokenizer->vocabulary, json_object_get(model, "vocab"), added,
                                    err);
        if (r == 0)
                r = bpe_read(&tokenizer->bpe, model, &tokenizer->vocabulary, err);
        if (r == 0)
                r = added_tokens_read(&tokenizer->added, added, &tokenizer->vocabulary, err);
        if (r == 0)
                r = pretokenizer_read(&tokenizer->pretokenizer,
                                      json_object_get(root, "pre_tokenizer"), err);
        return r;
}

int tokenizer_parse(const char *file, const char *json, size_t n, struct tokenizer **ret,
                    struct error *err) {
        json_error_t where;
        json_auto_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &where);
        if (!root)
                return error_set(err, -EINVAL, "%s: line %d: %s", file, where.line, where.text);
        struct tokenizer *tokenizer = calloc(1, sizeof(*tokenizer));
        if (!tokenizer)
                return error_set(err, -ENOMEM, "out of memory");
        int r = read_sections(tokenizer, root, err);
        if (r < 0) {
                error_prefix(err, "%s", file);
                tokenizer_close(tokenizer);
                return r;
        }
        *ret = tokenizer;
        return 0;
}

int tokenizer_open(const char *dir, struct tokenizer **ret, struct error *err) {
        CLEANUP_FREE char *path = NULL;
        if (asprintf(&path, "%s/tokenizer.json", dir) < 0) {
                path = NULL;
                return error_set(err, -ENOMEM, "out of memory");
        }
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat status;
        if (fd < 0 || fstat(fd, &status) < 0)
                return error_errno(err, "%s", path);
        if (status.st_size <= 0 || status.st_size > TOKENIZER_FILE_BYTES_MAX)
                return error_set(err, -EINVAL, "%s: %lld bytes, expected 1 to %u", path,
                                 (long long)status.st_size, TOKENIZER_FILE_BYTES_MAX);
        size_t n = (size_t)status.st_size;
        char *json = mmap(NULL, n, PROT_READ, MAP_PRIVATE, fd, 0);
        if (json == MAP_FAILED)
                return error_errno(err, "%s", path);
        int r = tokenizer_parse(path, json, n, ret, err);
        munmap(json, n);
        return r;
}

struct tokenizer *tokenizer_close(struct tokenizer *tokenizer) {
        if (!tokenizer)
                return NULL;
        pretokenizer_deinit(&tokenizer->pretokenizer);
        added_tokens_deinit(&tokenizer->added);
        bpe_deinit(&tokenizer->bpe);
        vocabulary_deinit(&tokenizer->vocabulary);
        free(tokenizer);
        return NULL;
}

/* One call of tokenizer_encode(). */
struct encoding {
        const struct tokenizer *tokenizer;
        unsigned flags;
        struct token_list *ids;
        struct pieces pieces;
        struct bpe_scratch scratch;
        struct error *err;
};

static void encoding_deinit(struct encoding *encoding) {
        pieces_deinit(&encoding->pieces);
        bpe_scratch_deinit(&encoding->scratch);
}

static int encode_text(struct encoding *encoding, const char *text, size_t n) {
        const struct tokenizer *tokenizer = encoding->tokenizer;
        int r = pieces_start(&encoding->pieces, &tokenizer->pretokenizer, text, n, encoding->err);
        struct piece piece;
        while (r == 0 && pieces_next(&encoding->pieces, &piece)) {
                r = bpe_encode(&tokenizer->bpe, &encoding->scratch, text + piece.at, piece.n,
                               encoding->ids);
                if (r < 0)
                        error_set(encoding->err, r, "out of memory");
        }
        return r;
}

/* Text between the added tokens of `pass` goes to the next pass, at last to the pre-tokenizer. */
static int encode_pass(struct encoding *encoding, unsigned pass, const char *text, size_t n) {
        if (n == 0)
                return 0;
        if (pass == ADDED_PASSES)
                return encode_text(encoding, text, n);
        const struct added_token_set *set = &encoding->tokenizer->added.pass[pass];
        size_t done = 0, from = 0, at;
        const struct added_token *token;
        while ((token = added_tokens_find(set, text, n, from, &at))) {
                from = at + token->n;
                if (token->special && !(encoding->flags & TOKENIZE_SPECIAL))
                        continue;
                int r = encode_pass(encoding, pass + 1, text + done, at - done);
                if (r < 0)
                        return r;
                if (token_list_append(encoding->ids, &token->id, 1) < 0)
                        return error_set(encoding->err, -ENOMEM, "out of memory");
                done = from;
        }
        return encode_pass(encoding, pass + 1, text + done, n - done);
}

int tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t n, unsigned flags,
                     struct token_list *ids, struct error *err) {
        if (n > TOKENIZE_TEXT_MAX)
                return error_set(err, -E2BIG, "text of %zu bytes, at most %u", n,
                                 TOKENIZE_TEXT_MAX);
        size_t valid = utf8_valid_prefix(text, n);
        if (valid < n)
                return error_set(err, -EILSEQ, "text, byte %zu: not UTF-8", valid);
        CLEANUP(encoding_deinit)
        struct encoding encoding = {
                .tokenizer = tokenizer, .flags = flags, .ids = ids, .err = err
        };
        piece_cache_init(&encoding.scratch.cache, n);
        size_t n_before = ids->n;
        int r = flags & TOKENIZE_LITERAL ? encode_text(&encoding, text, n)
                                         : encode_pass(&encoding, ADDED_FIRST, text, n);
        if (r < 0)
                ids->n = n_before;
        return r;
}

static const struct vocabulary_entry *find_entry(const struct tokenizer *tokenizer, uint32_t id) {
        const struct vocabulary *vocabulary = &tokenizer->vocabulary;
        return id < vocabulary->n_ids && vocabulary->entries[id].string ? &vocabulary->entries[id]
                                                                        : NULL;
}

uint32_t tokenizer_n_ids(const struct tokenizer *tokenizer) {
        return tokenizer->vocabulary.n_ids;
}

const char *tokenizer_bytes(const struct tokenizer *tokenizer, uint32_t id, size_t *ret_n) {
        const struct vocabulary_entry *entry = find_entry(tokenizer, id);
        if (!entry)
                return NULL;
        *ret_n = entry->n_bytes;
        return entry->bytes;
}

size_t tokenizer_bytes_max(const struct tokenizer *tokenizer) {
        return tokenizer->vocabulary.n_bytes_max;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, uint32_t id) {
        const struct vocabulary_entry *entry = find_entry(tokenizer, id);
        return entry && entry->special;
}

uint32_t tokenizer_added(const struct tokenizer *tokenizer, const char *text) {
        const struct added_token *token = added_tokens_lookup(&tokenizer->added, text);
        return token ? token->id : TOKEN_NONE;
}

const char *tokenizer_vocab_string(const struct tokenizer *tokenizer, uint32_t id) {
        const struct vocabulary_entry *entry = find_entry(tokenizer, id);
        return entry ? entry->string : NULL;
}
