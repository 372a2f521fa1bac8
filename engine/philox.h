/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011): random bits
 * as a function of a key and a counter, without a state. Any thread. */
#pragma once

#include <stdint.h>

void philox4x32(const uint32_t counter[static 4], const uint32_t key[static 2],
                uint32_t ret[static 4]);
