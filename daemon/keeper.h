/* What is kept of computed KV: joins the engine's sequences with the cache of memory/. A request
 * goes on from what earlier ones have computed, and leaves what it computes to later ones.
 *
 * Its full pages lie in memory twice: as rows on the device and as bytes in the cache. They are
 * lent to the sequence, which may then drop its rows and gather them from there (engine.h); its
 * lease holds them until the sequence is gone.
 *
 * Engine thread; the statistics are published by its owner. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"
#include "memory/kv_cache.h"

struct error;
struct keeper;
struct kv_store;
struct request;
struct session;

struct keeper_options {
        const char *model_dir;
        const char *state_dir;        /* "": nothing outlives the process */
        uint64_t host_bytes;          /* memory for kept KV; 0 = keep nothing */
        uint64_t disk_bytes;          /* in state_dir; 0 = nothing there */
        unsigned user_percent;        /* of both that one user may have, 1 to 100 */
        uint64_t disk_writes_per_day; /* bytes; 0 = no limit */
        uint64_t parked_bytes;        /* on the device, of sequences between two turns */
        /* A request for which keeper_begin() said -EAGAIN may be ready. Any thread. */
        void (*notify)(void *context);
        void *context;
};

/* What one user may have of a tier. */
uint64_t keeper_user_bytes(uint64_t bytes, unsigned user_percent);

/* NULL with success: the options (or a model without streams) say that nothing is kept. Errors: the
 * secret or the store in state_dir cannot be used; the message says why. */
int keeper_open(const struct keeper_options *options, const struct engine *engine,
                struct keeper **ret, struct error *err);
struct keeper *keeper_close(struct keeper *keeper); /* NULL-safe, returns NULL */

/* A request has come: how long the tool took that its conversation waited for is learned from it.
 * `keeper` may be NULL. */
void keeper_arrived(struct keeper *keeper, const struct request *request);

/* How many tokens of a waiting request need not be computed, as things are now: parked or kept. It
 * may be less when it begins. Costs a hash for each page that is kept. `keeper` may be NULL. */
uint32_t keeper_known(struct keeper *keeper, const struct request *request);

/* Differs when keeper_known() may. */
uint64_t keeper_version(const struct keeper *keeper);

/* Makes the request's sequence, holding as much of its tokens as is parked or kept (a spare one's
 * goes on from what is kept alone, and takes no room from others). 0, -EAGAIN (it
 * is being read from disk: ask again), -ENOSPC (no room on the device), -ENOMEM. `keeper` may be
 * NULL. */
int keeper_begin(struct keeper *keeper, struct engine *engine, struct request *request);

/* A step over n_tokens tokens took so long: what is kept is worth that. `keeper` may be NULL. */
void keeper_stepped(struct keeper *keeper, uint32_t n_tokens, uint64_t ns);

/* After a step: keeps and lends its new pages, and keeps its state where a later request may want
 * to go on. */
void keeper_computed(struct request *request, uint64_t now_ns);

/* What the request goes on from is being read from disk: leaving now would wait for that. */
bool keeper_is_reading(struct request *request);

/* False: there was no memory to keep what it has computed. */
bool keeper_keeps(const struct request *request);

/* Lends what could not be kept before, now that there may be memory. True: something. */
bool keeper_lend(struct request *request);

/* Its turn is over: state kept, sequence parked or freed, lease gone. Also without a sequence. */
void keeper_end(struct request *request);

/* It gives way to others: state kept, sequence freed, lease gone; keeper_begin() goes on from
 * there. A sequence that must not be used again is freed before. */
void keeper_leave(struct request *request);

/* Device bytes of parked sequences, and giving up the next of them, except the one with which
 * this request (may be NULL) would go on. False: there is none. `keeper` may be NULL. */
uint64_t keeper_parked_bytes(struct keeper *keeper, const struct request *except);
bool keeper_drop_parked(struct keeper *keeper, const struct request *except);

struct keeper_statistics {
        struct kv_cache_statistics cache;
        struct engine_kv_statistics device; /* parked sequences count */
        /* Requests by the slowest tier that took part, and tokens of their prompts. */
        uint64_t hits[KV_TIER_DISK + 1];
        uint64_t asked_tokens, reused_tokens;
        uint64_t n_parked, parked_bytes;
};

/* `keeper` may be NULL: then only `device` is counted. */
void keeper_statistics(const struct keeper *keeper, const struct engine *engine,
                       struct keeper_statistics *ret);

/* Keeps what is kept of a session from making room for others: now, and what its requests add.
 * Replaces what was pinned of it. 0, -EDQUOT (more than keeper_pinned_bytes_max() of one user),
 * -ENOMEM. `keeper` may be NULL: there is nothing to pin. */
int keeper_pin(struct keeper *keeper, const struct session *session);
void keeper_unpin(struct keeper *keeper, const struct session *session);
uint64_t keeper_pinned_bytes_max(const struct keeper *keeper);

/* On disk; NULL: nothing is kept there. The keeper's. */
struct kv_store *keeper_store(const struct keeper *keeper);

/* Of one user; 0: nothing is kept there. */
struct keeper_limits {
        uint64_t host_bytes, disk_bytes;
};
struct keeper_limits keeper_user_limits(const struct keeper *keeper);

/* What each user has in memory. `keeper` may be NULL: nobody has anything. */
void keeper_each_owner(const struct keeper *keeper,
                       void (*visit)(void *context, const struct kv_cache_owner *owner),
                       void *context);

/* Forgets all that a user has in memory and on the device, but for requests that run; `sessions`:
 * all of the user's, whose pins end. What is on disk is to be purged right after this. 0 (with the
 * bytes of kept KV before) or -ENOMEM. `keeper` may be NULL. */
int keeper_purge(struct keeper *keeper, uint32_t uid, const uint64_t *sessions, size_t n_sessions,
                 uint64_t *ret_bytes);
