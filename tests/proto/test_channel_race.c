/* The channel under load: two threads a side, two processes, and a peer that scribbles while we
 * read. Blocking waits have a limit of 20 s and fail when they reach it: that would be a lost
 * wake-up. */
#include "tests/proto/channel_pair.h"
#include "tests/proto/region_pair.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MESSAGE_MAX (200u << 10)
#define N_MESSAGES  20000u
#define WAIT_MS     20000

/* A message is reproducible from its number: u64 checksum, u64 number, then bytes. */
struct content {
        uint64_t checksum;
        uint64_t number;
};

static uint64_t checksum_of(const uint8_t *bytes, size_t n) {
        uint64_t hash = 0xcbf29ce484222325ULL;
        for (size_t i = 0; i < n; i++)
                hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
        return hash;
}

static size_t content_make(uint8_t *bytes, uint64_t number, uint64_t *random) {
        uint64_t r = random_next(random);
        size_t n = sizeof(struct content) +
                (size_t)(r % 64 == 0 ? (r >> 32) % 100000 : (r >> 32) % 600);
        for (size_t i = sizeof(struct content); i < n; i++)
                bytes[i] = (uint8_t)(r >> (i % 7 * 8)) ^ (uint8_t)i;
        struct content head = { .number = number };
        memcpy(bytes + 8, &head.number, 8);
        head.checksum = checksum_of(bytes + 8, n - 8);
        memcpy(bytes, &head.checksum, 8);
        return n;
}

static bool content_good(const uint8_t *bytes, size_t n, uint64_t number) {
        struct content head;
        if (n < sizeof(head))
                return false;
        memcpy(&head, bytes, sizeof(head));
        return head.number == number && head.checksum == checksum_of(bytes + 8, n - 8);
}

static bool wait_readable(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;
        do
                r = poll(&p, 1, WAIT_MS);
        while (r < 0 && errno == EINTR);
        return r == 1;
}

/* One side of a connection, as daemon and library use it: this thread sends, another receives and
 * passes kicks on. */
struct side {
        struct channel *channel;
        int space_event;
        uint64_t seed;
        const char *failure;
};

static void *sender(void *p) {
        struct side *side = p;
        uint64_t random = side->seed;
        uint8_t *bytes = malloc(MESSAGE_MAX);
        for (uint64_t number = 0; number < N_MESSAGES; number++) {
                struct ring_outgoing message = { .item = { .type = 1, .stream = 1 },
                                                 .bytes = bytes };
                message.n_bytes = content_make(bytes, number, &random);
                int r;
                while ((r = channel_send(side->channel, &message, NULL)) == -EAGAIN) {
                        if (!channel_wait_space(side->channel, 1024))
                                continue;
                        uint64_t count;
                        if (!wait_readable(side->space_event) ||
                            read(side->space_event, &count, 8) != 8) {
                                side->failure = "no kick for space";
                                free(bytes);
                                return NULL;
                        }
                }
                if (r < 0) {
                        side->failure = "send";
                        break;
                }
                if (random % 4)
                        channel_flush(side->channel);
                if (random % 257 == 0)
                        usleep((useconds_t)(random >> 20) % 300);
        }
        channel_flush(side->channel);
        free(bytes);
        return NULL;
}

static void *receiver(void *p) {
        struct side *side = p;
        uint64_t number = 0;
        uint64_t random = side->seed ^ 0x77;
        while (number < N_MESSAGES) {
                channel_turn(side->channel);
                struct channel_message message;
                int r;
                while ((r = channel_receive(side->channel, &message, NULL)) == CHANNEL_MESSAGE) {
                        if (!content_good(message.bytes, message.n_bytes, number++)) {
                                side->failure = "content";
                                return NULL;
                        }
                }
                if (r < 0) {
                        side->failure = "receive";
                        return NULL;
                }
                /* Gathering needs more to come: the last records alone would not wake us. */
                uint64_t ahead = number < N_MESSAGES - 100 ? random_next(&random) % 3 * 200 : 0;
                if (number < N_MESSAGES && channel_sleep(side->channel, ahead) &&
                    !wait_readable(side->channel->socket)) {
                        side->failure = "no kick for records";
                        return NULL;
                }
                if (drain_kicks(side->channel->socket) != 0) {
                        uint64_t one = 1;
                        if (write(side->space_event, &one, 8) != 8)
                                side->failure = "eventfd";
                }
                if (random % 101 == 0)
                        usleep((useconds_t)(random >> 20) % 500);
        }
        return NULL;
}

