/* The three patterns with which every DeepSeek tokenizer since V3 cuts text, as one scanner.
 *
 * Same pieces as the patterns one after the other, at many times their speed and in linear time:
 *
 *     \p{N}{1,3}
 *     [U+4E00-U+9FA5 U+3040-U+309F U+30A0-U+30FF]+
 *     ASCII punctuation and then [A-Za-z]+ | [^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+ |
 *              ?[\p{P}\p{S}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
 *
 * Numbers and the characters of the second pattern thus never share a piece with others: they cut
 * the text into segments, and the third pattern works inside a segment. Immutable, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPLIT_DEEPSEEK_PATTERNS 3

/* Whether `pattern` is a known way to write the pattern number `index`, 0 to 2. */
bool split_deepseek_is(const char *pattern, unsigned index);

/* For split_deepseek_next(), to be freed; NULL when out of memory. */
uint8_t *split_deepseek_classes(void);

/* Bytes of the piece that starts at `at` < n, where a piece before ended or the text starts. `text`
 * is well-formed UTF-8. */
size_t split_deepseek_next(const uint8_t *classes, const char *text, size_t n, size_t at);
