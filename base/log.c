/* SD_JOURNAL_SUPPRESS_LOCATION: we pass our own fields; the wrapper's file and line would only name
 * this file. */
#define SD_JOURNAL_SUPPRESS_LOCATION 1
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-journal.h>

/* One line and its fields; longer messages are cut. */
#define LINE_BYTES 1024
/* MESSAGE, PRIORITY and what callers add; the largest caller passes six. */
#define FIELDS_MAX 10

/* Written once by log_init() before threads start, read-only after. */
static bool to_journal;
static int level_limit = LOG_INFO;

void log_init(int level_max) {
        level_limit = level_max;
        to_journal = getenv("JOURNAL_STREAM") != NULL;
}

static void write_journal(int level, const char *const *fields, const char *message) {
        char text[LINE_BYTES + 16], priority[16];
        struct iovec iov[FIELDS_MAX];
        int n = 0;

        int text_bytes = snprintf(text, sizeof(text), "MESSAGE=%s", message);
        int priority_bytes = snprintf(priority, sizeof(priority), "PRIORITY=%d", level);
        iov[n++] = (struct iovec){ text, (size_t)text_bytes };
        iov[n++] = (struct iovec){ priority, (size_t)priority_bytes };
        for (; fields && *fields && n < FIELDS_MAX; fields++)
                iov[n++] = (struct iovec){ (void *)(unsigned long)*fields, strlen(*fields) };
        sd_journal_sendv(iov, n);
}

static void write_stderr(int level, const char *const *fields, const char *message) {
        static const char *const names[] = { "emerg",   "alert",  "crit", "error",
                                             "warning", "notice", "info", "debug" };
        char line[2 * LINE_BYTES];
        int n = snprintf(line, sizeof(line), "seekd: %s: %s", names[level & 7], message);
        for (; fields && *fields && n > 0 && (size_t)n < sizeof(line); fields++)
                n += snprintf(line + n, sizeof(line) - (size_t)n, " %s", *fields);
        fprintf(stderr, "%s\n", line); /* one call: lines of several threads do not mix */
}

void log_event(int level, const char *const *fields, const char *format, ...) {
        if (level > level_limit)
                return;
        char message[LINE_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        if (to_journal)
                write_journal(level, fields, message);
        else
                write_stderr(level, fields, message);
}
