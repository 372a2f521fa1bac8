/* The runner: many generations through one engine, each as if it were alone; slow, cancelled, dead
 * and failing ones do not disturb the others. The engine is a stand-in, the rings are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/answer_stream.h"
#include "daemon/outlet.h"
#include "daemon/request.h"
#include "daemon/runner.h"
#include "engine/engine.h"
#include "engine/text_stream.h"
#include "proto/channel.h"
#include "proto/message.h"
#include "proto/slots.h"
#include "proto/token_delta.h"
#include "tests/daemon/fake_engine.h"

#define CLIENTS_MAX   8
#define GENERATED_MAX 4096

/* A client: both ends of its rings, and what it received. */
struct client {
        int sockets[2];
        struct channel daemon_side, client_side;
        struct outlet outlet;
        struct request *request;
        uint32_t ids[GENERATED_MAX];
        size_t n_ids;
        int finish_reason; /* 0 = no Done yet */
        bool given_back;
};

struct world {
        struct engine *engine;
        struct runner runner;
        struct client clients[CLIENTS_MAX];
};

static void take_back(void *userdata, struct request *request) {
        struct world *world = userdata;
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (world->clients[i].request == request) {
                        world->clients[i].given_back = true;
                        world->clients[i].request = NULL;
                }
        request_free(request);
}

static int setup(void **state) {
        struct world *world = calloc(1, sizeof(*world));
        world->engine = fake_engine_new(MODEL_DIR, 256);
        world->runner = (struct runner){
                .engine = world->engine,
                .n_running_max = 4,
                .give_back = take_back,
                .userdata = world,
        };
        assert_int_equal(runner_init(&world->runner), 0);
        *state = world;
        return 0;
}

static void disconnect(struct client *client) {
        if (!client->outlet.channel)
                return;
        outlet_deinit(&client->outlet);
        channel_close(&client->client_side);
        channel_close(&client->daemon_side);
        close(client->sockets[0]);
        close(client->sockets[1]);
}

static int teardown(void **state) {
        struct world *world = *state;
        runner_deinit(&world->runner);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                disconnect(&world->clients[i]);
        engine_close(world->engine);
        free(world);
        return 0;
}

static void connect_client(struct client *client) {
        struct channel_options options = {
                .d_data_bytes = REGION_DATA_BYTES_MIN,
                .c_data_bytes = REGION_DATA_BYTES_MIN,
                .session_id = 1,
                .generation = 1,
                .message_bytes_max = 1 << 20,
        };
        struct error err = { 0 };
        struct frame welcome = { .kind = FRAME_WELCOME };
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, client->sockets), 0);
        assert_int_equal(
                channel_open(&client->daemon_side, client->sockets[0], &options, welcome.fds, &err),
                0);
        welcome.welcome.session_id = 1;
        welcome.welcome.generation = 1;
        assert_int_equal(
                channel_attach(&client->client_side, client->sockets[1], &welcome, 1 << 20, &err),
                0);
        frame_close_fds(&welcome);
        assert_int_equal(outlet_init(&client->outlet, &client->daemon_side), 0);
}

/* Queues a generation whose prompt is `seed` and some more ids. */
static void generate_as(struct world *world, struct client *client, Seekd__V1__Class class,
                        uint32_t seed, uint32_t n_prompt, uint32_t n_max) {
        if (!client->outlet.channel)
                connect_client(client);
        struct request *request = request_new(NULL, &client->outlet, RECORD_GENERATE, 7);
        assert_non_null(request);
        request->slot = 0;
        request->sampling = SAMPLING_DEFAULT;
        request->n_prompt = n_prompt;
        request->n_generate_max = n_max;
        request->context_tokens = 4096;
        for (uint32_t i = 0; i < n_prompt; i++) {
                uint32_t id = i == 0 ? 0 : 200 + (seed * 31 + i) % 100;
                assert_int_equal(token_list_append(&request->tokens, &id, 1), 0);
        }
        assert_int_equal(
                text_stream_new(engine_tokenizer(world->engine), NULL, 0, false, &request->text),
                0);
        client->request = request;
        atomic_store(&request->live.class, (int)class);
        runner_add(&world->runner, request);
}

