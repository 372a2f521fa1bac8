/* seekd-eval --describe: what a model is and what it needs, from config.json, and what of it the
 * files hold if there are any. */
#pragma once

#include <stdbool.h>

struct error;

/* `path`: a model's folder, or a config.json alone. Prints to stdout. */
int eval_describe(const char *path, bool json, struct error *err);
