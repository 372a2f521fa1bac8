/* Structured log lines: to the journal when systemd gave us one, else to stderr as "level: message
 * key=value".
 *
 * Never log prompt text.
 * Thread-safe. Call log_init() once before threads start. */
#pragma once

#include <syslog.h>

/* Reads $JOURNAL_STREAM (systemd sets it when stderr is the journal). `level_max` drops less urgent
 * lines. */
void log_init(int level_max);

/* One line. `fields` is NULL or a NULL-terminated list of "KEY=value" strings (KEY in upper case).
 */
void log_event(int level, const char *const *fields, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#define log_error(...)   log_event(LOG_ERR, NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_WARNING, NULL, __VA_ARGS__)
#define log_info(...)    log_event(LOG_INFO, NULL, __VA_ARGS__)
#define log_debug(...)   log_event(LOG_DEBUG, NULL, __VA_ARGS__)
