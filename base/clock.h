/* Monotonic time in nanoseconds since an arbitrary start; never goes back, not settable. Any
 * thread. */
#pragma once

#include <stdint.h>

#define NS_PER_US 1000ULL
#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

uint64_t clock_ns(void);
