#include "base/error.h"
#include "base/fd.h"
#include "proto/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ANY (~0u)

static int sockets[2];
static int fd_before; /* lowest free descriptor: shows leaks */

static int lowest_free_fd(void) {
        int fd = dup(0);
        close(fd);
        return fd;
}

static int setup(void **state) {
        (void)state;
        int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets);
        fd_before = lowest_free_fd();
        return r;
}

static int teardown(void **state) {
        (void)state;
        int leaked = lowest_free_fd() != fd_before;
        close(sockets[0]);
        close(sockets[1]);
        return leaked ? -1 : 0;
}

static const struct frame hello = {
        .kind = FRAME_HELLO,
        .hello = {
                .abi_major = 1, .minor_min = 0, .minor_max = 3, .caps = 0xf00d,
                .d_data_bytes = 1 << 20, .c_data_bytes = 0, .library_version = 0x010203,
        },
        .fds = { -1, -1 },
};

static const struct frame welcome = {
        .kind = FRAME_WELCOME,
        .welcome = {
                .abi_major = 1, .minor = 0, .caps = CAP_FUTEX, .session_id = 99, .generation = 1,
                .message_bytes_max = 4 << 20, .n_requests_max = 32, .model_state = MODEL_LOADING,
                .load_permille = 421, .daemon_version = 0x000100,
        },
        .fds = { -1, -1 },
};

static void a_session_of_frames_arrives_as_sent(void **state) {
        (void)state;
        struct error err;
        struct frame got;
        assert_int_equal(frame_recv(sockets[1], ANY, &got, &err), -EAGAIN);
        assert_int_equal(frame_send(sockets[0], &hello), 0);
        assert_int_equal(frame_recv(sockets[1], FRAMES_HELLO, &got, &err), 1);
        assert_int_equal(got.kind, FRAME_HELLO);
        assert_memory_equal(&got.hello, &hello.hello, sizeof(hello.hello));

        struct frame sent = welcome;
        sent.fds[0] = fd_memory("d", 1000);
        sent.fds[1] = fd_memory("c", 2000);
        assert_int_equal(frame_send(sockets[1], &sent), 0);
        assert_int_equal(frame_recv(sockets[0], FRAMES_ANSWER, &got, &err), 1);
        assert_memory_equal(&got.welcome, &welcome.welcome, sizeof(welcome.welcome));
        for (int i = 0; i < 2; i++) {
                struct stat st;
                assert_int_equal(fstat(got.fds[i], &st), 0);
                assert_int_equal(st.st_size, 1000 * (i + 1));
                assert_true(fcntl(got.fds[i], F_GETFD) & FD_CLOEXEC);
        }
        frame_close_fds(&got);
        frame_close_fds(&sent);

        assert_int_equal(frame_send_kick(sockets[0]), 0);
        assert_int_equal(frame_recv(sockets[1], FRAMES_FROM_CLIENT, &got, &err), 1);
        assert_int_equal(got.kind, FRAME_KICK);

        sent = (struct frame){ .kind = FRAME_STATE,
                               .state = { MODEL_READY, 1000 },
                               .fds = { -1, -1 } };
        assert_int_equal(frame_send(sockets[1], &sent), 0);
        assert_int_equal(frame_recv(sockets[0], FRAMES_FROM_DAEMON, &got, &err), 1);
        assert_int_equal(got.state.model_state, MODEL_READY);

        frame_send_error(sockets[1], -EPROTO, "ring: record at 16: type 0 (0)");
        assert_int_equal(frame_recv(sockets[0], FRAMES_FROM_DAEMON, &got, &err), 1);
        assert_int_equal(got.error.code, -EPROTO);
        assert_string_equal(got.error.text, "ring: record at 16: type 0 (0)");

        frame_send_goodbye(sockets[0], GOODBYE_DONE);
        assert_int_equal(frame_recv(sockets[1], FRAMES_FROM_CLIENT, &got, &err), 1);
        assert_int_equal(got.goodbye_reason, GOODBYE_DONE);
        shutdown(sockets[0], SHUT_RDWR);
        assert_int_equal(frame_recv(sockets[1], FRAMES_FROM_CLIENT, &got, &err), 0);
        assert_int_equal(frame_send_kick(sockets[1]), -EPIPE);
}

