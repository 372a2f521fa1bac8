#include "tests/proto/channel_pair.h"

#include "tests/proto/region_pair.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MESSAGE_MAX (1u << 20)

static struct channel_pair pair;
static struct error err;

static int setup(void **state) {
        (void)state;
        channel_pair_init(&pair, 0, MESSAGE_MAX);
        return 0;
}

static int setup_futex(void **state) {
        (void)state;
        channel_pair_init(&pair, CAP_FUTEX, MESSAGE_MAX);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        channel_pair_deinit(&pair);
        return 0;
}

static void expect_message(struct channel *channel, uint32_t stream, const void *bytes,
                           size_t n_bytes) {
        struct channel_message got;
        channel_turn(channel);
        assert_int_equal(channel_receive(channel, &got, &err), CHANNEL_MESSAGE);
        assert_int_equal(got.stream, stream);
        assert_int_equal(got.type, 1);
        assert_int_equal(got.flags, 0);
        assert_int_equal(got.n_bytes, n_bytes);
        assert_memory_equal(got.bytes, bytes, n_bytes);
}

static void messages_go_both_ways(void **state) {
        (void)state;
        struct channel_message got;
        send_whole(&pair.client, 3, "request", 7);
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_EMPTY);
        channel_flush(&pair.client);
        expect_message(&pair.daemon, 3, "request", 7);
        send_whole(&pair.daemon, 3, "answer", 6);
        send_whole(&pair.daemon, 3, "end", 3);
        channel_flush(&pair.daemon);
        expect_message(&pair.client, 3, "answer", 6);
        expect_message(&pair.client, 3, "end", 3);
        assert_int_equal(channel_receive(&pair.client, &got, &err), CHANNEL_EMPTY);
}

static void a_turn_ends_after_64_records(void **state) {
        (void)state;
        struct channel_message got;
        for (int n = 0; n < 100; n++)
                send_whole(&pair.client, 1, "x", 1);
        channel_flush(&pair.client);
        channel_turn(&pair.daemon);
        for (unsigned n = 0; n < CHANNEL_TURN_RECORDS; n++)
                assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_MESSAGE);
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_BUDGET);
        assert_false(channel_sleep(&pair.daemon, 0));
        channel_turn(&pair.daemon);
        for (unsigned n = CHANNEL_TURN_RECORDS; n < 100; n++)
                assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_MESSAGE);
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_EMPTY);
}

static void a_turn_ends_after_256_kib(void **state) {
        (void)state;
        static uint8_t bytes[16 * 1024 - 16];
        struct channel_message got;
        channel_turn(&pair.daemon);
        for (int n = 0; n < 16; n++) {
                send_whole(&pair.client, 1, bytes, sizeof(bytes));
                channel_flush(&pair.client);
                assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_MESSAGE);
        }
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), CHANNEL_BUDGET);
}

static void only_a_sleeper_gets_a_kick(void **state) {
        (void)state;
        struct channel_message got;
        assert_true(channel_sleep(&pair.client, 0));
        for (int n = 0; n < 10; n++) {
                send_whole(&pair.daemon, 1, "x", 1);
                channel_flush(&pair.daemon);
        }
        assert_int_equal(drain_kicks(pair.sockets[1]), 1);
        assert_false(channel_sleep(&pair.client, 0));
        channel_turn(&pair.client);
        for (int n = 0; n < 10; n++)
                assert_int_equal(channel_receive(&pair.client, &got, &err), CHANNEL_MESSAGE);
        assert_int_equal(drain_kicks(pair.sockets[0]), 0);
}

static void a_full_ring_pauses_the_message_and_kicks_when_there_is_room(void **state) {
        (void)state;
        size_t n_bytes = 500000;
        uint8_t *bytes = malloc(n_bytes);
        assert_non_null(bytes);
        for (size_t i = 0; i < n_bytes; i++)
                bytes[i] = (uint8_t)(i * 13 >> 3);
        struct ring_outgoing message = {
                .item = { .type = 1, .stream = 6 },
                .bytes = bytes,
                .n_bytes = n_bytes,
        };
        int r, waits = 0;
        struct channel_message got;
        while ((r = channel_send(&pair.daemon, &message, &err)) == -EAGAIN) {
                assert_true(channel_wait_space(&pair.daemon, 4096));
                assert_int_equal(drain_kicks(pair.sockets[0]), 0);
                channel_turn(&pair.client);
                while ((r = channel_receive(&pair.client, &got, &err)) == CHANNEL_BUDGET)
                        channel_turn(&pair.client);
                assert_int_equal(r, CHANNEL_EMPTY);
                assert_true(drain_kicks(pair.sockets[0]) >= 1);
                waits++;
        }
        assert_int_equal(r, 0);
        assert_true(waits > 5);
        channel_flush(&pair.daemon);
        expect_message(&pair.client, 6, bytes, n_bytes);
        free(bytes);
}

