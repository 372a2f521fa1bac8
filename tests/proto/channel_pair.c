#include "tests/proto/channel_pair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int r, const struct error *err) {
        if (r == 0)
                return;
        fprintf(stderr, "channel pair: %d %s\n", r, err->text);
        abort();
}

void channel_pair_init(struct channel_pair *pair, uint64_t caps, size_t message_bytes_max) {
        struct error err = { 0 };
        check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair->sockets), &err);
        struct channel_options options = {
                .d_data_bytes = 64 << 10,
                .c_data_bytes = 64 << 10,
                .session_id = 11,
                .generation = 1,
                .caps = caps,
                .message_bytes_max = message_bytes_max,
        };
        struct frame welcome = {
                .kind = FRAME_WELCOME,
                .welcome = {
                        .session_id = 11, .generation = 1, .caps = caps,
                        .n_requests_max = REGION_N_SLOTS,
                },
        };
        check(channel_open(&pair->daemon, pair->sockets[0], &options, welcome.fds, &err), &err);
        check(channel_attach(&pair->client, pair->sockets[1], &welcome, message_bytes_max, &err),
              &err);
        frame_close_fds(&welcome);
}

void channel_pair_deinit(struct channel_pair *pair) {
        channel_close(&pair->daemon);
        channel_close(&pair->client);
        close(pair->sockets[0]);
        close(pair->sockets[1]);
}

int drain_kicks(int socket) {
        int n = 0;
        for (;;) {
                struct frame frame;
                struct error err;
                int r = frame_recv(socket, FRAMES_FROM_CLIENT, &frame, &err);
                if (r == -EAGAIN)
                        return n;
                if (r <= 0)
                        return -1;
                n += frame.kind == FRAME_KICK;
        }
}

void send_whole(struct channel *channel, uint32_t stream, const void *bytes, size_t n_bytes) {
        struct error err = { 0 };
        struct ring_outgoing message = {
                .item = { .type = 1, .stream = stream },
                .bytes = bytes,
                .n_bytes = n_bytes,
        };
        check(channel_send(channel, &message, &err), &err);
}
