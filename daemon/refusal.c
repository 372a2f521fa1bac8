#include "daemon/refusal.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/utf8.h"

int refuse(struct refusal *refusal, int code, const char *field, const char *format, ...) {
        *refusal = (struct refusal){ .code = code };
        snprintf(refusal->field, sizeof(refusal->field), "%s", field ? field : "");
        va_list args;
        va_start(args, format);
        int n = vsnprintf(refusal->text, sizeof(refusal->text), format, args);
        va_end(args);
        /* A message cut at the end of the buffer may end within a character; a `string` field must
         * not. */
        if (n >= (int)sizeof(refusal->text))
                n = (int)sizeof(refusal->text) - 1;
        if (n > 0)
                refusal->text[utf8_valid_prefix(refusal->text, (size_t)n)] = '\0';
        return -1;
}
