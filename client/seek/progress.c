#include <stdio.h>
#include <string.h>

#include "client/seek/seek.h"

void progress_clear(struct progress_line *line) {
        if (line->shown[0])
                fputs("\r\033[K", stderr);
        line->shown[0] = 0;
}

void progress_show(struct progress_line *line, const struct seekd_client *client,
                   const struct seekd_request *request) {
        struct seekd_progress progress = SEEKD_PROGRESS_INIT;
        if (!line->enabled || seekd_progress(request, &progress) < 0)
                return;
        int load_permille = seekd_load_permille(client);
        char text[sizeof(line->shown)] = "";
        if (load_permille >= 0 && load_permille < 1000)
                snprintf(text, sizeof(text), "loading the model: %d %%", load_permille / 10);
        else if (progress.phase == SEEKD_PHASE_QUEUED && progress.queue_place > 0)
                snprintf(text, sizeof(text), "waiting: place %u in the queue",
                         progress.queue_place);
        else if (progress.phase == SEEKD_PHASE_PREFILL && progress.tokens_total > 0)
                snprintf(text, sizeof(text), "reading the prompt: %llu %% of %u tokens",
                         100ULL * progress.tokens_done / progress.tokens_total,
                         progress.tokens_total);
        if (text[0] == 0 || strcmp(text, line->shown) == 0)
                return;
        fprintf(stderr, "\r\033[K%s", text);
        fflush(stderr);
        strcpy(line->shown, text);
}
