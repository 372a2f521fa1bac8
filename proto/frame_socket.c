/* Frames on the socket, and the descriptors that travel with them. */
#include "base/error.h"
#include "proto/handshake.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for exactly the descriptors a frame may carry. More make the kernel set MSG_CTRUNC and drop
 * the rest. */
union control {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
};

static size_t n_fds_of(enum frame_kind kind) {
        return kind == FRAME_WELCOME ? 2 : kind == FRAME_BULK ? 1 : 0;
}

static void close_all(int *fds, size_t n) {
        for (size_t i = 0; i < n; i++) {
                if (fds[i] >= 0)
                        close(fds[i]);
                fds[i] = -1;
        }
}

void frame_close_fds(struct frame *frame) {
        close_all(frame->fds, FRAME_FDS_MAX);
}

/* Collects every descriptor that came, so that none can leak. Returns how many. */
static size_t take_fds(struct msghdr *message, int fds[FRAME_FDS_MAX]) {
        size_t n = 0;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (n < FRAME_FDS_MAX)
                                fds[n++] = fd;
                        else
                                close(fd); /* cannot be: the buffer has no room for it */
                }
        }
        return n;
}

int frame_recv(int socket, unsigned accept, struct frame *ret, struct error *err) {
        uint8_t bytes[FRAME_BYTES_MAX];
        union control control;
        struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
        struct msghdr message = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };
        ssize_t n;
        do
                n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
                if (errno == EAGAIN)
                        return -EAGAIN;
                return error_errno(err, "control socket: receive");
        }
        int fds[FRAME_FDS_MAX] = { -1, -1 };
        size_t n_fds = take_fds(&message, fds);
        if (n == 0) {
                close_all(fds, n_fds);
                return 0;
        }
        int r = 0;
        struct frame frame;
        if (message.msg_flags & MSG_TRUNC)
                r = error_set(err, -EPROTO, "frame of more than %d bytes", FRAME_BYTES_MAX);
        else if (message.msg_flags & MSG_CTRUNC)
                r = error_set(err, -EPROTO, "frame with more than %d descriptors", FRAME_FDS_MAX);
        else
                r = frame_decode(bytes, (size_t)n, &frame, err);
        if (r == 0 && !(accept & FRAME_BIT(frame.kind)))
                r = error_set(err, -EPROTO, "frame of kind %d is not expected now",
                              (int)frame.kind);
        if (r == 0 && n_fds != n_fds_of(frame.kind))
                r = error_set(err, -EPROTO, "frame of kind %d with %zu descriptors instead of %zu",
                              (int)frame.kind, n_fds, n_fds_of(frame.kind));
        if (r < 0) {
                close_all(fds, n_fds);
                return r;
        }
        memcpy(frame.fds, fds, sizeof(fds));
        *ret = frame;
        return 1;
}

int frame_send(int socket, const struct frame *frame) {
        uint8_t bytes[FRAME_BYTES_MAX];
        struct iovec iov = { .iov_base = bytes, .iov_len = frame_encode(frame, bytes) };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        union control control;
        size_t n_fds = n_fds_of(frame->kind);
        if (n_fds > 0) {
                memset(&control, 0, sizeof(control));
                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                struct cmsghdr *c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), frame->fds, n_fds * sizeof(int));
        }
        ssize_t n;
        do
                n = sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

int frame_send_kick(int socket) {
        static const uint32_t kick[2] = { FRAME_KICK, 0 };
        ssize_t n = send(socket, kick, sizeof(kick), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0 || errno == EAGAIN)
                return 0;
        return -errno;
}

void frame_send_error(int socket, int code, const char *text) {
        struct frame frame = { .kind = FRAME_ERROR, .error.code = code, .fds = { -1, -1 } };
        snprintf(frame.error.text, sizeof(frame.error.text), "%s", text);
        (void)frame_send(socket, &frame);
}

void frame_send_refuse(int socket, enum refuse_code code, uint32_t retry_after_ms,
                       const char *text) {
        struct frame frame = {
                .kind = FRAME_REFUSE,
                .refuse = {
                        .code = code,
                        .abi_major = PROTOCOL_MAJOR,
                        .minor_min = PROTOCOL_MINOR_MIN,
                        .minor_max = PROTOCOL_MINOR_MAX,
                        .retry_after_ms = retry_after_ms,
                },
                .fds = { -1, -1 },
        };
        snprintf(frame.refuse.text, sizeof(frame.refuse.text), "%s", text);
        (void)frame_send(socket, &frame);
}

void frame_send_goodbye(int socket, enum goodbye_reason reason) {
        struct frame frame = { .kind = FRAME_GOODBYE, .goodbye_reason = reason, .fds = { -1, -1 } };
        (void)frame_send(socket, &frame);
}
