/* What the requests of one class got since the start: how many came to which end, tokens, their
 * part of the engine's time, and how long they waited. Engine thread; published by its owner. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/histogram.h"
#include "daemon/scheduler.h"
#include "proto/seekd.pb-c.h"

struct request;

#define FINISH_REASONS (SEEKD__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS + 1)

struct class_counters {
        uint32_t n_running, n_queued;      /* now */
        uint64_t finished[FINISH_REASONS]; /* by Seekd__V1__FinishReason */
        uint64_t n_prompt_tokens;          /* computed */
        uint64_t n_generated_tokens;
        uint64_t engine_ns;
        struct histogram queue;       /* reception to first work, of those with a first token */
        struct histogram first_token; /* reception to first token */
        struct histogram token;       /* to each later token from the one before it */
};

/* Each of these gets the counters of all SCHEDULE_CLASSES. */

/* A step took so long: each class has the part of it that its rows cost, by the scheduler's model.
 */
void class_counters_step(struct class_counters *counters, const struct schedule *schedule,
                         const struct schedule_item *items, const struct schedule_pick *picks,
                         size_t n_picks, uint64_t ns);

/* The request is about to get a token. Time in which its client did not read is not counted. */
void class_counters_token(struct class_counters *counters, const struct request *request,
                          enum schedule_class class, uint64_t now_ns);

/* It is over; `reason` is a Seekd__V1__FinishReason. */
void class_counters_finish(struct class_counters *counters, enum schedule_class class, int reason);
