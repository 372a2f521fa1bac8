/* What is kept of computed KV: joins the engine's sequences with the cache of memory/. A request
 * goes on from what earlier ones have computed, and leaves what it computes to later ones.
 *
 * Engine thread; the statistics are published by its owner. */
#pragma once

#include <stdint.h>

#include "memory/kv_cache.h"

struct engine;
struct error;
struct keeper;
struct request;

struct keeper_options {
        const char *model_dir;
        const char *state_dir; /* "": nothing outlives the process */
        uint64_t host_bytes;   /* memory for kept KV; 0 = keep nothing */
        uint64_t disk_bytes;   /* in state_dir; 0 = nothing there */
        /* A request for which keeper_begin() said -EAGAIN may be ready. Any thread. */
        void (*notify)(void *context);
        void *context;
};

/* NULL with success: the options (or a model without streams) say that nothing is kept. Errors: the
 * secret or the store in state_dir cannot be used; the message says why. */
int keeper_open(const struct keeper_options *options, const struct engine *engine,
                struct keeper **ret, struct error *err);
struct keeper *keeper_close(struct keeper *keeper); /* NULL-safe, returns NULL */

/* Makes the request's sequence, holding as much of its tokens as is kept. 0, -EAGAIN (it is being
 * read from disk: ask again), -ENOMEM. `keeper` may be NULL. */
int keeper_begin(struct keeper *keeper, struct engine *engine, struct request *request);

/* A step over n_tokens tokens took so long: what is kept is worth that. `keeper` may be NULL. */
void keeper_stepped(struct keeper *keeper, uint32_t n_tokens, uint64_t ns);

/* After a step: keeps its new pages, and its state where a later request may want to go on. */
void keeper_computed(struct request *request, uint64_t now_ns);

/* Before its sequence is freed: keeps its state as well. The lease is gone afterwards. */
void keeper_end(struct request *request);

void keeper_statistics(const struct keeper *keeper, struct kv_cache_statistics *ret);
