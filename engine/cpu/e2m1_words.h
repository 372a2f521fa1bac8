/* Tables by which vector code decodes FP4. */
#pragma once

#include <stdint.h>

/* For every scale byte the sixteen FP4 values times that scale, as high and low bytes of BF16
 * words: exact, subnormals, infinity and NaN included. */
struct e2m1_words {
        _Alignas(16) uint8_t high[16];
        uint8_t low[16];
};
extern struct e2m1_words e2m1_words[256];

/* Fills the table; backend_vector() calls it before it gives a backend away. Any thread, any number
 * of times. */
void e2m1_words_init(void);