/* Kicks for the sender go on arriving after the receiver has all it wants. */
static void *receiver_and_relay(void *p) {
        struct side *side = p;
        receiver(side);
        while (!side->failure && wait_readable(side->channel->socket) &&
               drain_kicks(side->channel->socket) >= 0) {
                uint64_t one = 1;
                if (write(side->space_event, &one, 8) != 8)
                        side->failure = "eventfd";
        }
        return NULL;
}

static void two_threads_a_side_lose_nothing(void **state) {
        (void)state;
        static struct channel_pair pair;
        channel_pair_init(&pair, 0, MESSAGE_MAX);
        struct side sides[2] = {
                { .channel = &pair.daemon, .seed = 0xda, .space_event = eventfd(0, EFD_CLOEXEC) },
                { .channel = &pair.client, .seed = 0xc1, .space_event = eventfd(0, EFD_CLOEXEC) },
        };
        pthread_t send[2], receive[2];
        for (int i = 0; i < 2; i++) {
                assert_int_equal(pthread_create(&send[i], NULL, sender, &sides[i]), 0);
                assert_int_equal(pthread_create(&receive[i], NULL, receiver_and_relay, &sides[i]),
                                 0);
        }
        for (int i = 0; i < 2; i++)
                pthread_join(send[i], NULL);
        /* A receiver ends when it has all and the socket is shut down; a half-way failure ends it
         * as well. */
        for (int i = 0; i < 2; i++) {
                while (pair.daemon.peer.map &&
                       atomic_load(sides[i].channel->reader.peer_head) !=
                               atomic_load(sides[i].channel->reader.tail) &&
                       !sides[i].failure)
                        usleep(1000);
        }
        shutdown(pair.sockets[0], SHUT_RDWR);
        for (int i = 0; i < 2; i++)
                pthread_join(receive[i], NULL);
        for (int i = 0; i < 2; i++) {
                if (sides[i].failure)
                        print_error("side %d: %s\n", i, sides[i].failure);
                assert_null(sides[i].failure);
                close(sides[i].space_event);
        }
        channel_pair_deinit(&pair);
}

/* The child: verifies each message and answers it with its checksum, from one thread. */
static int child_run(int socket) {
        struct frame frame = { .kind = FRAME_HELLO, .hello.abi_major = PROTOCOL_MAJOR };
        struct channel channel;
        if (frame_send(socket, &frame) < 0 || !wait_readable(socket) ||
            frame_recv(socket, FRAMES_ANSWER, &frame, NULL) != 1 ||
            channel_attach(&channel, socket, &frame, MESSAGE_MAX, NULL) < 0)
                return 2;
        frame_close_fds(&frame);
        for (uint64_t number = 0; number < N_MESSAGES;) {
                struct channel_message message;
                channel_turn(&channel);
                int r;
                while ((r = channel_receive(&channel, &message, NULL)) == CHANNEL_MESSAGE) {
                        if (!content_good(message.bytes, message.n_bytes, number++))
                                return 3;
                        struct ring_outgoing answer = {
                                .item = { .type = 1, .stream = 1 },
                                .bytes = message.bytes,
                                .n_bytes = 8,
                        };
                        while ((r = channel_send(&channel, &answer, NULL)) == -EAGAIN) {
                                if (!channel_wait_space(&channel, 8))
                                        continue;
                                if (!wait_readable(socket) || drain_kicks(socket) < 0)
                                        return 4;
                        }
                        if (r < 0)
                                return 5;
                }
                channel_flush(&channel);
                if (r < 0)
                        return 6;
                if (number < N_MESSAGES && channel_sleep(&channel, 0) &&
                    (!wait_readable(socket) || drain_kicks(socket) < 0))
                        return 7;
        }
        channel_close(&channel);
        return 0;
}

