#include "daemon/runner.h"

#include <assert.h>
#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/admission.h"
#include "daemon/answer_stream.h"
#include "daemon/generation.h"
#include "daemon/keeper.h"
#include "daemon/limits.h"
#include "daemon/outlet.h"
#include "daemon/progress.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/mask_trie.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"

#define REASON(name) SEEKD__V1__FINISH_REASON__FINISH_REASON_##name

unsigned runner_places_max(const struct runner *runner) {
        return runner->n_running_max + INTERACTIVE_PLACES;
}

int runner_init(struct runner *runner) {
        size_t n = runner_places_max(runner), vocab = engine_config(runner->engine)->vocab_size;
        runner->requests = calloc(RUNNER_REQUESTS_MAX, sizeof(struct request *));
        runner->waiting = calloc(RUNNER_REQUESTS_MAX, sizeof(struct request *));
        runner->logits = calloc(n * vocab, sizeof(*runner->logits));
        runner->items = calloc(n, sizeof(*runner->items));
        runner->picks = calloc(n, sizeof(*runner->picks));
        runner->runnable = calloc(n, sizeof(struct request *));
        runner->parts = calloc(n, sizeof(*runner->parts));
        schedule_init(&runner->schedule, runner->prefill_budget_ms);
        int r = sampler_new((uint32_t)vocab, &runner->sampler);
        /* A tenth of a second with a vocabulary of 128,000: now, and not while others wait. */
        if (r == 0)
                r = mask_trie_new(engine_tokenizer(runner->engine), (uint32_t)vocab,
                                  engine_config(runner->engine)->eos_id, &runner->vocabulary);
        if (r == 0 && runner->requests && runner->waiting && runner->logits && runner->items &&
            runner->picks && runner->runnable && runner->parts) {
                engine_watch(runner->engine, progress_layer, runner);
                return 0;
        }
        runner_deinit(runner);
        return -ENOMEM;
}

static void give_back(struct runner *runner, struct request *request) {
        keeper_end(request);
        admission_ended(runner, request);
        request->flow = flow_leave(&runner->share, request->flow);
        runner->give_back(runner->userdata, request);
}

void runner_deinit(struct runner *runner) {
        engine_watch(runner->engine, NULL, NULL);
        for (size_t i = 0; i < runner->n_requests; i++)
                give_back(runner, runner->requests[i]);
        runner->n_requests = 0;
        hints_forget_all(runner);
        fair_share_deinit(&runner->share);
        free(runner->logits);
        free(runner->items);
        free(runner->picks);
        free(runner->runnable);
        free(runner->parts);
        free(runner->waiting);
        free(runner->requests);
        runner->logits = NULL;
        runner->items = NULL;
        runner->picks = NULL;
        runner->runnable = NULL;
        runner->parts = NULL;
        runner->waiting = NULL;
        runner->requests = NULL;
        runner->sampler = sampler_free(runner->sampler);
        runner->vocabulary = mask_trie_free(runner->vocabulary);
}

static void fail(struct request *request, const char *message, uint64_t now_ns) {
        struct refusal refusal;
        refuse(&refusal, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL, "%s", message);
        generation_finish(request, REASON(ERROR), &refusal, now_ns);
}

/* Unspecified is TURN; numbers of a later protocol too. */
static enum schedule_class schedule_class(const struct request *request) {
        switch (atomic_load(&request->live.class)) {
        case SEEKD__V1__CLASS__CLASS_INTERACTIVE: return SCHEDULE_INTERACTIVE;
        case SEEKD__V1__CLASS__CLASS_AGENT: return SCHEDULE_AGENT;
        case SEEKD__V1__CLASS__CLASS_BACKGROUND: return SCHEDULE_BACKGROUND;
        default: return SCHEDULE_TURN;
        }
}

/* Tells a user's sessions apart: a connection's subjects. Two that collide share one share. */
static uint64_t share_key(const struct request *request) {
        return request->origin << 32 | crc32c(0, request->subject, strlen(request->subject));
}

struct flow *runner_enter(struct runner *runner, const struct request *request) {
        return flow_enter(&runner->share, schedule_class(request), request->uid,
                          share_key(request));
}

void runner_add(struct runner *runner, struct request *request) {
        assert(runner->n_requests < RUNNER_REQUESTS_MAX);
        request->arrival = ++runner->n_arrivals;
        runner->requests[runner->n_requests++] = request;
        request->flow = runner_enter(runner, request);
        keeper_arrived(runner->keeper, request);
        if (!request->flow)
                fail(request, "out of memory", clock_ns());
}

