#include "daemon/progress.h"

#include <math.h>
#include <stdbool.h>

#include "base/clock.h"
#include "daemon/estimate.h"
#include "daemon/outlet.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "engine/engine.h"
#include "proto/slots.h"

#define PHASE(name)  SEEKD__V1__PHASE__PHASE_##name
#define REASON(name) SEEKD__V1__FINISH_REASON__FINISH_REASON_##name

/* During a step slots are written no more often than this: two in the tenth of a second that a
 * client can rely on, so that a layer in between may take as long again. */
#define LAYER_SHOW_NS (50 * NS_PER_MS)

/* Places whose wait is estimated; those further back are told their place. Each takes a look at all
 * holders: 256 of them 50 microseconds in each turn. */
#define ESTIMATED_PLACES 256

static bool waits(const struct request *request) {
        return !request->sequence && !request->finished;
}

static uint64_t n_generated(const struct request *request) {
        return request->tokens.n - request->n_prompt;
}

static double ms_since(uint64_t then_ns, uint64_t now_ns) {
        return now_ns > then_ns ? (double)(now_ns - then_ns) / (double)NS_PER_MS : 0;
}

/* -- slots ---------------------------------------------------------------------------------------
 */

static uint32_t slot_phase(const struct request *request) {
        if (request->finished) {
                if (!outbox_is_empty(&request->outbox))
                        return SLOT_PAUSED;
                if (request->finish_reason == REASON(ERROR))
                        return SLOT_FAILED;
                return request->finish_reason == REASON(CANCELLED) ? SLOT_CANCELLED : SLOT_DONE;
        }
        if (request->paused_ns != 0)
                return SLOT_PAUSED;
        if (!request->sequence)
                return SLOT_QUEUED;
        return request->first_token_ns == 0 ? SLOT_PREFILL : SLOT_DECODE;
}

static uint32_t slot_estimate(double ms) {
        return ms >= 0 && ms < (double)SLOT_ESTIMATE_UNKNOWN ? (uint32_t)ms : SLOT_ESTIMATE_UNKNOWN;
}

/* Of its prompt n_prompt_done tokens are computed. */
static void store(const struct runner *runner, const struct request *request,
                  uint32_t n_prompt_done, uint64_t now_ns) {
        struct slot_progress progress = {
                .request_id = request->id,
                .phase = slot_phase(request),
                .tokens_done = n_prompt_done,
                .tokens_total = request->n_prompt,
                .tokens_cached = request->began ? request->verdict.n_reused : request->n_found,
                .queue_place = waits(request) ? request->queue_place : 0,
                .heartbeat_ns = now_ns,
        };
        double left_ms = ESTIMATE_UNKNOWN;
        if (request->first_token_ns != 0) {
                progress.tokens_done = (uint32_t)n_generated(request);
                progress.tokens_total = request->n_generate_max;
        }
        if (progress.phase == SLOT_QUEUED)
                left_ms = request->wait_ms;
        if (progress.phase == SLOT_PREFILL)
                left_ms = estimate_prefill(&runner->schedule.cost, request->began_at, n_prompt_done,
                                           request->n_prompt, ms_since(request->began_ns, now_ns));
        if (progress.phase == SLOT_DECODE)
                left_ms = estimate_rest(progress.tokens_done, progress.tokens_total,
                                        ms_since(request->first_token_ns, now_ns));
        progress.estimate_ms = slot_estimate(left_ms);
        slot_store(&request->outlet->channel->own, request->slot, &progress);
}

void progress_end(const struct runner *runner, const struct request *request, uint64_t now_ns) {
        store(runner, request, atomic_load(&request->live.n_prompt_done), now_ns);
}

/* -- the queue -----------------------------------------------------------------------------------
 */

/* That it will still generate: as many as others of its class did, or when it has more than half of
 * that, as many again as it has; at most what it may. */
static double tokens_left(const struct runner *runner, const struct request *request) {
        const struct class_counters *class = &runner->counters[runner_item(request).class];
        double done = (double)n_generated(request), left = request->n_generate_max - done;
        uint64_t n_ends = 0;
        for (int reason = 0; reason < FINISH_REASONS; reason++)
                n_ends += class->finished[reason];
        if (n_ends > 0)
                left = fmin(left,
                            fmax((double)class->n_generated_tokens / (double)n_ends - done, done));
        return fmax(1, left);
}

