#include "engine/grammar/pattern.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/grammar/nfa.h"

#define CODE_POINT_MAX 0x10ffffu
/* Groups inside each other: what the reader's stack holds easily. */
#define GROUPS_MAX 32
/* Ranges of one class; \w negated has five. */
#define RANGES_MAX 128
/* Of a repetition: more need more states than there are. */
#define REPEAT_MAX NFA_STATES_MAX

#define STATE_NONE UINT16_MAX

struct reader {
        const char *text;
        size_t n, at;
        unsigned n_groups;
        struct nfa *nfa;
        int error; /* once -ENOTSUP, nothing is done any more */
};

/* A piece of the automaton: from `from`, and everything open leads to the one state `to`, a
 * NFA_EITHER whose next is set by whoever goes on. */
struct piece {
        uint16_t from, to;
};

static struct piece piece_of(struct reader *reader, struct piece piece) {
        return reader->error ? (struct piece){ 0, 0 } : piece;
}

static uint16_t add(struct reader *reader, uint8_t kind, uint8_t low, uint8_t high, uint16_t a,
                    uint16_t b) {
        if (reader->nfa->n == NFA_STATES_MAX)
                reader->error = -ENOTSUP;
        if (reader->error)
                return 0;
        reader->nfa->states[reader->nfa->n] =
                (struct nfa_state){ .kind = kind, .low = low, .high = high, .next = { a, b } };
        return reader->nfa->n++;
}

static uint16_t add_join(struct reader *reader) {
        return add(reader, NFA_EITHER, 0, 0, STATE_NONE, STATE_NONE);
}

static void lead(struct reader *reader, uint16_t from, uint16_t to) {
        if (!reader->error)
                reader->nfa->states[from].next[0] = to;
}

static bool unsupported(struct reader *reader) {
        reader->error = -ENOTSUP;
        return false;
}

/* -------- code points to bytes -------- */

struct range {
        uint32_t low, high;
};

struct class {
        struct range ranges[RANGES_MAX];
        size_t n;
};

static void class_add(struct reader *reader, struct class *class, uint32_t low, uint32_t high) {
        if (class->n == RANGES_MAX)
                reader->error = -ENOTSUP;
        else
                class->ranges[class->n++] = (struct range){ low, high };
}

/* Sorted, without overlaps. */
static void class_sort(struct class *class) {
        for (size_t i = 1; i < class->n; i++) {
                struct range range = class->ranges[i];
                size_t at = i;
                for (; at > 0 && class->ranges[at - 1].low > range.low; at--)
                        class->ranges[at] = class->ranges[at - 1];
                class->ranges[at] = range;
        }
        size_t n = 0;
        for (size_t i = 0; i < class->n; i++) {
                struct range *last = n > 0 ? &class->ranges[n - 1] : NULL;
                if (last && class->ranges[i].low <= last->high + 1) {
                        if (class->ranges[i].high > last->high)
                                last->high = class->ranges[i].high;
                } else {
                        class->ranges[n++] = class->ranges[i];
                }
        }
        class->n = n;
}

static void class_negate(struct reader *reader, struct class *class) {
        class_sort(class);
        struct class all = { .n = 0 };
        uint32_t from = 0;
        for (size_t i = 0; i < class->n; i++) {
                if (class->ranges[i].low > from)
                        class_add(reader, &all, from, class->ranges[i].low - 1);
                from = class->ranges[i].high + 1;
        }
        if (from <= CODE_POINT_MAX)
                class_add(reader, &all, from, CODE_POINT_MAX);
        *class = all;
}

/* The paths of `low`..`high`, whose encodings have the same `n` bytes, from a new state to `to`.
 * Only the first byte's range may be cut at both ends: the caller splits. */
static void add_path(struct reader *reader, uint16_t fork, const uint8_t *low, const uint8_t *high,
                     unsigned n, uint16_t to) {
        uint16_t next = to;
        for (unsigned i = n; i-- > 0;)
                next = add(reader, NFA_BYTES, low[i], high[i], next, STATE_NONE);
        /* A list of forks: next[0] is this path, next[1] the rest. */
        uint16_t rest = add_join(reader);
        if (reader->error)
                return;
        struct nfa_state *state = &reader->nfa->states[fork];
        while (state->next[1] != STATE_NONE)
                state = &reader->nfa->states[state->next[1]];
        state->next[0] = next;
        state->next[1] = rest;
}

static unsigned encoded_bytes(uint32_t code_point) {
        return code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
}

/* Splits where the number of bytes changes and until each but the first differing byte runs over
 * all of its values; leaves out surrogates and 0. */
