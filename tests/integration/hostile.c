/* A client that breaks the rules, one way a run: hostile SOCKET DEED. Written against the raw
 * protocol, and against the memory of the regions where the protocol's own code would refuse.
 *
 * Prints how the daemon took it, one word a line: "refused CODE MAJOR MIN MAX: TEXT", "error CODE:
 * TEXT" (a frame), "answered CODE: TEXT" (an Error message), "hung-up", or "nothing". Exits 0 when
 * the deed could be done. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/slots.h"

/* Every deed has an answer; only a daemon that hangs lets this pass. Some answers take a full ring,
 * which takes a while under a sanitizer. */
#define ANSWER_TIMEOUT_MS 240000

static int sock;
static struct channel channel;
static bool deaf; /* reads frames but no records */

static void die(const char *what) {
        fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
        exit(2);
}

static void connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (sock < 0 || connect(sock, (const struct sockaddr *)&address, sizeof(address)) < 0)
                die("connect");
}

static void wait_readable(int timeout_ms) {
        struct pollfd fd = { .fd = sock, .events = POLLIN };
        poll(&fd, 1, timeout_ms);
}

static void shake_hands(void) {
        struct frame frame = { .kind = FRAME_HELLO, .fds = { -1, -1 } };
        frame.hello = (struct frame_hello){ .abi_major = PROTOCOL_MAJOR,
                                            .d_data_bytes = REGION_DATA_BYTES_MIN };
        struct error err = { 0 };
        if (frame_send(sock, &frame) < 0)
                die("hello");
        wait_readable(ANSWER_TIMEOUT_MS);
        if (frame_recv(sock, FRAMES_ANSWER, &frame, &err) != 1 || frame.kind != FRAME_WELCOME ||
            channel_attach(&channel, sock, &frame, 4 << 20, &err) < 0) {
                fprintf(stderr, "hostile: no welcome: %s\n", err.text);
                exit(2);
        }
        frame_close_fds(&frame);
}

/* -------- what the daemon says -------- */

static void print_record(const struct channel_message *message) {
        struct arena arena = { 0 };
        struct error err = { 0 };
        const ProtobufCMessage *unpacked;
        if (message->type != RECORD_ERROR ||
            message_unpack(message->type, message->bytes, message->n_bytes, &arena, &unpacked,
                           &err) < 0)
                return;
        const Seekd__V1__Error *error = (const Seekd__V1__Error *)unpacked;
        printf("answered %d: %s\n", (int)error->code, error->message);
        exit(0);
}

static void print_records(void) {
        struct channel_message message;
        struct error err = { 0 };
        if (!channel.own.map || deaf)
                return;
        channel_turn(&channel);
        while (channel_receive(&channel, &message, &err) == CHANNEL_MESSAGE)
                print_record(&message);
        channel_sleep(&channel, 0);
}

static void print_frame(const struct frame *frame) {
        if (frame->kind == FRAME_REFUSE)
                printf("refused %u %u %u %u: %s\n", frame->refuse.code, frame->refuse.abi_major,
                       frame->refuse.minor_min, frame->refuse.minor_max, frame->refuse.text);
        else if (frame->kind == FRAME_ERROR)
                printf("error %d: %s\n", frame->error.code, frame->error.text);
        else
                return;
        exit(0);
}

static void report(void) {
        struct error err = { 0 };
        for (unsigned waited = 0; waited < ANSWER_TIMEOUT_MS; waited += 50) {
                print_records();
                wait_readable(50);
                struct frame frame;
                int r = frame_recv(sock, FRAMES_FROM_DAEMON | FRAME_BIT(FRAME_REFUSE), &frame,
                                   &err);
                if (r == 1)
                        print_frame(&frame);
                if (r == 0 || (r < 0 && r != -EAGAIN)) {
                        print_records();
                        puts("hung-up");
                        exit(0);
                }
        }
        puts("nothing");
        exit(0);
}

/* -------- tools -------- */

static void store_head(uint64_t head) {
        atomic_store(region_word(&channel.own, channel.own.head_off), head);
        frame_send_kick(sock);
}

static uint8_t *ring_at(uint64_t position) {
        return channel.own.map + channel.own.data_off + position % channel.own.data_bytes;
}

static void put_record(const struct ring_record *record, const void *payload) {
        uint64_t position = channel.writer.pos;
        memcpy(ring_at(position), record, sizeof(*record));
        if (payload)
                memcpy(ring_at(position) + sizeof(*record), payload, record->len);
}

