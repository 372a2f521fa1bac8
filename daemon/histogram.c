#include "daemon/histogram.h"

#include <stddef.h>

#include "base/clock.h"

/* A decade. */
#define BOUNDS(ns) 1 * (ns), 2 * (ns), 5 * (ns)

const uint64_t histogram_bounds_ns[HISTOGRAM_BOUNDS] = {
        BOUNDS(100 * NS_PER_US), BOUNDS(NS_PER_MS), BOUNDS(10 * NS_PER_MS),
        BOUNDS(100 * NS_PER_MS), BOUNDS(NS_PER_S),  BOUNDS(10 * NS_PER_S),
        BOUNDS(100 * NS_PER_S),  1000 * NS_PER_S,
};

void histogram_add(struct histogram *histogram, uint64_t ns) {
        size_t i = 0;
        while (i < HISTOGRAM_BOUNDS && ns > histogram_bounds_ns[i])
                i++;
        histogram->counts[i]++;
        histogram->sum_ns += ns;
}
