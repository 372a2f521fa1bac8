/* The parts of seekd-bench engram. One thread. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "bench/report.h"

struct error;

struct engram_bench {
        const char *folder, *model, *text;
        char path[PATH_MAX]; /* of engram.mdb in the folder */
        uint64_t table_bytes;
        unsigned n_runs, n_pairs;
        bool json;

        struct series import, plain_write;         /* MB/s */
        struct series warm, warm_token, warm_file; /* rows/s */
        struct series flat, flat_token, flat_file; /* the same */
        struct series cold, raw;                   /* rows/s */
        struct series decode_store, decode_ram;    /* tokens/s */
        struct series pairs, equal_pairs;          /* of each pair, speed beside memory's */
        struct series hits, hits_of_all;           /* share of the rows of a text */
};

/* Pseudo-random numbers of 44 bits; any state will do. */
static inline uint64_t engram_bench_next(uint64_t *state) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        return *state >> 20;
}

static inline double engram_bench_seconds_since(uint64_t start_ns) {
        return (double)(clock_ns() - start_ns) / (double)NS_PER_S;
}

/* Rows as in the released model. The first eight bytes of a made-up one are its number. */
#define ENGRAM_BENCH_CODE_BYTES  256
#define ENGRAM_BENCH_SCALE_BYTES 8
#define ENGRAM_BENCH_ROW_BYTES   (ENGRAM_BENCH_CODE_BYTES + ENGRAM_BENCH_SCALE_BYTES)

/* The import, then warm and cold. Leaves nothing in the folder but a table that was there before,
 * which is used. */
int engram_bench_disk(struct engram_bench *bench, struct error *err);

/* Of the table in the folder: its first 4 GB, in memory; all of it, not in memory. */
int engram_bench_warm(struct engram_bench *bench, struct error *err);
int engram_bench_cold(struct engram_bench *bench, struct error *err);

/* Decoding with the model's tables in the folder and in memory; hits of the row cache on a text. */
int engram_bench_model(struct engram_bench *bench, struct error *err);