/* A place that is taken by one whose client does not read is none (admission.c). */
static void add_holders(const struct runner *runner, double token_ms, uint64_t now_ns,
                        struct estimate_queue *queue) {
        for (size_t i = 0; i < runner->n_requests; i++) {
                const struct request *request = runner->requests[i];
                if (!request->sequence || request->paused_ns != 0)
                        continue;
                double prefill_ms = request->first_token_ns != 0
                        ? 0
                        : estimate_prefill(&runner->schedule.cost, request->began_at,
                                           sequence_position(request->sequence), request->n_prompt,
                                           ms_since(request->began_ns, now_ns));
                estimate_holder(queue, fmax(0, prefill_ms),
                                tokens_left(runner, request) * token_ms);
        }
}

/* Those that wait for their turn, in its order; one that waits for the disk only has none. */
static void number_queue(struct runner *runner, uint64_t now_ns) {
        struct estimate_queue queue = { .n = 0 };
        const struct cost_model *cost = &runner->schedule.cost;
        double token_ms = cost_model_step(cost, cost_rows(0, runner->n_running));
        uint32_t place = 0;
        for (size_t i = 0; i < runner->n_requests; i++) {
                runner->requests[i]->queue_place = 0;
                runner->requests[i]->wait_ms = ESTIMATE_UNKNOWN;
        }
        for (size_t i = 0; i < runner->n_waiting; i++) {
                struct request *request = runner->waiting[i];
                if (!waits(request))
                        continue;
                request->queue_place = ++place;
                if (place == 1)
                        add_holders(runner, token_ms, now_ns, &queue);
                if (place > ESTIMATED_PLACES || cost->n_steps == 0 || request->lease)
                        continue;
                struct cost_rows rows =
                        cost_rows(request->n_found, request->tokens.n - request->n_found);
                request->wait_ms = estimate_next(&queue, cost_model_more(cost, rows),
                                                 tokens_left(runner, request) * token_ms);
        }
}

/* -- all of it -----------------------------------------------------------------------------------
 */

static void count(struct runner *runner, const struct request *request) {
        struct class_counters *class = &runner->counters[runner_item(request).class];
        class->n_running += request->sequence != NULL;
        class->n_queued += waits(request);
        if (request->sequence)
                runner->kv_bytes += sequence_bytes(request->sequence);
}

static uint32_t live_phase(const struct request *request) {
        if (request->paused_ns != 0)
                return PHASE(PAUSED);
        if (waits(request))
                return PHASE(QUEUED);
        return request->first_token_ns != 0 ? PHASE(DECODE) : PHASE(PREFILL);
}

void progress_show(struct runner *runner, uint64_t now_ns) {
        number_queue(runner, now_ns);
        runner->kv_bytes = 0;
        for (unsigned class = 0; class < SCHEDULE_CLASSES; class ++)
                runner->counters[class].n_running = runner->counters[class].n_queued = 0;
        for (size_t i = 0; i < runner->n_requests; i++) {
                struct request *request = runner->requests[i];
                count(runner, request);
                atomic_store(&request->live.phase, live_phase(request));
                store(runner, request, atomic_load(&request->live.n_prompt_done), now_ns);
        }
        runner->shown_ns = now_ns;
}

/* Tokens of a prompt that is being read, as its layers are. */
static uint32_t prompt_done_within(const struct runner *runner, const struct schedule_pick *pick,
                                   uint32_t done, uint32_t total) {
        const struct request *request = runner->runnable[pick->index];
        uint64_t n = runner->items[pick->index].position + (uint64_t)pick->n * done / total;
        return n < request->n_prompt ? (uint32_t)n : request->n_prompt;
}

void progress_layer(void *userdata, uint32_t done, uint32_t total) {
        struct runner *runner = userdata;
        uint64_t now_ns = clock_ns();
        if (now_ns < runner->shown_ns + LAYER_SHOW_NS)
                return;
        for (size_t i = 0; i < runner->n_requests; i++)
                store(runner, runner->requests[i],
                      atomic_load(&runner->requests[i]->live.n_prompt_done), now_ns);
        for (size_t i = 0; i < runner->n_picks; i++)
                store(runner, runner->runnable[runner->picks[i].index],
                      prompt_done_within(runner, &runner->picks[i], done, total), now_ns);
        runner->shown_ns = now_ns;
}
