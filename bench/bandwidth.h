/* How fast this machine's memory can be read: what bounds the decoding of tokens. */
#pragma once

#include <stdint.h>

#define BANDWIDTH_THREADS_MAX 64

struct error;

struct bandwidth {
        uint64_t *buffer; /* far larger than the caches */
        unsigned n_threads;
};

/* At most BANDWIDTH_THREADS_MAX threads. 0 or -ENOMEM; to be deinitialised either way. */
int bandwidth_init(struct bandwidth *ret, unsigned n_threads, struct error *err);
void bandwidth_deinit(struct bandwidth *bandwidth);

/* Reads the buffer once: bytes per second, all threads together. 0 or a negative errno. */
int bandwidth_read(const struct bandwidth *bandwidth, double *ret, struct error *err);
