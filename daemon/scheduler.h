/* Which tokens the next step computes: a pure function of what is runnable, of what it decided
 * before and of what steps cost. No I/O, no clock, no allocation.
 *
 * Every runnable request has `n_known` tokens (prompt and generated) of which `position` are
 * computed. One pending token is a decode, more are a prefill.
 *
 *   turns     every session with work takes part in every step, with as many of its requests as the
 *             one that has the fewest: those that came first, after TURN_STEPS the next ones. Its
 *             others are surplus: taken as far as all surplus makes the step SURPLUS longer. So one
 *             session's number of requests slows another by no more than that, whatever it is.
 *             Background sessions make others wait for no turn.
 *   decodes   of all whose turn it is; but users of many sessions get together no more of them than
 *             make a step last as long as if each user had the machine in turn, for the decodes of
 *             whoever has the fewest: n * t(fewest). Users are capped alike (max-min).
 *   prefills  whose turn it is, as much as fits a budget of time, at least one chunk. The highest
 *             class first; in it the user who has received least, then that user's session
 *             (fair_share.h); then what came first, or, for completions at a keystroke, last. A
 *             prompt of which nearly all was kept goes before cold ones, until its user is WARM_MS
 *             ahead of others, or its session of the user's others. Beside a completion's prompt
 *             there is none of another class.
 *   shares    a class that is passed over earns a share of the time that passes, and is served one
 *             chunk out of turn when it has earned one: nobody starves, and whoever is urgent waits
 *             for at most one such chunk a step.
 *
 * Who is equally weighted and always wants more is served equally: whoever is picked had received
 * least, so a pick puts him ahead of nobody by more than that pick, and the most and the least
 * served are apart by two of the largest picks at most (and WARM_MS, where prompts were kept).
 *
 * Nobody starves: a request has its turn when those before it have had theirs, one that comes
 * begins with as many as the session's others have had; of a capped user the decodes that wait
 * longest go first; a prefill that is passed over within its class becomes the least served of it,
 * and a class that is passed over earns its chunk.
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
        uint64_t arrival;  /* unique, ascending with time */
        uint64_t position; /* tokens computed */
        uint64_t n_known;  /* tokens known, > position */
        enum schedule_class class;
        bool warm;         /* nearly all of its prompt was kept */
        struct flow *flow; /* its session's; charged for what is picked */

        /* schedule_step() counts them for the steps to come; at first 0. */
        uint64_t served;  /* number of its last pick */
        uint64_t n_turns; /* steps for which it was picked, but not as surplus */

        /* Scratch of schedule_step(). */
        unsigned place; /* requests of its session that go before it */
        bool picked;
};

struct schedule_pick {
        size_t index; /* into the items */
        uint32_t n;   /* tokens, from `position` */
        bool surplus; /* it was not its turn, but there was room */
};

struct schedule {
        struct cost_model cost;
        double budget_ms; /* for prefills in one step; a share of it while someone urgent runs */
        double earned_ms[SCHEDULE_CLASSES];
        uint64_t n_picks; /* ever */
};

/* A user's and a session's head start for prompts that were kept: about the prefill that a hit
 * saves others. */
#define WARM_MS 1000.0

/* What sessions with more requests than others may add to a step, of what it takes without: half of
 * the tenth by which one client may change what others notice. Where rows cost nothing, as on a
 * device that waits for its memory, it is room for all of them. */
#define SURPLUS 0.05

/* A request's turn: a usual answer, so that a flood reads no more prompts than one request after
 * the other would; and no end of one, so that others of its session have their turn in some
 * seconds. */
#define TURN_STEPS 256

void schedule_init(struct schedule *ret, double budget_ms);

/* Writes at most n_items picks, each item at most once, and returns their number: at least 1 when
 * n_items > 0. The sum of n is at most rows_max, which is at least 2 * CHUNK_TOKENS. When prefills
 * wait, decodes leave them one chunk. */
size_t schedule_step(struct schedule *schedule, struct schedule_item *items, size_t n_items,
                     uint32_t rows_max, struct schedule_pick *ret);

/* The picks took so long, all together. */
void schedule_took(struct schedule *schedule, const struct schedule_item *items,
                   const struct schedule_pick *picks, size_t n_picks, double ms);

/* True: a goes before b, when both wait for the same thing. A strict total order of items with
 * different arrivals. */
bool schedule_before(const struct schedule_item *a, const struct schedule_item *b);
