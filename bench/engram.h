/* The parts of seekd-bench engram. One thread. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/fd.h"
#include "bench/report.h"

struct error;

struct engram_bench {
        const char *folder, *model, *text;
        char path[PATH_MAX]; /* of engram.mdb in the folder */
        uint64_t table_bytes;
        unsigned n_runs, n_pairs;
        bool json;

        struct series import, plain_write;      /* MB/s */
        struct series warm, flat;               /* rows/s */
        struct series cold, raw;                /* rows/s */
        struct series decode_store, decode_ram; /* tokens/s, paired */
        struct series hits, hits_of_all;        /* share of the rows of a text */
};

/* Import, warm and cold; leaves nothing in the folder. */
int engram_bench_disk(struct engram_bench *bench, struct error *err);

/* Decoding with the model's tables in the folder and in memory; hits of the row cache on a text. */
int engram_bench_model(struct engram_bench *bench, struct error *err);