/* Ends what must end and removes what is done. Keeps the order. */
static void settle(struct runner *runner, bool end_all, uint64_t now_ns) {
        size_t n_kept = 0;
        for (size_t i = 0; i < runner->n_requests; i++) {
                struct request *request = runner->requests[i];
                bool gone = atomic_load(&request->outlet->gone) ||
                        atomic_load(&request->outlet->broken);
                if (!gone && !request->finished) {
                        int reason =
                                end_all ? REASON(SHUTDOWN) : generation_must_end(request, now_ns);
                        if (reason != 0)
                                generation_finish(request, reason, NULL, now_ns);
                }
                admission_ended(runner, request);
                if (gone || (generation_flush(request, now_ns) && request->finished)) {
                        if ((gone && !request->finished) ||
                            request->finish_reason == REASON(CANCELLED))
                                runner->n_cancelled++;
                        class_counters_finish(runner->counters, schedule_class(request),
                                              request->finished ? request->finish_reason
                                                                : REASON(CANCELLED));
                        if (!gone)
                                progress_end(runner, request, now_ns);
                        give_back(runner, request);
                        continue;
                }
                runner->requests[n_kept++] = request;
        }
        runner->n_requests = n_kept;
}

/* Tokens that it goes on from; while it waits, as far as is known. */
static uint32_t n_reused(const struct request *request) {
        return request->sequence ? request->verdict.n_reused : request->n_found;
}

struct schedule_item runner_item(const struct request *request) {
        return (struct schedule_item){
                .arrival = request->arrival,
                .position = request->sequence ? sequence_position(request->sequence) : 0,
                .n_known = request->tokens.n,
                .class = schedule_class(request),
                /* At most a tenth is left to compute. */
                .warm = n_reused(request) >= request->n_prompt - request->n_prompt / 10,
                .flow = request->flow,
                .served = request->served,
                .n_turns = request->n_turns,
        };
}

/* What can be computed now: as many as there are places, since those that were paused may make it
 * more. While there are suspects, one of them alone (see isolate()). */
static size_t collect(struct runner *runner) {
        size_t n = 0;
        const struct request *suspect = NULL;
        for (size_t i = 0; i < runner->n_requests && !suspect; i++) {
                struct request *request = runner->requests[i];
                if (!request->sequence || request->paused_ns != 0)
                        continue;
                struct schedule_item item = runner_item(request);
                if (n >= admission_places(runner, item.class) && !request->suspect)
                        continue;
                if (request->suspect) {
                        suspect = request;
                        n = 0;
                }
                runner->items[n] = item;
                runner->runnable[n++] = request;
        }
        return n;
}

/* A step failed. Computed alone, requests give the same tokens, so each part of the batch repeats
 * it alone: only the one at fault fails then. After a failure inside the model (-EINVAL and -ENOMEM
 * come before it) the sequences hold rubbish, of which nothing is kept; the requests begin again
 * with what was kept before. */
static void isolate(struct runner *runner, size_t n_picks, int code, const struct error *err,
                    uint64_t now_ns) {
        log_error("a step over %zu requests failed: %s", n_picks, err->text);
        for (size_t i = 0; i < n_picks; i++) {
                struct request *request = runner->runnable[runner->picks[i].index];
                request->suspect = n_picks > 1;
                request->n_suspect = sequence_position(request->sequence) + runner->picks[i].n;
                if (code != -EINVAL && code != -ENOMEM)
                        request->sequence = sequence_free(request->sequence);
                if (n_picks == 1)
                        fail(request, err->text, now_ns);
                else if (!request->sequence)
                        admission_leave(request);
        }
}

/* The tokens that the request's grammar allows next, NULL = all. */
static int find_allowed(struct runner *runner, struct request *request, const uint64_t **ret,
                        struct error *err) {
        *ret = NULL;
        if (!request->grammar)
                return 0;
        int r = 0;
        if (!request->constraint)
                r = constraint_new(request->grammar, runner->vocabulary, &request->constraint, err);
        if (r < 0)
                return r;
        r = constraint_mask(request->constraint, ret);
        if (r == -EILSEQ)
                return error_set(err, r, "the grammar allows no token of the vocabulary");
        return r < 0 ? error_set(err, r, "out of memory") : 0;
}

static void draw(struct runner *runner, struct request *request, float *logits, uint64_t now_ns) {
        float logprob;
        uint32_t forbidden =
                request->answer ? answer_stream_forbidden(request->answer) : TOKEN_NONE;
        if (forbidden != TOKEN_NONE)
                logits[forbidden] = -FLT_MAX; /* finite, as all logits are */
        const uint64_t *allowed;
        struct error err = { 0 };
        if (find_allowed(runner, request, &allowed, &err) < 0) {
                fail(request, err.text, now_ns);
                return;
        }
        uint32_t id = sampler_draw(runner->sampler, logits, allowed, &request->sampling,
                                   request->tokens.n, request->logprobs ? &logprob : NULL);
        /* What the mask allows is taken, so only memory can be short. */
        if (request->constraint && constraint_accept(request->constraint, id) < 0) {
                fail(request, "out of memory", now_ns);
                return;
        }
        bool is_eos = id == engine_config(runner->engine)->eos_id;
        bool is_special = tokenizer_is_special(engine_tokenizer(runner->engine), id);
        runner->n_generated_tokens++;
        class_counters_token(runner->counters, request, schedule_class(request), now_ns);
        generation_token(request, id, is_eos, is_special, request->logprobs ? logprob : 0, now_ns);
        if (!request->finished)
                engine_prefetch(request->sequence, &id, 0, 1);
}

