/* What the ring is compared with. Each is used in the way that is quickest for it. */
#include "bench/ipc_link.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void link_fail(const char *what) {
        fprintf(stderr, "seekd-bench: %s: %s\n", what, strerror(errno));
        exit(1);
}

/* One cache line: the message, whose number is stored last and tells that the rest is there. The
 * next line is unused, because processors fetch lines in pairs. */
struct handoff_line {
        _Alignas(128) _Atomic uint64_t number;
        uint64_t words[MESSAGE_BYTES / 8 - 1];
};

static void handoff_open(struct link *link) {
        link->lines = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (link->lines == MAP_FAILED)
                link_fail("mmap");
}

static void handoff_close(struct link *link) {
        munmap(link->lines, 4096);
}

static void handoff_send(struct link *link, int side, const struct message *message) {
        struct handoff_line *line = &link->lines[side];
        memcpy(line->words, &message->words[1], sizeof(line->words));
        atomic_store_explicit(&line->number, message->words[0], memory_order_release);
}

static void handoff_take(const struct handoff_line *line, uint64_t number, struct message *ret) {
        ret->words[0] = number;
        memcpy(&ret->words[1], line->words, sizeof(line->words));
}

/* Number of the last message received; messages are counted from 1. */
static uint64_t last_received[2];

static void handoff_receive(struct link *link, int side, struct message *ret) {
        const struct handoff_line *line = &link->lines[!side];
        uint64_t number;
        while ((number = atomic_load_explicit(&line->number, memory_order_acquire)) ==
               last_received[side])
                ;
        last_received[side] = number;
        handoff_take(line, number, ret);
}

static void handoff_reset(struct link *link) {
        last_received[0] = last_received[1] = 0;
        handoff_open(link);
}

const struct mechanism link_handoff = {
        "bare cache-line hand-off",
        handoff_reset,
        handoff_send,
        NULL,
        handoff_receive,
        handoff_close,
};

static void futex_send(struct link *link, int side, const struct message *message) {
        handoff_send(link, side, message);
        syscall(SYS_futex, &link->lines[side].number, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void futex_receive(struct link *link, int side, struct message *ret) {
        struct handoff_line *line = &link->lines[!side];
        uint64_t number;
        while ((number = atomic_load_explicit(&line->number, memory_order_acquire)) ==
               last_received[side])
                syscall(SYS_futex, &line->number, FUTEX_WAIT, (uint32_t)number, NULL, NULL, 0);
        last_received[side] = number;
        handoff_take(line, number, ret);
}

const struct mechanism link_futex = {
        "bare futex wake", handoff_reset, futex_send, NULL, futex_receive, handoff_close,
};

static void open_sockets(struct link *link, int type) {
        int sockets[2];
        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sockets) < 0)
                link_fail("socketpair");
        for (int side = 0; side < 2; side++)
                link->in[side] = link->out[side] = sockets[side];
        link->inbox_begin = link->inbox_end = 0;
}

static void close_sockets(struct link *link) {
        close(link->in[0]);
        close(link->in[1]);
}

static void seqpacket_open(struct link *link) {
        open_sockets(link, SOCK_SEQPACKET);
}

static void stream_open(struct link *link) {
        open_sockets(link, SOCK_STREAM);
}

static void fd_send(struct link *link, int side, const struct message *message) {
        if (write(link->out[side], message, sizeof(*message)) != (ssize_t)sizeof(*message))
                link_fail("write");
}

static void seqpacket_receive(struct link *link, int side, struct message *ret) {
        if (read(link->in[side], ret, sizeof(*ret)) != (ssize_t)sizeof(*ret))
                link_fail("read");
}

/* Takes as much as there is with one call. */
static void bytes_receive(struct link *link, int side, struct message *ret) {
        while (link->inbox_end - link->inbox_begin < sizeof(*ret)) {
                size_t rest = link->inbox_end - link->inbox_begin;
                memmove(link->inbox, link->inbox + link->inbox_begin, rest);
                ssize_t n = read(link->in[side], link->inbox + rest, sizeof(link->inbox) - rest);
                if (n <= 0)
                        link_fail("read");
                link->inbox_begin = 0;
                link->inbox_end = rest + (size_t)n;
        }
        memcpy(ret, link->inbox + link->inbox_begin, sizeof(*ret));
        link->inbox_begin += sizeof(*ret);
}

const struct mechanism link_seqpacket = {
        "Unix seqpacket socket", seqpacket_open, fd_send, NULL, seqpacket_receive, close_sockets,
};

const struct mechanism link_stream = {
        "Unix stream socket", stream_open, fd_send, NULL, bytes_receive, close_sockets,
};

static void pipe_open(struct link *link) {
        int there[2], back[2];
        if (pipe(there) < 0 || pipe(back) < 0)
                link_fail("pipe");
        link->out[0] = there[1];
        link->in[1] = there[0];
        link->out[1] = back[1];
        link->in[0] = back[0];
        link->inbox_begin = link->inbox_end = 0;
}

static void pipe_close(struct link *link) {
        close_sockets(link);
        close(link->out[0]);
        close(link->out[1]);
}

const struct mechanism link_pipe = {
        "pipe", pipe_open, fd_send, NULL, bytes_receive, pipe_close,
};
