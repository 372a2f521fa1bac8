/* What engram_fetch.c (the caller's side) and engram_reader.c (the thread's) share. */
#pragma once

#include <pthread.h>

#include "base/error.h"
#include "memory/engram_fetch.h"
#include "memory/row_cache.h"

/* Rows that wait to be prefetched; a chunk of 128 tokens has 6,144 in the released model. A power
 * of two. */
#define PREFETCH_MAX 16384

struct prefetch {
        uint64_t row;
        unsigned table;
};

/* A row of a request that was not at hand. */
struct missing {
        uint64_t row;
        uint32_t index; /* of the request's rows, and of its destination */
};

/* The counts are all 0 when there is nothing to wait for; only the caller sets n_missing. */
struct request {
        uint8_t *dest;
        struct missing *missing; /* [capacity]; the thread's from n_begun to n_missing */
        uint32_t capacity;
        uint32_t n_missing, n_begun, n_arrived;
        struct error error; /* the first */
};

/* A read under way. */
struct flight {
        int64_t index;     /* where its table's request wants it, -1 = not: it was announced */
        uint8_t *buffer;   /* [ENGRAM_PAGE_BYTES] */
        const uint8_t *at; /* the row and its checksum, in the buffer */
        bool good, intact; /* once it is there: can be used; did not have to be repaired */
};

struct engram_fetch {
        const struct engram_store *store;
        const struct engram_layout *layout;
        struct engram_fetch_options options;
        bool direct;
        pthread_t thread;

        pthread_mutex_t lock; /* guards this block */
        pthread_cond_t work, arrived;
        struct row_cache *cache;
        struct request request[ENGRAM_TABLES_MAX];
        struct prefetch *announced; /* [PREFETCH_MAX], free-running */
        unsigned n_announced, n_begun;
        struct engram_fetch_stats stats;
        bool stop;

        /* The thread's own: */
        struct disk_reads *reads;
        struct flight *flight; /* [depth] */
        uint64_t *flying;      /* [depth] 1 + engram_fetch_key() of what a flight reads, 0 = none */
        unsigned *idle;        /* numbers of the flights that are not used */
        unsigned n_idle;
        uint8_t *buffers; /* [depth][ENGRAM_PAGE_BYTES], aligned to that */
        bool told_damage;
};

/* A row of any table, in one number. */
static inline uint64_t engram_fetch_key(unsigned table, uint64_t row) {
        return (uint64_t)table << 40 | row;
}
#define KEY_TABLE(key) ((unsigned)((key) >> 40))
#define KEY_ROW(key)   ((key) & (ENGRAM_ROWS_MAX - 1))

/* The thread. Ends when `stop` is set and `work` signalled. */
void *engram_fetch_read(void *fetch);
