/* The daemon's secret: 32 random bytes in a file that only its user may read, made once. Whoever
 * has it can compute the identities of stored pages; losing it makes every stored page unreachable.
 */
#pragma once

#include "memory/page_id.h"

struct error;

/* Reads `folder`/secret, or makes it (mode 0600, synced before it gets its name). Refuses a file of
 * another size or owner, or one that others may read or write. 0 or a negative errno. */
int secret_open(const char *folder, struct page_key *ret, struct error *err);
