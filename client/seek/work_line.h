/* A line on a terminal that says how far a long piece of work is, and the interrupt that ends it.
 */
#pragma once

#include <stdbool.h>

#include "client/seekd.h"

struct work_line {
        bool shown;
};

/* From now on SIGINT and SIGTERM end the work, and a second one the program. */
void work_line_begin(struct work_line *line);
void work_line_end(struct work_line *line); /* the terminal's line is empty again */

/* A seekd_work_fn; userdata is the line. */
int work_line_show(void *userdata, const struct seekd_work *work);
