/* Where a benchmark works: a folder of its own for all that it makes, the daemon beside it, and a
 * model when the user names none. One thread. */
#pragma once

#include <limits.h>
#include <sys/types.h>

#include "bench/checkpoint_config.h"

struct error;

/* Goes with the benchmark, however that ends: a keeper, another process, removes it when the
 * benchmark and all that it has started are gone. */
struct workplace {
        char folder[PATH_MAX];
        pid_t keeper;
        int alive; /* what the keeper sees closed; those that are started inherit it */
};

/* Makes NAME-XXXXXX in `parent`. 0 or a negative errno. */
int workplace_make(const char *parent, const char *name, struct workplace *ret, struct error *err);
void workplace_remove(struct workplace *place); /* with all that is in it; nothing runs there */

/* The daemon that was built or installed with this program; *ret points to `buffer`. -ENOENT. */
int workplace_find_seekd(char buffer[PATH_MAX], const char **ret, struct error *err);

/* A checkpoint in `out`. `tokenizer`: NULL = that of the model that was built or installed with
 * this program. 0 or a negative errno. */
int workplace_make_model(const char *out, const struct config_request *config,
                         const char *tokenizer, struct error *err);