/* Takes answers; returns how many, or -1. */
static int parent_receive(struct channel *channel, uint64_t *expected, uint64_t *n_answers) {
        struct channel_message message;
        int r, n = 0;
        channel_turn(channel);
        while ((r = channel_receive(channel, &message, NULL)) == CHANNEL_MESSAGE) {
                uint64_t checksum;
                if (message.n_bytes != 8)
                        return -1;
                memcpy(&checksum, message.bytes, 8);
                if (checksum != expected[(*n_answers)++ % N_MESSAGES])
                        return -1;
                n++;
        }
        return r < 0 ? -1 : n;
}

static void parent_run(struct channel *channel, int socket) {
        uint64_t *expected = calloc(N_MESSAGES, sizeof(*expected));
        uint8_t *bytes = malloc(MESSAGE_MAX);
        assert_true(expected && bytes);
        uint64_t random = 0xbeef, n_answers = 0;
        for (uint64_t number = 0; number < N_MESSAGES; number++) {
                struct ring_outgoing message = { .item = { .type = 1, .stream = 1 },
                                                 .bytes = bytes };
                message.n_bytes = content_make(bytes, number, &random);
                memcpy(&expected[number], bytes, 8);
                int r;
                while ((r = channel_send(channel, &message, NULL)) == -EAGAIN) {
                        bool full = channel_wait_space(channel, 1024);
                        assert_true(parent_receive(channel, expected, &n_answers) >= 0);
                        if (full && channel_sleep(channel, 0))
                                assert_true(wait_readable(socket));
                        assert_true(drain_kicks(socket) >= 0);
                }
                assert_int_equal(r, 0);
                channel_flush(channel);
                if (random % 1001 == 0)
                        usleep(200);
        }
        bool gone = false; /* the child leaves as soon as its last answer is in the ring */
        while (n_answers < N_MESSAGES) {
                int n = parent_receive(channel, expected, &n_answers);
                assert_true(n > 0 || (n == 0 && !gone));
                if (n_answers < N_MESSAGES && channel_sleep(channel, 0)) {
                        assert_true(wait_readable(socket));
                        gone = drain_kicks(socket) < 0;
                }
        }
        free(bytes);
        free(expected);
}

static void two_processes_lose_nothing(void **state) {
        (void)state;
        int sockets[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                close(sockets[0]);
                _exit(child_run(sockets[1]));
        }
        close(sockets[1]);
        struct error err = { 0 };
        struct frame frame;
        assert_true(wait_readable(sockets[0]));
        assert_int_equal(frame_recv(sockets[0], FRAMES_HELLO, &frame, &err), 1);
        struct frame welcome = {
                .kind = FRAME_WELCOME,
                .welcome = { .session_id = 1, .generation = 1, .n_requests_max = 32 },
        };
        assert_int_equal(hello_negotiate(&frame.hello, CAPS_KNOWN, &welcome.welcome, &err), 0);
        struct channel_options options = {
                .d_data_bytes = 128 << 10,
                .c_data_bytes = 64 << 10,
                .session_id = 1,
                .generation = 1,
                .message_bytes_max = 4096,
        };
        static struct channel channel;
        assert_int_equal(channel_open(&channel, sockets[0], &options, welcome.fds, &err), 0);
        assert_int_equal(frame_send(sockets[0], &welcome), 0);
        frame_close_fds(&welcome);
        parent_run(&channel, sockets[0]);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        channel_close(&channel);
        close(sockets[0]);
}