static void add_range(struct reader *reader, uint16_t fork, uint32_t low, uint32_t high,
                      uint16_t to) {
        static const uint32_t last[] = { 0x7f, 0x7ff, 0xd7ff, 0xffff };
        low = low == 0 ? 1 : low;
        if (low >= 0xd800 && low <= 0xdfff)
                low = 0xe000;
        if (high >= 0xd800 && high <= 0xdfff)
                high = 0xd7ff;
        if (low > high || reader->error)
                return;
        for (unsigned i = 0; i < sizeof(last) / sizeof(*last); i++)
                if (low <= last[i] && high > last[i]) {
                        add_range(reader, fork, low, last[i], to);
                        add_range(reader, fork, last[i] + 1, high, to);
                        return;
                }
        unsigned n = encoded_bytes(low);
        for (unsigned i = 1; i < n; i++) {
                uint32_t mask = (1u << 6 * i) - 1;
                if ((low & ~mask) == (high & ~mask))
                        continue;
                uint32_t cut = 0;
                if ((low & mask) != 0)
                        cut = low | mask;
                else if ((high & mask) != mask)
                        cut = (high & ~mask) - 1;
                if (cut != 0) {
                        add_range(reader, fork, low, cut, to);
                        add_range(reader, fork, cut + 1, high, to);
                        return;
                }
        }
        uint8_t a[4], b[4];
        utf8proc_encode_char((utf8proc_int32_t)low, a);
        utf8proc_encode_char((utf8proc_int32_t)high, b);
        add_path(reader, fork, a, b, n, to);
}

/* Ends of fork lists lead nowhere: drop them by pointing both ways at the last path. */
static void end_forks(struct reader *reader, uint16_t fork) {
        if (reader->error)
                return;
        struct nfa_state *states = reader->nfa->states;
        uint16_t at = fork;
        while (states[at].next[1] != STATE_NONE && states[states[at].next[1]].next[0] != STATE_NONE)
                at = states[at].next[1];
        states[at].next[1] = states[at].next[0];
}

static struct piece add_class(struct reader *reader, struct class *class) {
        class_sort(class);
        uint16_t fork = add_join(reader), to = add_join(reader);
        for (size_t i = 0; i < class->n; i++)
                add_range(reader, fork, class->ranges[i].low, class->ranges[i].high, to);
        if (!reader->error && reader->nfa->states[fork].next[0] == STATE_NONE)
                reader->error = -ENOTSUP; /* an empty class matches nothing */
        end_forks(reader, fork);
        return piece_of(reader, (struct piece){ fork, to });
}

/* -------- reading -------- */

static bool more(const struct reader *reader) {
        return !reader->error && reader->at < reader->n;
}

static bool next_is(const struct reader *reader, const char *what) {
        size_t n = strlen(what);
        return !reader->error && reader->n - reader->at >= n &&
                memcmp(reader->text + reader->at, what, n) == 0;
}

static bool take(struct reader *reader, const char *what) {
        if (!next_is(reader, what))
                return false;
        reader->at += strlen(what);
        return true;
}

static uint32_t take_code_point(struct reader *reader) {
        utf8proc_int32_t code_point = 0;
        utf8proc_ssize_t n =
                utf8proc_iterate((const uint8_t *)reader->text + reader->at,
                                 (utf8proc_ssize_t)(reader->n - reader->at), &code_point);
        if (n <= 0) {
                unsupported(reader);
                return 0;
        }
        reader->at += (size_t)n;
        return (uint32_t)code_point;
}

static uint32_t take_hex(struct reader *reader, unsigned n) {
        uint32_t value = 0;
        for (unsigned i = 0; i < n; i++) {
                char c = more(reader) ? reader->text[reader->at++] : 0;
                const char *digits = "0123456789abcdef", *digit = NULL;
                if (c != 0)
                        digit = strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
                if (!digit) {
                        unsupported(reader);
                        return 0;
                }
                value = value << 4 | (uint32_t)(digit - digits);
        }
        return value;
}

static void add_digits(struct reader *reader, struct class *class) {
        class_add(reader, class, '0', '9');
}

static void add_word_characters(struct reader *reader, struct class *class) {
        class_add(reader, class, '0', '9');
        class_add(reader, class, 'A', 'Z');
        class_add(reader, class, '_', '_');
        class_add(reader, class, 'a', 'z');
}

static void add_spaces(struct reader *reader, struct class *class) {
        static const struct range spaces[] = {
                { '\t', '\r' },     { ' ', ' ' },       { 0xa0, 0xa0 },     { 0x1680, 0x1680 },
                { 0x2000, 0x200a }, { 0x2028, 0x2029 }, { 0x202f, 0x202f }, { 0x205f, 0x205f },
                { 0x3000, 0x3000 }, { 0xfeff, 0xfeff },
        };
        for (size_t i = 0; i < sizeof(spaces) / sizeof(*spaces); i++)
                class_add(reader, class, spaces[i].low, spaces[i].high);
}

