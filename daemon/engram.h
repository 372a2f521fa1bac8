/* Where the engine's Engram rows come from: joins its interface (engine/engram_rows.h) with the
 * store of memory/.
 *
 * With an engram.mdb of this checkpoint in the state folder: from there. Without one: from the
 * checkpoint, or, if it is small or asked for, from one that is made first. An engram.mdb that
 * cannot be used is left alone and said; the checkpoint is read as long as it has the tables. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engram_rows.h"
#include "memory/engram_fetch.h"
#include "memory/engram_import.h"
#include "memory/engram_verify.h"

struct engram;
struct error;

enum engram_import {
        ENGRAM_IMPORT_AUTO,  /* at the first start, when the tables are small */
        ENGRAM_IMPORT_NEVER, /* only what is there is used */
        ENGRAM_IMPORT_NOW,   /* or fail; what is there is read back and compared */
};

/* Tables up to this size are imported without being asked for: two seconds of a disk that writes
 * 500 MB/s, in a start that takes as long anyhow. */
#define ENGRAM_AUTO_BYTES (1ULL << 30)

/* 1.1 GB with the released rows of 264 bytes; a table that has fewer rows takes less. */
#define ENGRAM_CACHE_ROWS_DEFAULT (1U << 22)

struct engram_options {
        const char *state_dir; /* "": from the checkpoint */
        enum engram_import import;
        uint64_t cache_rows;
        void (*progress)(void *userdata, const struct engram_progress *progress); /* may be NULL */
        void *userdata;
};

/* Strings and userdata outlive it. 0 or -ENOMEM. */
int engram_new(const struct engram_options *options, struct engram **ret);

/* For engine_options: what this opens lives until engram_free(). */
struct engram_rows engram_rows(struct engram *engram);

/* The calls below: any thread, once the engine is open and before engram_free(). */

/* Where the rows came from so far (engram_fetch.h). False: from the checkpoint, uncounted. */
bool engram_statistics(const struct engram *engram, struct engram_fetch_stats *ret);

/* engram_store_verify() of the store in use; -ENOENT: rows come from the checkpoint. */
int engram_verify(const struct engram *engram, const struct engram_verify_options *options,
                  struct error *err);

/* How to make engram.mdb; called on the thread that makes it. */
struct engram_making {
        void (*progress)(void *userdata, const struct engram_progress *progress); /* may be NULL */
        bool (*cancelled)(void *userdata);                                        /* may be NULL */
        void *userdata;
};

/* Makes engram.mdb beside the engine that reads the checkpoint, for the next start. 0; 1: it is
 * there; -ENOTSUP: the model has no tables, -ENOENT: there is no state folder, or the checkpoint
 * lacks them; else as engram_import(). */
int engram_make(const struct engram *engram, const struct engram_making *making, struct error *err);
bool engram_in_use(const struct engram *engram); /* rows come from engram.mdb */
const char *engram_path(const struct engram *engram);

/* After engine_close(). NULL-safe, returns NULL. */
struct engram *engram_free(struct engram *engram);
