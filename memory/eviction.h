/* What to give up when room is needed: a pure function of what is held, no clock, no state, no I/O.
 *
 * Kept is what is expected to save the most milliseconds per byte:
 *
 *   value = recompute_ms * (1 + uses) * 2^(-idle_s / half_life_s) / bytes
 *
 * Leaves go first: an item goes only after all that hang on it, so no prefix ever loses its
 * beginning. Superseded items (an older frontier of a session, a small extent that a larger one
 * replaced) go before all others. Held items (pinned, in use, ahead of a request that is about to
 * come) never go, and neither do, by the rule of leaves, their ancestors. Equal values: the lower
 * number, that is the older, goes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVICTION_NO_PARENT SIZE_MAX

struct eviction_item {
        uint64_t number;     /* caller's; of the value */
        size_t parent;       /* index of the item it hangs on, or EVICTION_NO_PARENT */
        uint64_t bytes;      /* freed when it goes; > 0 */
        double recompute_ms; /* time to compute what it holds anew */
        double idle_s;       /* since its last use */
        uint32_t uses;       /* hits so far */
        bool superseded;
        bool held;
};

/* Milliseconds saved per byte. half_life_s > 0. */
double eviction_value(const struct eviction_item *item, double half_life_s);

/* Chooses items until they free bytes_wanted, or none is left that may go. ret_order[n] receives
 * the indices of the items in the order in which to drop them; *ret_n how many; *ret_bytes what
 * they free. Parents form a forest (an item that is its own ancestor never goes). 0 or -ENOMEM. */
int eviction_choose(const struct eviction_item *items, size_t n, double half_life_s,
                    uint64_t bytes_wanted, size_t *ret_order, size_t *ret_n, uint64_t *ret_bytes);
