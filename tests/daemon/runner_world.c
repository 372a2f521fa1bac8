#include "tests/daemon/runner_world.h"

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

#include "base/error.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/text_stream.h"
#include "proto/message.h"
#include "proto/token_delta.h"

static void take_back(void *userdata, struct request *request) {
        struct world *world = userdata;
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                if (world->clients[i].request == request) {
                        world->clients[i].given_back = true;
                        world->clients[i].request = NULL;
                }
        request_free(request);
}

void world_init(struct world *world, struct engine *engine, struct keeper *keeper,
                const struct memory_plan *plan) {
        world->engine = engine;
        world->runner = (struct runner){
                .engine = engine,
                .keeper = keeper,
                .n_running_max = 4,
                .plan = *plan,
                .give_back = take_back,
                .userdata = world,
        };
        assert_int_equal(runner_init(&world->runner), 0);
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

void world_deinit(struct world *world) {
        runner_deinit(&world->runner);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                disconnect(&world->clients[i]);
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

uint32_t prompt_id(uint32_t seed, uint32_t i) {
        return i == 0 ? 0 : 200 + (seed * 31 + i) % 100;
}

void generate_as(struct world *world, struct client *client, Seekd__V1__Class class, uint32_t seed,
                 uint32_t n_prompt, uint32_t n_max) {
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
                uint32_t id = prompt_id(seed, i);
                assert_int_equal(token_list_append(&request->tokens, &id, 1), 0);
        }
        assert_int_equal(
                text_stream_new(engine_tokenizer(world->engine), NULL, 0, false, &request->text),
                0);
        client->request = request;
        atomic_store(&request->live.class, (int)class);
        runner_add(&world->runner, request);
}

void generate(struct world *world, struct client *client, uint32_t seed, uint32_t n_prompt,
              uint32_t n_max) {
        generate_as(world, client, SEEKD__V1__CLASS__CLASS_TURN, seed, n_prompt, n_max);
}

void receive(struct client *client) {
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

void run_until_idle(struct world *world, size_t n_clients) {
        for (unsigned turn = 0; turn < 100000; turn++) {
                enum runner_state state = runner_turn(&world->runner, false);
                for (size_t i = 0; i < n_clients; i++)
                        receive(&world->clients[i]);
                if (state == RUNNER_IDLE)
                        return;
        }
        fail_msg("the runner does not come to rest");
}
