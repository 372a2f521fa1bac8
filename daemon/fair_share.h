/* Who has received how much: the counters behind fairness inside a class.
 *
 * A flow is a user in a class, and below it each of that user's sessions (a connection's subject).
 * `served` grows by the cost of what is computed for it, so the flow with the least goes next
 * (virtual token counters: Sheng et al., arXiv 2401.00588). One that comes back from idleness is
 * lifted to the least of those that are active: nobody saves up a claim. One that leaves keeps its
 * counter until all others have passed it: nobody loses a debt by pausing.
 *
 * Pure bookkeeping. One thread. */
#pragma once

#include <stdint.h>

struct fair_share;

struct flow {
        struct fair_share *share;
        uint64_t key;        /* uid, or the session's number */
        uint32_t class;      /* of a user's flow */
        struct flow *parent; /* the user; NULL: this is one */
        double served;       /* ms */
        double least;        /* of a user: what the active session with the least has */
        unsigned n_active;   /* requests */
        unsigned n_places;   /* of them, that are computed now: counted anew by admission.c */
        uint64_t n_turns; /* of a session: those of its request that is to go next (scheduler.c) */
        /* Counted anew for each step by scheduler.c: requests of a session that could be computed,
         * and are in this step; of a user those of them that are decodes. */
        unsigned n_runnable, n_taken;
        struct flow *next;
};

struct fair_share {
        struct flow *first;
        unsigned n_flows;
};

void fair_share_deinit(struct fair_share *share); /* no request is active any more */

/* A request of this session begins. `share` stays where it is until the flow is left. Returns the
 * session's flow; NULL: out of memory. */
struct flow *flow_enter(struct fair_share *share, uint32_t class, uint32_t uid, uint64_t session);

/* It ends: the flow may be gone afterwards. NULL-safe, returns NULL. */
struct flow *flow_leave(struct fair_share *share, struct flow *flow);

/* `ms` of service to a session (and its user). */
void flow_serve(struct flow *flow, double ms);
