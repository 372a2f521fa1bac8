/* What a histogram of durations says to people. Pure. */
#pragma once

#include <stdint.h>

#include "client/seekd.h"

/* Nothing was counted. */
#define LATENCY_UNKNOWN (-1.0)

uint64_t latency_count(const struct seekd_histogram *histogram);

/* Seconds that `part` (0 to 1) of the durations do not exceed, by equal spreading within a bucket;
 * of those above all bounds the last bound. LATENCY_UNKNOWN. */
double latency_quantile(const struct seekd_histogram *histogram, double part);

/* "0.4ms", "52ms", "1.2s", "17m", at most five characters; "-" for LATENCY_UNKNOWN. Returns ret. */
#define LATENCY_TEXT 16
const char *latency_text(double seconds, char ret[LATENCY_TEXT]);
