/* Reading all of engram.mdb back and comparing it with its checksums.
 *
 * Whoever serves rows need not have done this: each row is checked when it is read. It finds what
 * nobody has asked for yet, and what lies between rows. The bytes come from the disk, past the
 * kernel's memory where the file system can do that, so that the rows there stay there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memory/engram_progress.h"

struct engram_store;
struct error;

/* An extent that is not as it was written. */
struct engram_damage {
        unsigned table;
        uint64_t extent;  /* of its table */
        uint64_t offset;  /* byte of the file: of the damaged row, or of the extent */
        const char *text; /* all of it in words; valid during the call */
};

/* Any callback may be NULL; they are called on the caller's thread. */
struct engram_verify_options {
        /* Leaves processor and disk to whoever wants them (base/background.h). The calling
         * thread stays like that: give it one of its own. */
        bool background;
        void (*progress)(void *userdata, const struct engram_progress *progress); /* per extent */
        void (*damaged)(void *userdata, const struct engram_damage *damage);      /* each one */
        bool (*cancelled)(void *userdata); /* true: -ECANCELED, at the latest after 4 MiB */
        void *userdata;
};

/* 0: all of it is as it was written. -EUCLEAN: what is not has been named, the first in *err. A
 * part that cannot be read counts as damaged, and the rest is read. -ECANCELED, -ENOMEM. Any
 * thread; `options` may be NULL. */
int engram_store_verify(const struct engram_store *store,
                        const struct engram_verify_options *options, struct error *err);
