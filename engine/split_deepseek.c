#include "engine/split_deepseek.h"

#include <string.h>

#include "engine/text_class.h"

/* Characters of the second pattern. */
#define CLASS_SEGMENT CLASSES_END

/* No character: the end of the segment. */
#define CLASS_NONE (CLASSES_END << 1)

#define NUMBERS_PER_PIECE 3

bool split_deepseek_is(const char *pattern, unsigned index) {
        /* Two spellings of the third are in circulation: with escapes in the expression, and with
         * the characters themselves. */
        static const struct {
                unsigned index;
                const char *pattern;
        } known[] = {
                { 0, "\\p{N}{1,3}" },
                { 1, "[一-龥\u3040-ゟ゠-ヿ]+" },
                { 2,
                  "[!\\\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                  "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                  "| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+" },
                { 2,
                  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
                  "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                  "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+" },
        };
        for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
                if (known[i].index == index && strcmp(known[i].pattern, pattern) == 0)
                        return true;
        return false;
}

uint8_t *split_deepseek_classes(void) {
        uint8_t *classes = text_classes_new();
        for (uint32_t c = 0x3040; classes && c <= 0x30FF; c++)
                classes[c] |= CLASS_SEGMENT;
        for (uint32_t c = 0x4E00; classes && c <= 0x9FA5; c++)
                classes[c] |= CLASS_SEGMENT;
        return classes;
}

struct scan {
        const uint8_t *classes;
        const char *text;
        size_t n;
        unsigned segment; /* CLASS_SEGMENT or 0: what the characters of this segment have */
};

/* The character at `at` < n; *ret_next is where the one after it starts. */
static inline uint32_t decode(const struct scan *scan, size_t at, size_t *ret_next) {
        const uint8_t *p = (const uint8_t *)scan->text + at;
        if (p[0] < 0x80) {
                *ret_next = at + 1;
                return p[0];
        }
        if (p[0] < 0xE0) {
                *ret_next = at + 2;
                return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
        }
        if (p[0] < 0xF0) {
                *ret_next = at + 3;
                return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
        }
        *ret_next = at + 4;
        return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
                (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

/* Class of the character at `at` in this segment, CLASS_NONE behind its end. */
static inline unsigned look(const struct scan *scan, size_t at, size_t *ret_next) {
        if (at == scan->n)
                return CLASS_NONE;
        unsigned class = scan->classes[decode(scan, at, ret_next)] ^ scan->segment;
        return class & (CLASS_SEGMENT | CLASS_NUMBER) ? CLASS_NONE : class;
}

static inline bool is_newline(const struct scan *scan, size_t at) {
        return at < scan->n && (scan->text[at] == '\n' || scan->text[at] == '\r');
}

static inline bool is_ascii_letter(const struct scan *scan, size_t at) {
        return at < scan->n && (unsigned)((scan->text[at] | 0x20) - 'a') < 26;
}

/* Where the characters of `class` end, seen from `at`. */
static size_t run_end(const struct scan *scan, size_t at, unsigned class) {
        size_t next = at;
        while (look(scan, at, &next) == class)
                at = next;
        return at;
}

/* [\p{P}\p{S}]+[\r\n]* */
static size_t symbols_end(const struct scan *scan, size_t at) {
        at = run_end(scan, at, CLASS_SYMBOL);
        while (scan->segment == 0 && is_newline(scan, at))
                at++;
        return at;
}

/* \s*[\r\n]+ | \s+(?!\S) | \s+ : up to the last line break; without one the last character stays
 * with what follows it, unless it is alone or nothing follows in the segment. */
static size_t spaces_end(const struct scan *scan, size_t at) {
        size_t start = at, last = at, lines_end = 0, next = at;
        unsigned class;
        while ((class = look(scan, at, &next)) == CLASS_SPACE) {
                if (is_newline(scan, at))
                        lines_end = next;
                last = at;
                at = next;
        }
        if (lines_end)
                return lines_end;
        return class == CLASS_NONE || last == start ? at : last;
}

/* What no alternative matches: up to where one does. */
static size_t gap_end(const struct scan *scan, size_t at) {
        size_t next = at, after = at;
        look(scan, at, &at);
        while (look(scan, at, &next) == CLASS_OTHER && look(scan, next, &after) != CLASS_WORD)
                at = next;
        return at;
}

static size_t numbers_end(const struct scan *scan, size_t at) {
        size_t next = at;
        for (unsigned i = 0; i < NUMBERS_PER_PIECE && at < scan->n; i++, at = next)
                if (!(scan->classes[decode(scan, at, &next)] & CLASS_NUMBER))
                        break;
        return at;
}

static size_t piece_end(struct scan *scan, size_t at) {
        size_t next = at, after = at;
        unsigned class = scan->classes[decode(scan, at, &next)];
        scan->segment = class & CLASS_SEGMENT;
        class ^= scan->segment;
        if (class == CLASS_NUMBER)
                return numbers_end(scan, at);
        if (class == CLASS_WORD)
                return run_end(scan, next, CLASS_WORD);
        if (class == CLASS_SYMBOL) {
                if ((uint8_t)scan->text[at] >= 0x80 || !is_ascii_letter(scan, next))
                        return symbols_end(scan, next);
                while (is_ascii_letter(scan, next))
                        next++;
                return next;
        }
        unsigned following = look(scan, next, &after);
        if (following == CLASS_WORD && !is_newline(scan, at))
                return run_end(scan, after, CLASS_WORD);
        if (following == CLASS_SYMBOL && scan->text[at] == ' ')
                return symbols_end(scan, after);
        return class == CLASS_SPACE ? spaces_end(scan, at) : gap_end(scan, at);
}

size_t split_deepseek_next(const uint8_t *classes, const char *text, size_t n, size_t at) {
        struct scan scan = { .classes = classes, .text = text, .n = n };
        return piece_end(&scan, at) - at;
}
