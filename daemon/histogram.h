/* Durations counted by length: what a mean hides. The buckets are the same for all, so that counts
 * of several can be added, and those of two moments subtracted. One thread. */
#pragma once

#include <stdint.h>

/* 1, 2 and 5 of each decade from 0.1 ms to 1,000 s. Below are only tokens of models that are not
 * worth timing; above, a prompt of the longest context on a CPU behind several others. A quantile
 * is known to a factor of 2.5 at worst, the width of a bucket, for 23 numbers each. */
#define HISTOGRAM_BOUNDS 22

struct histogram {
        /* Up to each bound and above the one before; the last: above all. */
        uint64_t counts[HISTOGRAM_BOUNDS + 1];
        uint64_t sum_ns;
};

extern const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS]; /* ascending */

void histogram_add(struct histogram *histogram, uint64_t ns);
