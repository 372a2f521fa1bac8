/* Numbers from the command line: all of the argument, within the range, or a message that says
 * both. */
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "client/seek/seek.h"

bool parse_u64(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret) {
        char *end = NULL;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != 0 || errno != 0 || value < min ||
            value > max) {
                usage_error("%s: '%s' is no whole number from %llu to %llu", option, text,
                            (unsigned long long)min, (unsigned long long)max);
                return false;
        }
        *ret = value;
        return true;
}

bool parse_u32(const char *option, const char *text, uint32_t min, uint32_t max, uint32_t *ret) {
        uint64_t value;
        if (!parse_u64(option, text, min, max, &value))
                return false;
        *ret = (uint32_t)value;
        return true;
}

bool parse_session(const char *text, uint64_t *ret) {
        char *end = NULL;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 16);
        if (!isxdigit((unsigned char)text[0]) || *end != 0 || errno != 0 || value == 0 ||
            (text[0] == '0' && (text[1] | 0x20) == 'x')) {
                usage_error("'%s' is no id of a session: up to 16 hexadecimal digits", text);
                return false;
        }
        *ret = value;
        return true;
}

bool parse_float(const char *option, const char *text, double min, double max, float *ret) {
        char *end = NULL;
        double value = strtod(text, &end);
        if (end == text || *end != 0 || !isfinite(value) || value < min || value > max) {
                usage_error("%s: '%s' is no number from %g to %g", option, text, min, max);
                return false;
        }
        *ret = (float)value;
        return true;
}
