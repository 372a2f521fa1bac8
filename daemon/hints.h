/* What clients will probably send soon: prepared while nobody needs the machine.
 *
 * A hint is a prompt that nobody waits for. Of each user one is noted, the newest. While no request
 * is there, one after the other is worked at, in the scheduler's order of background requests, so
 * that what a hint costs counts on its user's share: what is kept of it is read from disk, its
 * Engram rows are fetched ahead, what is missing is computed, one chunk a step, and kept. The
 * request that begins alike then goes on from there.
 *
 *   - The moment a request is there a hint gives up its sequence. It goes on from what it has kept
 *     when all are gone; so a request waits for no more than one chunk.
 *   - It takes only what is free of the device: it drops nothing that is parked, and spills nobody.
 *     In memory its own user makes room for it, nobody else (kv_cache_lease_spare()).
 *   - Done, replaced, older than HINT_LIFE_S, or without room: it is forgotten.
 *
 * Engine thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/limits.h"

struct request;
struct runner;

struct hint_statistics {
        uint64_t n_noted, n_done, n_replaced, n_dropped; /* since the start */
        uint64_t n_tokens;                               /* computed */
        unsigned n_waiting;                              /* now */
};

struct hints {
        struct request *hint[HINTS_MAX]; /* oldest first; owned. One at most has a lease */
        unsigned n;
        struct request
                *leaving; /* no hint any more, but still being read from disk; owned, or NULL */
        struct hint_statistics statistics; /* but n_waiting */
};

/* Notes what a prepared Hint says, in place of its user's last one, and answers it. The request
 * stays the caller's. */
void hints_note(struct runner *runner, struct request *request);

/* A request is there: the device is its. */
void hints_give_way(struct runner *runner);

/* No request is there: works at one hint for one step. False: there was nothing to compute. */
bool hints_step(struct runner *runner);

void hints_forget_user(struct runner *runner, uint32_t uid); /* all of this user's */
void hints_forget_all(struct runner *runner);                /* may wait for a read */
