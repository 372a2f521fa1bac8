#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int error_set(struct error *err, int code, const char *format, ...) {
        if (!err)
                return code;
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        err->code = code;
        return code;
}

int error_prefix(struct error *err, const char *format, ...) {
        if (!err)
                return -EINVAL;
        char old[sizeof(err->text)];
        memcpy(old, err->text, sizeof(old));
        va_list args;
        va_start(args, format);
        int n = vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof(err->text))
                snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", old);
        return err->code;
}

int error_errno(struct error *err, const char *format, ...) {
        int code = errno > 0 ? -errno : -EIO;
        if (!err)
                return code;
        va_list args;
        va_start(args, format);
        int n = vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < sizeof(err->text))
                snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s", strerror(-code));
        err->code = code;
        return code;
}