/* Behind a backslash. True: it was one character, in `ret`; else its members are in `class`. */
static bool take_escape(struct reader *reader, struct class *class, uint32_t *ret) {
        if (!more(reader))
                return unsupported(reader);
        char c = reader->text[reader->at++];
        struct class members = { .n = 0 };
        switch (c) {
        case 'd':
        case 'D': add_digits(reader, &members); break;
        case 'w':
        case 'W': add_word_characters(reader, &members); break;
        case 's':
        case 'S': add_spaces(reader, &members); break;
        case 't': *ret = '\t'; return true;
        case 'n': *ret = '\n'; return true;
        case 'r': *ret = '\r'; return true;
        case 'f': *ret = '\f'; return true;
        case 'v': *ret = '\v'; return true;
        case 'x': *ret = take_hex(reader, 2); return true;
        case 'u': *ret = take_hex(reader, 4); return true;
        default:
                if (c > 0 && strchr("^$\\.*+?()[]{}|/-\"'`~!@#%&=:;<>, _", c)) {
                        *ret = (uint32_t)c;
                        return true;
                }
                return unsupported(reader);
        }
        if (c == 'D' || c == 'W' || c == 'S')
                class_negate(reader, &members);
        for (size_t i = 0; i < members.n; i++)
                class_add(reader, class, members.ranges[i].low, members.ranges[i].high);
        return false;
}

/* One member of a class; true when it is a single character. */
static bool take_member(struct reader *reader, struct class *class, uint32_t *ret) {
        if (take(reader, "\\")) {
                if (take(reader, "b")) {
                        *ret = '\b';
                        return true;
                }
                return take_escape(reader, class, ret);
        }
        *ret = take_code_point(reader);
        return !reader->error;
}

static struct piece read_class(struct reader *reader) {
        struct class class = { .n = 0 };
        bool negated = take(reader, "^");
        while (more(reader) && !next_is(reader, "]")) {
                uint32_t low, high;
                if (!take_member(reader, &class, &low))
                        continue;
                high = low;
                if (next_is(reader, "-") && reader->at + 1 < reader->n &&
                    reader->text[reader->at + 1] != ']') {
                        reader->at++;
                        if (!take_member(reader, &class, &high) || high < low)
                                unsupported(reader);
                }
                class_add(reader, &class, low, high);
        }
        if (!take(reader, "]"))
                unsupported(reader);
        if (negated)
                class_negate(reader, &class);
        return add_class(reader, &class);
}

static struct piece add_any(struct reader *reader, bool lines) {
        struct class class = { .n = 0 };
        if (!lines) {
                class_add(reader, &class, '\n', '\n');
                class_add(reader, &class, '\r', '\r');
                class_add(reader, &class, 0x2028, 0x2029);
        }
        class_negate(reader, &class);
        return add_class(reader, &class);
}

static struct piece read_alternatives(struct reader *reader, bool outermost);

static struct piece read_group(struct reader *reader) {
        if (next_is(reader, "?") && !take(reader, "?:"))
                unsupported(reader);
        if (++reader->n_groups > GROUPS_MAX)
                unsupported(reader);
        struct piece piece = { 0, 0 };
        if (!reader->error)
                piece = read_alternatives(reader, false);
        reader->n_groups--;
        if (!take(reader, ")"))
                unsupported(reader);
        return piece;
}

static struct piece read_atom(struct reader *reader) {
        if (take(reader, "("))
                return read_group(reader);
        if (take(reader, "["))
                return read_class(reader);
        if (take(reader, "."))
                return add_any(reader, false);
        struct class class = { .n = 0 };
        uint32_t code_point;
        if (take(reader, "\\")) {
                if (take_escape(reader, &class, &code_point))
                        class_add(reader, &class, code_point, code_point);
        } else {
                if (more(reader) && strchr("*+?{}]^$", reader->text[reader->at]))
                        unsupported(reader);
                code_point = take_code_point(reader);
                class_add(reader, &class, code_point, code_point);
        }
        return add_class(reader, &class);
}

/* -------- repetition -------- */

struct repeat {
        unsigned min, max; /* UINT_MAX = any number */
};

static unsigned take_number(struct reader *reader) {
        unsigned value = 0;
        bool any = false;
        while (more(reader) && reader->text[reader->at] >= '0' && reader->text[reader->at] <= '9') {
                value = value * 10 + (unsigned)(reader->text[reader->at++] - '0');
                any = true;
                if (value > REPEAT_MAX)
                        unsupported(reader);
        }
        if (!any)
                unsupported(reader);
        return value;
}

