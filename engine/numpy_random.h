/* NumPy's default_rng(seed).integers(0, bound): SeedSequence, PCG64 (XSL-RR 128/64), Lemire's
 * bounded draw.
 *
 * Checkpoints with Engram tables do not store their hash multipliers; they are the numbers that
 * NumPy 1.17 and later draw for a seed, so these three algorithms are part of the format. The state
 * is a plain value; any thread. */
#pragma once

#include <stdint.h>

__extension__ typedef unsigned __int128 uint128;

struct numpy_random {
        uint128 state, increment;
};

void numpy_random_init(struct numpy_random *random, uint32_t seed);

/* The next raw output. */
uint64_t numpy_random_raw(struct numpy_random *random);

/* An integer in [0, bound). NumPy takes another path for bounds up to 2^32, so `bound` must be
 * above. */
uint64_t numpy_random_bounded(struct numpy_random *random, uint64_t bound);
