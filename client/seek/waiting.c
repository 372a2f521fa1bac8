/* Until a request is over: progress on the terminal, interrupts, and what the end means. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/seek/seek.h"

#define PROGRESS_INTERVAL_MS 100

int open_signal_fd(void) {
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                fprintf(stderr, "seek: signals: %s\n", strerror(errno));
        return fd;
}

bool wait_for_end(struct seekd_client *client, struct seekd_request *request,
                  struct progress_line *progress, int signal_fd) {
        bool interrupted = false;
        while (!seekd_finished(request)) {
                progress_show(progress, client, request);
                struct pollfd fds[] = {
                        { seekd_fd(client), (short)seekd_events(client), 0 },
                        { signal_fd, POLLIN, 0 },
                };
                poll(fds, 2, progress->enabled ? PROGRESS_INTERVAL_MS : -1);
                struct signalfd_siginfo info;
                if ((fds[1].revents & POLLIN) &&
                    read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
                        progress_clear(progress);
                        if (interrupted)
                                _exit(EXIT_INTERRUPTED);
                        interrupted = true;
                        seekd_cancel(request);
                }
                seekd_dispatch(client, 0);
        }
        progress_clear(progress);
        return interrupted;
}

int exit_code_of_finish(int finish, bool interrupted) {
        if (interrupted)
                return EXIT_INTERRUPTED;
        switch (finish) {
        case SEEKD_FINISH_SHUTDOWN:
                fputs("seek: the daemon stopped before the text was complete\n", stderr);
                return EXIT_LOST;
        case SEEKD_FINISH_SLOW_CONSUMER:
                fputs("seek: the output was not read for too long; the daemon gave up\n", stderr);
                return EXIT_LOST;
        case SEEKD_FINISH_CANCELLED: return EXIT_FAILED;
        default: return EXIT_DONE;
        }
}
