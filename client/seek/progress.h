/* A line on a terminal that says what is waited for, until text comes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "client/seekd.h"

#define PROGRESS_TEXT 128

struct progress_line {
        bool enabled;
        char shown[PROGRESS_TEXT]; /* what stands there */
};

/* Enabled where standard error is a terminal. */
void progress_begin(struct progress_line *line);
void progress_show(struct progress_line *line, const struct seekd_client *client,
                   const struct seekd_request *request);
void progress_clear(struct progress_line *line);

/* The line: printable ASCII, "" when there is nothing to say. load_permille as
 * seekd_load_permille(). */
void progress_text(char *ret, size_t bytes, int load_permille,
                   const struct seekd_progress *progress);
