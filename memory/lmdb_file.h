/* Reads an LMDB data file as what it is: input. LMDB itself trusts its file: a flipped bit in a
 * page number makes it crash, or overwrite pages that are in use. So before LMDB opens a file, this
 * walks all of it with bounded reads and says whether it is exactly what LMDB would have written:
 *
 *   - every page of the trees lies inside the file, says its own number and a legal kind, and is
 * used once; the lists of free pages name only pages that no tree uses;
 *   - nodes lie inside their page without overlap, keys ascend inside pages and across separators,
 * all leaves have the same depth, and the counts that LMDB keeps are the counts found;
 *   - there are no databases and no features but those asked for.
 *
 * What it cannot know is whether the *contents* of keys and data are right: they carry checksums of
 * their own. Big data (overflow runs) is not read here. Format: LMDB 0.9 (data version 1), 64 bits,
 * 4096-byte pages, little-endian. Any thread; the file must not change meanwhile. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;

#define LMDB_PAGE_BYTES  4096
#define LMDB_PAGE_HEADER 16 /* of a page, also of the first one of an overflow run */

/* LMDB pages that data of this size takes in an overflow run. */
static inline uint64_t lmdb_run_pages(uint64_t bytes) {
        return (LMDB_PAGE_HEADER + bytes + LMDB_PAGE_BYTES - 1) / LMDB_PAGE_BYTES;
}

struct lmdb_database {
        const char *name;
        uint16_t flags; /* MDB_INTEGERKEY or 0 */
};

struct lmdb_node {
        unsigned database; /* index into the list that was asked for */
        const uint8_t *key;
        size_t key_bytes;
        const uint8_t *data; /* NULL when it is in an overflow run */
        uint64_t data_bytes;
        uint64_t run; /* first page of the overflow run */
};

/* Called for each entry, in the order of names and keys, while the file may still turn out damaged.
 * A negative result ends the walk and is returned. */
typedef int lmdb_visit(void *context, const struct lmdb_node *node);

/* 0 = sound; -ENODATA = an empty file; -EUCLEAN = damaged; -EPROTONOSUPPORT = a later version of
 * LMDB's format; -ENOMEM. `env_flags` are the persistent flags that the environment was made with.
 */
int lmdb_file_walk(int fd, uint16_t env_flags, const struct lmdb_database *databases,
                   unsigned n_databases, lmdb_visit *visit, void *context, struct error *err);