static bool take_repeat(struct reader *reader, struct repeat *ret) {
        if (take(reader, "*"))
                *ret = (struct repeat){ 0, UINT32_MAX };
        else if (take(reader, "+"))
                *ret = (struct repeat){ 1, UINT32_MAX };
        else if (take(reader, "?"))
                *ret = (struct repeat){ 0, 1 };
        else if (take(reader, "{")) {
                ret->min = ret->max = take_number(reader);
                if (take(reader, ","))
                        ret->max = next_is(reader, "}") ? UINT32_MAX : take_number(reader);
                if (!take(reader, "}") || ret->max < ret->min)
                        unsupported(reader);
        } else {
                return false;
        }
        take(reader, "?"); /* lazy */
        return true;
}

static struct piece star(struct reader *reader, struct piece piece) {
        uint16_t out = add_join(reader);
        uint16_t loop = add(reader, NFA_EITHER, 0, 0, piece.from, out);
        lead(reader, piece.to, loop);
        return piece_of(reader, (struct piece){ loop, out });
}

static struct piece concatenate(struct reader *reader, struct piece a, struct piece b) {
        lead(reader, a.to, b.from);
        return piece_of(reader, (struct piece){ a.from, b.to });
}

/* The atom at `from`, read once for each time that it is needed: pieces are not copied. */
static struct piece read_again(struct reader *reader, size_t from) {
        size_t behind = reader->at;
        reader->at = from;
        struct piece piece = read_atom(reader);
        reader->at = behind;
        return piece;
}

static struct piece read_repeated(struct reader *reader) {
        size_t from = reader->at;
        uint16_t n_before = reader->nfa->n;
        struct piece once = read_atom(reader);
        struct repeat repeat;
        if (reader->error || !take_repeat(reader, &repeat))
                return once;
        if (more(reader) && strchr("*+?{", reader->text[reader->at]))
                unsupported(reader);

        /* The piece that was read is the last: of a star, or of what may be absent. */
        reader->nfa->n = n_before;
        uint16_t start = add_join(reader);
        struct piece all = { start, start };
        for (unsigned i = 0; i < repeat.min && !reader->error; i++)
                all = concatenate(reader, all, read_again(reader, from));
        if (repeat.max == UINT32_MAX)
                return concatenate(reader, all, star(reader, read_again(reader, from)));
        /* (x(x(x)?)?)?: each way out leads to the end at once, so that a state has few others that
         * it reaches without a byte. */
        uint16_t end = add_join(reader);
        for (unsigned i = repeat.min; i < repeat.max && !reader->error; i++) {
                struct piece piece = read_again(reader, from);
                uint16_t maybe = add(reader, NFA_EITHER, 0, 0, piece.from, end);
                all = concatenate(reader, all, (struct piece){ maybe, piece.to });
        }
        return concatenate(reader, all, (struct piece){ end, end });
}

static struct piece read_alternative(struct reader *reader, bool outermost) {
        uint16_t start = add_join(reader);
        struct piece all = { start, start };
        if (outermost && !take(reader, "^"))
                all = concatenate(reader, all, star(reader, add_any(reader, true)));
        bool anchored = false;
        while (more(reader) && !next_is(reader, "|") && !next_is(reader, ")")) {
                if (outermost && take(reader, "$")) {
                        anchored = true;
                        if (more(reader) && !next_is(reader, "|"))
                                unsupported(reader);
                        break;
                }
                all = concatenate(reader, all, read_repeated(reader));
        }
        if (outermost && !anchored)
                all = concatenate(reader, all, star(reader, add_any(reader, true)));
        return piece_of(reader, all);
}

static struct piece read_alternatives(struct reader *reader, bool outermost) {
        struct piece all = read_alternative(reader, outermost);
        while (take(reader, "|")) {
                struct piece other = read_alternative(reader, outermost);
                uint16_t out = add_join(reader);
                uint16_t fork = add(reader, NFA_EITHER, 0, 0, all.from, other.from);
                lead(reader, all.to, out);
                lead(reader, other.to, out);
                all = piece_of(reader, (struct piece){ fork, out });
        }
        return all;
}

int pattern_compile(const char *pattern, size_t n, struct nfa *ret) {
        struct reader reader = { .text = pattern, .n = n, .nfa = ret };
        ret->n = 0;
        struct piece all = read_alternatives(&reader, true);
        if (more(&reader))
                unsupported(&reader);
        uint16_t accept = add(&reader, NFA_ACCEPT, 0, 0, STATE_NONE, STATE_NONE);
        lead(&reader, all.to, accept);
        ret->start = all.from;
        return reader.error;
}
