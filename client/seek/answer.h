/* One answer in a conversation: submitted, shown as it comes, kept. Single-threaded. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "client/seek/seek.h"

struct answer_text {
        char *bytes;
        size_t n, capacity;
};

struct answer {
        bool keep_only; /* show nothing */
        bool terminal;  /* show reasoning too, dimmed */
        bool broken;    /* it can not be kept or shown */
        bool dimmed;    /* what is being written now */
        bool shown;     /* something of text or calls */
        struct progress_line progress;
        struct answer_text text, reasoning;
        json_t *calls; /* array of {id, name, arguments} */
        struct seekd_result result;
};

/* Submits and waits. True when it was interrupted, which cancels it. The result says how it ended;
 * free with answer_deinit(), also before the next. */
bool answer_run(struct answer *answer, struct seekd_client *client,
                const struct seekd_params *params, int signal_fd);
void answer_deinit(struct answer *answer);

/* The assistant's message, as conversations keep them. NULL: no memory. */
json_t *answer_message(const struct answer *answer);

/* What --json prints: the message in OpenAI's form, and how it came about. */
json_t *answer_json(const struct answer *answer);
