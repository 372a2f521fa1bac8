/* A connection after the handshake: socket, both regions, a ring each way, and the kicks between
 * them. Daemon and client share this implementation.
 *
 *   daemon                                         client
 *   frame_recv(HELLO), hello_negotiate()           frame_send(HELLO)
 *   channel_open() -> two fds
 *   frame_send(WELCOME + fds), close fds           frame_recv(WELCOME), channel_attach(), close fds
 *   channel_send() ... channel_flush()             channel_receive() until CHANNEL_EMPTY
 *                                                  channel_sleep(), poll()
 *
 * Threads: the sending half (channel_send, channel_flush, channel_wait_space) belongs to one thread
 * at a time, the receiving half (channel_turn, channel_receive, channel_sleep) to one thread at a
 * time, and the two may be different threads working at once: they share no mutable memory, and
 * both may kick, since sending on a socket is safe. If several threads send, the caller serialises
 * them. channel_open/attach and channel_close: nobody else is inside.
 *
 * The socket stays the caller's: frames are received and hang-ups noticed by the caller
 * (frame_recv()), who then calls channel_receive(). */
#pragma once

#include "proto/handshake.h"
#include "proto/region.h"
#include "proto/ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Work per turn of an event loop before others get theirs: enough to amortise a wake, little enough
 * (well under a millisecond) that one flooding peer does not delay the others. */
#define CHANNEL_TURN_RECORDS 64u
#define CHANNEL_TURN_BYTES   (256u << 10)

struct channel {
        int socket; /* borrowed; only kicks are sent on it */
        bool daemon;
        bool futex; /* CAP_FUTEX negotiated */
        struct region own;
        struct region peer;
        struct ring_writer writer;
        struct ring_reader reader;
        uint8_t *record; /* private copy of the record being looked at */
        size_t record_bytes;
        struct ring_assembly assembly;
        uint32_t turn_records; /* left in this turn */
        uint32_t turn_bytes;
};

struct channel_options {
        uint64_t d_data_bytes; /* region_data_bytes() of what the HELLO wants */
        uint64_t c_data_bytes;
        uint64_t session_id;
        uint64_t generation;
        uint64_t caps;            /* negotiated */
        size_t message_bytes_max; /* of one message from the peer, fragments joined */
};

/* Daemon: creates both regions. `ret_fds` (D, C) are for the WELCOME; the caller closes them after
 * sending. On error nothing is left behind. */
int channel_open(struct channel *channel, int socket, const struct channel_options *options,
                 int ret_fds[2], struct error *err);

/* Client: attaches to the regions of a WELCOME frame (its fds stay the caller's; close them
 * afterwards). `message_bytes_max` bounds what is accepted from the daemon. -EPROTO if regions and
 * welcome disagree. */
int channel_attach(struct channel *channel, int socket, const struct frame *welcome,
                   size_t message_bytes_max, struct error *err);

/* Stores REGION_CLOSED, unmaps, frees. NULL-safe, also on a zeroed struct. The socket stays open.
 */
void channel_close(struct channel *channel);

/* Sending half
 * ----------------------------------------------------------------------------------------------------
 */

/* Writes one message; the peer sees it after channel_flush(). Errors as ring_writer_send(): with
 * -EAGAIN the message is not or only partly written, and the caller must keep `message` and call
 * again; until it is complete, its stream must not send anything else. */
int channel_send(struct channel *channel, struct ring_outgoing *message, struct error *err);

/* Shows the peer what was sent and wakes it if it wants that. */
void channel_flush(struct channel *channel);

/* After -EAGAIN: flushes and asks for a kick when `bytes` (of the next record) would fit. True:
 * wait for it. False: there is room now. */
bool channel_wait_space(struct channel *channel, uint32_t bytes);

/* Receiving half
 * --------------------------------------------------------------------------------------------------
 */

struct channel_message {
        uint32_t stream;
        uint16_t type;
        uint16_t flags;       /* RING_MUST_UNDERSTAND or 0 */
        const uint8_t *bytes; /* private memory, valid until the next call on the receiving half */
        size_t n_bytes;
};

enum channel_result {
        CHANNEL_EMPTY = 0,   /* nothing to read now */
        CHANNEL_MESSAGE = 1, /* *ret is filled */
        CHANNEL_BUDGET = 2,  /* there may be more, but this turn's share is used up */
};

/* Starts a turn: refills the budget. */
void channel_turn(struct channel *channel);

/* The next message. enum channel_result, or -EPROTO / -ENOMEM: the connection must be closed with
 * an ERROR frame of this message. Tells the peer about the space when nothing more is there or the
 * budget is spent. */
int channel_receive(struct channel *channel, struct channel_message *ret, struct error *err);

/* Before sleeping: asks for a kick when more than `ahead_bytes` arrive (0: anything). True: sleep
 * (poll the socket, or ring_reader_futex_wait() when channel->futex). False: there is something to
 * receive. */
bool channel_sleep(struct channel *channel, uint64_t ahead_bytes);
