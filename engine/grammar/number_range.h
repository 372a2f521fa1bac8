/* Patterns (pattern.h) of the JSON numbers in a range. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whole numbers have at most 18 digits, so that every reader's 64 bits hold them, fractions 17,
 * what a double tells apart. */
#define NUMBER_WHOLE_MAX INT64_C(999999999999999999)

#define NUMBER_PATTERN_MAX 16384

struct number_range {
        int64_t low, high;              /* within +-NUMBER_WHOLE_MAX; low <= high */
        bool without_low, without_high; /* the bound itself is outside (of fractions only) */
};

/* Whole numbers. */
void number_range_whole(const struct number_range *range, char ret[NUMBER_PATTERN_MAX]);

/* Numbers with or without a fraction. Exponents are left out: a range of them is not regular. */
void number_range_decimal(const struct number_range *range, char ret[NUMBER_PATTERN_MAX]);

extern const char number_pattern_whole[];   /* without bounds */
extern const char number_pattern_decimal[]; /* without bounds, exponents of two digits */
