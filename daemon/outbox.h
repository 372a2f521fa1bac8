/* Messages that wait for room in a ring, in order. The caller bounds their number by what it takes
 * on. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/ring.h"

struct outlet;

struct outbox_message {
        struct outbox_message *next;
        struct ring_outgoing out;
        uint8_t bytes[];
};

struct outbox {
        struct outbox_message *first, *last; /* zero-initialise */
};

/* Sends `n` bytes as one message, or keeps a copy of what does not fit now. `urgent`: may use the
 * space that the ring keeps for endings. 0, -ENOMEM (nothing was kept), -EPIPE. */
int outbox_send(struct outbox *outbox, struct outlet *outlet, uint16_t type, uint32_t stream,
                bool urgent, const uint8_t *bytes, size_t n);

/* 0: nothing waits any more; -EAGAIN: the ring is still full; -EPIPE. */
int outbox_flush(struct outbox *outbox, struct outlet *outlet);

bool outbox_is_empty(const struct outbox *outbox);
void outbox_deinit(struct outbox *outbox); /* drops what waits */