/* While a chunk is computed, Engram rows of the one behind it are fetched. */
static void prefetch_next_chunk(const struct schedule_item *item, const struct schedule_pick *pick,
                                const struct batch_part *part) {
        uint64_t n_left = item->n_known - item->position;
        uint64_t n = pick->n + (uint64_t)CHUNK_TOKENS;
        engine_prefetch(part->sequence, part->ids, pick->n, (uint32_t)(n < n_left ? n : n_left));
}

/* What a successful step means for one request. */
static void advance(struct runner *runner, const struct schedule_pick *pick,
                    const struct batch_part *part, uint64_t now_ns) {
        struct request *request = runner->runnable[pick->index];
        uint64_t position = sequence_position(request->sequence);
        uint32_t n_prompt_done =
                position < request->n_prompt ? (uint32_t)position : request->n_prompt;
        uint32_t before = atomic_load(&request->live.n_prompt_done);
        if (n_prompt_done > before) {
                runner->n_prompt_tokens += n_prompt_done - before;
                runner->counters[schedule_class(request)].n_prompt_tokens += n_prompt_done - before;
                atomic_store(&request->live.n_prompt_done, n_prompt_done);
        }
        if (request->suspect && position >= request->n_suspect)
                request->suspect = false;
        keeper_computed(request, now_ns);
        if (part->n_logits > 0)
                draw(runner, request, part->logits, now_ns);
}

static bool step(struct runner *runner) {
        size_t n_items = collect(runner);
        if (n_items == 0)
                return false;
        size_t n_picks = schedule_step(&runner->schedule, runner->items, n_items,
                                       engine_batch_rows_max(runner->engine), runner->picks);
        size_t vocab = engine_config(runner->engine)->vocab_size;
        uint32_t n_tokens = 0;
        for (size_t i = 0; i < n_picks; i++) {
                const struct schedule_pick *pick = &runner->picks[i];
                const struct schedule_item *item = &runner->items[pick->index];
                struct request *request = runner->runnable[pick->index];
                request->served = item->served;
                request->n_turns = item->n_turns;
                runner->parts[i] = (struct batch_part){
                        .sequence = request->sequence,
                        .ids = request->tokens.ids + item->position,
                        .n = pick->n,
                        .n_logits = item->position + pick->n == item->n_known ? 1 : 0,
                        .logits = runner->logits + i * vocab,
                };
                if (item->position + pick->n < item->n_known)
                        prefetch_next_chunk(item, pick, &runner->parts[i]);
                n_tokens += pick->n;
        }

        struct error err = { 0 };
        admission_before_step(runner, n_picks);
        runner->n_picks = n_picks;
        uint64_t begin_ns = clock_ns();
        int r = engine_step(runner->engine, runner->parts, n_picks, &err);
        runner->n_picks = 0;
        uint64_t now_ns = clock_ns();
        if (r == -ENOSPC) {
                admission_make_room(runner, &err, now_ns);
                return true;
        }
        if (r < 0) {
                isolate(runner, n_picks, r, &err, now_ns);
                return true;
        }
        runner->n_steps++;
        keeper_stepped(runner->keeper, n_tokens, now_ns - begin_ns);
        class_counters_step(runner->counters, &runner->schedule, runner->items, runner->picks,
                            n_picks, now_ns - begin_ns);
        schedule_took(&runner->schedule, runner->items, runner->picks, n_picks,
                      (double)(now_ns - begin_ns) / NS_PER_MS);
        for (size_t i = 0; i < n_picks; i++)
                advance(runner, &runner->picks[i], &runner->parts[i], now_ns);
        return true;
}

/* Nobody waits for the machine: who is there has not read yet what it got. */
static bool is_free(const struct runner *runner) {
        for (size_t i = 0; i < runner->n_requests; i++)
                if (!runner->requests[i]->finished && runner->requests[i]->paused_ns == 0)
                        return false;
        return true;
}

enum runner_state runner_turn(struct runner *runner, bool end_all) {
        uint64_t now_ns = clock_ns();
        settle(runner, end_all, now_ns);
        if (end_all)
                hints_forget_all(runner);
        if (!is_free(runner))
                hints_give_way(runner);
        admission_start(runner, now_ns);
        bool stepped = step(runner) || (is_free(runner) && hints_step(runner));
        progress_show(runner, stepped ? clock_ns() : now_ns);
        if (stepped)
                return RUNNER_BUSY;
        return runner->n_requests == 0 ? RUNNER_IDLE : RUNNER_BLOCKED;
}
