/* The set of generations and the loop body that advances them: one step of the engine per turn,
 * over all that can run.
 *
 * Requests are kept in order of arrival. At most n_running_max of them hold a sequence, and a few
 * more that are interactive, as far as their KV fits the device (admission.h); the others wait. A
 * request whose ring is full is skipped until there is room. All calls from the engine thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/class_counters.h"
#include "daemon/fair_share.h"
#include "daemon/hints.h"
#include "daemon/limits.h"
#include "daemon/memory_plan.h"
#include "daemon/scheduler.h"
#include "proto/region.h"

#define RUNNER_REQUESTS_MAX ((size_t)CONNECTIONS_MAX * REGION_N_SLOTS)

struct batch_part;
struct engine;
struct error;
struct mask_trie;
struct request;
struct sampler;

enum runner_state {
        RUNNER_IDLE,    /* no request, nor a hint to work at */
        RUNNER_BLOCKED, /* all that could run wait for their clients */
        RUNNER_BUSY,    /* a step was computed: call again */
};

struct runner {
        struct engine *engine; /* borrowed */
        struct keeper *keeper; /* borrowed; NULL: nothing is kept of what is computed */
        unsigned n_running_max;
        double prefill_budget_ms; /* of one step */
        struct memory_plan plan;
        struct sampler *sampler;
        struct mask_trie *vocabulary; /* of the tokenizer, for requests with a grammar */
        float *logits;                /* [runner_places_max()][vocab_size] */

        struct request **requests; /* [RUNNER_REQUESTS_MAX], by arrival; owned until given back */
        size_t n_requests;
        uint64_t n_arrivals;
        uint64_t n_ends;          /* of requests that held a sequence */
        struct request **waiting; /* [RUNNER_REQUESTS_MAX] of this turn, who goes first first */
        size_t n_waiting;
        uint64_t looked; /* arrival of the waiting request of which was asked last what is kept */
        struct schedule schedule;
        struct fair_share share;
        struct hints hints;

        /* Scratch of one step, runner_places_max() each. */
        struct schedule_item *items;
        struct schedule_pick *picks;
        struct request **runnable;
        struct batch_part *parts;
        size_t n_picks; /* of the step that is being computed; of a hint's (hints.h): none */

        /* Takes a request back: answered, or its client is gone. */
        void (*give_back)(void *userdata, struct request *request);
        void *userdata;

        uint64_t shown_ns; /* when the slots were written last */

        /* For statistics. */
        uint64_t n_steps, n_prompt_tokens, n_generated_tokens, n_cancelled;
        uint64_t n_gave_way; /* sequences given up for others */
        uint64_t kv_bytes;
        unsigned n_running; /* hold a sequence */
        struct class_counters counters[SCHEDULE_CLASSES];
};

/* Sequences that are computed together, with the places that only interactive requests get. */
unsigned runner_places_max(const struct runner *runner);

/* What the scheduler is to know of a request. */
struct schedule_item runner_item(const struct request *request);

/* `runner` is zeroed but for engine, keeper, n_running_max, prefill_budget_ms, plan, give_back and
 * userdata. 0 or -ENOMEM. */
int runner_init(struct runner *runner);
void runner_deinit(struct runner *runner); /* gives every request back unanswered */

/* The share of the machine that a request uses; flow_leave() it. NULL: out of memory. */
struct flow *runner_enter(struct runner *runner, const struct request *request);

/* Takes a prepared generation. There are never more than RUNNER_REQUESTS_MAX: each has a slot of
 * its connection. */
void runner_add(struct runner *runner, struct request *request);

/* One turn: ends what must end, starts what may start, computes one step. With `end_all` every
 * generation ends with FINISH_REASON_SHUTDOWN. */
enum runner_state runner_turn(struct runner *runner, bool end_all);
