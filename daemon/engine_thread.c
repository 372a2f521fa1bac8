#include "daemon/engine_thread.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "daemon/limits.h"
#include "daemon/purge.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "proto/record_types.h"

struct request_list {
        struct request *first, *last;
};

struct engine_thread {
        struct engine_thread_options options;
        pthread_t thread;

        pthread_mutex_t lock; /* guards the rest of this block */
        pthread_cond_t wake;
        struct request_list inbox, finished;
        bool woken, end_all, stop;
        struct engine_thread_status status; /* as last published */

        struct engram *engram;           /* the engine's source of rows */
        _Atomic(struct engine *) engine; /* set once, when ready */

        /* Engine thread only. */
        struct runner runner;
};

static void append(struct request_list *list, struct request *request) {
        request->next = NULL;
        if (list->last)
                list->last->next = request;
        else
                list->first = request;
        list->last = request;
}

static struct request *take_first(struct request_list *list) {
        struct request *request = list->first;
        if (!request)
                return NULL;
        list->first = request->next;
        if (!list->first)
                list->last = NULL;
        request->next = NULL;
        return request;
}

/* -------- engine thread -------- */

static void give_back(void *userdata, struct request *request) {
        struct engine_thread *thread = userdata;
        pthread_mutex_lock(&thread->lock);
        append(&thread->finished, request);
        pthread_mutex_unlock(&thread->lock);
        thread->options.notify(thread->options.userdata);
}

static void report_progress(void *userdata, double done, const char *what) {
        struct engine_thread *thread = userdata;
        pthread_mutex_lock(&thread->lock);
        thread->status.load_permille = done < 0 ? 0 : done > 1 ? 1000 : (uint32_t)(done * 1000);
        snprintf(thread->status.what, sizeof(thread->status.what), "%s", what);
        pthread_mutex_unlock(&thread->lock);
        thread->options.notify(thread->options.userdata);
}

static void publish_model(struct engine_thread *thread, enum model_state state,
                          const struct error *err) {
        pthread_mutex_lock(&thread->lock);
        thread->status.model = state;
        thread->status.load_permille = state == MODEL_READY ? 1000 : thread->status.load_permille;
        if (err)
                thread->status.error = *err;
        pthread_mutex_unlock(&thread->lock);
        thread->options.notify(thread->options.userdata);
}

static void report_import(void *userdata, const struct engram_progress *progress) {
        report_progress(userdata, (double)progress->done / (double)progress->total,
                        "Engram tables into the state folder");
}

static void wake_by_reader(void *userdata) {
        engine_thread_wake(userdata);
}

static void publish_counters(struct engine_thread *thread) {
        const struct runner *runner = &thread->runner;
        struct keeper_statistics kept;
        keeper_statistics(runner->keeper, runner->engine, &kept);
        pthread_mutex_lock(&thread->lock);
        struct engine_thread_status *status = &thread->status;
        status->n_steps = runner->n_steps;
        status->n_prompt_tokens = runner->n_prompt_tokens;
        status->n_generated_tokens = runner->n_generated_tokens;
        status->n_cancelled = runner->n_cancelled;
        status->n_gave_way = runner->n_gave_way;
        status->kv_bytes = runner->kv_bytes;
        status->kept = kept;
        status->n_running = runner->n_running;
        status->n_queued = (unsigned)runner->n_requests - runner->n_running;
        memcpy(status->classes, runner->counters, sizeof(status->classes));
        status->device_bytes_limit = runner->plan.device_bytes;
        status->hints = runner->hints.statistics;
        status->hints.n_waiting = runner->hints.n;
        pthread_mutex_unlock(&thread->lock);
}

static int load(struct engine_thread *thread, struct error *err) {
        struct engine_options options = thread->options.engine;
        options.progress = report_progress;
        options.userdata = thread;
        struct engram_options engram_options = thread->options.engram;
        engram_options.progress = report_import;
        engram_options.userdata = thread;
        int r = engram_new(&engram_options, &thread->engram);
        if (r < 0)
                return error_set(err, r, "the state folder's Engram tables cannot be used");
        struct engram_rows rows = engram_rows(thread->engram);
        options.engram_rows = &rows;
        struct engine *engine;
        r = engine_open(&options, &engine, err);
        if (r < 0)
                return r;
        struct keeper_options keeper_options = thread->options.keeper;
        keeper_options.notify = wake_by_reader;
        keeper_options.context = thread;
        keeper_options.parked_bytes =
                options.device_kv_bytes ? options.device_kv_bytes : PARKED_BYTES_MAX;
        struct keeper *keeper;
        struct memory_plan plan;
        r = memory_plan(engine, options.device_kv_bytes,
                        keeper_user_bytes(keeper_options.host_bytes, keeper_options.user_percent),
                        &plan, err);
        if (r == 0)
                r = keeper_open(&keeper_options, engine, &keeper, err);
        if (r < 0) {
                engine_close(engine);
                return r;
        }
        thread->runner = (struct runner){
                .engine = engine,
                .keeper = keeper,
                .n_running_max = thread->options.n_running_max,
                .prefill_budget_ms = thread->options.prefill_budget_ms,
                .plan = plan,
                .give_back = give_back,
                .userdata = thread,
        };
        r = runner_init(&thread->runner);
        if (r < 0) {
                keeper_close(keeper);
                engine_close(engine);
                return error_set(err, r, "out of memory for %u running requests",
                                 thread->options.n_running_max);
        }
        publish_counters(thread); /* what may be kept is told before the first request */
        atomic_store(&thread->engine, engine);
        return 0;
}

