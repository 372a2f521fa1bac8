/* What a disk gives when nothing stands between: reads of a file past the kernel's memory, several
 * at once. */
#pragma once

#include <stdint.h>

struct error;

/* Reads the first `bytes` of a file (or all of it, when it is shorter) in order, and says how many
 * bytes that were a second. */
int direct_read_rate(const char *path, uint64_t bytes, double *ret_bytes_per_s, struct error *err);