static void send_message(uint16_t type, uint32_t stream, uint16_t flags, const void *bytes,
                         size_t n) {
        struct ring_outgoing out = { .item = { .type = type, .stream = stream, .flags = flags },
                                     .bytes = bytes,
                                     .n_bytes = n };
        struct error err = { 0 };
        if (channel_send(&channel, &out, &err) < 0)
                die("send");
        channel_flush(&channel);
}

static void send_generate(uint32_t id, uint32_t max_tokens) {
        static uint8_t bytes[4096];
        char prompt[] = "int main(void) {\n        return";
        Seekd__V1__Sampling sampling = SEEKD__V1__SAMPLING__INIT;
        sampling.max_tokens = max_tokens;
        Seekd__V1__Generate generate = SEEKD__V1__GENERATE__INIT;
        generate.request_id = id;
        generate.prompt_case = SEEKD__V1__GENERATE__PROMPT_TEXT;
        generate.text = (ProtobufCBinaryData){ strlen(prompt), (uint8_t *)prompt };
        generate.sampling = &sampling;
        send_message(RECORD_GENERATE, id, 0, bytes,
                     (size_t)message_pack(&generate.base, bytes, sizeof(bytes)));
}

/* -------- deeds before the handshake -------- */

static void short_hello(void) {
        send(sock, "seekd", 5, MSG_NOSIGNAL);
}

static void garbage_hello(void) {
        uint8_t bytes[HELLO_BYTES];
        memset(bytes, 0x5a, sizeof(bytes));
        send(sock, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

static void future_version(void) {
        struct frame frame = { .kind = FRAME_HELLO, .fds = { -1, -1 } };
        frame.hello = (struct frame_hello){ .abi_major = PROTOCOL_MAJOR + 1,
                                            .minor_min = 3,
                                            .minor_max = 9 };
        frame_send(sock, &frame);
}

static void silence(void) {}

static void record_before_hello(void) {
        frame_send_kick(sock);
}

/* -------- deeds on the ring -------- */

static void huge_record(void) {
        struct ring_record record = {
                .len = UINT32_MAX, .type = RECORD_GENERATE, .flags = RING_WHOLE, .stream = 1
        };
        put_record(&record, NULL);
        store_head(64);
}

static void record_over_a_quarter(void) {
        struct ring_record record = { .type = RECORD_GENERATE, .flags = RING_WHOLE, .stream = 1 };
        record.len = ring_payload_bytes_max(channel.own.data_bytes) + 16;
        put_record(&record, NULL);
        store_head(record.len + 16);
}

static void half_record(void) {
        struct ring_record record = {
                .len = 1000, .type = RECORD_GENERATE, .flags = RING_WHOLE, .stream = 1
        };
        put_record(&record, NULL);
        store_head(16); /* the header only */
}

static void die_holding_half_a_record(void) {
        struct ring_item item = {
                .type = RECORD_GENERATE, .flags = RING_WHOLE, .stream = 1, .len = 1000
        };
        void *payload;
        struct error err = { 0 };
        if (ring_writer_reserve(&channel.writer, &item, &payload, &err) < 0)
                die("reserve");
        memset(payload, 'x', 500);
        frame_send_kick(sock);
        puts("died");
        fflush(stdout);
        _exit(0);
}

static void must_understand(void) {
        send_message(99, 1, RING_MUST_UNDERSTAND, "x", 1);
}

static void unknown_type(void) {
        send_message(99, 5, 0, "x", 1);
}

static void daemons_own_type(void) {
        send_message(RECORD_DONE, 5, 0, "", 0);
}

static void head_backwards(void) {
        deaf = true;
        send_message(99, 1, 0, "some bytes to move the head", 27);
        usleep(200000); /* the daemon has read it */
        store_head(0);
}

static void head_beyond_the_ring(void) {
        store_head(channel.own.data_bytes + 16);
}

static void head_unaligned(void) {
        store_head(24);
}

static void wrong_sequence(void) {
        struct ring_record record = {
                .len = 0, .type = RECORD_STATS, .flags = RING_WHOLE, .stream = 1, .seq = 7
        };
        put_record(&record, NULL);
        store_head(16);
}

static void false_pad(void) {
        struct ring_record record = { .len = 0, .flags = RING_PAD };
        put_record(&record, NULL);
        store_head(16);
}

static void fragment_without_first(void) {
        struct ring_record record = {
                .len = 0, .type = RECORD_GENERATE, .flags = RING_LAST, .stream = 1
        };
        put_record(&record, NULL);
        store_head(16);
}

/* Noticed when the daemon needs to know how much room there is. */
static void tail_beyond_what_was_sent(void) {
        deaf = true;
        atomic_store(region_word(&channel.own, channel.own.tail_off), 1 << 20);
        for (uint32_t id = 1; id <= 8; id++)
                send_generate(id, 100000);
}

static _Atomic bool flipping = true;

/* Races with everything, which is its purpose: not to be reported. */
__attribute__((no_sanitize("thread"))) static void *flip(void *userdata) {
        (void)userdata;
        for (uint32_t x = 1; atomic_load(&flipping); x = x * 1664525 + 1013904223)
                *(volatile uint8_t *)ring_at(x % 512) ^= (uint8_t)(x >> 24);
        return NULL;
}

/* Valid records whose bytes, headers included, change while the daemon reads them. */
static void memory_flipped_while_read(void) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, flip, NULL) != 0)
                die("thread");
        for (uint32_t i = 0; i < 2000; i++) {
                struct ring_record record = {
                        .len = 0, .type = 99, .flags = RING_WHOLE, .stream = i + 1, .seq = i
                };
                channel.writer.pos = 16 * (uint64_t)i;
                put_record(&record, NULL);
                store_head(channel.writer.pos + 16);
                struct frame frame;
                struct error err = { 0 };
                if (frame_recv(sock, FRAMES_FROM_DAEMON, &frame, &err) == 1 &&
                    frame.kind == FRAME_ERROR) {
                        atomic_store(&flipping, false);
                        pthread_join(thread, NULL);
                        print_frame(&frame);
                }
        }
        atomic_store(&flipping, false);
        pthread_join(thread, NULL);
        puts("survived");
        exit(0);
}

