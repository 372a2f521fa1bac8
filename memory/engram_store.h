/* engram.mdb, open for reading: rows of Engram tables by arithmetic.
 *
 * LMDB's index is walked once, at open: after that a row is found by its number alone
 * (engram_layout.h), in the mapping or at a place of the file. The file is input: its LMDB pages
 * are checked before LMDB sees them (lmdb_file.h), its description is compared with the model's,
 * and each row carries a checksum. It never changes while it has this name. Immutable after open;
 * any thread. */
#pragma once

#include <stdint.h>

#include "memory/engram_about.h"
#include "memory/lmdb_file.h"

struct engram_store;
struct error;

/* Opens PATH. -ENOENT: not there. -ESTALE: `wanted` are other tables. -EUCLEAN: damaged or not
 * whole. -EPROTONOSUPPORT: written by a later version. All others as the system says. `wanted` may
 * be NULL: whatever tables there are. */
int engram_store_open(const char *path, const struct engram_about *wanted,
                      struct engram_store **ret, struct error *err);
struct engram_store *engram_store_close(struct engram_store *store); /* NULL-safe, returns NULL */

const struct engram_layout *engram_store_layout(const struct engram_store *store);
const char *engram_store_path(const struct engram_store *store);
uint64_t engram_store_bytes(const struct engram_store *store); /* of all extents in the file */

/* For reading; the store's own. The second one reads past the kernel's memory, whole pages into
 * buffers aligned to a page; -1 where the file system cannot do that. */
int engram_store_fd(const struct engram_store *store);
int engram_store_direct_fd(const struct engram_store *store);

/* A row and its checksum (engram_stride() bytes), in the mapping: the first touch of a page waits
 * for the disk, and a disk that fails raises SIGBUS. Not for the daemon's read path, which knows
 * when it would wait (engram_fetch.h). `row` is below the table's n_rows. */
const uint8_t *engram_store_row(const struct engram_store *store, unsigned table, uint64_t row);

/* The same in the file: its byte offset. */
uint64_t engram_store_offset(const struct engram_store *store, unsigned table, uint64_t row);

/* An extent as it lies in the file: whole pages, LMDB's header first. */
struct engram_extent {
        uint64_t offset, bytes; /* multiples of ENGRAM_PAGE_BYTES */
        uint32_t crc;           /* CRC32C of what follows the header, as it was written */
};
struct engram_extent engram_store_extent(const struct engram_store *store, unsigned table,
                                         uint64_t extent);

/* Checks the LMDB pages of an engram.mdb, also of one that is not finished, and visits its entries
 * in this order of databases. */
enum { ENGRAM_DB_INDEX_ABOUT, ENGRAM_DB_INDEX_CHECKSUMS, ENGRAM_DB_INDEX_EXTENTS };
int engram_store_walk(int fd, lmdb_visit *visit, void *context, struct error *err);
