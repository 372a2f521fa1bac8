/* How long it will take: what the scheduler has learned of steps, applied to what is left. Guesses
 * for people who wait; nothing is decided by them. Pure: no clock. Milliseconds. */
#pragma once

#include <stdint.h>

#include "daemon/cost_model.h"
#include "daemon/limits.h"

#define ESTIMATE_UNKNOWN (-1.0)

/* Until the first token of a prompt that stands at `position` and stood at `from` elapsed_ms ago.
 * Its own pace so far, which knows of the company it has; later tokens look back further and cost
 * more. Before it has moved: as if it were alone, or ESTIMATE_UNKNOWN before the first step. */
double estimate_prefill(const struct cost_model *cost, uint64_t from, uint64_t position,
                        uint64_t n_prompt, double elapsed_ms);

/* The same pace for what is left: n_done of n_total have taken elapsed_ms. */
double estimate_rest(uint64_t n_done, uint64_t n_total, double elapsed_ms);

#define ESTIMATE_HOLDERS_MAX (RUNNING_MAX + INTERACTIVE_PLACES)

/* When places become free: each that is free goes to whoever is next, and prompts are read one
 * after the other. Zeroed before its first use. */
struct estimate_queue {
        double ends_ms[ESTIMATE_HOLDERS_MAX]; /* of those that hold a place */
        unsigned n;
        double prefills_end_ms; /* when the last prompt that goes before is read */
};

/* One that holds a place. */
void estimate_holder(struct estimate_queue *queue, double prefill_ms, double decode_ms);

/* When the next in the queue starts, whose prompt and tokens will take so long then. Without
 * holders ESTIMATE_UNKNOWN: it waits for something else. */
double estimate_next(struct estimate_queue *queue, double prefill_ms, double decode_ms);
