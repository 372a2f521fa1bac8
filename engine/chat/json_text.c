#include "engine/chat/json_text.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/chat/bytes.h"
#include "engine/chat/chat.h"

int json_text_check(struct chat_text json, enum json_kind kind, struct error *err) {
        json_error_t at = { 0 };
        /* Integers as reals: their size does not matter here. */
        json_t *value = json_loadb(json.data ? json.data : "", json.n,
                                   JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &at);
        if (!value)
                return error_set(err, -EINVAL, "not JSON: %s at byte %d", at.text, at.position);
        bool fits = kind == JSON_TEXT_ANY || json_is_object(value);
        json_decref(value);
        return fits ? 0 : error_set(err, -EINVAL, "not a JSON object");
}

static bool is_space(char c) {
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* -------- strings -------- */

void json_text_escape(struct bytes *out, struct chat_text text) {
        static const char short_forms[] = "\"\"\\\\\bb\ff\nn\rr\tt";
        size_t done = 0;
        for (size_t i = 0; i < text.n; i++) {
                uint8_t c = (uint8_t)text.data[i];
                if (c >= 0x20 && c != '"' && c != '\\')
                        continue;
                char escaped[8] = { '\\', 0 };
                for (size_t k = 0; short_forms[k]; k += 2)
                        if ((uint8_t)short_forms[k] == c)
                                escaped[1] = short_forms[k + 1];
                if (!escaped[1])
                        snprintf(escaped, sizeof(escaped), "\\u%04x", c);
                bytes_add(out, text.data + done, i - done);
                bytes_add_string(out, escaped);
                done = i + 1;
        }
        if (done < text.n)
                bytes_add(out, text.data + done, text.n - done);
}

static uint32_t hex4(const char *digits) {
        char copy[5] = { digits[0], digits[1], digits[2], digits[3], 0 };
        return (uint32_t)strtoul(copy, NULL, 16);
}

static void add_character(struct bytes *out, uint32_t c) {
        char utf8[4];
        size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t leads[] = { 0, 0, 0xC0, 0xE0, 0xF0 };
        for (size_t i = n; i-- > 1; c >>= 6)
                utf8[i] = (char)(0x80 | (c & 0x3F));
        utf8[0] = (char)(leads[n] | c);
        bytes_add(out, utf8, n);
}

/* Takes the escape behind the backslash; returns its bytes. */
static size_t add_escaped(struct bytes *out, const char *at) {
        static const char forms[] = "b\bf\fn\nr\rt\t";
        for (size_t k = 0; forms[k]; k += 2) {
                if (forms[k] == *at) {
                        bytes_add(out, &forms[k + 1], 1);
                        return 1;
                }
        }
        if (*at != 'u') {
                bytes_add(out, at, 1);
                return 1;
        }
        uint32_t c = hex4(at + 1);
        if (c < 0xD800 || c > 0xDFFF) {
                add_character(out, c);
                return 5;
        }
        add_character(out, 0x10000 + ((c - 0xD800) << 10) + (hex4(at + 7) - 0xDC00));
        return 11;
}

void json_text_unescape(struct bytes *out, struct chat_text string) {
        for (size_t i = 1; i + 1 < string.n;) {
                if (string.data[i] == '\\') {
                        i += 1 + add_escaped(out, string.data + i + 1);
                        continue;
                }
                const char *escape = memchr(string.data + i, '\\', string.n - 1 - i);
                size_t end = escape ? (size_t)(escape - string.data) : string.n - 1;
                bytes_add(out, string.data + i, end - i);
                i = end;
        }
}

/* Bytes of the string at `at`, with its quotes. */
static size_t string_bytes(struct chat_text json, size_t at) {
        size_t end = at + 1;
        while (json.data[end] != '"')
                end += json.data[end] == '\\' ? 2 : 1;
        return end + 1 - at;
}

/* -------- numbers -------- */

/* A number that is not an integer, as Python's repr() writes it: the shortest digits that read back
 * as the same value, with an exponent outside 1e-4 to 1e16. */
static void add_real(struct bytes *out, const char *number) {
        double value = strtod(number, NULL);
        char shortest[32];
        int precision = 0;
        do
                snprintf(shortest, sizeof(shortest), "%.*e", precision, value);
        while (precision++ < 16 && strtod(shortest, NULL) != value);
        int exponent = atoi(strchr(shortest, 'e') + 1);
        char text[64];
        if (exponent < -4 || exponent >= 16) {
                snprintf(text, sizeof(text), "%s", shortest);
        } else {
                int decimals = precision - 1 - exponent;
                snprintf(text, sizeof(text), "%.*f", decimals > 1 ? decimals : 1, value);
        }
        bytes_add_string(out, text);
}

static void add_number(struct bytes *out, const char *number, size_t n) {
        bool integer = true;
        for (size_t i = 0; i < n; i++)
                integer = integer && number[i] != '.' && number[i] != 'e' && number[i] != 'E';
        if (integer) {
                bool zero = n == 2 && number[0] == '-' && number[1] == '0';
                bytes_add(out, number + zero, n - zero);
                return;
        }
        char *copy = strndup(number, n);
        if (copy)
                add_real(out, copy);
        else
                out->failed = true;
        free(copy);
}

/* -------- values -------- */

/* Bytes of the string, number, word or punctuation at `at`. */
static size_t piece_bytes(struct chat_text json, size_t at) {
        if (json.data[at] == '"')
                return string_bytes(json, at);
        if (strchr("{}[],:", json.data[at]))
                return 1;
        size_t end = at;
        while (end < json.n && !is_space(json.data[end]) && !strchr("{}[],:", json.data[end]))
                end++;
        return end - at;
}

void json_text_add(struct bytes *out, struct chat_text json) {
        for (size_t at = 0, n; at < json.n; at += n) {
                const char *piece = json.data + at;
                n = 1;
                if (is_space(*piece))
                        continue;
                n = piece_bytes(json, at);
                if (*piece == '"') {
                        struct bytes plain = { 0 };
                        json_text_unescape(&plain, (struct chat_text){ piece, n });
                        bytes_add(out, "\"", 1);
                        json_text_escape(out, (struct chat_text){ plain.data, plain.n });
                        bytes_add(out, "\"", 1);
                        out->failed |= plain.failed;
                        bytes_deinit(&plain);
                } else if (*piece == '-' || (*piece >= '0' && *piece <= '9')) {
                        add_number(out, piece, n);
                } else {
                        bytes_add(out, piece, n);
                        if (*piece == ',' || *piece == ':')
                                bytes_add(out, " ", 1);
                }
        }
}

static size_t skip_space(struct chat_text json, size_t at) {
        while (at < json.n && is_space(json.data[at]))
                at++;
        return at;
}

static size_t value_bytes(struct chat_text json, size_t start) {
        size_t at = start, depth = 0;
        do {
                at = skip_space(json, at);
                char c = json.data[at];
                depth += c == '{' || c == '[';
                depth -= c == '}' || c == ']';
                at += piece_bytes(json, at);
        } while (depth > 0);
        return at - start;
}

bool json_text_member(struct chat_text object, size_t *at, struct chat_text *ret_key,
                      struct chat_text *ret_value) {
        size_t i = skip_space(object, *at);
        if (object.data[i] == '{' || object.data[i] == ',')
                i = skip_space(object, i + 1);
        if (object.data[i] == '}')
                return false;
        *ret_key = (struct chat_text){ object.data + i, string_bytes(object, i) };
        i = skip_space(object, i + ret_key->n) + 1; /* the colon */
        i = skip_space(object, i);
        *ret_value = (struct chat_text){ object.data + i, value_bytes(object, i) };
        *at = skip_space(object, i + ret_value->n);
        return true;
}
