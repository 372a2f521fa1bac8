/* Which states along one chain are kept, as the chain grows: a pure function.
 *
 * A state (frontier) costs as much memory as many pages, and a long session would leave hundreds.
 * Kept are the newest few, for the edit or the retry that comes next; the oldest, where other
 * sessions part; those that the caller has reasons for; and of the rest so many that
 *
 *   whoever goes back by d tokens needs at most d tokens computed again:
 *
 * a state goes when the gap that it leaves is no longer than what lies between the gap and the
 * chain's end. Distances from the end then double at every second state, so a chain of n tokens
 * keeps no more than 2 x log2(n / shortest gap) of them. Chains only grow, so what once was allowed
 * stays allowed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The end of the last turn, the end of its prompt and the page before it, and the turn before: an
 * edit of the last message finds a state that near. */
#define THINNING_NEWEST 4

struct thinning_state {
        uint32_t position; /* tokens before it */
        bool needed;       /* stays in any case */
        bool goes;         /* the answer */
};

/* states[n] in ascending order of position, the last one is the chain's end. */
void thinning_choose(struct thinning_state *states, size_t n);