/* -------- deeds in messages -------- */

static void malformed_message(void) {
        static const uint8_t bytes[] = {
                0x08, 0x05, 0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 'x'
        }; /* text: 4 GiB, 1 byte */
        send_message(RECORD_GENERATE, 5, 0, bytes, sizeof(bytes));
}

/* The unknown field 15 within itself, as deep as a record can hold. */
static void deep_nesting(void) {
        static uint8_t bytes[3 * 4000];
        size_t n = 0;
        for (unsigned level = 0; level < 4000; level++) {
                size_t left = sizeof(bytes) - n - 3;
                bytes[n++] = 0x22; /* Generate.fim, or FillInMiddle's unknown field 4 */
                bytes[n++] = (uint8_t)(left & 0x7f) | 0x80;
                bytes[n++] = (uint8_t)(left >> 7);
        }
        send_message(RECORD_GENERATE, 5, 0, bytes, n);
}

static void many_fields(void) {
        static uint8_t bytes[2 * (MESSAGE_FIELDS_MAX + 1)];
        for (size_t i = 0; i < sizeof(bytes); i += 2) {
                bytes[i] = 0x50; /* Generate.session = 0, again and again */
                bytes[i + 1] = 0;
        }
        send_message(RECORD_GENERATE, 5, 0, bytes, sizeof(bytes));
}

static void id_of_another_stream(void) {
        uint8_t bytes[] = { 0x08, 0x06 };
        send_message(RECORD_STATS, 5, 0, bytes, sizeof(bytes));
}

static void same_id_twice(void) {
        send_generate(5, 1000);
        send_generate(5, 1000);
}

static void more_requests_than_slots(void) {
        for (uint32_t id = 1; id <= REGION_N_SLOTS + 1; id++)
                send_generate(id, 100000);
}

/* -------- deeds on the socket -------- */

static void send_bulk(int fd, uint64_t bytes) {
        struct frame frame = { .kind = FRAME_BULK, .fds = { fd, -1 } };
        frame.bulk = (struct frame_bulk){ RECORD_TOKENIZE, 5, bytes };
        if (frame_send(sock, &frame) < 0)
                die("bulk");
}

static void bulk_that_is_not_sealed(void) {
        send_bulk(fd_memory("hostile", 100), 100);
}

static void bulk_of_another_size(void) {
        struct error err = { 0 };
        send_bulk(bulk_create("some text", 9, &err), 4096);
}

static void bulk_that_is_a_pipe(void) {
        int fds[2];
        if (pipe(fds) < 0)
                die("pipe");
        send_bulk(fds[0], 100);
}

static void second_hello(void) {
        struct frame frame = { .kind = FRAME_HELLO, .fds = { -1, -1 } };
        frame.hello = (struct frame_hello){ .abi_major = PROTOCOL_MAJOR };
        frame_send(sock, &frame);
}

static void unknown_frame(void) {
        static const char bytes[48] = "a frame of no known kind";
        send(sock, bytes, sizeof(bytes), MSG_NOSIGNAL);
}

/* -------- deeds with sessions -------- */

