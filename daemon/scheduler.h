/* Which tokens the next step computes: a pure function of what is runnable, of what it decided
 * before and of what steps cost. No I/O, no clock, no allocation.
 *
 * Every runnable request has `n_known` tokens (prompt and generated) of which `position` are
 * computed. One pending token is a decode, more are a prefill.
 *
 *   decodes   all of them, in every step: beside others a row costs little. More than there are
 *             rows take turns.
 *   prefills  as much as fits a budget of time, at least one chunk. The highest class first; in it
 *             the user who has received least, then that user's session (fair_share.h); then what
 *             came first, or, for completions at a keystroke, last. A prompt of which nearly all
 *             was kept goes before cold ones, until its user is WARM_MS ahead of others, or its
 *             session of the user's others.
 *   shares    a class that is passed over earns a share of the time that passes, and is served one
 *             chunk out of turn when it has earned one: nobody starves, and whoever is urgent waits
 *             for at most one such chunk a step.
 *
 * Chunks end on absolute multiples of CHUNK_TOKENS or are what is left behind the last of them: the
 * state at that last multiple is kept for whoever sends the same prompt again. What is computed is
 * the same whatever is decided here; only when. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/cost_model.h"

struct flow;

enum schedule_class { /* as the protocol's Class, from 0 */
                      SCHEDULE_INTERACTIVE,
                      SCHEDULE_TURN,
                      SCHEDULE_AGENT,
                      SCHEDULE_BACKGROUND,
                      SCHEDULE_CLASSES,
};

struct schedule_item {
        uint64_t arrival;  /* unique, ascending in the array */
        uint64_t position; /* tokens computed */
        uint64_t n_known;  /* tokens known, > position */
        enum schedule_class class;
        bool warm;         /* nearly all of its prompt was kept */
        struct flow *flow; /* its session's; charged for what is picked */
};

struct schedule_pick {
        size_t index; /* into the items */
        uint32_t n;   /* tokens, from `position` */
};

struct schedule {
        struct cost_model cost;
        double budget_ms; /* for prefills in one step; a share of it while someone urgent runs */
        double earned_ms[SCHEDULE_CLASSES];
        uint64_t decoded; /* arrival of the decode served last */
};

/* A user's and a session's head start for prompts that were kept: about the prefill that a hit
 * saves others. */
#define WARM_MS 1000.0

void schedule_init(struct schedule *ret, double budget_ms);

/* Writes at most n_items picks, each item at most once, and returns their number: at least 1 when
 * n_items > 0. The sum of n is at most rows_max, which is at least 2 * CHUNK_TOKENS. When prefills
 * wait, decodes leave them one chunk. */
size_t schedule_step(struct schedule *schedule, const struct schedule_item *items, size_t n_items,
                     uint32_t rows_max, struct schedule_pick *ret);

/* The picks took so long, all together. */
void schedule_took(struct schedule *schedule, const struct schedule_item *items,
                   const struct schedule_pick *picks, size_t n_picks, double ms);

/* True: a goes before b, when both wait for the same thing. A strict total order of items with
 * different arrivals. */
bool schedule_before(const struct schedule_item *a, const struct schedule_item *b);