static void generate(struct world *world, struct client *client, uint32_t seed, uint32_t n_prompt,
                     uint32_t n_max) {
        generate_as(world, client, SEEKD__V1__CLASS__CLASS_TURN, seed, n_prompt, n_max);
}

static void receive(struct client *client) {
        struct error err = { 0 };
        struct channel_message message;
        channel_turn(&client->client_side);
        for (int r; (r = channel_receive(&client->client_side, &message, &err)) != CHANNEL_EMPTY;) {
                assert_true(r >= 0);
                if (r == CHANNEL_BUDGET) {
                        channel_turn(&client->client_side);
                        continue;
                }
                if (message.type == RECORD_DONE) {
                        struct arena arena = { 0 };
                        const ProtobufCMessage *done;
                        assert_int_equal(message_unpack(RECORD_DONE, message.bytes, message.n_bytes,
                                                        &arena, &done, &err),
                                         0);
                        client->finish_reason = (int)((const Seekd__V1__Done *)done)->finish_reason;
                        arena_deinit(&arena);
                        continue;
                }
                assert_int_equal(message.type, RECORD_TOKENS);
                struct token_view view;
                for (size_t at = 0;
                     token_delta_next(message.bytes, message.n_bytes, &at, &view) == 1;)
                        if (!(view.delta.flags & TOKEN_FLAG_TEXT_ONLY)) {
                                assert_true(client->n_ids < GENERATED_MAX);
                                client->ids[client->n_ids++] = view.delta.id;
                        }
        }
}

/* Compares with what the stand-in gives to this prompt alone. */
static void assert_as_alone(const struct client *client, uint32_t seed, uint32_t n_prompt,
                            size_t n_expected) {
        uint32_t ids[GENERATED_MAX];
        assert_int_equal(client->n_ids, n_expected);
        for (uint32_t i = 0; i < n_prompt; i++)
                ids[i] = i == 0 ? 0 : 200 + (seed * 31 + i) % 100;
        for (size_t i = 0; i < n_expected; i++) {
                ids[n_prompt + i] = fake_next(ids, n_prompt + i);
                assert_int_equal(client->ids[i], ids[n_prompt + i]);
        }
}

static void run_until_idle(struct world *world, size_t n_clients) {
        for (unsigned turn = 0; turn < 100000; turn++) {
                enum runner_state state = runner_turn(&world->runner, false);
                for (size_t i = 0; i < n_clients; i++)
                        receive(&world->clients[i]);
                if (state == RUNNER_IDLE)
                        return;
        }
        fail_msg("the runner does not come to rest");
}

static void eight_clients_get_what_each_gets_alone(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 8; i++)
                generate(world, &world->clients[i], i, 1 + 70 * i, 40);
        run_until_idle(world, 8);
        for (uint32_t i = 0; i < 8; i++) {
                assert_as_alone(&world->clients[i], i, 1 + 70 * i, 40);
                assert_int_equal(world->clients[i].finish_reason,
                                 SEEKD__V1__FINISH_REASON__FINISH_REASON_LENGTH);
                assert_true(world->clients[i].given_back);
        }
        assert_int_equal(fake_parts_seen(), 4); /* batched, and no more than may run */
        assert_int_equal(world->runner.n_generated_tokens, 8 * 40);
}

static void a_call_that_is_forbidden_does_not_begin(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 1);
        struct request *request = world->clients[0].request;
        struct answer_options options = { .calls_forbidden = true };
        uint32_t likeliest = fake_next(request->tokens.ids, request->tokens.n);
        for (size_t i = 0; i < CHAT_MARKS; i++)
                options.tokens.ids[i] = TOKEN_NONE;
        options.tokens.ids[CHAT_DSML] = likeliest;
        assert_int_equal(answer_stream_new(&options, &request->answer), 0);
        run_until_idle(world, 1);
        assert_int_equal(world->clients[0].n_ids, 1);
        assert_int_not_equal(world->clients[0].ids[0], likeliest);
}