/* A hostile client: writes plausible records, then changes words, headers and holes at random. */
struct vandal {
        const struct region *region;
        _Atomic bool stop;
};

static void *vandal_run(void *p) {
        struct vandal *vandal = p;
        const struct region *c = vandal->region;
        const uint32_t words[] = { c->head_off, c->tail_off, c->wake_at_off, c->space_at_off };
        uint64_t random = 0xbad;
        while (!atomic_load_explicit(&vandal->stop, memory_order_relaxed)) {
                uint64_t r = random_next(&random);
                uint64_t off = c->data_off + (r >> 8) % c->data_bytes / 8 * 8;
                uint64_t value = r % 5 == 0 ? random_next(&random)
                                            : random_next(&random) % c->data_bytes & ~15ULL;
                if (r % 3 == 0)
                        forge_word(c, words[(r >> 4) % 4], value);
                else
                        forge_word(c, (uint32_t)off, value >> (r % 60));
        }
        return NULL;
}

static void scribbling_while_we_read_gives_data_or_a_violation(void **state) {
        (void)state;
#if defined(__SANITIZE_THREAD__)
        skip(); /* the race is the point */
#endif
        static struct channel_pair pair;
        channel_pair_init(&pair, 0, 1u << 16);
        struct vandal vandal = { .region = &pair.client.own };
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, vandal_run, &vandal), 0);
        unsigned n_messages = 0, n_violations = 0;
        uint64_t sum = 0, random = 0x600d;
        uint8_t bytes[512] = { 1 };
        for (unsigned round = 0; round < 300000; round++) {
                /* A fair start for each round: records that are right when they are written. */
                if (round % 2 == 0) {
                        ring_writer_init(&pair.client.writer, &pair.client.own, &pair.client.peer,
                                         0);
                        ring_reader_init(&pair.daemon.reader, &pair.daemon.own, &pair.daemon.peer);
                }
                struct ring_item item = { .type = 1,
                                          .flags = (uint16_t)(random_next(&random) % 4),
                                          .stream = 1,
                                          .len = (uint32_t)(random % sizeof(bytes)) };
                (void)ring_writer_write(&pair.client.writer, &item, bytes, NULL);
                ring_writer_publish(&pair.client.writer);
                struct channel_message message;
                channel_turn(&pair.daemon);
                int r = channel_receive(&pair.daemon, &message, NULL);
                assert_true(r >= 0 || r == -EPROTO);
                if (r == CHANNEL_MESSAGE) {
                        n_messages++;
                        for (size_t i = 0; i < message.n_bytes; i++)
                                sum += message.bytes[i];
                } else if (r < 0) {
                        n_violations++;
                }
                (void)channel_sleep(&pair.daemon, 0);
                /* And the other direction: the client lies about what it has read. */
                struct ring_item token = {
                        .type = 1, .flags = RING_WHOLE, .stream = 1, .len = 400
                };
                r = ring_writer_write(&pair.daemon.writer, &token, bytes, NULL);
                assert_true(r == 0 || r == -EAGAIN || r == -EPROTO);
                channel_flush(&pair.daemon);
                if (r == -EPROTO || round % 1000 == 0) {
                        ring_writer_init(&pair.daemon.writer, &pair.daemon.own, &pair.daemon.peer,
                                         4096);
                        (void)drain_kicks(pair.sockets[1]);
                }
        }
        atomic_store(&vandal.stop, true);
        pthread_join(thread, NULL);
        print_message("%u messages, %u violations, sum %llu\n", n_messages, n_violations,
                      (unsigned long long)sum);
        assert_true(n_messages > 100);
        assert_true(n_violations > 100);
        channel_pair_deinit(&pair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(two_threads_a_side_lose_nothing),
                cmocka_unit_test(two_processes_lose_nothing),
                cmocka_unit_test(scribbling_while_we_read_gives_data_or_a_violation),
        };
        return cmocka_run_group_tests_name("channel race", tests, NULL, NULL);
}
