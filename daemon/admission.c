#include "daemon/admission.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "daemon/generation.h"
#include "daemon/keeper.h"
#include "daemon/limits.h"
#include "daemon/refusal.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "engine/engine.h"

#define REASON(name) SEEKD__V1__FINISH_REASON__FINISH_REASON_##name
#define PHASE(name)  SEEKD__V1__PHASE__PHASE_##name

/* -- who leaves ----------------------------------------------------------------------------------
 */

void admission_leave(struct request *request) {
        keeper_leave(request);
        request->device_bytes = 0;
}

void admission_ended(struct runner *runner, struct request *request) {
        if (request->sequence || request->device_bytes == 0)
                return;
        request->device_bytes = 0;
        runner->n_ends++;
}

static void give_way(struct runner *runner, struct request *request) {
        runner->n_gave_way++;
        admission_leave(request);
}

static unsigned n_holders(const struct runner *runner) {
        unsigned n = 0;
        for (size_t i = 0; i < runner->n_requests; i++)
                n += runner->requests[i]->sequence != NULL;
        return n;
}

/* True: its client has not read since `paused_ns` (0 = never mind). */
static bool is_paused(const struct request *request, uint64_t paused_ns) {
        return request->paused_ns != 0 && request->paused_ns <= paused_ns;
}

/* Which one of those that hold a sequence gives it up first: of the lowest class the youngest. With
 * `paused_ns`, of those only that are paused. NULL: none. */
static struct request *first_to_leave(const struct runner *runner, uint64_t paused_ns) {
        struct request *first = NULL;
        for (size_t i = 0; i < runner->n_requests; i++) {
                struct request *request = runner->requests[i];
                if (!request->sequence || (paused_ns != 0 && !is_paused(request, paused_ns)))
                        continue;
                if (!first || runner_item(request).class >= runner_item(first).class)
                        first = request;
        }
        return first;
}

/* -- what is kept of those that wait -------------------------------------------------------------
 */

/* Tokens of kept prompts that are looked up again in one turn: a page costs a microsecond, so 256
 * of them a hundredth of a step's budget for prefills at most. One prompt may be longer. */
#define LOOKED_UP_PER_TURN (256 * CHUNK_TOKENS)

/* False: nothing has changed since it was asked last. */
static bool look_up(struct runner *runner, struct request *request) {
        uint64_t at = keeper_version(runner->keeper) + 1;
        if (request->found_at == at)
                return false;
        request->n_found = keeper_known(runner->keeper, request);
        request->found_at = at;
        return true;
}

/* Those behind the one that was looked up last in the turn before come first, so that all have
 * their turn. `waiting` is in order of arrival. */
static void look_up_waiting(struct runner *runner) {
        size_t n = runner->n_waiting, first = 0;
        uint64_t n_tokens = 0;
        while (first < n && runner->waiting[first]->arrival <= runner->looked)
                first++;
        for (size_t k = 0; k < n && n_tokens < LOOKED_UP_PER_TURN; k++) {
                struct request *request = runner->waiting[(first + k) % n];
                if (!look_up(runner, request))
                        continue;
                n_tokens += request->n_found + CHUNK_TOKENS;
                runner->looked = request->arrival;
        }
}

/* -- who starts ----------------------------------------------------------------------------------
 */

/* Without those that are paused since `paused_ns`. */
static uint64_t promised(const struct runner *runner, uint64_t paused_ns) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < runner->n_requests; i++)
                if (!is_paused(runner->requests[i], paused_ns))
                        bytes += runner->requests[i]->device_bytes;
        return bytes;
}

/* Gives up parked sequences until the device has `bytes` of free memory, or none is left. */
static void clear(struct runner *runner, uint64_t bytes, const struct request *except) {
        struct engine_kv_statistics device;
        engine_kv_statistics(runner->engine, &device);
        while (runner->plan.device_bytes != 0 &&
               device.device_bytes + bytes > runner->plan.device_bytes &&
               keeper_drop_parked(runner->keeper, except))
                engine_kv_statistics(runner->engine, &device);
}

/* True: the device has room for all that this request may come to. */
static bool make_room(struct runner *runner, const struct request *request, uint64_t bytes,
                      uint64_t now_ns) {
        uint64_t bytes_max = runner->plan.device_bytes;
        uint64_t paused_ns = now_ns - PAUSED_LEAVES_MS * NS_PER_MS;
        if (bytes_max == 0)
                return true;
        if (promised(runner, paused_ns) + bytes > bytes_max)
                return false;
        while (promised(runner, 0) + bytes > bytes_max)
                give_way(runner, first_to_leave(runner, paused_ns));
        while (promised(runner, 0) + bytes + keeper_parked_bytes(runner->keeper, request) >
               bytes_max)
                if (!keeper_drop_parked(runner->keeper, request))
                        break;
        /* What is kept of it and not parked comes to the device at once; the rest as it is computed
         * (admission_before_step()). */
        uint64_t known = engine_kv_bytes(runner->engine, request->n_found, false),
                 there = keeper_parked_bytes(runner->keeper, NULL) -
                keeper_parked_bytes(runner->keeper, request);
        clear(runner, known > there ? known - there : 0, request);
        return true;
}

