#include "daemon/notify.h"

#include <systemd/sd-daemon.h>

/* Asked for again with each progress report, at least once a second while a model loads; 10 s cover
 * a slow disk read between two reports. */
#define LOADING_EXTENSION_US 10000000

void notify_loading(double done, const char *what) {
        sd_notifyf(0, "STATUS=Loading the model: %.0f %% (%s)\nEXTEND_TIMEOUT_USEC=%d", done * 100,
                   what, LOADING_EXTENSION_US);
}

void notify_ready(const char *model, const char *backend) {
        sd_notifyf(0, "READY=1\nSTATUS=Serving %s on %s", model, backend);
}

void notify_status(unsigned n_connections, unsigned n_running, unsigned n_waiting) {
        sd_notifyf(0, "STATUS=%u connections, %u requests running, %u waiting", n_connections,
                   n_running, n_waiting);
}

void notify_stopping(unsigned n_running, unsigned timeout_s) {
        /* The manager's own stop timeout may be shorter than the drain that the administrator
         * configured. */
        sd_notifyf(0, "STOPPING=1\nSTATUS=Draining: %u requests\nEXTEND_TIMEOUT_USEC=%llu",
                   n_running, ((unsigned long long)timeout_s + 5) * 1000000);
}

void notify_failed(int code, const char *message) {
        sd_notifyf(0, "ERRNO=%d\nSTATUS=%s", -code, message);
}

uint64_t notify_watchdog_us(void) {
        uint64_t us = 0;
        return sd_watchdog_enabled(0, &us) > 0 ? us : 0;
}

void notify_watchdog(void) {
        sd_notify(0, "WATCHDOG=1");
}
