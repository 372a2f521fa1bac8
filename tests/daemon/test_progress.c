/* What clients see of requests that wait and of prompts that are read: in every turn, and in the
 * middle of steps that take long. The engine is a stand-in, the regions are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>

#include "daemon/progress.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "proto/slots.h"
#include "tests/daemon/fake_engine.h"
#include "tests/daemon/runner_world.h"

#define PROMPT 2000

static int setup(void **state) {
        struct world *world = calloc(1, sizeof(*world));
        struct memory_plan plan = { 0 };
        world_init(world, fake_engine_new(MODEL_DIR, 256), NULL, &plan);
        *state = world;
        return 0;
}

static int teardown(void **state) {
        struct world *world = *state;
        world_deinit(world);
        engine_close(world->engine);
        free(world);
        return 0;
}

static const struct region *slots_of(const struct client *client) {
        return &client->client_side.peer;
}

static struct slot_progress seen(const struct client *client) {
        struct slot_progress progress;
        assert_int_equal(slot_load(slots_of(client), 0, 7, &progress), 0);
        return progress;
}

/* How often the slot was written. */
static uint32_t n_updates(const struct client *client) {
        return atomic_load(&slot_shared(slots_of(client), 0)->sequence) / 2;
}

static void every_turn_is_seen_in_every_slot(void **state) {
        struct world *world = *state;
        uint32_t before[6], done = 0;
        for (uint32_t i = 0; i < 4; i++) /* all places */
                generate(world, &world->clients[i], i, i == 0 ? PROMPT : 10, 3000);
        for (uint32_t i = 4; i < 6; i++)
                generate(world, &world->clients[i], i, 10, 20);
        for (unsigned turn = 0; done < PROMPT; turn++) {
                assert_in_range(turn, 0, PROMPT);
                for (uint32_t i = 0; i < 6; i++)
                        before[i] = n_updates(&world->clients[i]);
                runner_turn(&world->runner, false);
                for (uint32_t i = 0; i < 6; i++)
                        assert_int_equal(n_updates(&world->clients[i]), before[i] + 1);
                for (uint32_t i = 1; i < 4; i++)
                        receive(&world->clients[i]);
                const struct slot_progress reads = seen(&world->clients[0]);
                if (reads.phase != SLOT_PREFILL)
                        break;
                assert_int_equal(reads.tokens_total, PROMPT);
                assert_true(reads.tokens_done > done); /* each step takes some of it */
                assert_int_not_equal(reads.estimate_ms, SLOT_ESTIMATE_UNKNOWN);
                done = reads.tokens_done;
                for (uint32_t i = 4; i < 6; i++) {
                        const struct slot_progress waits = seen(&world->clients[i]);
                        assert_int_equal(waits.phase, SLOT_QUEUED);
                        assert_int_equal(waits.queue_place, i - 3);
                        assert_int_not_equal(waits.estimate_ms, SLOT_ESTIMATE_UNKNOWN);
                }
                assert_true(seen(&world->clients[4]).estimate_ms <=
                            seen(&world->clients[5]).estimate_ms);
        }
        assert_true(done > PROMPT / 2);
        assert_int_equal(seen(&world->clients[0]).phase, SLOT_DECODE);
        run_until_idle(world, 6);
}

static void nothing_is_promised_before_anything_is_known(void **state) {
        struct world *world = *state;
        for (uint32_t i = 0; i < 5; i++)
                generate(world, &world->clients[i], i, 10, 20);
        runner_turn(&world->runner, false);
        assert_int_equal(seen(&world->clients[4]).queue_place, 1);
        world->runner.schedule.cost.n_steps = 0;
        progress_show(&world->runner, 1);
        assert_int_equal(seen(&world->clients[4]).queue_place, 1);
        assert_int_equal(seen(&world->clients[4]).estimate_ms, SLOT_ESTIMATE_UNKNOWN);
        run_until_idle(world, 5);
}

