#include "engine/token_map.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/utf8.h"
#include "engine/tokenizer.h"

/* Stands for a lone space while the ends are stripped. */
#define LONE_SPACE 0xE000

#define REPLACEMENT "\xEF\xBF\xBD"

struct key {
        char *text; /* owned */
        size_t n;
        uint32_t id;
};

struct characters {
        int32_t *c;
        size_t n;
};

static bool is_mark(int32_t c) {
        utf8proc_category_t category = utf8proc_category(c);
        return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                category == UTF8PROC_CATEGORY_ME;
}

/* Unicode's White_Space: the separators (Z) and these controls. */
static bool is_white_space(int32_t c) {
        utf8proc_category_t category = utf8proc_category(c);
        return (c >= '\t' && c <= '\r') || c == 0x85 || category == UTF8PROC_CATEGORY_ZS ||
                category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP;
}

static bool is_folded(int32_t c) {
        return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Marks out, lower case, runs of [ \t\r\n] to one space. The simple lower-case mapping is the full
 * one here: the only character whose lower case has two (U+0130) is not left after decomposition.
 */
static void fold(struct characters *text) {
        size_t n = 0;
        for (size_t i = 0; i < text->n; i++) {
                int32_t c = text->c[i];
                if (is_mark(c))
                        continue;
                c = is_folded(c) ? ' ' : utf8proc_tolower(c);
                if (c == ' ' && n > 0 && text->c[n - 1] == ' ')
                        continue;
                text->c[n++] = c;
        }
        text->n = n;
}

static void strip(struct characters *text) {
        if (text->n == 1 && text->c[0] == ' ')
                text->c[0] = LONE_SPACE;
        while (text->n > 0 && is_white_space(text->c[text->n - 1]))
                text->n--;
        size_t start = 0;
        while (start < text->n && is_white_space(text->c[start]))
                start++;
        text->n -= start;
        memmove(text->c, text->c + start, text->n * sizeof(*text->c));
        for (size_t i = 0; i < text->n; i++)
                if (text->c[i] == LONE_SPACE)
                        text->c[i] = ' ';
}

/* NFKC and then NFD, as code points. 0 or -ENOMEM. */
static int decompose(const char *bytes, size_t n, struct characters *ret) {
        CLEANUP_FREE utf8proc_uint8_t *composed = NULL;
        utf8proc_ssize_t n_composed =
                utf8proc_map((const utf8proc_uint8_t *)bytes, (utf8proc_ssize_t)n, &composed,
                             UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
        if (n_composed < 0)
                return -ENOMEM;
        utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
        utf8proc_ssize_t n_characters = utf8proc_decompose(composed, n_composed, NULL, 0, options);
        if (n_characters < 0)
                return -ENOMEM;
        int32_t *c = malloc(((size_t)n_characters + 1) * sizeof(*c));
        if (!c)
                return -ENOMEM;
        utf8proc_decompose(composed, n_composed, c, n_characters, options);
        *ret = (struct characters){ c, (size_t)n_characters };
        return 0;
}

static int normalise(const char *bytes, size_t n, char **ret, size_t *ret_n) {
        struct characters text;
        int r = decompose(bytes, n, &text);
        if (r < 0)
                return r;
        CLEANUP_FREE int32_t *c = text.c;
        fold(&text);
        strip(&text);
        char *key = malloc(4 * text.n + 1);
        if (!key)
                return -ENOMEM;
        size_t n_key = 0;
        for (size_t i = 0; i < text.n; i++)
                n_key += (size_t)utf8proc_encode_char(c[i], (utf8proc_uint8_t *)key + n_key);
        *ret = key;
        *ret_n = n_key;
        return 0;
}

static int copy_key(struct key *key, const char *text, size_t n) {
        free(key->text);
        key->text = malloc(n + 1);
        if (!key->text)
                return -ENOMEM;
        memcpy(key->text, text, n);
        key->n = n;
        return 0;
}

static int make_key(const struct tokenizer *tokenizer, uint32_t id, struct key *ret) {
        ret->id = id;
        size_t n = 0;
        const char *bytes = tokenizer_bytes(tokenizer, id, &n);
        if (!bytes)
                return copy_key(ret, "", 0);
        /* A part of a character has no text of its own. */
        if (utf8_valid_prefix(bytes, n) < n || memmem(bytes, n, REPLACEMENT, strlen(REPLACEMENT))) {
                const char *string = tokenizer_vocab_string(tokenizer, id);
                return copy_key(ret, string, strlen(string));
        }
        int r = normalise(bytes, n, &ret->text, &ret->n);
        if (r == 0 && ret->n == 0)
                r = copy_key(ret, bytes, n);
        return r;
}

static int compare_text(const struct key *x, const struct key *y) {
        int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
        return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int compare(const void *a, const void *b) {
        const struct key *x = a, *y = b;
        int order = compare_text(x, y);
        return order ? order : (x->id > y->id) - (x->id < y->id);
}

/* Sorted, equal texts are neighbours and the lowest id of each comes first. */
static uint32_t number(struct key *keys, uint32_t n, uint32_t *map) {
        qsort(keys, n, sizeof(*keys), compare);
        uint32_t first = 0;
        for (uint32_t i = 0; i < n; i++) {
                if (compare_text(&keys[first], &keys[i]) != 0)
                        first = i;
                map[keys[i].id] = keys[first].id;
        }
        uint32_t n_numbers = 0;
        for (uint32_t id = 0; id < n; id++)
                map[id] = map[id] == id ? n_numbers++ : map[map[id]];
        return n_numbers;
}

int token_map_build(const struct tokenizer *tokenizer, uint32_t **ret_map, uint32_t *ret_n,
                    struct error *err) {
        uint32_t n = tokenizer_n_ids(tokenizer);
        CLEANUP_FREE struct key *keys = calloc(n, sizeof(*keys));
        CLEANUP_FREE uint32_t *map = calloc(n, sizeof(*map));
        int r = keys && map ? 0 : -ENOMEM;
        for (uint32_t id = 0; id < n && r == 0; id++)
                r = make_key(tokenizer, id, &keys[id]);
        if (r == 0)
                *ret_n = number(keys, n, map);
        for (uint32_t id = 0; keys && id < n; id++)
                free(keys[id].text);
        if (r < 0)
                return error_set(err, r, "out of memory");
        *ret_map = TAKE_PTR(map);
        return 0;
}
