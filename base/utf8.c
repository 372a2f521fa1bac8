#include "base/utf8.h"

#include <stdint.h>
#include <utf8proc.h>

size_t utf8_valid_prefix(const char *text, size_t n) {
        size_t at = 0;
        while (at < n) {
                utf8proc_int32_t c;
                utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                                         (utf8proc_ssize_t)(n - at), &c);
                if (used <= 0)
                        break;
                at += (size_t)used;
        }
        return at;
}

size_t utf8_unfinished_suffix(const char *text, size_t n) {
        /* Look back over at most three continuation bytes for a lead byte that asks for more than
         * is there. */
        for (size_t back = 1; back <= 3 && back <= n; back++) {
                uint8_t b = (uint8_t)text[n - back];
                if ((b & 0xC0) == 0x80)
                        continue;
                size_t need = b >= 0xF0 && b <= 0xF4 ? 4
                        : b >= 0xE0 && b < 0xF0      ? 3
                        : b >= 0xC2 && b < 0xE0      ? 2
                                                     : 1;
                if (need <= back)
                        return 0;
                /* Second bytes that can never follow this lead are broken, not unfinished. */
                if (back >= 2) {
                        uint8_t second = (uint8_t)text[n - back + 1];
                        if ((b == 0xE0 && second < 0xA0) || (b == 0xED && second > 0x9F) ||
                            (b == 0xF0 && second < 0x90) || (b == 0xF4 && second > 0x8F))
                                return 0;
                }
                return back;
        }
        return 0;
}