/* In the middle of a turn: the order of those that wait is made at the next one's beginning. */
static void one_that_gave_way_has_no_place_of_earlier(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 20);
        runner_turn(&world->runner, false);
        runner_turn(&world->runner, false); /* in which it does not wait */
        struct request *request = world->clients[0].request;
        request->queue_place = 3; /* when it waited */
        request->sequence = sequence_free(request->sequence);
        progress_show(&world->runner, 1);
        assert_int_equal(seen(&world->clients[0]).phase, SLOT_QUEUED);
        assert_int_equal(seen(&world->clients[0]).queue_place, 0);
        assert_int_equal(seen(&world->clients[0]).estimate_ms, SLOT_ESTIMATE_UNKNOWN);
        run_until_idle(world, 1);
}

/* Of a client that does not read nobody knows when it goes on. */
static void a_pause_has_no_end(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, 10, 4000); /* more than its ring holds */
        while (runner_turn(&world->runner, false) == RUNNER_BUSY)
                continue;
        assert_int_equal(seen(&world->clients[0]).phase, SLOT_PAUSED);
        assert_int_equal(seen(&world->clients[0]).estimate_ms, SLOT_ESTIMATE_UNKNOWN);
        uint32_t before = n_updates(&world->clients[0]);
        assert_int_equal(runner_turn(&world->runner, false), RUNNER_BLOCKED);
        assert_int_equal(n_updates(&world->clients[0]), before + 1);
        run_until_idle(world, 1);
}

/* -- within a step -------------------------------------------------------------------------------
 */

static struct {
        struct world *world;
        uint32_t n, tokens_done[FAKE_LAYERS];
} layers;

static void look_at_layer(void *userdata, uint32_t done, uint32_t total) {
        progress_layer(userdata, done, total);
        layers.tokens_done[layers.n++] = seen(&layers.world->clients[0]).tokens_done;
}

static void a_long_step_is_seen_layer_by_layer(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, PROMPT, 10);
        for (uint32_t i = 1; i < 5; i++) /* one more than there are places */
                generate(world, &world->clients[i], i, 10, 1000);
        runner_turn(&world->runner, false);
        uint32_t reads = n_updates(&world->clients[0]), waits = n_updates(&world->clients[4]);
        uint32_t done = seen(&world->clients[0]).tokens_done;
        layers.world = world;
        layers.n = 0;
        engine_watch(world->engine, look_at_layer, &world->runner);
        fake_slow_layers(60); /* longer than what may pass between two updates */
        runner_turn(&world->runner, false);
        fake_slow_layers(0);
        assert_int_equal(layers.n, FAKE_LAYERS);
        assert_true(n_updates(&world->clients[0]) >= reads + FAKE_LAYERS + 1);
        assert_true(n_updates(&world->clients[4]) >= waits + FAKE_LAYERS + 1);
        for (uint32_t i = 0; i < FAKE_LAYERS; i++) {
                assert_true(layers.tokens_done[i] > done);
                done = layers.tokens_done[i];
        }
        assert_int_equal(done, seen(&world->clients[0]).tokens_done);
        assert_int_equal(seen(&world->clients[4]).queue_place, 1);
        run_until_idle(world, 5);
}

static void short_steps_are_not_disturbed(void **state) {
        struct world *world = *state;
        generate(world, &world->clients[0], 0, PROMPT, 10);
        runner_turn(&world->runner, false);
        uint32_t before = n_updates(&world->clients[0]);
        world->runner.shown_ns = UINT64_MAX / 2; /* as if it had just been */
        progress_layer(&world->runner, 1, 2);
        assert_int_equal(n_updates(&world->clients[0]), before);
        run_until_idle(world, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(every_turn_is_seen_in_every_slot, setup, teardown),
                cmocka_unit_test_setup_teardown(nothing_is_promised_before_anything_is_known, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(one_that_gave_way_has_no_place_of_earlier, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_pause_has_no_end, setup, teardown),
                cmocka_unit_test_setup_teardown(a_long_step_is_seen_layer_by_layer, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(short_steps_are_not_disturbed, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
