/* The sending half of a connection, shared by the loop thread (results, errors) and the engine
 * thread (tokens).
 *
 * The lock is held for one message at a time: a copy of a few hundred bytes and at most one kick,
 * which never blocks. After `gone` nothing is sent any more; the memory stays until the engine
 * thread has returned its last request. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "proto/channel.h"

struct outlet {
        pthread_mutex_t lock; /* guards the channel's sending half, `broken` and `error` */
        struct channel *channel;
        _Atomic bool gone; /* set by the loop: the peer is dead or was cut off */
        _Atomic bool
                broken; /* the peer's tail was a lie: the loop must cut it off, `error` says why */
        struct error error;
};

int outlet_init(struct outlet *outlet, struct channel *channel); /* 0 or a negative errno */
void outlet_deinit(struct outlet *outlet);

/* Sends as much of the message as fits. 0: all of it is in the ring; -EAGAIN: keep the message and
 * call again, a kick is asked for; -EPIPE: nothing can be sent any more. Loop or engine thread. */
int outlet_send(struct outlet *outlet, struct ring_outgoing *message);

/* Whether the connection must be cut off for what the peer did; copies the reason. Loop thread. */
bool outlet_is_broken(struct outlet *outlet, struct error *ret_reason);
