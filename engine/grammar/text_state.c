#include "engine/grammar/text_state.h"

#include <stdbool.h>
#include <string.h>

static bool within(uint8_t byte, uint8_t low, uint8_t high) {
        return byte >= low && byte <= high;
}

static enum text_state lead(uint8_t byte) {
        if (byte < 0x80)
                return TEXT_PLAIN;
        if (within(byte, 0xc2, 0xdf))
                return TEXT_MORE_1;
        if (byte == 0xe0)
                return TEXT_AFTER_E0;
        if (byte == 0xed)
                return TEXT_AFTER_ED;
        if (within(byte, 0xe1, 0xef))
                return TEXT_MORE_2;
        if (byte == 0xf0)
                return TEXT_AFTER_F0;
        if (byte == 0xf4)
                return TEXT_AFTER_F4;
        return within(byte, 0xf1, 0xf3) ? TEXT_MORE_3 : TEXT_REFUSED;
}

static enum text_state if_within(uint8_t byte, uint8_t low, uint8_t high, enum text_state next) {
        return within(byte, low, high) ? next : TEXT_REFUSED;
}

static enum text_state follow(enum text_state state, uint8_t byte) {
        switch (state) {
        case TEXT_MORE_1: return if_within(byte, 0x80, 0xbf, TEXT_PLAIN);
        case TEXT_MORE_2: return if_within(byte, 0x80, 0xbf, TEXT_MORE_1);
        case TEXT_MORE_3: return if_within(byte, 0x80, 0xbf, TEXT_MORE_2);
        case TEXT_AFTER_E0: return if_within(byte, 0xa0, 0xbf, TEXT_MORE_1);
        case TEXT_AFTER_ED: return if_within(byte, 0x80, 0x9f, TEXT_MORE_1);
        case TEXT_AFTER_F0: return if_within(byte, 0x90, 0xbf, TEXT_MORE_2);
        case TEXT_AFTER_F4: return if_within(byte, 0x80, 0x8f, TEXT_MORE_2);
        default: return TEXT_REFUSED;
        }
}

enum text_state text_step_utf8(enum text_state state, uint8_t byte) {
        if (state != TEXT_PLAIN)
                return follow(state, byte);
        return byte == 0 ? TEXT_REFUSED : lead(byte);
}

/* -------- escapes -------- */

static int hex(uint8_t byte) {
        if (within(byte, '0', '9'))
                return byte - '0';
        if (within(byte, 'a', 'f'))
                return byte - 'a' + 10;
        return within(byte, 'A', 'F') ? byte - 'A' + 10 : -1;
}

static enum text_state step_hex(enum text_state state, int digit) {
        switch (state) {
        case TEXT_HEX_1:
                if (digit == 0)
                        return TEXT_HEX_2_ZERO;
                return digit == 0xd ? TEXT_HEX_2_D : TEXT_HEX_2;
        case TEXT_HEX_2: return TEXT_HEX_3;
        case TEXT_HEX_3: return TEXT_HEX_4;
        case TEXT_HEX_4: return TEXT_PLAIN;
        case TEXT_HEX_2_ZERO: return digit == 0 ? TEXT_HEX_3_ZERO : TEXT_HEX_3;
        case TEXT_HEX_3_ZERO: return digit == 0 ? TEXT_HEX_4_ZERO : TEXT_HEX_4;
        case TEXT_HEX_4_ZERO: return digit == 0 ? TEXT_REFUSED : TEXT_PLAIN;
        case TEXT_HEX_2_D:
                if (digit >= 0xc) /* a low surrogate does not come first */
                        return TEXT_REFUSED;
                return digit < 8 ? TEXT_HEX_3 : TEXT_HIGH_3;
        case TEXT_HIGH_3: return TEXT_HIGH_4;
        case TEXT_HIGH_4: return TEXT_LOW_BACKSLASH;
        case TEXT_LOW_1: return digit == 0xd ? TEXT_LOW_2 : TEXT_REFUSED;
        case TEXT_LOW_2: return digit >= 0xc ? TEXT_LOW_3 : TEXT_REFUSED;
        case TEXT_LOW_3: return TEXT_LOW_4;
        case TEXT_LOW_4: return TEXT_PLAIN;
        default: return TEXT_REFUSED;
        }
}

static enum text_state step_plain(uint8_t byte) {
        if (byte == '"')
                return TEXT_CLOSED;
        if (byte == '\\')
                return TEXT_ESCAPE;
        return byte < 0x20 ? TEXT_REFUSED : lead(byte);
}

enum text_state text_step_string(enum text_state state, uint8_t byte) {
        if (state == TEXT_PLAIN)
                return step_plain(byte);
        if (state < TEXT_ESCAPE)
                return follow(state, byte);
        switch (state) {
        case TEXT_ESCAPE:
                if (byte == 'u')
                        return TEXT_HEX_1;
                return byte != 0 && strchr("\"\\/bfnrt", byte) ? TEXT_PLAIN : TEXT_REFUSED;
        case TEXT_LOW_BACKSLASH: return byte == '\\' ? TEXT_LOW_U : TEXT_REFUSED;
        case TEXT_LOW_U: return byte == 'u' ? TEXT_LOW_1 : TEXT_REFUSED;
        default: {
                int digit = hex(byte);
                return digit < 0 ? TEXT_REFUSED : step_hex(state, digit);
        }
        }
}

enum text_state text_step_name(enum text_state state, uint8_t byte) {
        if (state == TEXT_PLAIN)
                return step_plain(byte);
        if (state < TEXT_ESCAPE)
                return follow(state, byte);
        return byte != 0 && strchr("\"\\bfnrt", byte) ? TEXT_PLAIN : TEXT_REFUSED;
}
