#include "client/seek/work_line.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "client/seek/seek.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
        (void)number;
        interrupted = 1;
}

void work_line_begin(struct work_line *line) {
        struct sigaction action = { .sa_handler = on_signal };
        action.sa_flags = (int)SA_RESETHAND;
        *line = (struct work_line){ 0 };
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

int work_line_show(void *userdata, const struct seekd_work *work) {
        struct work_line *line = userdata;
        char done[BYTES_TEXT], total[BYTES_TEXT], rate[BYTES_TEXT];
        if (isatty(STDERR_FILENO)) {
                fprintf(stderr, "\r\033[K%s: %s of %s, %s/s", work->what,
                        bytes_text(work->done, done), bytes_text(work->total, total),
                        bytes_text((uint64_t)work->bytes_per_s, rate));
                if (work->seconds_left >= 0)
                        fprintf(stderr, ", %.0f s left", work->seconds_left);
                line->shown = true;
        }
        return interrupted != 0;
}

void work_line_end(struct work_line *line) {
        if (line->shown)
                fputs("\r\033[K", stderr);
        line->shown = false;
}
