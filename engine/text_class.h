/* What a tokenizer's patterns ask about a character: is it part of a word, a symbol, a number,
 * white space.
 *
 * The classes are those of Unicode 16, which Hugging Face tokenizers 0.23.3 knows, whatever the
 * version of the libraries on this machine. Any thread. */
#pragma once

#include <stdint.h>

#define CHARACTERS 0x110000u

enum text_class {
        CLASS_OTHER = 0,       /* controls, private use, not assigned */
        CLASS_WORD = 1 << 0,   /* letters and marks: \p{L} \p{M} */
        CLASS_SYMBOL = 1 << 1, /* punctuation and symbols: \p{P} \p{S} */
        CLASS_NUMBER = 1 << 2, /* \p{N} */
        CLASS_SPACE = 1 << 3,  /* \s: White_Space */
        CLASSES_END = 1 << 4,  /* the bits from here on are the caller's */
};

/* The class of every character, [CHARACTERS] bytes to be freed; NULL when out of memory. Of its
 * 1.1 MB only the pages of assigned planes are ever touched. */
uint8_t *text_classes_new(void);
