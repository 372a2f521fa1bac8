#define PCRE2_CODE_UNIT_WIDTH 8

#include "engine/pretokenize.h"

#include <errno.h>
#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/split_deepseek.h"
#include "engine/split_pattern.h"

/* A match may take this many steps, and so many more for each byte left in its piece: DeepSeek's
 * patterns look at each byte of a white-space run a few times, hostile ones at powers of its
 * length. */
#define STEPS_MIN      100000u
#define STEPS_PER_BYTE 16u

struct matcher {
        pcre2_match_data *data;
        pcre2_match_context *context;
};

static void matcher_deinit(struct matcher *matcher) {
        pcre2_match_data_free(matcher->data);
        pcre2_match_context_free(matcher->context);
}

static int compile_split(const char *pattern, pcre2_code **ret, struct error *err) {
        CLEANUP_FREE char *translated = NULL;
        int r = split_pattern_translate(pattern, &translated, err);
        if (r < 0)
                return r;
        int code;
        PCRE2_SIZE offset;
        pcre2_code *split = pcre2_compile((PCRE2_SPTR)translated, PCRE2_ZERO_TERMINATED,
                                          PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
        if (!split) {
                PCRE2_UCHAR text[120] = "";
                pcre2_get_error_message(code, text, sizeof(text));
                return error_set(err, -EINVAL, "pattern: %s", (const char *)text);
        }
        uint32_t may_be_empty = 0;
        pcre2_pattern_info(split, PCRE2_INFO_MATCHEMPTY, &may_be_empty);
        if (may_be_empty) {
                pcre2_code_free(split);
                return error_set(err, -EINVAL, "pattern: can match nothing, which makes no piece");
        }
        /* Where the processor has no JIT, pcre2_match() interprets: slower, same matches. */
        (void)pcre2_jit_compile(split, PCRE2_JIT_COMPLETE);
        *ret = split;
        return 0;
}

static int add_split(struct pretokenizer *pretokenizer, const char *regex, struct error *err) {
        unsigned index = pretokenizer->n_splits;
        if (index == SPLITS_MAX)
                return error_set(err, -EINVAL, "more than %d Splits", SPLITS_MAX);
        int r = compile_split(regex, &pretokenizer->splits[index], err);
        if (r < 0)
                return r;
        if (pretokenizer->n_deepseek == index && split_deepseek_is(regex, index))
                pretokenizer->n_deepseek++;
        pretokenizer->n_splits++;
        return 0;
}

static int read_split(struct pretokenizer *pretokenizer, json_t *json, struct error *err) {
        const char *behavior = json_string_value(json_object_get(json, "behavior"));
        if (!behavior || strcmp(behavior, "Isolated") != 0)
                return error_set(err, -EINVAL, "behavior '%s': only Isolated is supported",
                                 behavior ? behavior : "missing");
        if (!json_is_false(json_object_get(json, "invert")))
                return error_set(err, -EINVAL, "invert: only false is supported");
        const char *regex =
                json_string_value(json_object_get(json_object_get(json, "pattern"), "Regex"));
        if (!regex)
                return error_set(err, -EINVAL, "pattern: only Regex is supported");
        return add_split(pretokenizer, regex, err);
}

/* Rust's is_numeric(), by which the step cuts, is the general category N. */
static int read_digits(struct pretokenizer *pretokenizer, json_t *json, struct error *err) {
        json_t *individual = json_object_get(json, "individual_digits");
        if (!json_is_boolean(individual))
                return error_set(err, -EINVAL, "individual_digits: neither true nor false");
        return add_split(pretokenizer, json_is_true(individual) ? "\\p{N}" : "\\p{N}+", err);
}

static int read_byte_level(json_t *json, struct error *err) {
        /* trim_offsets changes reported offsets, never ids. */
        static const char *const off[] = { "use_regex", "add_prefix_space" };
        for (size_t i = 0; i < sizeof(off) / sizeof(*off); i++)
                if (!json_is_false(json_object_get(json, off[i])))
                        return error_set(err, -EINVAL, "%s: only false is supported", off[i]);
        return 0;
}

static int read_step(struct pretokenizer *pretokenizer, json_t *json, bool last,
                     struct error *err) {
        const char *type = json_string_value(json_object_get(json, "type"));
        if (type && strcmp(type, "Split") == 0 && !last)
                return read_split(pretokenizer, json, err);
        if (type && strcmp(type, "Digits") == 0 && !last)
                return read_digits(pretokenizer, json, err);
        if (type && strcmp(type, "ByteLevel") == 0 && last)
                return read_byte_level(json, err);
        return error_set(err, -EINVAL,
                         "type '%s': only Splits, Digits and then one ByteLevel are supported",
                         type ? type : "missing");
}

int pretokenizer_read(struct pretokenizer *ret, json_t *json, struct error *err) {
        const char *type = json_string_value(json_object_get(json, "type"));
        json_t *steps = type && strcmp(type, "Sequence") == 0
                ? json_object_get(json, "pretokenizers")
                : NULL;
        struct pretokenizer pretokenizer = { 0 };
        int r;
        if (!steps) {
                r = read_step(&pretokenizer, json, true, err);
        } else {
                size_t n = json_array_size(steps);
                r = n ? 0 : error_set(err, -EINVAL, "an empty Sequence is not supported");
                for (size_t i = 0; i < n && r == 0; i++) {
                        r = read_step(&pretokenizer, json_array_get(steps, i), i + 1 == n, err);
                        if (r < 0)
                                error_prefix(err, "pretokenizers[%zu]", i);
                }
        }
        if (r < 0)
                error_prefix(err, "pre_tokenizer");
        if (r == 0 && pretokenizer.n_deepseek == SPLIT_DEEPSEEK_PATTERNS &&
            pretokenizer.n_splits == SPLIT_DEEPSEEK_PATTERNS) {
                pretokenizer.classes = split_deepseek_classes();
                if (!pretokenizer.classes)
                        r = error_set(err, -ENOMEM, "out of memory");
        }
        if (r < 0) {
                pretokenizer_deinit(&pretokenizer);
                return r;
        }
        *ret = pretokenizer;
        return 0;
}

void pretokenizer_deinit(struct pretokenizer *pretokenizer) {
        for (unsigned i = 0; i < pretokenizer->n_splits; i++)
                pcre2_code_free(pretokenizer->splits[i]);
        free(pretokenizer->classes);
        *pretokenizer = (struct pretokenizer){ 0 };
}

static int piece_append(struct piece_list *list, size_t at, size_t n) {
        if (n == 0)
                return 0;
        if (list->n == list->capacity) {
                size_t capacity = list->capacity ? 2 * list->capacity : 64;
                struct piece *grown = realloc(list->pieces, capacity * sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                list->pieces = grown;
                list->capacity = capacity;
        }
        list->pieces[list->n++] = (struct piece){ (uint32_t)at, (uint32_t)n };
        return 0;
}

void pieces_deinit(struct pieces *pieces) {
        free(pieces->list.pieces);
        free(pieces->previous.pieces);
        *pieces = (struct pieces){ 0 };
}

static int match(const pcre2_code *split, const struct matcher *matcher, const char *piece,
                 size_t n, size_t at) {
        pcre2_set_match_limit(matcher->context, STEPS_MIN + STEPS_PER_BYTE * (uint32_t)(n - at));
        int rc = pcre2_match(split, (PCRE2_SPTR)piece, n, at, PCRE2_NO_UTF_CHECK, matcher->data,
                             matcher->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
                rc = pcre2_match(split, (PCRE2_SPTR)piece, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                                 matcher->data, matcher->context);
        return rc;
}

static int split_piece(const pcre2_code *split, const struct matcher *matcher, const char *text,
                       struct piece piece, struct piece_list *ret, struct error *err) {
        size_t at = 0;
        while (at < piece.n) {
                int rc = match(split, matcher, text + piece.at, piece.n, at);
                if (rc == PCRE2_ERROR_NOMATCH)
                        break;
                if (rc == PCRE2_ERROR_NOMEMORY)
                        return error_set(err, -ENOMEM, "out of memory");
                if (rc < 0)
                        return error_set(
                                err, -E2BIG,
                                "text, byte %zu: splitting needs too many steps (PCRE2 error %d)",
                                piece.at + at, rc);
                const PCRE2_SIZE *found = pcre2_get_ovector_pointer(matcher->data);
                if (piece_append(ret, piece.at + at, found[0] - at) < 0 ||
                    piece_append(ret, piece.at + found[0], found[1] - found[0]) < 0)
                        return error_set(err, -ENOMEM, "out of memory");
                at = found[1];
        }
        if (piece_append(ret, piece.at + at, piece.n - at) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        return 0;
}

static int split_by_patterns(struct pieces *pieces, struct error *err) {
        const struct pretokenizer *pretokenizer = pieces->pretokenizer;
        CLEANUP(matcher_deinit)
        struct matcher matcher = { pcre2_match_data_create(1, NULL),
                                   pcre2_match_context_create(NULL) };
        pieces->list.n = 0;
        if (!matcher.data || !matcher.context || piece_append(&pieces->list, 0, pieces->n) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        for (unsigned i = 0; i < pretokenizer->n_splits; i++) {
                struct piece_list list = pieces->previous;
                pieces->previous = pieces->list;
                pieces->list = list;
                pieces->list.n = 0;
                for (size_t k = 0; k < pieces->previous.n; k++) {
                        int r = split_piece(pretokenizer->splits[i], &matcher, pieces->text,
                                            pieces->previous.pieces[k], &pieces->list, err);
                        if (r < 0)
                                return r;
                }
        }
        return 0;
}

int pieces_start(struct pieces *pieces, const struct pretokenizer *pretokenizer, const char *text,
                 size_t n, struct error *err) {
        pieces->pretokenizer = pretokenizer;
        pieces->text = text;
        pieces->n = n;
        pieces->at = pieces->next = 0;
        return pretokenizer->classes ? 0 : split_by_patterns(pieces, err);
}

bool pieces_next(struct pieces *pieces, struct piece *ret) {
        if (pieces->at == pieces->n)
                return false;
        const uint8_t *classes = pieces->pretokenizer->classes;
        *ret = classes ? (struct piece){ (uint32_t)pieces->at,
                                         (uint32_t)split_deepseek_next(classes, pieces->text,
                                                                       pieces->n, pieces->at) }
                       : pieces->list.pieces[pieces->next++];
        pieces->at += ret->n;
        return true;
}
