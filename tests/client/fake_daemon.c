#include "fake_daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"

#define CHECK(condition)                                                                           \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: the fake daemon failed: %s\n", __FILE__, __LINE__, \
                                #condition);                                                       \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

static void *run(void *userdata) {
        struct fake_daemon *daemon = userdata;
        daemon->script(daemon);
        fake_hang_up(daemon);
        return NULL;
}

void fake_listen(struct fake_daemon *daemon, const char *path) {
        *daemon = (struct fake_daemon){ .socket = -1 };
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        CHECK(strlen(path) < sizeof(daemon->path));
        strcpy(daemon->path, path);
        strcpy(address.sun_path, path);
        daemon->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        CHECK(daemon->listener >= 0);
        CHECK(bind(daemon->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
        CHECK(listen(daemon->listener, 4) == 0);
}

void fake_close(struct fake_daemon *daemon) {
        close(daemon->listener);
        unlink(daemon->path);
        arena_deinit(&daemon->arena);
        free(daemon->buffer);
}

void fake_start(struct fake_daemon *daemon, fake_script script) {
        char dir[] = "/tmp/seekd-test-XXXXXX";
        CHECK(mkdtemp(dir));
        char path[sizeof(dir) + 8];
        snprintf(path, sizeof(path), "%s/sock", dir);
        fake_listen(daemon, path);
        strcpy(daemon->dir, dir);
        daemon->script = script;
        CHECK(pthread_create(&daemon->thread, NULL, run, daemon) == 0);
}

void fake_stop(struct fake_daemon *daemon) {
        pthread_join(daemon->thread, NULL);
        fake_close(daemon);
        rmdir(daemon->dir);
}

static void wait_readable(struct fake_daemon *daemon) {
        struct pollfd poll_fd = { daemon->socket, POLLIN, 0 };
        CHECK(poll(&poll_fd, 1, 30000) == 1);
}

void fake_accept(struct fake_daemon *daemon, struct frame *ret_hello) {
        struct error err = { 0 };
        daemon->socket = accept4(daemon->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        CHECK(daemon->socket >= 0);
        wait_readable(daemon);
        CHECK(frame_recv(daemon->socket, FRAMES_HELLO, ret_hello, &err) == 1);
}

void fake_welcome(struct fake_daemon *daemon) {
        struct error err = { 0 };
        struct frame hello;
        fake_accept(daemon, &hello);
        struct frame welcome = { .kind = FRAME_WELCOME };
        CHECK(hello_negotiate(&hello.hello, 0, &welcome.welcome, &err) == 0);
        struct channel_options options = {
                .d_data_bytes = region_data_bytes(REGION_D, hello.hello.d_data_bytes),
                .c_data_bytes = region_data_bytes(REGION_C, hello.hello.c_data_bytes),
                .session_id = 1,
                .generation = 1,
                .caps = welcome.welcome.caps,
                .message_bytes_max = MESSAGE_PROMPT_BYTES_MAX,
        };
        CHECK(channel_open(&daemon->channel, daemon->socket, &options, welcome.fds, &err) == 0);
        welcome.welcome.session_id = 1;
        welcome.welcome.generation = 1;
        welcome.welcome.message_bytes_max = MESSAGE_PROMPT_BYTES_MAX;
        welcome.welcome.n_requests_max = REGION_N_SLOTS;
        welcome.welcome.model_state = MODEL_READY;
        welcome.welcome.load_permille = 1000;
        CHECK(frame_send(daemon->socket, &welcome) == 0);
        frame_close_fds(&welcome);
}

void fake_hang_up(struct fake_daemon *daemon) {
        if (daemon->socket < 0)
                return;
        if (daemon->channel.own.map)
                channel_close(&daemon->channel);
        close(daemon->socket);
        daemon->socket = -1;
}

static const ProtobufCMessage *unpack(struct fake_daemon *daemon, unsigned type, const void *bytes,
                                      size_t n) {
        struct error err = { 0 };
        const ProtobufCMessage *message = NULL;
        if (message_unpack(type, bytes, n, &daemon->arena, &message, &err) < 0)
                fprintf(stderr, "%s\n", err.text);
        CHECK(message);
        return message;
}

static const ProtobufCMessage *take_bulk(struct fake_daemon *daemon, struct frame *frame) {
        struct error err = { 0 };
        free(daemon->buffer);
        daemon->buffer = malloc(frame->bulk.bytes);
        CHECK(daemon->buffer);
        CHECK(bulk_read(frame->fds[0], frame->bulk.bytes, MESSAGE_PROMPT_BYTES_MAX, daemon->buffer,
                        &err) == 0);
        frame_close_fds(frame);
        daemon->bulk = true;
        return unpack(daemon, frame->bulk.type, daemon->buffer, frame->bulk.bytes);
}

const ProtobufCMessage *fake_request(struct fake_daemon *daemon, unsigned *ret_type,
                                     uint32_t *ret_id) {
        struct error err = { 0 };
        daemon->bulk = false;
        for (;;) {
                struct channel_message message;
                channel_turn(&daemon->channel);
                int r = channel_receive(&daemon->channel, &message, &err);
                CHECK(r >= 0);
                if (r == CHANNEL_MESSAGE) {
                        *ret_type = message.type;
                        *ret_id = message.stream;
                        return unpack(daemon, message.type, message.bytes, message.n_bytes);
                }
                if (r != CHANNEL_EMPTY || !channel_sleep(&daemon->channel, 0))
                        continue;
                wait_readable(daemon);
                struct frame frame;
                r = frame_recv(daemon->socket, FRAMES_FROM_CLIENT, &frame, &err);
                if (r == 0 || r == -ECONNRESET || (r == 1 && frame.kind == FRAME_GOODBYE))
                        return NULL;
                CHECK(r == 1);
                if (frame.kind == FRAME_BULK) {
                        *ret_type = frame.bulk.type;
                        *ret_id = frame.bulk.stream;
                        return take_bulk(daemon, &frame);
                }
        }
}

uint32_t fake_generate(struct fake_daemon *daemon) {
        unsigned type = 0;
        uint32_t id = 0;
        CHECK(fake_request(daemon, &type, &id));
        CHECK(type == RECORD_GENERATE);
        return id;
}

void fake_wait_hang_up(struct fake_daemon *daemon) {
        struct frame frame;
        int r;
        do {
                wait_readable(daemon);
                r = frame_recv(daemon->socket, FRAMES_FROM_CLIENT, &frame, NULL);
                if (r == 1)
                        frame_close_fds(&frame);
        } while (r == 1);
}

void fake_send_bytes(struct fake_daemon *daemon, unsigned type, uint32_t id, const void *bytes,
                     size_t n) {
        struct error err = { 0 };
        struct ring_outgoing outgoing = {
                .item = { .type = (uint16_t)type, .stream = id },
                .bytes = bytes,
                .n_bytes = n,
        };
        int r;
        while ((r = channel_send(&daemon->channel, &outgoing, &err)) == -EAGAIN) {
                if (!channel_wait_space(&daemon->channel, (uint32_t)(n - outgoing.n_sent)))
                        continue;
                struct frame frame;
                wait_readable(daemon);
                CHECK(frame_recv(daemon->socket, FRAMES_FROM_CLIENT, &frame, &err) == 1);
        }
        CHECK(r == 0);
        channel_flush(&daemon->channel);
}

void fake_send(struct fake_daemon *daemon, unsigned type, uint32_t id,
               const ProtobufCMessage *message) {
        size_t n = message_packed_bytes(message);
        uint8_t *bytes = malloc(n > 0 ? n : 1);
        CHECK(bytes);
        CHECK(message_pack(message, bytes, n) == (int64_t)n);
        fake_send_bytes(daemon, type, id, bytes, n);
        free(bytes);
}

void fake_accepted(struct fake_daemon *daemon, uint32_t id, uint32_t slot) {
        Seekd__V1__Accepted accepted = SEEKD__V1__ACCEPTED__INIT;
        accepted.request_id = id;
        accepted.slot = slot;
        accepted.seed = 77;
        accepted.prompt_tokens = 5;
        fake_send(daemon, RECORD_ACCEPTED, id, &accepted.base);
}

void fake_token(struct fake_daemon *daemon, uint32_t id, uint32_t token, const char *text) {
        uint8_t payload[256];
        struct token_delta delta = { .id = token,
                                     .text_bytes = (uint32_t)strlen(text),
                                     .position = 5 };
        int64_t n = token_delta_put(payload, sizeof(payload), &delta, NULL, text);
        CHECK(n > 0);
        fake_send_bytes(daemon, RECORD_TOKENS, id, payload, (size_t)n);
}

void fake_done(struct fake_daemon *daemon, uint32_t id, Seekd__V1__FinishReason reason) {
        uint32_t ids[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
        Seekd__V1__Usage usage = SEEKD__V1__USAGE__INIT;
        usage.prompt_tokens = 5;
        usage.computed_tokens = 5;
        usage.generated_tokens = 2;
        Seekd__V1__Timing timing = SEEKD__V1__TIMING__INIT;
        timing.first_token_ms = 12.5;
        timing.decode_ms = -1; /* nonsense that must not reach a program */
        Seekd__V1__CacheVerdict cache = SEEKD__V1__CACHE_VERDICT__INIT;
        cache.ended_by = SEEKD__V1__CACHE_END__CACHE_END_DIFFERENT_PROMPT;
        cache.position = 3;
        cache.n_prompt_ids = 10; /* more than the protocol promises */
        cache.prompt_ids = ids;
        Seekd__V1__Done done = SEEKD__V1__DONE__INIT;
        done.request_id = id;
        done.finish_reason = reason;
        done.usage = &usage;
        done.timing = &timing;
        done.cache = &cache;
        fake_send(daemon, RECORD_DONE, id, &done.base);
}

void fake_error(struct fake_daemon *daemon, uint32_t id, Seekd__V1__ErrorCode code,
                const char *text) {
        Seekd__V1__Error error = SEEKD__V1__ERROR__INIT;
        error.request_id = id;
        error.code = code;
        error.message = (char *)(uintptr_t)text;
        error.retry_after_ms = 250;
        fake_send(daemon, RECORD_ERROR, id, &error.base);
}
