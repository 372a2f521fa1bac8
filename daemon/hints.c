#include "daemon/hints.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/keeper.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "engine/engine.h"
#include "proto/record_types.h"

/* -- noting and forgetting -----------------------------------------------------------------------
 */

static void release(struct runner *runner, struct request *hint) {
        keeper_leave(hint);
        hint->flow = flow_leave(&runner->share, hint->flow);
        request_free(hint);
}

/* Takes it off the list. What is being read into its buffers ends first. */
static void remove_at(struct runner *runner, unsigned i) {
        struct hints *hints = &runner->hints;
        struct request *hint = hints->hint[i];
        hints->n--;
        memmove(&hints->hint[i], &hints->hint[i + 1], (hints->n - i) * sizeof(struct request *));
        if (keeper_is_reading(hint))
                hints->leaving = hint; /* the only one: none begins while there is one */
        else
                release(runner, hint);
}

static void drop_at(struct runner *runner, unsigned i) {
        runner->hints.statistics.n_dropped++;
        remove_at(runner, i);
}

/* What has come to its end meanwhile. */
static void tidy(struct runner *runner) {
        struct hints *hints = &runner->hints;
        uint64_t now_ns = clock_ns();
        if (hints->leaving && !keeper_is_reading(hints->leaving)) {
                release(runner, hints->leaving);
                hints->leaving = NULL;
        }
        while (hints->n > 0 && now_ns - hints->hint[0]->received_ns > HINT_LIFE_S * NS_PER_S)
                drop_at(runner, 0);
}

/* A request of nobody's with the tokens of this one. NULL: no memory. */
static struct request *detach(struct runner *runner, struct request *from) {
        struct request *hint = request_new(NULL, NULL, RECORD_HINT, from->id);
        if (!hint)
                return NULL;
        hint->spare = true;
        hint->uid = from->uid;
        hint->origin = from->origin;
        hint->received_ns = from->received_ns;
        hint->arrival = ++runner->n_arrivals;
        hint->n_prompt = from->n_prompt;
        memcpy(hint->subject, from->subject, sizeof(hint->subject));
        atomic_store(&hint->live.class, SEEKD__V1__CLASS__CLASS_BACKGROUND);
        hint->flow = runner_enter(runner, hint);
        if (!hint->flow)
                return request_free(hint);
        hint->tokens = from->tokens;
        from->tokens = (struct token_list){ 0 };
        return hint;
}

void hints_note(struct runner *runner, struct request *request) {
        struct hints *hints = &runner->hints;
        Seekd__V1__Acknowledged result = SEEKD__V1__ACKNOWLEDGED__INIT;
        struct request *hint = detach(runner, request);
        if (!hint) {
                refuse(&request->refusal, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL,
                       "out of memory");
                return;
        }
        result.request_id = request->id;
        request_set_result(request, RECORD_ACKNOWLEDGED, &result.base);
        hints->statistics.n_noted++;
        for (unsigned i = 0; i < hints->n; i++)
                if (hints->hint[i]->uid == hint->uid) {
                        hints->statistics.n_replaced++;
                        remove_at(runner, i);
                        break;
                }
        if (hints->n == HINTS_MAX)
                drop_at(runner, 0);
        hints->hint[hints->n++] = hint;
}

void hints_forget_user(struct runner *runner, uint32_t uid) {
        for (unsigned i = runner->hints.n; i > 0; i--)
                if (runner->hints.hint[i - 1]->uid == uid)
                        drop_at(runner, i - 1);
}

void hints_forget_all(struct runner *runner) {
        struct hints *hints = &runner->hints;
        for (; hints->n > 0; hints->n--, hints->statistics.n_dropped++)
                release(runner, hints->hint[hints->n - 1]);
        if (hints->leaving)
                release(runner, hints->leaving);
        hints->leaving = NULL;
}

/* -- working at them -----------------------------------------------------------------------------
 */

