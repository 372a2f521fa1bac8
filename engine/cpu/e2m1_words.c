#include <pthread.h>

#include "engine/cpu/e2m1_words.h"
#include "engine/formats.h"
#include "engine/numerics.h"

struct e2m1_words e2m1_words[256];

static void fill(void) {
        for (unsigned scale = 0; scale < 256; scale++)
                for (uint8_t code = 0; code < 16; code++) {
                        uint32_t bits =
                                float_bits(e2m1_decode(code) * ue8m0_decode((uint8_t)scale));
                        e2m1_words[scale].high[code] = (uint8_t)(bits >> 24);
                        e2m1_words[scale].low[code] = (uint8_t)(bits >> 16);
                }
}

void e2m1_words_init(void) {
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, fill);
}
