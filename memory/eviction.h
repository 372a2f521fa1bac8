/* What goes first when a tier of kept KV is full: pure functions of numbers.
 *
 * Kept is what is expected to save most milliseconds per byte. With the time that one use saves,
 * the number of uses so far as the guess of how many will come, and halving that guess while the
 * tier was filled once over without a use:
 *
 *   worth = cost_ms / bytes x (1 + hits) x 2^(-age / half_life)
 *
 * Time is counted in bytes that came into the tier, half_life is the tier's size: nothing ages
 * while nothing is added, and no constant is to be set. All worths shrink by the same factor as
 * time passes, so which of two is less never changes but by a use. The score is the logarithm of
 * the worth, as seen from the time 0 instead of now:
 *
 *   score = log2(cost_ms / bytes x (1 + hits)) + used / half_life
 *
 * so that it is computed once and kept in a heap, without a clock. A doubling of the hits, of the
 * cost or of the density is worth one turnover of the tier.
 *
 * From: cost per byte, GreedyDual-Size (Cao and Irani, Cost-aware WWW proxy caching algorithms,
 * USITS 1997); with the number of uses, GDSF (Cherkasova, HPL-98-69, 1998). Their ageing adds the
 * score of what was evicted last, which lets an often used prefix stay for as many turnovers as it
 * had uses; exponential decay lets it stay for the logarithm of that (LRFU: Lee et al., IEEE Trans.
 * Computers 50(12), 2001). That a decayed order needs no clock is "forward decay" (Cormode et al.,
 * ICDE 2009). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct eviction_input {
        double cost_ms; /* to have again what goes: computed, or read from a slower tier. >= 0 */
        uint64_t bytes; /* that are free then, > 0 */
        uint64_t used;  /* bytes that had come into the tier when it was used last */
        uint32_t hits;
        bool superseded; /* nobody can go on from it */
        bool pinned;
};

/* The least goes first. Grows with cost_ms, used and hits, falls with bytes; superseded (or without
 * cost) less than all others, -INFINITY; pinned more than all others, INFINITY: never goes.
 * half_life > 0. */
double eviction_score(const struct eviction_input *input, double half_life);

/* Who makes room for `asking`, which wants `bytes` more: the share of each is equal.
 *
 * An owner beyond its own limit makes room for itself. Else those who are beyond their share do, of
 * them the one whose next victim has the least score; else the asking one itself. Nobody who is
 * within its share ever loses something to another. */
struct eviction_owner {
        uint64_t bytes; /* what it has in the tier */
        double score;   /* of what it would lose first; INFINITY = nothing may go */
};

#define EVICTION_NOBODY SIZE_MAX

/* Number of the owner, or EVICTION_NOBODY. owner_bytes_max: 0 = none. n > 0. */
size_t eviction_owner(const struct eviction_owner *owners, size_t n, size_t asking, uint64_t bytes,
                      uint64_t bytes_max, uint64_t owner_bytes_max);
