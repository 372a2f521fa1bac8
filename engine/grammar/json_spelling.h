/* How values are spelt in words: the shortest way that a reader takes for the same value. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* A scalar; malloc()ed, NULL when out of memory. */
char *json_spell(json_t *scalar, size_t *ret_n);

/* A string with its quotes. */
char *json_spell_string(const char *string, size_t *ret_n);
