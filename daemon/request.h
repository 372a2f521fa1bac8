/* One request of a client, from its record to its last answer.
 *
 * It has one owner at a time, and only the owner touches it (the atomics of `live` excepted):
 *
 *   loop thread      made from the message, registered with its connection
 *   pool thread      request_prepare(): text to tokens; results of questions
 *   loop thread      refused or answered, or given on
 *   engine thread    queued, computed, streamed; writes its slot and the connection's ring
 *   loop thread      slot released, freed
 *
 * The connection outlives it. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/arena.h"
#include "daemon/limits.h"
#include "daemon/outbox.h"
#include "daemon/refusal.h"
#include "engine/sampler.h"
#include "engine/tokenizer.h"
#include "memory/kv_cache.h"
#include "proto/seekd.pb-c.h"

struct answer_stream;
struct connection;
struct constraint;
struct flow;
struct grammar;
struct job;
struct keeper;
struct outlet;
struct purge;
struct sequence;
struct session;
struct text_stream;

#define SLOT_NONE UINT32_MAX

/* What statistics show of a request: stored by its owner, loaded by the loop thread. */
struct request_live {
        _Atomic uint32_t phase; /* Seekd__V1__Phase */
        _Atomic int class;      /* Seekd__V1__Class */
        _Atomic uint32_t n_prompt;
        _Atomic uint32_t n_prompt_done;
        _Atomic uint32_t n_generated;
};

struct request {
        struct connection *connection; /* loop thread only */
        struct outlet *outlet;
        uint32_t id;
        uint32_t slot; /* SLOT_NONE: a question, which needs none */
        uint16_t type; /* enum record_type */
        uint64_t received_ns;
        size_t message_bytes; /* charged to the account */
        struct request_live live;
        struct request *next;            /* list of the present owner */
        struct request *connection_next; /* list of the connection, loop thread only */

        bool spare;      /* a hint at work (hints.h): nobody waits for it */
        uint32_t uid;    /* of its client */
        uint64_t origin; /* number of its connection */

        bool waits; /* loop thread only: it writes the slot, daemon/waiting.h */

        struct session *session;      /* that it has or waits for; NULL = none */
        struct request *session_next; /* list of the session, loop thread only */

        /* Until prepared: the message and what it points to. */
        struct arena arena;
        const ProtobufCMessage *message;
        const struct engine *engine;
        const char *model_name; /* the server's */
        uv_work_t work;

        /* After preparing: `refusal.code` != 0, or a packed result for a question, or a generation
         * ready to start, or an errand. */
        struct refusal refusal;
        uint8_t *result;
        size_t result_bytes;
        uint16_t result_type;

        /* A question that is answered on the engine thread between two steps, where sequences and
         * kept KV may be touched: set by who prepares it, called there once. Leaves a result or a
         * refusal, as preparing does. Takes no time that a step would notice. */
        void (*errand)(struct request *request, struct keeper *keeper);

        /* A question whose answer takes long, after its errand if it has one: daemon/job.h. */
        void (*job)(struct job *job);
        struct purge *purge; /* of a CachePurge, until cache_requests_leave() */

        /* Generation. */
        struct sampling sampling;
        uint32_t n_generate_max; /* > 0 */
        uint32_t context_tokens; /* in all, at most */
        bool logprobs;
        uint64_t deadline_ns; /* 0 = none */
        char subject[SUBJECT_BYTES_MAX + 1];
        struct token_list tokens; /* prompt, then what was generated */
        uint32_t n_prompt;
        struct text_stream *text;
        struct grammar *grammar;      /* that the output is held to; NULL: anything */
        struct answer_stream *answer; /* of a conversation, else NULL */

        /* Engine thread. */
        uint64_t arrival;
        struct flow *flow;             /* whose share it uses */
        struct sequence *sequence;     /* NULL: waiting, or finished */
        uint64_t began_ns;             /* with the sequence that it holds, */
        uint64_t began_at;             /* behind so many tokens */
        uint32_t queue_place;          /* while it waits; 1 goes first, 0 = not in the order yet */
        double wait_ms;                /* while it waits; daemon/estimate.h */
        uint32_t n_found;              /* while it waits: tokens that need not be computed, */
        uint64_t found_at;             /* as of this keeper_version() + 1; 0 = not looked yet */
        uint64_t device_bytes;         /* promised to it while it holds a sequence */
        uint64_t served, n_turns;      /* of its schedule_item */
        uint64_t n_ends_awaited;       /* gave way: waits until the runner has seen so many ends */
        struct constraint *constraint; /* where the output is in its grammar */
        struct keeper *keeper;         /* of `lease` */
        struct kv_lease *lease;        /* NULL: nothing is kept of it */
        bool leased;                   /* asked for one since it waits */
        bool began;                    /* had a sequence before: `verdict` is told */
        struct kv_verdict verdict;     /* what it went on from at first */
        uint32_t n_kept;               /* tokens whose state was kept last, */
        uint64_t kept_ns;              /* and when */
        struct outbox outbox;
        bool finished;      /* its Done is in the outbox or in the ring */
        int finish_reason;  /* Seekd__V1__FinishReason, with `finished` */
        bool suspect;       /* was in a failed step: computed alone until that step is repeated */
        uint64_t n_suspect; /* tokens known when it failed */
        uint64_t started_ns, first_token_ns, last_token_ns; /* 0 = not yet */
        uint64_t paused_ns;   /* since when the ring is full, 0 = it is not */
        uint64_t unpaused_ns; /* when it was full last, 0 = never */
};

/* NULL: out of memory. */
struct request *request_new(struct connection *connection, struct outlet *outlet, uint16_t type,
                            uint32_t id);
struct request *
request_free(struct request *request); /* NULL-safe, returns NULL; the sequence must be gone */

/* Packs the answer to a question; without memory the request is refused. */
void request_set_result(struct request *request, uint16_t type, const ProtobufCMessage *message);