static void take_in(struct engine_thread *thread, struct request *request) {
        if (request->type == RECORD_HINT) {
                hints_note(&thread->runner, request);
                give_back(thread, request);
                return;
        }
        if (request->purge)
                hints_forget_user(&thread->runner, purge_uid(request->purge));
        if (!request->errand) {
                runner_add(&thread->runner, request);
                return;
        }
        request->errand(request, thread->runner.keeper);
        give_back(thread, request);
}

/* Waits until there may be something to do, then takes the inbox. False: stop. */
static bool wait_for_work(struct engine_thread *thread, enum runner_state state,
                          bool *ret_end_all) {
        struct request_list inbox;
        pthread_mutex_lock(&thread->lock);
        thread->status.idle = state == RUNNER_IDLE;
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += (long)(PAUSED_POLL_MS * NS_PER_MS);
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        int r = 0;
        while (state != RUNNER_BUSY && r == 0 && !thread->inbox.first && !thread->woken &&
               !thread->stop) {
                if (state == RUNNER_BLOCKED)
                        r = pthread_cond_timedwait(&thread->wake, &thread->lock, &until);
                else
                        pthread_cond_wait(&thread->wake, &thread->lock);
        }
        thread->woken = false;
        thread->status.idle = false;
        thread->status.n_turns++;
        inbox = thread->inbox;
        thread->inbox = (struct request_list){ NULL, NULL };
        *ret_end_all = thread->end_all;
        bool stop = thread->stop;
        pthread_mutex_unlock(&thread->lock);

        for (struct request *request; (request = take_first(&inbox));)
                take_in(thread, request);
        return !stop;
}

static void *thread_main(void *userdata) {
        struct engine_thread *thread = userdata;
        struct error err = { 0 };
        if (load(thread, &err) < 0) {
                publish_model(thread, MODEL_FAILED, &err);
                return NULL;
        }
        publish_model(thread, MODEL_READY, NULL);

        enum runner_state state = RUNNER_IDLE;
        bool end_all;
        while (wait_for_work(thread, state, &end_all)) {
                state = runner_turn(&thread->runner, end_all);
                publish_counters(thread);
        }
        runner_deinit(&thread->runner);
        keeper_close(thread->runner.keeper);
        return NULL;
}

/* -------- loop thread -------- */

int engine_thread_start(const struct engine_thread_options *options, struct engine_thread **ret,
                        struct error *err) {
        struct engine_thread *thread = calloc(1, sizeof(*thread));
        if (!thread)
                return error_set(err, -ENOMEM, "out of memory");
        thread->options = *options;
        thread->status.model = MODEL_LOADING;
        pthread_mutex_init(&thread->lock, NULL);
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&thread->wake, &attributes);
        pthread_condattr_destroy(&attributes);
        int r = pthread_create(&thread->thread, NULL, thread_main, thread);
        if (r != 0) {
                pthread_cond_destroy(&thread->wake);
                pthread_mutex_destroy(&thread->lock);
                free(thread);
                return error_set(err, -r, "the engine thread cannot be started");
        }
        *ret = thread;
        return 0;
}

void engine_thread_stop(struct engine_thread *thread) {
        pthread_mutex_lock(&thread->lock);
        thread->stop = true;
        pthread_cond_signal(&thread->wake);
        pthread_mutex_unlock(&thread->lock);
        pthread_join(thread->thread, NULL);
}

struct engine_thread *engine_thread_free(struct engine_thread *thread) {
        if (!thread)
                return NULL;
        engine_close(atomic_load(&thread->engine));
        engram_free(thread->engram);
        pthread_cond_destroy(&thread->wake);
        pthread_mutex_destroy(&thread->lock);
        free(thread);
        return NULL;
}

void engine_thread_submit(struct engine_thread *thread, struct request *request) {
        pthread_mutex_lock(&thread->lock);
        append(&thread->inbox, request);
        pthread_cond_signal(&thread->wake);
        pthread_mutex_unlock(&thread->lock);
}

struct request *engine_thread_take(struct engine_thread *thread) {
        pthread_mutex_lock(&thread->lock);
        struct request *request = take_first(&thread->finished);
        pthread_mutex_unlock(&thread->lock);
        return request;
}

void engine_thread_wake(struct engine_thread *thread) {
        pthread_mutex_lock(&thread->lock);
        thread->woken = true;
        pthread_cond_signal(&thread->wake);
        pthread_mutex_unlock(&thread->lock);
}

void engine_thread_end_all(struct engine_thread *thread) {
        pthread_mutex_lock(&thread->lock);
        thread->end_all = true;
        thread->woken = true;
        pthread_cond_signal(&thread->wake);
        pthread_mutex_unlock(&thread->lock);
}

void engine_thread_status(struct engine_thread *thread, struct engine_thread_status *ret) {
        pthread_mutex_lock(&thread->lock);
        *ret = thread->status;
        pthread_mutex_unlock(&thread->lock);
}

uint32_t engine_thread_context(const struct engine_thread *thread) {
        return atomic_load(&thread->engine) ? thread->runner.plan.context : 0;
}

struct kv_store *engine_thread_store(const struct engine_thread *thread) {
        /* The runner has its keeper for good when the engine is published. */
        return atomic_load(&thread->engine) ? keeper_store(thread->runner.keeper) : NULL;
}

const struct engine *engine_thread_engine(const struct engine_thread *thread) {
        return atomic_load(&thread->engine);
}

const struct engram *engine_thread_engram(const struct engine_thread *thread) {
        return atomic_load(&thread->engine) ? thread->engram : NULL;
}
