/* One client's connection: handshake, frames of the control socket, records of its ring, and its
 * end. Loop thread.
 *
 * It is closed (the peer hung up, died, said goodbye or broke a rule) long before it is freed: its
 * memory and socket stay until its libuv handles are closed and every request is back from the
 * other threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "daemon/outbox.h"
#include "daemon/outlet.h"
#include "daemon/peer.h"
#include "proto/channel.h"

struct account;
struct error;
struct request;
struct server;

enum connection_state {
        CONNECTION_HELLO,  /* waiting for the first frame */
        CONNECTION_OPEN,   /* rings live */
        CONNECTION_CLOSED, /* nothing is read or sent; waits to be freed */
};

struct connection {
        struct server *server;
        struct connection *next, *previous; /* the server's list */
        uint64_t number; /* unique while the daemon runs; the session id of the regions */
        enum connection_state state;
        int fd;
        struct peer peer;
        struct account *account;

        uv_poll_t socket_poll, pidfd_poll;
        uv_timer_t hello_timer;
        uv_idle_t more; /* active while a turn ended for lack of budget, not of work */
        unsigned n_handles;

        bool has_channel; /* channel and outlet are initialised */
        struct channel channel;
        struct outlet outlet;
        struct outbox
                replies; /* waiting for room; while there are any, no more requests are read */
        uint64_t region_bytes;    /* charged to the account */
        struct request *requests; /* all that are not freed, by connection_next */
        unsigned n_requests;
        uint32_t slots_used; /* bit i: slot i has a request */
};

/* Takes over the socket. On failure the peer was told why as far as possible, and the socket is
 * closed. */
int connection_open(struct server *server, int fd);

/* Closes; frees it at once or when the last request is back. Idempotent. */
void connection_close(struct connection *connection);

/* The peer broke a rule: tells it, marks its uid, writes at most one line a second about that uid,
 * closes. */
void connection_poison(struct connection *connection, const struct error *reason);

/* Looks at everything the peer may have changed: room for replies, new records. */
void connection_pump(struct connection *connection);

/* Sends an answer of the loop thread, or keeps it until there is room. Closes when memory runs out.
 */
void connection_reply(struct connection *connection, uint16_t type, uint32_t stream,
                      const uint8_t *bytes, size_t n);

/* A request has left its connection. */
void connection_forget_request(struct connection *connection, struct request *request);
