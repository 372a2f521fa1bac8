#include "engine/byte_alphabet.h"

#include <stdbool.h>

static bool stands_for_itself(unsigned byte) {
        return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) ||
                (byte >= 0xAE && byte <= 0xFF);
}

/* Number of bytes below `byte` that do not stand for themselves. */
static unsigned rank_of_moved(unsigned byte) {
        if (byte <= 0x20)
                return byte;
        if (byte <= 0xA0)
                return 33 + byte - 0x7F;
        return 67; /* 0xAD, the soft hyphen, comes last */
}

static unsigned character_of(uint8_t byte) {
        return stands_for_itself(byte) ? byte : 0x100 + rank_of_moved(byte);
}

void byte_alphabet_write(uint8_t byte, char ret[static 3]) {
        unsigned c = character_of(byte);
        if (c < 0x80) {
                ret[0] = (char)c;
                ret[1] = 0;
                return;
        }
        ret[0] = (char)(0xC0 | c >> 6);
        ret[1] = (char)(0x80 | (c & 0x3F));
        ret[2] = 0;
}

static int byte_of(unsigned c) {
        if (c < 0x100)
                return stands_for_itself(c) ? (int)c : -1;
        if (c <= 0x100 + 0x20)
                return (int)c - 0x100;
        if (c <= 0x100 + 66)
                return (int)(c - 0x100 - 33 + 0x7F);
        return c == 0x100 + 67 ? 0xAD : -1;
}

ptrdiff_t byte_alphabet_decode(const char *string, size_t n, char *ret) {
        size_t n_ret = 0;
        for (size_t i = 0; i < n; i++) {
                unsigned c = (uint8_t)string[i];
                /* The alphabet ends at U+0143: longer forms cannot belong to it. */
                if (c >= 0xE0 || (c >= 0x80 && i + 1 == n))
                        return -1;
                if (c >= 0x80)
                        c = (c & 0x1F) << 6 | ((uint8_t)string[++i] & 0x3F);
                int byte = byte_of(c);
                if (byte < 0)
                        return -1;
                ret[n_ret++] = (char)byte;
        }
        return (ptrdiff_t)n_ret;
}
