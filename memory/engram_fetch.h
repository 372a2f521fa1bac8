/* Engram rows, brought to where they are needed before they are needed.
 *
 * A row comes from the first of these that has it: the cache of hot rows, a lookup and a copy; for
 * few rows the kernel's memory, by a read that must not wait; the disk, where a thread of its own
 * keeps many reads in flight and puts what arrives into the cache and into its destination. Never
 * one waited-for read per row.
 *
 * A file that memory could hold is read through the kernel's memory. Of a larger one the kernel
 * would keep a page of 4 KiB for each row of 264 bytes that was read, so it is read directly, and
 * the cache of rows is what keeps them.
 *
 * One thread (the engine's) makes the calls below, at most one request per table at a time. A row's
 * checksum is compared each time it leaves the file; one that is damaged is taken from `repair`
 * where there is one, else the request fails by name. Rows in the cache were checked when they
 * came. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memory/disk_reads.h"
#include "memory/engram_store.h"

struct engram_fetch;
struct error;

/* Reads in flight: NVMe disks reach their rate at 64 to 256. */
#define ENGRAM_FETCH_DEPTH_DEFAULT 128

enum engram_fetch_path {
        ENGRAM_FETCH_AUTO,     /* directly if the file has more than half of the machine's memory */
        ENGRAM_FETCH_BUFFERED, /* through the kernel's memory */
        ENGRAM_FETCH_DIRECT,   /* where the file system can; else through the kernel's memory */
};

struct engram_fetch_options {
        uint64_t cache_rows; /* bounded by the tables' rows; 0 = 8, the smallest */
        unsigned depth;      /* 0 = the default, at most DISK_READS_DEPTH_MAX */
        enum disk_reads_kind reads;
        enum engram_fetch_path path;
        /* Another source of a row; NULL = none. From any thread, also two at once. 0 or a negative
         * errno. */
        int (*repair)(void *userdata, unsigned table, uint64_t row, uint8_t *dest);
        void *userdata;
};

/* The store outlives it. */
int engram_fetch_new(const struct engram_store *store, const struct engram_fetch_options *options,
                     struct engram_fetch **ret, struct error *err);
struct engram_fetch *engram_fetch_free(struct engram_fetch *fetch); /* NULL-safe, returns NULL */

/* "io_uring", "io_uring, direct", "threads" or "threads, direct". */
const char *engram_fetch_reads_name(const struct engram_fetch *fetch);

/* Starts bringing n different rows, packed, to dest. Both arrays stay untouched until
 * engram_fetch_collect(). */
void engram_fetch_request(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                          uint32_t n, uint8_t *dest);

/* Waits until they are there. 0, or the first failure; ends the request either way. */
int engram_fetch_collect(struct engram_fetch *fetch, unsigned table, struct error *err);

/* Brings rows into the cache some time soon. What does not fit the queue is forgotten. */
void engram_fetch_prefetch(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                           uint32_t n);

/* Counted since the start, in rows. */
struct engram_fetch_stats {
        uint64_t n_requested;
        uint64_t n_cached;     /* were in the cache when requested */
        uint64_t n_resident;   /* copied from the kernel's memory, when requested or announced */
        uint64_t n_read;       /* requested ones that the thread brought */
        uint64_t n_prefetched; /* read before they were requested */
        uint64_t n_damaged;    /* had a wrong checksum or could not be read */
        uint64_t n_late;       /* requests that were not ready when collected, */
        uint64_t late_ns;      /* and how long they were waited for in all */
};
/* Any thread. */
void engram_fetch_stats(struct engram_fetch *fetch, struct engram_fetch_stats *ret);