static void tokens_are_announced_once_before_they_are_computed(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 300, 40);
        run_until_idle(world, 1);
        assert_as_alone(&world->clients[0], 0, 300, 40);
        /* All but the first chunk, and the last token, which nobody computes. */
        assert_int_equal(fake_prefetched(), 300 - CHUNK_TOKENS + 39);
}

static void a_client_that_does_not_read_pauses_alone(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 4000); /* more than its ring holds */
        generate(world, &world->clients[1], 1, 10, 100);
        for (unsigned turn = 0; turn < 3000; turn++) {
                runner_turn(&world->runner, false);
                receive(&world->clients[1]);
        }
        assert_as_alone(&world->clients[1], 1, 10, 100);
        assert_int_equal(runner_turn(&world->runner, false), RUNNER_BLOCKED);
        struct slot_progress progress;
        assert_int_equal(slot_load(&world->clients[0].client_side.peer, 0, 7, &progress), 0);
        assert_int_equal(progress.phase, SLOT_PAUSED);

        run_until_idle(world, 2); /* it reads again: nothing was lost */
        assert_as_alone(&world->clients[0], 0, 10, 4000);
}

static void clients_that_do_not_read_leave_their_places_to_others(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 6; i++) /* more than may run */
                generate(world, &world->clients[i], i, 10, 3000);
        generate(world, &world->clients[6], 6, 10, 100);
        for (unsigned turn = 0; turn < 5000; turn++) {
                runner_turn(&world->runner, false);
                receive(&world->clients[6]);
        }
        assert_as_alone(&world->clients[6], 6, 10, 100);
        run_until_idle(world, 7); /* all read again: more can run than may */
        for (uint32_t i = 0; i < 6; i++)
                assert_as_alone(&world->clients[i], i, 10, 3000);
        assert_int_equal(fake_parts_seen(), 4);
}

static void a_keystroke_does_not_wait_for_a_place(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 4; i++) /* all places */
                generate(world, &world->clients[i], i, 10, 1000);
        runner_turn(&world->runner, false);
        generate(world, &world->clients[4], 4, 10, 20);
        generate_as(world, &world->clients[5], SEEKD__V1__CLASS__CLASS_INTERACTIVE, 5, 10, 20);
        for (unsigned turn = 0; turn < 20; turn++)
                runner_turn(&world->runner, false);
        receive(&world->clients[4]);
        receive(&world->clients[5]);
        assert_int_equal(world->clients[4].n_ids, 0);
        assert_as_alone(&world->clients[5], 5, 10, 20);
        run_until_idle(world, 5);
        assert_as_alone(&world->clients[4], 4, 10, 20);
}

static void who_waits_starts_in_order_of_class(void **state) {
        struct world *world = *state;
        struct slot_progress progress;
        for (uint32_t i = 0; i < 4; i++)
                generate(world, &world->clients[i], i, 10, i == 0 ? 5 : 1000);
        generate_as(world, &world->clients[4], SEEKD__V1__CLASS__CLASS_BACKGROUND, 4, 10, 20);
        generate_as(world, &world->clients[5], SEEKD__V1__CLASS__CLASS_AGENT, 5, 10, 20);
        runner_turn(&world->runner, false);
        assert_int_equal(slot_load(&world->clients[5].client_side.peer, 0, 7, &progress), 0);
        assert_int_equal(progress.queue_place, 1);
        assert_int_equal(slot_load(&world->clients[4].client_side.peer, 0, 7, &progress), 0);
        assert_int_equal(progress.queue_place, 2);
        for (unsigned turn = 0; turn < 10; turn++)
                runner_turn(&world->runner, false);
        assert_non_null(world->clients[5].request->sequence);
        assert_null(world->clients[4].request->sequence);
        run_until_idle(world, 6);
        assert_as_alone(&world->clients[4], 4, 10, 20);
}

