#include "client/seek/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* "about 12 s": seconds up to two minutes, then minutes, then hours. */
static void append_estimate(char *text, size_t bytes, int64_t ms) {
        size_t n = strlen(text);
        long long s = (ms + 999) / 1000;
        if (ms < 0)
                return;
        if (s < 120)
                snprintf(text + n, bytes - n, ", about %lld s", s);
        else if (s < 7200)
                snprintf(text + n, bytes - n, ", about %lld min", (s + 30) / 60);
        else
                snprintf(text + n, bytes - n, ", about %lld h", (s + 1800) / 3600);
}

static void queue_text(char *ret, size_t bytes, const struct seekd_progress *progress) {
        if (progress->queue_place == 0)
                snprintf(ret, bytes, "waiting: the prompt becomes tokens");
        else
                snprintf(ret, bytes, "waiting: place %u in the queue", progress->queue_place);
        append_estimate(ret, bytes, progress->estimate_ms);
}

static void prefill_text(char *ret, size_t bytes, const struct seekd_progress *progress) {
        char kept[32] = "";
        if (progress->tokens_cached > 0)
                snprintf(kept, sizeof(kept), " (%u were kept)", progress->tokens_cached);
        snprintf(ret, bytes, "reading the prompt: %u of %u tokens%s", progress->tokens_done,
                 progress->tokens_total, kept);
        append_estimate(ret, bytes, progress->estimate_ms);
}

void progress_text(char *ret, size_t bytes, int load_permille,
                   const struct seekd_progress *progress) {
        ret[0] = 0;
        if (load_permille >= 0 && load_permille < 1000)
                snprintf(ret, bytes, "loading the model: %d %%", load_permille / 10);
        else if (progress->phase == SEEKD_PHASE_QUEUED)
                queue_text(ret, bytes, progress);
        else if (progress->phase == SEEKD_PHASE_PREFILL && progress->tokens_total > 0)
                prefill_text(ret, bytes, progress);
}

/* Not on a terminal that cannot clear a line. */
void progress_begin(struct progress_line *line) {
        const char *term = getenv("TERM");
        *line = (struct progress_line){
                .enabled = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
        };
}

void progress_clear(struct progress_line *line) {
        if (line->shown[0])
                fputs("\r\033[K", stderr);
        line->shown[0] = 0;
}

/* A line that wraps could not be cleared. */
static void cut_to_terminal(char *text) {
        struct winsize size;
        if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
            strlen(text) >= size.ws_col)
                text[size.ws_col - 1] = 0;
}

void progress_show(struct progress_line *line, const struct seekd_client *client,
                   const struct seekd_request *request) {
        struct seekd_progress progress = SEEKD_PROGRESS_INIT;
        char text[PROGRESS_TEXT];
        if (!line->enabled || seekd_progress(request, &progress) < 0)
                return;
        progress_text(text, sizeof(text), seekd_load_permille(client), &progress);
        cut_to_terminal(text);
        if (text[0] == 0 || strcmp(text, line->shown) == 0)
                return;
        fprintf(stderr, "\r\033[K%s", text);
        fflush(stderr);
        strcpy(line->shown, text);
}
