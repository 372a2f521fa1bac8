/* Telling the supervisor how we are: readiness, status line, watchdog. Without a supervisor every
 * call does nothing. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void notify_loading(double done, const char *what); /* STATUS and more time to start */
void notify_ready(const char *model, const char *backend);
void notify_status(unsigned n_connections, unsigned n_running, unsigned n_waiting);
void notify_stopping(unsigned n_running, unsigned timeout_s);
void notify_failed(int code, const char *message); /* ERRNO and STATUS, code is a negative errno */

/* Microseconds between expected watchdog messages, 0 when none are wanted. */
uint64_t notify_watchdog_us(void);
void notify_watchdog(void);
