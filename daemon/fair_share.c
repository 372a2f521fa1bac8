#include "daemon/fair_share.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* Idle flows that are remembered for their debts. With more of them the oldest debts are forgiven;
 * each is 88 bytes, and there are at most as many active ones as requests. */
#define IDLE_FLOWS_MAX 1024

void fair_share_deinit(struct fair_share *share) {
        for (struct flow *f = share->first, *next; f; f = next) {
                next = f->next;
                free(f);
        }
        *share = (struct fair_share){ 0 };
}

static bool are_peers(const struct flow *a, const struct flow *b) {
        return a->parent == b->parent && (a->parent || a->class == b->class);
}

/* The least service of an active flow beside this one; its own if there is none. */
static double least_of_peers(const struct fair_share *share, const struct flow *flow) {
        bool found = false;
        double least = flow->served;
        for (const struct flow *f = share->first; f; f = f->next)
                if (f != flow && f->n_active > 0 && are_peers(f, flow) &&
                    (!found || f->served < least)) {
                        least = f->served;
                        found = true;
                }
        return least;
}

static void find_least(struct flow *user) {
        bool found = false;
        for (const struct flow *f = user->share->first; f; f = f->next)
                if (f->parent == user && f->n_active > 0 && (!found || f->served < user->least)) {
                        user->least = f->served;
                        found = true;
                }
}

static struct flow *find_or_add(struct fair_share *share, uint32_t class, struct flow *parent,
                                uint64_t key) {
        for (struct flow *f = share->first; f; f = f->next)
                if (f->key == key && f->parent == parent && f->class == class)
                        return f;
        struct flow *flow = calloc(1, sizeof(*flow));
        if (!flow)
                return NULL;
        *flow = (struct flow){
                .share = share, .key = key, .class = class, .parent = parent, .next = share->first
        };
        share->first = flow;
        share->n_flows++;
        return flow;
}

static void activate(const struct fair_share *share, struct flow *flow) {
        if (flow->n_active++ == 0) {
                double least = least_of_peers(share, flow);
                flow->served = flow->served > least ? flow->served : least;
        }
}

static bool has_children(const struct fair_share *share, const struct flow *flow) {
        for (const struct flow *f = share->first; f; f = f->next)
                if (f->parent == flow)
                        return true;
        return false;
}

/* Idle, and nothing would be different without it. */
static bool is_forgettable(const struct fair_share *share, const struct flow *flow) {
        return flow->n_active == 0 && !has_children(share, flow) &&
                (flow->served <= least_of_peers(share, flow) || share->n_flows > IDLE_FLOWS_MAX);
}

static void forget_idle(struct fair_share *share) {
        for (struct flow **at = &share->first; *at;) {
                struct flow *flow = *at;
                if (!is_forgettable(share, flow)) {
                        at = &flow->next;
                        continue;
                }
                *at = flow->next;
                free(flow);
                share->n_flows--;
        }
}

struct flow *flow_enter(struct fair_share *share, uint32_t class, uint32_t uid, uint64_t session) {
        struct flow *user = find_or_add(share, class, NULL, uid);
        struct flow *flow = user ? find_or_add(share, class, user, session) : NULL;
        if (!flow) {
                forget_idle(share);
                return NULL;
        }
        activate(share, user);
        activate(share, flow);
        find_least(user);
        return flow;
}

struct flow *flow_leave(struct fair_share *share, struct flow *flow) {
        if (!flow)
                return NULL;
        assert(flow->n_active > 0 && flow->parent && flow->parent->n_active > 0);
        flow->n_active--;
        flow->parent->n_active--;
        find_least(flow->parent);
        forget_idle(share);
        return NULL;
}

void flow_serve(struct flow *flow, double ms) {
        bool had_least = flow->served <= flow->parent->least;
        flow->served += ms;
        flow->parent->served += ms;
        if (had_least)
                find_least(flow->parent);
}
