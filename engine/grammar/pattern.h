/* The regular part of ECMAScript's patterns, compiled over UTF-8.
 *
 * Characters, `.`, classes with ranges and negation, \d \w \s \D \W \S \t \n \r \f \v \xHH \uHHHH
 * and escaped punctuation, groups (also `(?:`), `|`, `* + ? {m} {m,} {m,n}` (a lazy `?` behind
 * changes no language), `^` at the beginning and `$` at the end of an alternative of the whole
 * pattern. Outside: look-around, back references, \b, \p, anchors elsewhere. */
#pragma once

#include <stddef.h>

struct nfa;

/* The texts in which `pattern` is found (a pattern without anchors is looked for anywhere).
 * -ENOTSUP when it is outside of the subset or too large. */
int pattern_compile(const char *pattern, size_t n, struct nfa *ret);