static void a_cancelled_generation_ends_before_the_next_step(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 1000);
        generate(world, &world->clients[1], 1, 10, 50);
        for (unsigned turn = 0; turn < 5; turn++)
                runner_turn(&world->runner, false);
        slot_cancel(&world->clients[0].client_side.own, 0, 7);
        runner_turn(&world->runner, false);
        receive(&world->clients[0]);
        assert_as_alone(&world->clients[0], 0, 10, 5);
        assert_int_equal(world->clients[0].finish_reason,
                         SEEKD__V1__FINISH_REASON__FINISH_REASON_CANCELLED);
        run_until_idle(world, 2);
        assert_as_alone(&world->clients[1], 1, 10, 50);
}

static void a_dead_client_is_forgotten_within_one_turn(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 1000, 1000);
        runner_turn(&world->runner, false);
        assert_int_equal(world->runner.n_requests, 1);
        atomic_store(&world->clients[0].outlet.gone, true);
        assert_int_equal(runner_turn(&world->runner, false), RUNNER_IDLE);
        assert_true(world->clients[0].given_back);
        assert_int_equal(world->clients[0].finish_reason, 0);
}

static void a_passed_deadline_ends_it(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 1000);
        world->clients[0].request->deadline_ns = 1; /* long ago */
        run_until_idle(world, 1);
        assert_int_equal(world->clients[0].n_ids, 0);
        assert_int_equal(world->clients[0].finish_reason,
                         SEEKD__V1__FINISH_REASON__FINISH_REASON_DEADLINE);
}

static void shutdown_ends_all_with_a_reason(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 6; i++)
                generate(world, &world->clients[i], i, 10, 1000);
        runner_turn(&world->runner, false);
        runner_turn(&world->runner, true);
        for (uint32_t i = 0; i < 6; i++) {
                receive(&world->clients[i]);
                assert_int_equal(world->clients[i].finish_reason,
                                 SEEKD__V1__FINISH_REASON__FINISH_REASON_SHUTDOWN);
        }
}

static void a_failing_request_fails_alone(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 3; i++)
                generate(world, &world->clients[i], i, 200, 60);
        world->clients[1].request->tokens.ids[150] = FAKE_BAD_ID; /* in the second chunk */
        run_until_idle(world, 3);
        assert_as_alone(&world->clients[0], 0, 200, 60);
        assert_as_alone(&world->clients[2], 2, 200, 60);
        assert_int_equal(world->clients[1].n_ids, 0);
        assert_int_equal(world->clients[1].finish_reason,
                         SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR);
}

static void a_lying_tail_costs_only_the_liar(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 200);
        generate(world, &world->clients[1], 1, 10, 200);
        runner_turn(&world->runner, false);
        const struct region *c = &world->clients[0].client_side.own;
        atomic_store(region_word(c, c->tail_off), UINT64_MAX - 15);
        for (unsigned turn = 0; turn < 10000 && runner_turn(&world->runner, false) != RUNNER_IDLE;
             turn++)
                receive(&world->clients[1]);
        receive(&world->clients[1]);
        assert_as_alone(&world->clients[1], 1, 10, 200);
        assert_true(world->clients[0].given_back);
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                WORLD_TEST(eight_clients_get_what_each_gets_alone),
                WORLD_TEST(a_call_that_is_forbidden_does_not_begin),
                WORLD_TEST(tokens_are_announced_once_before_they_are_computed),
                WORLD_TEST(a_client_that_does_not_read_pauses_alone),
                WORLD_TEST(clients_that_do_not_read_leave_their_places_to_others),
                WORLD_TEST(a_keystroke_does_not_wait_for_a_place),
                WORLD_TEST(who_waits_starts_in_order_of_class),
                WORLD_TEST(a_cancelled_generation_ends_before_the_next_step),
                WORLD_TEST(a_dead_client_is_forgotten_within_one_turn),
                WORLD_TEST(a_passed_deadline_ends_it),
                WORLD_TEST(shutdown_ends_all_with_a_reason),
                WORLD_TEST(a_failing_request_fails_alone),
                WORLD_TEST(a_lying_tail_costs_only_the_liar),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
