#include "tests/daemon/runner_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>

#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/text_stream.h"
#include "proto/record_types.h"

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
                .prefill_budget_ms = PREFILL_BUDGET_MS_DEFAULT,
                .plan = *plan,
                .give_back = take_back,
                .userdata = world,
        };
        assert_int_equal(runner_init(&world->runner), 0);
}

void world_deinit(struct world *world) {
        runner_deinit(&world->runner);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                client_disconnect(&world->clients[i]);
}

uint32_t prompt_id(uint32_t seed, uint32_t i) {
        return i == 0 ? 0 : 200 + (seed * 31 + i) % 100;
}

void generate_as(struct world *world, struct client *client, Seekd__V1__Class class, uint32_t seed,
                 uint32_t n_prompt, uint32_t n_max) {
        if (!client->outlet.channel)
                client_connect(client);
        struct request *request = request_new(NULL, &client->outlet, RECORD_GENERATE, 7);
        assert_non_null(request);
        request->slot = 0;
        request->origin = world->one_session ? 0 : (uint64_t)(client - world->clients) + 1;
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
