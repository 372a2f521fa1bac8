#include "engine/split_pattern.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Unicode's White_Space, inside a class. */
#define WHITE_SPACE                                                                                \
        "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
        "\\x{205f}\\x{3000}"

/* Longest replacement of one byte pair of the pattern: \S. */
#define GROWTH_MAX (sizeof("[^" WHITE_SPACE "]"))

struct translation {
        const char *pattern;
        size_t at; /* byte of the pattern to be read next */
        char *out;
        size_t n_out;
        bool in_class;
};

static void emit(struct translation *t, const char *text, size_t n) {
        memcpy(t->out + t->n_out, text, n);
        t->n_out += n;
}

static void copy(struct translation *t, size_t n) {
        emit(t, t->pattern + t->at, n);
        t->at += n;
}

static int refuse(const struct translation *t, const char *what, struct error *err) {
        return error_set(err, -EINVAL, "pattern, byte %zu: %s is not supported", t->at, what);
}

/* General categories only: \p{L}, \p{Lu}. Scripts and other properties differ between the engines'
 * versions. */
static int property(struct translation *t, struct error *err) {
        const char *p = t->pattern + t->at + 2;
        if (p[0] != '{' || !p[1] || !strchr("LMNPSZC", p[1]))
                return refuse(t, "a property that is not a general category", err);
        size_t n = p[2] && islower((unsigned char)p[2]) ? 2 : 1;
        if (p[1 + n] != '}')
                return refuse(t, "a property that is not a general category", err);
        copy(t, 2 + 1 + n + 1);
        return 0;
}

static int escape(struct translation *t, struct error *err) {
        char c = t->pattern[t->at + 1];
        switch (c) {
        case 'p':
        case 'P': return property(t, err);
        case 's':
                emit(t, "[", !t->in_class);
                emit(t, WHITE_SPACE, strlen(WHITE_SPACE));
                emit(t, "]", !t->in_class);
                t->at += 2;
                return 0;
        case 'S':
                if (t->in_class)
                        return refuse(t, "\\S in a class", err);
                emit(t, "[^" WHITE_SPACE "]", strlen("[^" WHITE_SPACE "]"));
                t->at += 2;
                return 0;
        case 'r':
        case 'n':
        case 't': copy(t, 2); return 0;
        default:
                if (!ispunct((unsigned char)c))
                        return refuse(t, "this escape", err);
                copy(t, 2);
                return 0;
        }
}

static int class_member(struct translation *t, struct error *err) {
        const char *p = t->pattern + t->at;
        if (*p == '[')
                return refuse(t, "a class inside a class", err);
        if (p[0] == '&' && p[1] == '&')
                return refuse(t, "an intersection of classes", err);
        if (*p == ']')
                t->in_class = false;
        copy(t, 1);
        return 0;
}

static int open_class(struct translation *t, struct error *err) {
        copy(t, t->pattern[t->at + 1] == '^' ? 2 : 1);
        if (t->pattern[t->at] == ']')
                return refuse(t, "an unescaped ']' at the start of a class", err);
        t->in_class = true;
        return 0;
}

static int group(struct translation *t, struct error *err) {
        const char *p = t->pattern + t->at;
        if (p[1] == '*')
                return refuse(t, "a verb", err);
        if (p[1] == '?') {
                if (!p[2] || !strchr(":=!", p[2]))
                        return refuse(t, "this kind of group", err);
                copy(t, 3);
                return 0;
        }
        copy(t, 1);
        return 0;
}

/* {n}, {n,} or {n,m}; Oniguruma reads a '+' behind it as a second quantifier, PCRE2 as possessive.
 */
static int counted(struct translation *t, struct error *err) {
        const char *p = t->pattern + t->at;
        size_t digits = strspn(p + 1, "0123456789"), n = 1 + digits;
        if (p[n] == ',')
                n += 1 + strspn(p + n + 1, "0123456789");
        if (digits == 0 || p[n] != '}' || p[n + 1] == '+')
                return refuse(t, "this quantifier", err);
        copy(t, n + 1);
        return 0;
}

/* Oniguruma's '$' matches before every line feed and at the end of the text. */
static int end_of_line(struct translation *t) {
        emit(t, "(?=\\n|\\z)", strlen("(?=\\n|\\z)"));
        t->at++;
        return 0;
}

static int step(struct translation *t, struct error *err) {
        char c = t->pattern[t->at];
        if (c == '\\')
                return escape(t, err);
        if (t->in_class)
                return class_member(t, err);
        switch (c) {
        case '[': return open_class(t, err);
        case '(': return group(t, err);
        case '{': return counted(t, err);
        case '$': return end_of_line(t);
        case '^':
        case '.': return refuse(t, "an unescaped '^' or '.'", err);
        default: copy(t, 1); return 0;
        }
}

int split_pattern_translate(const char *pattern, char **ret, struct error *err) {
        size_t n = strlen(pattern);
        if (n > SPLIT_PATTERN_BYTES_MAX)
                return error_set(err, -EINVAL, "pattern of %zu bytes, at most %d", n,
                                 SPLIT_PATTERN_BYTES_MAX);
        CLEANUP_FREE char *out = malloc(n * GROWTH_MAX + 1);
        if (!out)
                return error_set(err, -ENOMEM, "out of memory");
        struct translation t = { .pattern = pattern, .out = out };
        while (t.at < n) {
                int r = step(&t, err);
                if (r < 0)
                        return r;
        }
        out[t.n_out] = 0;
        *ret = TAKE_PTR(out);
        return 0;
}
