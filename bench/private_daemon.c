#include "bench/private_daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "client/seekd.h"

/* Loading a model of this benchmark takes a second, a large one from a cold disk minutes. */
#define START_TIMEOUT_NS (600 * NS_PER_S)
/* Running requests get twenty seconds (seekd.conf), the store what it needs. */
#define STOP_TIMEOUT_NS (60 * NS_PER_S)
#define POLL_MS         10

static int path_in(const struct private_daemon *d, const char *name, char ret[PATH_MAX],
                   struct error *err) {
        int n = snprintf(ret, PATH_MAX, "%s/%s", d->folder, name);
        return n > 0 && n < PATH_MAX ? 0 : error_set(err, -ENAMETOOLONG, "%s: too long", d->folder);
}

static int write_config(const struct private_daemon *d, const char *path, struct error *err) {
        FILE *file = fopen(path, "we");
        if (!file)
                return error_errno(err, "%s", path);
        fprintf(file, "[model]\npath = %s\n[engine]\nthreads = %u\n", d->model, d->n_threads);
        fprintf(file, "[server]\nsocket = %s/seekd.sock\nstate = %s/state\n", d->folder, d->folder);
        fprintf(file, "[memory]\n%s", d->memory);
        return fclose(file) == 0 ? 0 : error_errno(err, "%s", path);
}

/* In the new process. */
static void become_daemon(const struct private_daemon *d, const char *config, const char *log) {
        int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int null = open("/dev/null", O_RDONLY);
        if (fd < 0 || null < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0)
                _exit(127);
        dup2(null, STDIN_FILENO);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        /* It is not what a supervisor may have started. */
        unsetenv("NOTIFY_SOCKET");
        unsetenv("LISTEN_FDS");
        unsetenv("JOURNAL_STREAM");
        execl(d->binary, d->binary, "--config", config, (char *)NULL);
        perror(d->binary);
        _exit(127);
}

static bool ended(struct private_daemon *d) {
        if (d->pid != 0 && waitpid(d->pid, NULL, WNOHANG) != 0)
                d->pid = 0;
        return d->pid == 0;
}

static void rest(void) {
        nanosleep(&(struct timespec){ .tv_nsec = POLL_MS * (long)NS_PER_MS }, NULL);
}

/* Until the socket is there and the model answers. */
static int wait_ready(struct private_daemon *d, struct error *err) {
        char socket[PATH_MAX], why[SEEKD_ERROR_BYTES] = "";
        uint64_t end = clock_ns() + START_TIMEOUT_NS;
        int r = path_in(d, "seekd.sock", socket, err);
        if (r < 0)
                return r;
        while (!d->client && !ended(d) && clock_ns() < end)
                if (seekd_connect(socket, &d->client, why, sizeof(why)) < 0)
                        rest();
        while (d->client && clock_ns() < end && seekd_load_permille(d->client) != 1000)
                if (seekd_load_permille(d->client) < 0 || seekd_dispatch(d->client, POLL_MS) < 0)
                        return error_set(err, -EIO, "the daemon did not load its model: %s",
                                         seekd_last_error(d->client));
        if (!d->client || seekd_load_permille(d->client) != 1000)
                return error_set(err, -EIO, "the daemon did not start: %s", why);
        return 0;
}

/* Its last words. */
static void quote_log(const char *path, struct error *err) {
        char line[256], last[sizeof(line)] = "";
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof(line), file))
                memcpy(last, line, sizeof(last));
        if (file)
                fclose(file);
        last[strcspn(last, "\n")] = '\0';
        if (last[0])
                error_set(err, err->code, "the daemon did not start; it said last: %s", last);
}

int private_daemon_start(struct private_daemon *d, struct error *err) {
        char config[PATH_MAX], log[PATH_MAX];
        int r = path_in(d, "seekd.conf", config, err);
        if (r == 0)
                r = path_in(d, "log", log, err);
        if (r == 0)
                r = write_config(d, config, err);
        if (r < 0)
                return r;
        fflush(NULL);
        d->pid = fork();
        if (d->pid < 0) {
                d->pid = 0;
                return error_errno(err, "fork");
        }
        if (d->pid == 0)
                become_daemon(d, config, log);
        r = wait_ready(d, err);
        if (r < 0) {
                quote_log(log, err);
                private_daemon_stop(d);
        }
        return r;
}

void private_daemon_stop(struct private_daemon *d) {
        d->client = seekd_disconnect(d->client);
        if (d->pid == 0)
                return;
        kill(d->pid, SIGTERM);
        for (uint64_t end = clock_ns() + STOP_TIMEOUT_NS; !ended(d) && clock_ns() < end;)
                rest();
        if (d->pid != 0) {
                kill(d->pid, SIGKILL);
                waitpid(d->pid, NULL, 0);
                d->pid = 0;
        }
}

int private_daemon_read_bytes(const struct private_daemon *d, uint64_t *ret, struct error *err) {
        char path[64], line[128];
        snprintf(path, sizeof(path), "/proc/%d/io", (int)d->pid);
        FILE *file = fopen(path, "re");
        if (!file)
                return error_errno(err, "%s", path);
        int n = 0;
        while (n != 1 && fgets(line, sizeof(line), file))
                n = sscanf(line, "read_bytes: %" SCNu64, ret);
        fclose(file);
        return n == 1 ? 0 : error_set(err, -EIO, "%s: no read_bytes", path);
}
