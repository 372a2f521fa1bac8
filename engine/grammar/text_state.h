/* Where one stands inside a character: of UTF-8 text, or of a JSON string with its escapes. */
#pragma once

#include <stdint.h>

enum text_state {
        TEXT_PLAIN, /* between characters */
        /* UTF-8, RFC 3629: bytes that follow, and those whose range is narrower. */
        TEXT_MORE_1,
        TEXT_MORE_2,
        TEXT_MORE_3,
        TEXT_AFTER_E0,
        TEXT_AFTER_ED,
        TEXT_AFTER_F0,
        TEXT_AFTER_F4,
        /* Escapes. No surrogate goes alone, and \u0000 does not occur: C programs cannot hold it.
         */
        TEXT_ESCAPE,
        TEXT_HEX_1, /* the first of four digits comes */
        TEXT_HEX_2,
        TEXT_HEX_3,
        TEXT_HEX_4,
        TEXT_HEX_2_ZERO, /* only zeros so far */
        TEXT_HEX_3_ZERO,
        TEXT_HEX_4_ZERO,
        TEXT_HEX_2_D, /* behind "d": a surrogate, or below */
        TEXT_HIGH_3,  /* of a high surrogate */
        TEXT_HIGH_4,
        TEXT_LOW_BACKSLASH, /* its other half comes */
        TEXT_LOW_U,
        TEXT_LOW_1,
        TEXT_LOW_2,
        TEXT_LOW_3,
        TEXT_LOW_4,
        TEXT_CLOSED,  /* behind the closing quote */
        TEXT_REFUSED, /* the byte may not come */
};

/* One byte of UTF-8 text (any code point but 0). */
enum text_state text_step_utf8(enum text_state state, uint8_t byte);

/* One byte behind the opening quote of a JSON string. */
enum text_state text_step_string(enum text_state state, uint8_t byte);

/* The same for an object's name: characters that can be written plainly are, so that each name has
 * one spelling only. Escapes: \" \\ \b \f \n \r \t. */
enum text_state text_step_name(enum text_state state, uint8_t byte);
