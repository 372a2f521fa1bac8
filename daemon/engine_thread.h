/* The engine thread: loads the model, then runs the generations that the loop thread gives it.
 *
 * Exchange with the loop thread: requests in and out through two lists under one mutex; a condition
 * variable wakes this thread, `notify` (called from it) wakes the loop. Everything else that both
 * sides see is atomic. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "daemon/class_counters.h"
#include "daemon/engram.h"
#include "daemon/hints.h"
#include "daemon/keeper.h"
#include "engine/engine.h"
#include "proto/handshake.h"

struct engine_thread;
struct kv_store;
struct request;

struct engine_thread_options {
        struct engine_options
                engine; /* strings outlive the thread; progress and userdata are set by us */
        unsigned n_running_max;
        unsigned prefill_budget_ms;   /* of one step */
        struct keeper_options keeper; /* likewise; notify, context and parked_bytes are ours */
        struct engram_options engram; /* likewise; progress and userdata are ours */
        void (*notify)(
                void *userdata); /* progress, readiness or finished requests; any number of calls */
        void *userdata;
};

int engine_thread_start(const struct engine_thread_options *options, struct engine_thread **ret,
                        struct error *err);

/* Ends the thread after the step that it is computing, and waits for that. Requests it still holds
 * can then be taken, unanswered. Not while the model is loading: nothing interrupts that. Once. */
void engine_thread_stop(struct engine_thread *thread);

/* After engine_thread_stop(), with no requests left. NULL-safe, returns NULL. */
struct engine_thread *engine_thread_free(struct engine_thread *thread);

/* The calls below: loop thread. */

/* Gives a prepared generation; or a question with an errand, or a hint: these are back, answered,
 * before the next step. */
void engine_thread_submit(struct engine_thread *thread, struct request *request);

/* A request that is done, owned by the caller again; NULL when there is none. */
struct request *engine_thread_take(struct engine_thread *thread);

/* Something that the thread looks at has changed: a cancel word, room in a ring, a client that is
 * gone. */
void engine_thread_wake(struct engine_thread *thread);

/* Every generation, also those that come later, ends with FINISH_REASON_SHUTDOWN. */
void engine_thread_end_all(struct engine_thread *thread);

struct engine_thread_status {
        enum model_state model;
        uint32_t load_permille;
        char what[64];      /* what is being loaded */
        struct error error; /* with MODEL_FAILED */
        bool idle;          /* has nothing to do: a still `n_turns` is no sign of trouble */
        uint64_t n_turns;
        uint64_t n_steps, n_prompt_tokens, n_generated_tokens, n_cancelled;
        uint64_t n_gave_way;
        uint64_t kv_bytes;
        struct keeper_statistics kept;
        struct hint_statistics hints;
        unsigned n_running, n_queued;
        struct class_counters classes[SCHEDULE_CLASSES];
        uint64_t device_bytes_limit; /* for the KV of all sequences; 0 = no bound */
};
void engine_thread_status(struct engine_thread *thread, struct engine_thread_status *ret);

/* Where kept KV is on disk, for others who keep something there; open until engine_thread_stop().
 * NULL until MODEL_READY, and where nothing is kept on disk. */
struct kv_store *engine_thread_store(const struct engine_thread *thread);

/* The engine's immutable parts; NULL until MODEL_READY. */
const struct engine *engine_thread_engine(const struct engine_thread *thread);

/* Where its Engram rows come from; NULL until MODEL_READY. */
const struct engram *engine_thread_engram(const struct engine_thread *thread);
/* Tokens that a request can have in all: the model's context, or less when the memory for KV is
 * small. 0 until MODEL_READY. */
uint32_t engine_thread_context(const struct engine_thread *thread);