static void a_refusal_names_the_range(void **state) {
        (void)state;
        struct error err;
        struct frame got;
        char text[1000];
        memset(text, 'x', sizeof(text));
        text[sizeof(text) - 1] = 0;
        frame_send_refuse(sockets[1], REFUSE_QUOTA, 250, text);
        assert_int_equal(frame_recv(sockets[0], FRAMES_ANSWER, &got, &err), 1);
        assert_int_equal(got.kind, FRAME_REFUSE);
        assert_int_equal(got.refuse.code, REFUSE_QUOTA);
        assert_int_equal(got.refuse.abi_major, PROTOCOL_MAJOR);
        assert_int_equal(got.refuse.minor_max, PROTOCOL_MINOR_MAX);
        assert_int_equal(got.refuse.retry_after_ms, 250);
        assert_int_equal(strlen(got.refuse.text), FRAME_TEXT_BYTES - 1);
}

/* Every byte of every reserved field, and every length but the right one, is refused. */
static void frames_are_exact(void **state) {
        (void)state;
        struct frame frames[] = {
                hello,
                welcome,
                { .kind = FRAME_REFUSE, .refuse = { .code = 1, .text = "no" } },
                { .kind = FRAME_KICK },
                { .kind = FRAME_STATE, .state = { MODEL_READY, 1000 } },
                { .kind = FRAME_BULK, .bulk = { .type = 1, .stream = 2, .bytes = 3 } },
                { .kind = FRAME_ERROR, .error = { .code = -EPROTO, .text = "bad" } },
                { .kind = FRAME_GOODBYE, .goodbye_reason = 1 },
        };
        const struct {
                size_t from, to; /* reserved bytes, or text behind its NUL */
        } zeros[][2] = {
                { { 14, 16 }, { 36, 64 } },
                { { 56, 128 } },
                { { 14, 16 }, { 20, 24 } },
                { { 4, 8 } },
                { { 12, 16 } },
                { { 6, 8 }, { 12, 16 } },
                { { 8, 24 }, { 28, 256 } },
                { { 0, 0 } },
        };
        const size_t sizes[] = { 64, 128, 256, 8, 16, 32, 256, 8 };
        for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
                uint8_t bytes[FRAME_BYTES_MAX + 8] = { 0 };
                struct frame got;
                struct error err;
                size_t n = frame_encode(&frames[i], bytes);
                assert_int_equal(n, sizes[i]);
                assert_int_equal(frame_decode(bytes, n, &got, &err), 0);
                assert_int_equal(got.kind, frames[i].kind);
                for (size_t length = 0; length <= sizeof(bytes); length++)
                        if (length != n)
                                assert_int_equal(frame_decode(bytes, length, &got, &err), -EPROTO);
                for (int k = 0; k < 2; k++) {
                        for (size_t at = zeros[i][k].from; at < zeros[i][k].to; at++) {
                                bytes[at] ^= 0x40;
                                assert_int_equal(frame_decode(bytes, n, &got, &err), -EPROTO);
                                bytes[at] ^= 0x40;
                        }
                }
        }
}

static void frame_fields_have_ranges(void **state) {
        (void)state;
        struct frame got;
        struct error err;
        uint8_t bytes[FRAME_BYTES_MAX];
#define BAD(source, field, value)                                                                  \
        do {                                                                                       \
                struct frame bad = source;                                                         \
                bad.field = value;                                                                 \
                size_t n = frame_encode(&bad, bytes);                                              \
                assert_int_equal(frame_decode(bytes, n, &got, &err), -EPROTO);                     \
        } while (0)
        BAD(hello, hello.minor_min, 4);
        BAD(welcome, welcome.model_state, 3);
        BAD(welcome, welcome.load_permille, 1001);
        BAD(welcome, welcome.n_requests_max, 0);
        BAD(welcome, welcome.n_requests_max, 33);
        struct frame frame = { .kind = FRAME_STATE, .state = { MODEL_READY, 1000 } };
        BAD(frame, state.model_state, 3);
        BAD(frame, state.load_permille, 1001);
        frame = (struct frame){ .kind = FRAME_BULK, .bulk = { .type = 1 } };
        BAD(frame, bulk.type, 0);
        frame = (struct frame){ .kind = FRAME_ERROR, .error = { .code = -1 } };
        BAD(frame, error.code, 0);
#undef BAD
        /* A text without its NUL. */
        size_t n = frame_encode(&frame, bytes);
        memset(bytes + 24, 'x', FRAME_TEXT_BYTES);
        assert_int_equal(frame_decode(bytes, n, &got, &err), -EPROTO);
        bytes[FRAME_BYTES_MAX - 1] = 0;
        assert_int_equal(frame_decode(bytes, n, &got, &err), 0);
        /* Kinds that do not exist. */
        for (uint32_t kind = 0; kind < 300; kind++) {
                uint32_t raw[2] = { kind, 0 };
                bool known = kind == FRAME_KICK || kind == FRAME_GOODBYE;
                assert_int_equal(frame_decode((uint8_t *)raw, sizeof(raw), &got, &err),
                                 known ? 0 : -EPROTO);
        }
}

