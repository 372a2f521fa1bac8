/* Where a benchmark works: a folder of its own for all that it makes, the daemon beside it, and a
 * model when the user names none. One thread. */
#pragma once

#include <limits.h>

#include "bench/checkpoint_config.h"

struct error;

/* Makes NAME-XXXXXX in `parent`. 0 or a negative errno. */
int workplace_make(const char *parent, const char *name, char ret[PATH_MAX], struct error *err);
void workplace_remove(const char *folder); /* with all that is in it */

/* The daemon that was built or installed with this program; *ret points to `buffer`. -ENOENT. */
int workplace_find_seekd(char buffer[PATH_MAX], const char **ret, struct error *err);

/* A checkpoint in `out`. `tokenizer`: NULL = that of the model that was built or installed with
 * this program. 0 or a negative errno. */
int workplace_make_model(const char *out, const struct config_request *config,
                         const char *tokenizer, struct error *err);
