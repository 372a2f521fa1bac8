#include "engine/grammar/number_range.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char number_pattern_whole[] = "^-?(?:0|[1-9][0-9]{0,17})$";
const char number_pattern_decimal[] =
        "^-?(?:0|[1-9][0-9]{0,17})(?:\\.[0-9]{1,17})?(?:[eE][+-]?[0-9]{1,2})?$";

#define DIGITS_MAX 18

/* Alternatives, each preceded by '|' but the first. A range is at most some 80 of them, each
 * shorter than 60 bytes. */
struct alternatives {
        char *text;
        size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct alternatives *to, const char *format,
                                                      ...) {
        va_list args;
        va_start(args, format);
        int n = vsnprintf(to->text + to->n, NUMBER_PATTERN_MAX - to->n, format, args);
        va_end(args);
        if (n > 0 && (size_t)n < NUMBER_PATTERN_MAX - to->n)
                to->n += (size_t)n;
}

/* `n_fixed` digits of `digits`, one of low..high, then any. */
static void add_digits(struct alternatives *to, const char *digits, int n_fixed, char low,
                       char high, int n_any) {
        if (low > high)
                return;
        add(to, "|%.*s[%c-%c]", n_fixed, digits, low, high);
        if (n_any > 0)
                add(to, "[0-9]{%d}", n_any);
}

/* low..high, of the same number of digits. */
static void add_same_length(struct alternatives *to, uint64_t low, uint64_t high) {
        char a[24], b[24];
        int n = snprintf(a, sizeof(a), "%" PRIu64, low);
        snprintf(b, sizeof(b), "%" PRIu64, high);
        int at = 0;
        while (at < n && a[at] == b[at])
                at++;
        if (at == n) {
                add(to, "|%s", a);
                return;
        }
        /* Below the digit where they part: as low as `a` allows, as high as `b` does. */
        for (int i = n - 1; i > at; i--)
                add_digits(to, a, i, (char)(a[i] + 1), '9', n - 1 - i);
        add(to, "|%s|%s", a, b);
        add_digits(to, a, at, (char)(a[at] + 1), (char)(b[at] - 1), n - 1 - at);
        for (int i = n - 1; i > at; i--)
                add_digits(to, b, i, '0', (char)(b[i] - 1), n - 1 - i);
}

static void add_range(struct alternatives *to, uint64_t low, uint64_t high) {
        if (low == 0) {
                add(to, "|0");
                low = 1;
        }
        uint64_t first = 1, last = 9; /* with n digits */
        for (int n = 1; n <= DIGITS_MAX && low <= high; n++, first *= 10, last = last * 10 + 9) {
                if (low > last)
                        continue;
                if (low == first && high >= last) {
                        /* Numbers of digits that are there in full become one alternative. */
                        int from = n;
                        for (; n < DIGITS_MAX && high >= last * 10 + 9; n++, first *= 10)
                                last = last * 10 + 9;
                        add(to, "|[1-9][0-9]{%d,%d}", from - 1, n - 1);
                } else {
                        add_same_length(to, low, high < last ? high : last);
                }
                low = last + 1;
        }
}

static uint64_t magnitude(int64_t value) {
        return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

void number_range_whole(const struct number_range *range, char ret[NUMBER_PATTERN_MAX]) {
        struct alternatives to = { .text = ret };
        add(&to, "^(?:");
        size_t begin = to.n;
        if (range->high >= 0)
                add_range(&to, magnitude(range->low < 0 ? 0 : range->low), magnitude(range->high));
        if (begin < to.n)
                memmove(ret + begin, ret + begin + 1, --to.n - begin); /* the first '|' */
        add(&to, "%s)$", "");
        if (range->low >= 0)
                return;
        to.n -= 2;
        if (to.n > begin)
                add(&to, "|");
        add(&to, "-(?:");
        begin = to.n;
        add_range(&to, magnitude(range->high < 0 ? range->high : -1), magnitude(range->low));
        memmove(ret + begin, ret + begin + 1, --to.n - begin);
        add(&to, "))$");
}

/* Magnitudes from low to high, whose bounds may be outside themselves; preceded by `sign`. */
static void add_decimals(struct alternatives *to, const char *sign, uint64_t low, bool without_low,
                         uint64_t high, bool without_high) {
        if (low < high) {
                uint64_t first = without_low ? low + 1 : low;
                if (without_low)
                        add(to, "|%s%" PRIu64 "\\.0{0,8}[1-9][0-9]{0,8}", sign, low);
                if (first < high) {
                        add(to, "|%s(?:", sign);
                        size_t begin = to->n;
                        add_range(to, first, high - 1);
                        memmove(to->text + begin, to->text + begin + 1, --to->n - begin);
                        add(to, ")(?:\\.[0-9]{1,17})?");
                }
        }
        if (!without_high && (low < high || !without_low))
                add(to, "|%s%" PRIu64 "(?:\\.0{1,17})?", sign, high);
}

void number_range_decimal(const struct number_range *range, char ret[NUMBER_PATTERN_MAX]) {
        struct alternatives to = { .text = ret };
        add(&to, "^(?:");
        size_t begin = to.n;
        if (range->high >= 0) {
                bool cut = range->low < 0;
                add_decimals(&to, "", cut ? 0 : magnitude(range->low),
                             cut ? false : range->without_low, magnitude(range->high),
                             range->without_high);
        }
        if (range->low < 0) {
                bool cut = range->high >= 0;
                add_decimals(&to, "-", cut ? 0 : magnitude(range->high),
                             cut ? true : range->without_high, magnitude(range->low),
                             range->without_low);
        }
        if (to.n == begin) {
                add(&to, "|");
                to.n--;
        } else {
                memmove(ret + begin, ret + begin + 1, --to.n - begin);
        }
        add(&to, "%s)$", "");
}
