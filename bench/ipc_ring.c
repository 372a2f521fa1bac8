/* The ring as a link: polling, sleeping on the futex, sleeping on the socket; and without checks.
 */
#include "base/error.h"
#include "bench/ipc_link.h"
#include "bench/ipc_unchecked.h"
#include "proto/handshake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct ring_item item = {
        .type = 1,
        .flags = RING_WHOLE,
        .stream = 1,
        .len = MESSAGE_BYTES,
};

static void must(int r, const struct error *err) {
        if (r >= 0)
                return;
        fprintf(stderr, "seekd-bench: %s\n", err->text);
        exit(1);
}

static void ring_open(struct link *link) {
        struct error err = { 0 };
        int fds[2];
        struct region_options options = { .side = REGION_D, .data_bytes = REGION_D_DATA_BYTES };
        must(region_create(&options, &link->own[0], &fds[0], &err), &err);
        options = (struct region_options){ .side = REGION_C, .data_bytes = REGION_D_DATA_BYTES };
        must(region_create(&options, &link->peer[0], &fds[1], &err), &err);
        must(region_attach(fds[0], REGION_D, &link->peer[1], &err), &err);
        must(region_attach(fds[1], REGION_C, &link->own[1], &err), &err);
        for (int side = 0; side < 2; side++) {
                close(fds[side]);
                ring_writer_init(&link->writer[side], &link->own[side], &link->peer[side], 0);
                ring_reader_init(&link->reader[side], &link->own[side], &link->peer[side]);
        }
        int sockets[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
                link_fail("socketpair");
        for (int side = 0; side < 2; side++)
                link->in[side] = link->out[side] = sockets[side];
}

static void ring_close(struct link *link) {
        for (int side = 0; side < 2; side++) {
                region_deinit(&link->own[side]);
                region_deinit(&link->peer[side]);
                close(link->in[side]);
        }
}

static void ring_send(struct link *link, int side, const struct message *message) {
        struct error err; /* not cleared: that would be measured */
        int r;
        while ((r = ring_writer_write(&link->writer[side], &item, message, &err)) == -EAGAIN)
                ring_writer_publish(&link->writer[side]);
        must(r, &err);
}

static void ring_flush(struct link *link, int side) {
        ring_writer_publish(&link->writer[side]);
}

static void ring_receive(struct link *link, int side, struct message *ret) {
        struct error err; /* not cleared: that would be measured */
        struct ring_record record;
        int r;
        while ((r = ring_reader_next(&link->reader[side], &record, ret, sizeof(*ret), &err)) == 0)
                ;
        must(r, &err);
}

const struct mechanism link_ring = {
        "validated ring, polling", ring_open, ring_send, ring_flush, ring_receive, ring_close,
};

static void unchecked_send(struct link *link, int side, const struct message *message) {
        struct error err; /* not cleared: that would be measured */
        int r;
        while ((r = unchecked_writer_write(&link->writer[side], &item, message, &err)) == -EAGAIN)
                unchecked_writer_publish(&link->writer[side]);
        must(r, &err);
}

static void unchecked_flush(struct link *link, int side) {
        unchecked_writer_publish(&link->writer[side]);
}

static void unchecked_receive(struct link *link, int side, struct message *ret) {
        struct error err; /* not cleared: that would be measured */
        struct ring_record record;
        int r;
        while ((r = unchecked_reader_next(&link->reader[side], &record, ret, sizeof(*ret), &err)) ==
               0)
                ;
        must(r, &err);
}

const struct mechanism link_ring_unchecked = {
        "ring without checks, polling",
        ring_open,
        unchecked_send,
        unchecked_flush,
        unchecked_receive,
        ring_close,
};

static void futex_flush(struct link *link, int side) {
        if (ring_writer_publish(&link->writer[side]) &&
            ring_writer_futex_wake(&link->writer[side]) == 0)
                (void)frame_send_kick(
                        link->out[side]); /* as the daemon does when nobody slept there */
}

static void futex_receive(struct link *link, int side, struct message *ret) {
        struct error err; /* not cleared: that would be measured */
        struct ring_record record;
        int r;
        while ((r = ring_reader_next(&link->reader[side], &record, ret, sizeof(*ret), &err)) == 0) {
                bool kick;
                if (ring_reader_arm(&link->reader[side], 0, &kick))
                        ring_reader_futex_wait(&link->reader[side], 1000);
        }
        must(r, &err);
}

const struct mechanism link_ring_futex = {
        "validated ring, sleeping on a futex",
        ring_open,
        ring_send,
        futex_flush,
        futex_receive,
        ring_close,
};

static void kick_flush(struct link *link, int side) {
        if (ring_writer_publish(&link->writer[side]))
                (void)frame_send_kick(link->out[side]);
}

static void kick_receive(struct link *link, int side, struct message *ret) {
        struct error err; /* not cleared: that would be measured */
        struct ring_record record;
        int r;
        while ((r = ring_reader_next(&link->reader[side], &record, ret, sizeof(*ret), &err)) == 0) {
                bool kick;
                if (!ring_reader_arm(&link->reader[side], 0, &kick))
                        continue;
                /* Blocking, as the seqpacket socket beside it is read. */
                uint8_t bytes[FRAME_BYTES_MAX];
                struct frame frame;
                ssize_t n = recv(link->in[side], bytes, sizeof(bytes), 0);
                if (n <= 0)
                        link_fail("receive a kick");
                must(frame_decode(bytes, (size_t)n, &frame, &err), &err);
        }
        must(r, &err);
}

const struct mechanism link_ring_kick = {
        "validated ring, sleeping on the socket",
        ring_open,
        ring_send,
        kick_flush,
        kick_receive,
        ring_close,
};
