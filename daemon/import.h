/* seekd --import: Engram tables into the state folder, by hand. */
#pragma once

#include <stdbool.h>

#include "daemon/server.h"

/* With the state folder locked. Progress on stderr, the result on stdout; with `json` both on
 * stdout, one object a line: {"progress": {...}}, then {"engram": {...}} or {"error": {...}}. */
enum exit_status import_tables(const struct config *config, bool json);
