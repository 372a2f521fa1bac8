/* A daemon and a client joined by a real socket pair and real regions, in one process. */
#pragma once

#include "base/error.h"
#include "proto/channel.h"

struct channel_pair {
        int sockets[2]; /* daemon, client */
        struct channel daemon;
        struct channel client;
};

void channel_pair_init(struct channel_pair *pair, uint64_t caps, size_t message_bytes_max);
void channel_pair_deinit(struct channel_pair *pair);

/* Reads all frames that lie in the socket. Returns how many kicks there were, or -1 after a
 * hang-up. */
int drain_kicks(int socket);

/* Sends one whole message; it must fit. */
void send_whole(struct channel *channel, uint32_t stream, const void *bytes, size_t n_bytes);
