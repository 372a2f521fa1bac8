/* The folder for what outlives the daemon: made when missing, and held by one daemon at a time. */
#pragma once

struct error;

/* Makes `path` (mode 0700, its parent must exist) and locks it for the life of the returned
 * descriptor, which the caller owns. -EBUSY when another daemon has it. */
int state_folder_open(const char *path, struct error *err);
