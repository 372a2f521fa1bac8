/* Making engram.mdb: a checkpoint's Engram tables, copied once, row by row.
 *
 * The file grows under the name PATH.import and gets its own name when it is whole and has been
 * read back. Until then each commit (eight extents, with LMDB's default synced commits) is a point
 * from which another import of the same tables goes on; kill -9 and power loss cost what was not
 * committed. Only one import at a time (a lock on PATH.import). Other threads read the source and
 * have the disk begin while this one writes. Any thread; progress and cancelled are called on the
 * caller's. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memory/engram_about.h"
#include "memory/engram_progress.h"

struct error;

struct engram_source {
        struct engram_about about;
        /* Writes rows [first, first + n) of a table, codes then scales, to dest, dest + stride, ...
         * Called on a thread of the import's, rows ascending. 0, or a negative errno with message.
         */
        int (*read)(void *context, unsigned table, uint64_t first, uint64_t n, uint8_t *dest,
                    size_t stride, struct error *err);
        void *context;
};

struct engram_import_options {
        const char *path;            /* of engram.mdb */
        uint32_t extent_pages;       /* 0 = ENGRAM_EXTENT_PAGES */
        uint32_t extents_per_commit; /* 0 = 8: twice 512 MiB of memory */
        void (*progress)(void *userdata, const struct engram_progress *progress); /* may be NULL */
        bool (*cancelled)(void *userdata); /* may be NULL; true: -ECANCELED after the next extent */
        void *userdata;
};

/* 0: PATH is there and whole; 1: it already was. -ESTALE: PATH or a begun import belongs to another
 * checkpoint; -EBUSY: another import runs; -ENOSPC: the message says how much is missing; else what
 * the source, the file system or LMDB said. */
int engram_import(const struct engram_source *source, const struct engram_import_options *options,
                  struct error *err);
