/* A made-up checkpoint, from a request to a folder: its configuration, its plan, its files. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/checkpoint_config.h"

#define CHECKPOINT_THREADS_MAX 64

struct checkpoint_order {
        const char *out;       /* must not exist, or be an empty folder; NULL: write nothing */
        const char *tokenizer; /* tokenizer.json to copy; NULL: the base folder's, or the installed
                                  default model's */
        struct config_request config;
        uint64_t seed;
        unsigned n_threads; /* 0 = one per CPU; at most CHECKPOINT_THREADS_MAX */
        bool progress;      /* a line on standard error while it is written */
};

struct checkpoint_made {
        size_t n_files;
        uint64_t n_tensors, n_parameters, data_bytes, file_bytes;
        double seconds;
};

/* 0 or a negative errno; after an error nothing is left of it. */
int checkpoint_make(const struct checkpoint_order *order, struct checkpoint_made *ret,
                    struct error *err);
