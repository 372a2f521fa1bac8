/* UTF-8 as the Unicode standard defines it: no surrogates, no overlong forms, nothing above
 * U+10FFFF. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Bytes of `text` up to the first that does not belong to well-formed UTF-8 (= n when all is well).
 */
size_t utf8_valid_prefix(const char *text, size_t n);

/* Bytes at the end of `text` that start a character and need more bytes to finish it (0 to 3). */
size_t utf8_unfinished_suffix(const char *text, size_t n);
