/* What must hold of a cache at any time: looked at from inside, with everything counted anew. */
#pragma once

#include <stddef.h>

#include "memory/kv_cache_private.h"

/* All leases and pins that the cache has. Fails the test. */
void kept_check(struct kv_cache *cache, struct kv_lease *const *leases, size_t n_leases,
                struct kv_pin *const *pins, size_t n_pins);