/* 0: it holds a sequence. -EAGAIN: not now, but one behind it may. Else nobody may. */
static int start(struct runner *runner, struct request *request, unsigned n_active,
                 uint64_t now_ns) {
        if (n_active > 0 && runner->n_ends < request->n_ends_awaited)
                return -EBUSY;
        look_up(runner, request);
        uint64_t bytes = memory_plan_commit(runner->engine, &runner->plan,
                                            request->n_prompt + (uint64_t)request->n_generate_max);
        if (!make_room(runner, request, bytes, now_ns))
                return -ENOSPC;
        request->started_ns = request->started_ns ? request->started_ns : now_ns;
        int r;
        do
                r = keeper_begin(runner->keeper, runner->engine, request);
        while (r == -ENOSPC && keeper_drop_parked(runner->keeper, request));
        if (r == -ENOSPC || r == -ENOMEM)
                request->n_ends_awaited = runner->n_ends + 1; /* before that it would be the same */
        if (r < 0)
                return r;
        request->device_bytes = bytes;
        request->began_ns = now_ns;
        request->began_at = sequence_position(request->sequence);
        atomic_store(&request->live.phase, PHASE(PREFILL));
        return 0;
}

static void fail(struct request *request, int code, const char *message, uint64_t now_ns) {
        struct refusal refusal;
        refuse(&refusal, code, NULL, "%s", message);
        generation_finish(request, REASON(ERROR), &refusal, now_ns);
}

unsigned admission_places(const struct runner *runner, enum schedule_class class) {
        return class == SCHEDULE_INTERACTIVE ? runner_places_max(runner) : runner->n_running_max;
}

static int in_order(const void *a, const void *b) {
        struct schedule_item x = runner_item(*(struct request *const *)a),
                             y = runner_item(*(struct request *const *)b);
        return schedule_before(&x, &y) ? -1 : 1;
}

static void sort_waiting(struct runner *runner) {
        runner->n_waiting = 0;
        for (size_t i = 0; i < runner->n_requests; i++) {
                struct request *request = runner->requests[i];
                if (!request->sequence && !request->finished)
                        runner->waiting[runner->n_waiting++] = request;
        }
        look_up_waiting(runner);
        if (runner->n_waiting > 1)
                qsort(runner->waiting, runner->n_waiting, sizeof(struct request *), in_order);
}

static void take_place(struct flow *flow) {
        flow->n_places++;
        flow->parent->n_places++;
}

/* One whose client does not read takes no place: else a few such clients would stop all others.
 * What it holds is bounded by its user's number of requests, and by what the device has room for.
 */
static unsigned count_places(const struct runner *runner) {
        unsigned n = 0;
        for (size_t i = 0; i < runner->n_requests; i++)
                if (runner->requests[i]->flow)
                        runner->requests[i]->flow->n_places =
                                runner->requests[i]->flow->parent->n_places = 0;
        for (size_t i = 0; i < runner->n_requests; i++) {
                struct request *request = runner->requests[i];
                if (!request->sequence || request->paused_ns != 0)
                        continue;
                take_place(request->flow);
                n++;
        }
        return n;
}

/* True: it leaves places to those who come later. */
static bool is_modest(const struct flow *flow, unsigned n_free) {
        return flow->n_places <= n_free && flow->parent->n_places <= USER_PLACES_PER_FREE * n_free;
}

void admission_start(struct runner *runner, uint64_t now_ns) {
        unsigned n_active = count_places(runner);
        sort_waiting(runner);
        for (size_t i = 0; i < runner->n_waiting; i++) {
                struct request *request = runner->waiting[i];
                unsigned n_places = admission_places(runner, runner_item(request).class);
                if (n_active >= n_places)
                        break;
                if (request->paused_ns != 0 || !is_modest(request->flow, n_places - n_active))
                        continue;
                int r = start(runner, request, n_active, now_ns);
                if (r == -EAGAIN) /* what is kept of it is being read */
                        continue;
                if (r < 0 && n_holders(runner) == 0) /* nobody will free memory */
                        fail(request, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, "out of memory",
                             now_ns);
                if (r < 0)
                        break;
                take_place(request->flow);
                n_active++;
        }
        runner->n_running = n_holders(runner);
}

/* -- a step that does not fit --------------------------------------------------------------------
 */

void admission_before_step(struct runner *runner, size_t n_picks) {
        uint64_t bytes = 0;
        for (size_t i = 0; runner->plan.device_bytes != 0 && i < n_picks; i++) {
                uint64_t position = sequence_position(runner->parts[i].sequence);
                bytes += engine_kv_bytes(runner->engine, position + runner->parts[i].n, false) -
                        engine_kv_bytes(runner->engine, position, false);
        }
        clear(runner, bytes, NULL);
}

/* Pages that had no place in the host's memory when they were computed. */
static bool lend(struct runner *runner) {
        bool any = false;
        for (size_t i = 0; i < runner->n_requests; i++)
                any |= keeper_lend(runner->requests[i]);
        return any;
}

void admission_make_room(struct runner *runner, const struct error *err, uint64_t now_ns) {
        if (keeper_drop_parked(runner->keeper, NULL) || lend(runner))
                return;
        struct request *request = first_to_leave(runner, now_ns);
        if (!request)
                request = first_to_leave(runner, 0);
        if (n_holders(runner) == 1) {
                log_error("a request alone does not fit the device: %s", err->text);
                fail(request, SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE, err->text, now_ns);
                return;
        }
        request->n_ends_awaited = runner->n_ends + 1;
        give_way(runner, request);
}