static void send_open(uint32_t id) {
        uint8_t bytes[64];
        Seekd__V1__SessionOpen open = SEEKD__V1__SESSION_OPEN__INIT;
        open.request_id = id;
        send_message(RECORD_SESSION_OPEN, id, 0, bytes,
                     (size_t)message_pack(&open.base, bytes, sizeof(bytes)));
}

/* One after another, until one is answered with an Error. */
static void more_sessions_than_one_user_may_have(void) {
        for (uint32_t id = 1;; id++) {
                struct channel_message message;
                struct frame frame;
                struct error err = { 0 };
                send_open(id);
                channel_turn(&channel);
                while (channel_receive(&channel, &message, &err) != CHANNEL_MESSAGE) {
                        if (channel_sleep(&channel, 0))
                                wait_readable(ANSWER_TIMEOUT_MS);
                        frame_recv(sock, FRAMES_FROM_DAEMON, &frame, &err);
                        channel_turn(&channel);
                }
                print_record(&message);
        }
}

static void session_of_nobody(void) {
        uint8_t bytes[64];
        Seekd__V1__SessionAttach attach = SEEKD__V1__SESSION_ATTACH__INIT;
        attach.request_id = 5;
        attach.session = UINT64_MAX;
        send_message(RECORD_SESSION_ATTACH, 5, 0, bytes,
                     (size_t)message_pack(&attach.base, bytes, sizeof(bytes)));
}

/* -------- deeds of patience: until killed -------- */

static void never_read(void) {
        for (uint32_t id = 1; id <= REGION_N_SLOTS; id++)
                send_generate(id, 100000);
        puts("waiting");
        fflush(stdout);
        pause();
}

static void flood_with_kicks(void) {
        puts("waiting");
        fflush(stdout);
        for (;;)
                frame_send_kick(sock);
}

static void flood_with_requests(void) {
        uint8_t bytes[] = { 0x08, 0x05 };
        puts("waiting");
        fflush(stdout);
        for (;;) {
                struct ring_outgoing out = { .item = { .type = RECORD_STATS, .stream = 5 },
                                             .bytes = bytes,
                                             .n_bytes = 2 };
                struct error err = { 0 };
                channel_send(&channel, &out, &err);
                channel_flush(&channel);
        }
}

static const struct deed {
        const char *name;
        void (*run)(void);
        bool handshake;
} deeds[] = {
        { "short-hello", short_hello, false },
        { "garbage-hello", garbage_hello, false },
        { "future-version", future_version, false },
        { "silence", silence, false },
        { "record-before-hello", record_before_hello, false },
        { "huge-record", huge_record, true },
        { "record-over-a-quarter", record_over_a_quarter, true },
        { "half-record", half_record, true },
        { "die-holding-half-a-record", die_holding_half_a_record, true },
        { "must-understand", must_understand, true },
        { "unknown-type", unknown_type, true },
        { "daemons-own-type", daemons_own_type, true },
        { "head-backwards", head_backwards, true },
        { "head-beyond-the-ring", head_beyond_the_ring, true },
        { "head-unaligned", head_unaligned, true },
        { "wrong-sequence", wrong_sequence, true },
        { "false-pad", false_pad, true },
        { "fragment-without-first", fragment_without_first, true },
        { "tail-beyond-what-was-sent", tail_beyond_what_was_sent, true },
        { "memory-flipped-while-read", memory_flipped_while_read, true },
        { "malformed-message", malformed_message, true },
        { "deep-nesting", deep_nesting, true },
        { "many-fields", many_fields, true },
        { "id-of-another-stream", id_of_another_stream, true },
        { "same-id-twice", same_id_twice, true },
        { "more-requests-than-slots", more_requests_than_slots, true },
        { "bulk-that-is-not-sealed", bulk_that_is_not_sealed, true },
        { "bulk-of-another-size", bulk_of_another_size, true },
        { "bulk-that-is-a-pipe", bulk_that_is_a_pipe, true },
        { "more-sessions-than-one-user-may-have", more_sessions_than_one_user_may_have, true },
        { "session-of-nobody", session_of_nobody, true },
        { "second-hello", second_hello, true },
        { "unknown-frame", unknown_frame, true },
        { "never-read", never_read, true },
        { "flood-with-kicks", flood_with_kicks, true },
        { "flood-with-requests", flood_with_requests, true },
};

int main(int argc, char **argv) {
        for (size_t i = 0; argc == 3 && i < sizeof(deeds) / sizeof(deeds[0]); i++) {
                if (strcmp(argv[2], deeds[i].name) != 0)
                        continue;
                connect_to(argv[1]);
                if (deeds[i].handshake)
                        shake_hands();
                deeds[i].run();
                report();
        }
        fprintf(stderr, "usage: hostile SOCKET DEED\n");
        return 2;
}