static void random_bytes_are_never_a_crash(void **state) {
        (void)state;
        uint64_t random = 12345;
        for (int n = 0; n < 200000; n++) {
                uint8_t bytes[FRAME_BYTES_MAX] = { 0 };
                for (size_t k = 0; k < 12; k++) {
                        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
                        bytes[k < 4 ? k : (random >> 40) % sizeof(bytes)] = (uint8_t)(random >> 33);
                }
                bytes[1] = bytes[2] = bytes[3] = 0;
                bytes[0] %= 10;
                struct frame got;
                struct error err;
                static const size_t sizes[] = { 8, 16, 32, 64, 128, 256 };
                int r = frame_decode(bytes, sizes[random % 6], &got, &err);
                assert_true(r == 0 || r == -EPROTO);
        }
}

static void send_raw(const void *bytes, size_t n, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(8 * sizeof(int))];
        } control = { .bytes = { 0 } };
        struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = n };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        if (n_fds) {
                message.msg_control = control.bytes;
                message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                struct cmsghdr *c = CMSG_FIRSTHDR(&message);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
        }
        assert_int_equal(sendmsg(sockets[0], &message, 0), (ssize_t)n);
}

/* The teardown finds descriptors that stayed open. */
static void unwanted_descriptors_are_closed(void **state) {
        (void)state;
        struct error err;
        struct frame got;
        uint8_t bytes[FRAME_BYTES_MAX + 1] = { 0 };
        const int fds[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
        const struct frame kick = { .kind = FRAME_KICK };
        const struct frame bulk = { .kind = FRAME_BULK, .bulk = { .type = 1 } };
        size_t n = frame_encode(&kick, bytes);
        for (size_t count = 1; count <= 8; count++) {
                send_raw(bytes, n, fds, count);
                assert_int_equal(frame_recv(sockets[1], ANY, &got, &err), -EPROTO);
        }
        n = frame_encode(&bulk, bytes);
        for (size_t count = 0; count <= 8; count++) {
                send_raw(bytes, n, fds, count);
                int r = frame_recv(sockets[1], ANY, &got, &err);
                assert_int_equal(r, count == 1 ? 1 : -EPROTO);
                if (r == 1)
                        frame_close_fds(&got);
        }
        n = frame_encode(&welcome, bytes); /* two fit, and a third is not just lost */
        for (size_t count = 1; count <= 3; count++) {
                send_raw(bytes, n, fds, count);
                int r = frame_recv(sockets[1], ANY, &got, &err);
                assert_int_equal(r, count == 2 ? 1 : -EPROTO);
                if (r == 1)
                        frame_close_fds(&got);
        }
        send_raw(bytes, sizeof(bytes), fds, 1); /* a packet that is too long */
        assert_int_equal(frame_recv(sockets[1], ANY, &got, &err), -EPROTO);
        n = frame_encode(&bulk, bytes); /* unexpected now */
        send_raw(bytes, n, fds, 1);
        assert_int_equal(frame_recv(sockets[1], FRAMES_HELLO, &got, &err), -EPROTO);
        send_raw("", 0, NULL, 0); /* an empty packet reads as the end */
        assert_int_equal(frame_recv(sockets[1], ANY, &got, &err), 0);
}

static void kicks_never_block(void **state) {
        (void)state;
        for (int n = 0; n < 5000; n++)
                assert_int_equal(frame_send_kick(sockets[0]), 0);
        /* There is something to read, so nothing is lost. */
        struct frame got;
        struct error err;
        assert_int_equal(frame_recv(sockets[1], FRAMES_FROM_CLIENT, &got, &err), 1);
        assert_int_equal(got.kind, FRAME_KICK);
}

static void versions_meet_in_the_highest_common_minor(void **state) {
        (void)state;
        struct error err;
        struct frame_welcome chosen = { .session_id = 5 };
        struct frame_hello offer = {
                .abi_major = 1, .minor_min = 0, .minor_max = 7, .caps = ~0ULL
        };
        assert_int_equal(hello_negotiate(&offer, CAP_FUTEX, &chosen, &err), 0);
        assert_int_equal(chosen.abi_major, 1);
        assert_int_equal(chosen.minor, PROTOCOL_MINOR_MAX);
        assert_int_equal(chosen.caps, CAP_FUTEX);
        assert_int_equal(chosen.session_id, 5);
        assert_int_equal(hello_negotiate(&offer, 0, &chosen, &err), 0);
        assert_int_equal(chosen.caps, 0);
        offer.minor_min = PROTOCOL_MINOR_MAX + 1;
        assert_int_equal(hello_negotiate(&offer, 0, &chosen, &err), -EPROTONOSUPPORT);
        offer = (struct frame_hello){ .abi_major = 2, .minor_min = 0, .minor_max = 0 };
        assert_int_equal(hello_negotiate(&offer, 0, &chosen, &err), -EPROTONOSUPPORT);
        assert_non_null(strstr(err.text, "1.0 to 1.0"));
}

/* Bulk payloads. */

static void a_bulk_payload_is_read_as_written(void **state) {
        (void)state;
        struct error err = { 0 };
        size_t n = 300001;
        uint8_t *sent = malloc(n), *got = calloc(1, n);
        assert_true(sent && got);
        for (size_t i = 0; i < n; i++)
                sent[i] = (uint8_t)(i * 31);
        int fd = bulk_create(sent, n, &err);
        assert_true(fd >= 0);
        assert_int_equal(bulk_read(fd, n, n, got, &err), 0);
        assert_memory_equal(sent, got, n);
        assert_int_equal(bulk_read(fd, n, n - 1, got, &err), -EMSGSIZE);
        assert_int_equal(bulk_read(fd, n - 1, n, got, &err), -EPROTO);
        assert_int_equal(pwrite(fd, "x", 1, 0), -1);
        close(fd);
        fd = bulk_create("", 0, &err);
        assert_int_equal(bulk_read(fd, 0, 0, got, &err), 0);
        close(fd);
        free(sent);
        free(got);
}

static void a_bulk_payload_must_be_sealed(void **state) {
        (void)state;
        struct error err;
        uint8_t got[16];
        const unsigned sets[] = { 0, F_SEAL_GROW | F_SEAL_WRITE, F_SEAL_SHRINK | F_SEAL_WRITE,
                                  F_SEAL_SHRINK | F_SEAL_GROW,
                                  F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE };
        for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
                int fd = fd_memory("bulk", 16);
                assert_int_equal(fd_seal(fd, sets[i]), 0);
                assert_int_equal(bulk_read(fd, 16, 16, got, &err), -EPROTO);
                close(fd);
        }
        int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        assert_int_equal(bulk_read(fd, 16, 16, got, &err), -EPROTO);
        close(fd);
}

#define frame_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                frame_test(a_session_of_frames_arrives_as_sent),
                frame_test(a_refusal_names_the_range),
                frame_test(frames_are_exact),
                frame_test(frame_fields_have_ranges),
                frame_test(random_bytes_are_never_a_crash),
                frame_test(unwanted_descriptors_are_closed),
                frame_test(kicks_never_block),
                frame_test(versions_meet_in_the_highest_common_minor),
                frame_test(a_bulk_payload_is_read_as_written),
                frame_test(a_bulk_payload_must_be_sealed),
        };
        return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}
