/* A client of the runner in the same process: both ends of its rings, and what it received. Fails
 * the process (assert) on what cannot happen. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/outlet.h"
#include "proto/channel.h"

#define GENERATED_MAX 4096

struct request;

struct client {
        int sockets[2];
        struct channel daemon_side, client_side;
        struct outlet outlet;    /* of requests whose answers it gets */
        struct request *request; /* the caller's: under way */
        uint32_t ids[GENERATED_MAX];
        size_t n_ids;
        int finish_reason; /* 0 = no Done yet */
        bool given_back;   /* the caller's */
};

void client_connect(struct client *client);    /* of zeros, or disconnected */
void client_disconnect(struct client *client); /* does nothing twice */

/* Takes all that is in its ring. */
void receive(struct client *client);