/* The one that is begun, else the one that goes first; hints->n: none. */
static unsigned first_of(const struct hints *hints) {
        unsigned first = hints->n;
        for (unsigned i = 0; i < hints->n; i++) {
                if (hints->hint[i]->leased)
                        return i;
                if (first == hints->n) {
                        first = i;
                        continue;
                }
                struct schedule_item a = runner_item(hints->hint[i]),
                                     b = runner_item(hints->hint[first]);
                if (schedule_before(&a, &b))
                        first = i;
        }
        return first;
}

void hints_give_way(struct runner *runner) {
        struct hints *hints = &runner->hints;
        tidy(runner);
        for (unsigned i = 0; i < hints->n; i++)
                if (hints->hint[i]->leased && !keeper_is_reading(hints->hint[i]))
                        keeper_leave(hints->hint[i]);
}

/* All that it may come to is free, resident: so it spills nobody. */
static bool has_room(const struct runner *runner, const struct request *hint) {
        struct engine_kv_statistics device;
        engine_kv_statistics(runner->engine, &device);
        return runner->plan.device_bytes == 0 ||
                device.device_bytes + engine_kv_bytes(runner->engine, hint->n_prompt, false) <=
                runner->plan.device_bytes;
}

/* The next chunk, and Engram rows of the one behind it. 0 or a negative errno of engine_step(). */
static int compute(struct runner *runner, struct request *hint) {
        uint64_t position = sequence_position(hint->sequence);
        uint32_t n_left = hint->n_prompt - (uint32_t)position,
                 room = CHUNK_TOKENS - (uint32_t)(position % CHUNK_TOKENS);
        struct batch_part part = {
                .sequence = hint->sequence,
                .ids = hint->tokens.ids + position,
                .n = n_left < room ? n_left : room,
        };
        struct error err = { 0 };
        uint32_t n_next = n_left - part.n < CHUNK_TOKENS ? n_left - part.n : CHUNK_TOKENS;
        if (n_next > 0)
                engine_prefetch(hint->sequence, part.ids, part.n, part.n + n_next);
        uint64_t begin_ns = clock_ns();
        int r = engine_step(runner->engine, &part, 1, &err);
        uint64_t now_ns = clock_ns();
        if (r == 0) {
                double ms = (double)(now_ns - begin_ns) / NS_PER_MS;
                runner->n_steps++;
                runner->hints.statistics.n_tokens += part.n;
                keeper_stepped(runner->keeper, part.n, now_ns - begin_ns);
                cost_model_learn(&runner->schedule.cost, cost_rows(position, part.n), ms);
                flow_serve(hint->flow, ms);
                keeper_computed(hint, now_ns);
        } else if (r != -EINVAL && r != -ENOMEM && r != -ENOSPC) {
                log_error("a step over a hint failed: %s", err.text);
                hint->sequence = sequence_free(hint->sequence); /* it holds rubbish */
        }
        return r;
}

/* 0: it holds a sequence. -EAGAIN: it is being read. Else it cannot. */
static int begin(struct runner *runner, struct request *hint) {
        if (hint->sequence)
                return 0;
        if (!runner->keeper)
                return -ENOTSUP; /* nothing would be left of it */
        hint->started_ns = clock_ns();
        return has_room(runner, hint) ? keeper_begin(runner->keeper, runner->engine, hint)
                                      : -ENOSPC;
}

bool hints_step(struct runner *runner) {
        struct hints *hints = &runner->hints;
        tidy(runner);
        unsigned i = first_of(hints);
        if (hints->leaving || i == hints->n)
                return false;
        struct request *hint = hints->hint[i];
        int r = begin(runner, hint);
        if (r == -EAGAIN)
                return false; /* the reader wakes this thread */
        if (r == 0)
                r = compute(runner, hint);
        bool done = r == 0 && sequence_position(hint->sequence) == hint->n_prompt;
        if (done) {
                hints->statistics.n_done++;
                remove_at(runner, i);
        } else if (r < 0 || !keeper_keeps(hint)) {
                drop_at(runner, i);
        }
        return true;
}
