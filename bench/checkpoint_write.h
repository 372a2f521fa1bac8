/* Writing a planned checkpoint: all processors make numbers, the disk sets the pace.
 *
 * Everything goes to a folder named like the target with ".partial-XXXXXX" behind it, which becomes
 * the target when all of it is on the disk. A run that fails or is interrupted (SIGINT, SIGTERM,
 * SIGHUP) removes that folder; one that is killed leaves it, and it has no index. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "bench/checkpoint_plan.h"

struct checkpoint_file {
        const char *name;
        const char *text;
        size_t n;
};

struct checkpoint_write {
        const struct checkpoint_plan *plan;
        const char *target;                  /* must not exist, or be an empty folder */
        const struct checkpoint_file *files; /* beside the shards, in this order, the index last */
        size_t n_files;
        unsigned n_threads;
        bool progress; /* a line on standard error, rewritten twice a second */
};

int checkpoint_write(const struct checkpoint_write *write, struct error *err);
