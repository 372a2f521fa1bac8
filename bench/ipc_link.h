/* Ways to pass a 64-byte message to another process: the ring, and what it is compared with.
 *
 * A link is opened before the fork; side 0 is the parent, side 1 the child. Every byte of a message
 * is written by the sender and read by the receiver. Failures end the process with a message: this
 * is a measuring tool. */
#pragma once

#include "proto/region.h"
#include "proto/ring.h"

#include <stdint.h>

#define MESSAGE_BYTES 64

struct message {
        uint64_t words[MESSAGE_BYTES / 8]; /* words[0] is its number, from 1 */
};

struct link {
        /* Rings: region D is written by side 0, C by side 1; [side] is that side's view. */
        struct region own[2];
        struct region peer[2];
        struct ring_writer writer[2];
        struct ring_reader reader[2];
        /* Sockets and pipes: what side i reads from and writes to. */
        int in[2];
        int out[2];
        /* Stream and pipe: bytes received ahead. */
        uint8_t inbox[64 << 10];
        size_t inbox_begin;
        size_t inbox_end;
        /* Hand-off and futex: shared lines. */
        struct handoff_line *lines;
};

struct mechanism {
        const char *name;
        void (*open)(struct link *link);
        void (*send)(struct link *link, int side, const struct message *message);
        void (*flush)(struct link *link, int side); /* NULL: send is enough */
        void (*receive)(struct link *link, int side, struct message *ret);
        void (*close)(struct link *link);
};

extern const struct mechanism link_ring;           /* polling, validated: the product's code */
extern const struct mechanism link_ring_unchecked; /* polling, without checks */
extern const struct mechanism link_ring_futex;     /* sleeping, FUTEX negotiated */
extern const struct mechanism link_ring_kick;      /* sleeping, kicked by a frame */
extern const struct mechanism link_handoff; /* polling: one cache line a direction, nothing else */
extern const struct mechanism link_futex;   /* sleeping: such a line and FUTEX_WAKE */
extern const struct mechanism link_seqpacket;
extern const struct mechanism link_stream;
extern const struct mechanism link_pipe;

_Noreturn void link_fail(const char *what); /* with errno */