static void too_long_a_message_is_a_violation(void **state) {
        (void)state;
        static uint8_t bytes[MESSAGE_MAX + 1];
        struct ring_outgoing message = {
                .item = { .type = 1, .stream = 6 },
                .bytes = bytes,
                .n_bytes = sizeof(bytes),
        };
        struct channel_message got;
        int r;
        do {
                int sent = channel_send(&pair.client, &message, &err);
                assert_true(sent == 0 || sent == -EAGAIN);
                channel_flush(&pair.client);
                channel_turn(&pair.daemon);
                r = channel_receive(&pair.daemon, &got, &err);
        } while (r == CHANNEL_EMPTY || r == CHANNEL_BUDGET);
        assert_int_equal(r, -EPROTO);
        assert_non_null(strstr(err.text, "stream 6"));
}

static void a_lying_client_is_named_and_stays_refused(void **state) {
        (void)state;
        struct channel_message got;
        forge_word(&pair.client.own, pair.client.own.head_off, 1ULL << 40);
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), -EPROTO);
        assert_non_null(strstr(err.text, "head"));
        forge_word(&pair.client.own, pair.client.own.head_off, 0);
        assert_int_equal(channel_receive(&pair.daemon, &got, &err), -EPROTO);
}

static void closing_is_seen_in_the_region(void **state) {
        (void)state;
        assert_int_equal(region_state_load(&pair.client.peer), REGION_OPEN);
        channel_close(&pair.daemon);
        assert_int_equal(region_state_load(&pair.client.peer), REGION_CLOSED);
}

static void welcome_and_regions_must_agree(void **state) {
        (void)state;
        struct channel channel = { 0 };
        struct channel_options options = {
                .d_data_bytes = 64 << 10,
                .c_data_bytes = 64 << 10,
                .session_id = 1,
                .generation = 2,
        };
        struct channel client;
        struct frame good = {
                .kind = FRAME_WELCOME,
                .welcome = { .session_id = 1, .generation = 2, .n_requests_max = 32 },
        };
        assert_int_equal(channel_open(&channel, pair.sockets[0], &options, good.fds, &err), 0);
        struct frame bad = good;
        bad.welcome.session_id = 2;
        assert_int_equal(channel_attach(&client, pair.sockets[1], &bad, 1, &err), -EPROTO);
        bad = good;
        bad.welcome.generation = 3;
        assert_int_equal(channel_attach(&client, pair.sockets[1], &bad, 1, &err), -EPROTO);
        bad = good;
        bad.welcome.caps = CAP_FUTEX;
        assert_int_equal(channel_attach(&client, pair.sockets[1], &bad, 1, &err), -EPROTO);
        bad = good;
        bad.fds[0] = good.fds[1];
        bad.fds[1] = good.fds[0];
        assert_int_equal(channel_attach(&client, pair.sockets[1], &bad, 1, &err), -EPROTO);
        assert_int_equal(channel_attach(&client, pair.sockets[1], &good, 1, &err), 0);
        frame_close_fds(&good);
        channel_close(&client);
        channel_close(&channel);
}

static void *sleeping_client(void *p) {
        struct channel *client = p;
        struct channel_message got;
        size_t n = 0;
        while (n < 200) {
                channel_turn(client);
                struct error e;
                int r;
                while ((r = channel_receive(client, &got, &e)) == CHANNEL_MESSAGE)
                        n++;
                if (r < 0)
                        return (void *)1;
                if (n < 200 && channel_sleep(client, 0))
                        ring_reader_futex_wait(&client->reader, 20000);
        }
        return NULL;
}

/* A lost wake-up would take 20 s each and run into the test's time limit. */
static void a_client_may_sleep_on_the_futex(void **state) {
        (void)state;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, sleeping_client, &pair.client), 0);
        for (int n = 0; n < 200; n++) {
                send_whole(&pair.daemon, 1, "token", 5);
                channel_flush(&pair.daemon);
                if (n % 3 == 0)
                        usleep(100);
        }
        void *result;
        pthread_join(thread, &result);
        assert_null(result);
}

static void without_a_futex_sleeper_the_kick_is_a_frame(void **state) {
        (void)state;
        assert_true(channel_sleep(&pair.client, 0));
        send_whole(&pair.daemon, 1, "token", 5);
        channel_flush(&pair.daemon);
        assert_int_equal(drain_kicks(pair.sockets[1]), 1);
}

#define channel_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                channel_test(messages_go_both_ways),
                channel_test(a_turn_ends_after_64_records),
                channel_test(a_turn_ends_after_256_kib),
                channel_test(only_a_sleeper_gets_a_kick),
                channel_test(a_full_ring_pauses_the_message_and_kicks_when_there_is_room),
                channel_test(too_long_a_message_is_a_violation),
                channel_test(a_lying_client_is_named_and_stays_refused),
                channel_test(closing_is_seen_in_the_region),
                channel_test(welcome_and_regions_must_agree),
                cmocka_unit_test_setup_teardown(a_client_may_sleep_on_the_futex, setup_futex,
                                                teardown),
                cmocka_unit_test_setup_teardown(without_a_futex_sleeper_the_kick_is_a_frame,
                                                setup_futex, teardown),
        };
        return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
