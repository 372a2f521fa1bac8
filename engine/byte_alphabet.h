/* The alphabet in which byte-level BPE vocabularies are written: one printable character for each
 * byte.
 *
 * Bytes that are printable in Latin-1 stand for themselves, the other 68 for U+0100 onwards in
 * ascending order, so a space is 'Ġ' (U+0120) and a newline 'Ċ'. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The character for a byte, as UTF-8 (at most two bytes and a 0). */
void byte_alphabet_write(uint8_t byte, char ret[static 3]);

/* Undoes the alphabet: writes at most `n` bytes, returns their number, or -1 when `string`
 * (well-formed UTF-8) holds a character outside the alphabet; `ret` is then undefined. */
ptrdiff_t byte_alphabet_decode(const char *string, size_t n, char *ret);
