/* A daemon of one connection, in a thread, that does what a test tells it: the other side of
 * libseekd, without a model. */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "proto/channel.h"
#include "proto/message.h"
#include "proto/token_delta.h"

struct fake_daemon;
typedef void (*fake_script)(struct fake_daemon *daemon);

struct fake_daemon {
        char dir[64];
        char path[96];
        int listener;
        int socket; /* of the connection, -1 when closed */
        struct channel channel;
        pthread_t thread;
        fake_script script;
        struct arena arena;
        bool bulk;       /* the last request came as a memfd */
        uint8_t *buffer; /* its bytes */
};

/* Listens at a path of its own and runs `script` in a thread. */
void fake_start(struct fake_daemon *daemon, fake_script script);
/* Waits for the script's end and removes everything. */
void fake_stop(struct fake_daemon *daemon);

/* The same without a thread, at `path`: for a program that is nothing else. */
void fake_listen(struct fake_daemon *daemon, const char *path);
void fake_close(struct fake_daemon *daemon);

/* For scripts. A failure here aborts the test program with a message: the fake itself must not be
 * what is wrong. */

/* Accepts the connection and takes its hello. */
void fake_accept(struct fake_daemon *daemon, struct frame *ret_hello);
/* fake_accept() and an ordinary welcome. */
void fake_welcome(struct fake_daemon *daemon);
/* Closes the connection, as a killed daemon's kernel would. */
void fake_hang_up(struct fake_daemon *daemon);

/* The next request, by ring or memfd: its record type, id and message; NULL when the client has
 * hung up. */
const ProtobufCMessage *fake_request(struct fake_daemon *daemon, unsigned *ret_type,
                                     uint32_t *ret_id);
/* The next request, which must be a generation; its id. */
uint32_t fake_generate(struct fake_daemon *daemon);
/* Waits until the client has hung up. */
void fake_wait_hang_up(struct fake_daemon *daemon);

void fake_send_bytes(struct fake_daemon *daemon, unsigned type, uint32_t id, const void *bytes,
                     size_t n);
void fake_send(struct fake_daemon *daemon, unsigned type, uint32_t id,
               const ProtobufCMessage *message);
void fake_accepted(struct fake_daemon *daemon, uint32_t id, uint32_t slot);
void fake_token(struct fake_daemon *daemon, uint32_t id, uint32_t token, const char *text);
void fake_done(struct fake_daemon *daemon, uint32_t id, Seekd__V1__FinishReason reason);
void fake_error(struct fake_daemon *daemon, uint32_t id, Seekd__V1__ErrorCode code,
                const char *text);
