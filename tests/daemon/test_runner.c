/* The runner: many generations through one engine, each as if it were alone; slow, cancelled, dead
 * and failing ones do not disturb the others. The engine is a stand-in, the rings are real. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon/answer_stream.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "proto/slots.h"
#include "tests/daemon/fake_engine.h"
#include "tests/daemon/runner_world.h"

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

/* Compares with what the stand-in gives to this prompt alone. */
static void assert_as_alone(const struct client *client, uint32_t seed, uint32_t n_prompt,
                            size_t n_expected) {
        uint32_t ids[GENERATED_MAX];
        assert_int_equal(client->n_ids, n_expected);
        for (uint32_t i = 0; i < n_prompt; i++)
                ids[i] = prompt_id(seed, i);
        for (size_t i = 0; i < n_expected; i++) {
                ids[n_prompt + i] = fake_next(ids, n_prompt + i);
                assert_int_equal(client->ids[i], ids[n_prompt + i]);
        }
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

static void a_flooding_session_leaves_a_place_to_others(void **state) {
        struct world *world = *state;
        unsigned n_started = 0;
        world->one_session = true;
        for (uint32_t i = 0; i < 5; i++) /* more than there are places */
                generate(world, &world->clients[i], i, 10, 1000);
        runner_turn(&world->runner, false);
        for (uint32_t i = 0; i < 5; i++)
                n_started += world->clients[i].request->sequence != NULL;
        assert_int_equal(n_started, 3);
        world->one_session = false;
        generate(world, &world->clients[5], 5, 10, 20);
        for (unsigned turn = 0; turn < 20; turn++)
                runner_turn(&world->runner, false);
        receive(&world->clients[5]);
        assert_as_alone(&world->clients[5], 5, 10, 20);
        run_until_idle(world, 6);
        for (uint32_t i = 0; i < 5; i++)
                assert_as_alone(&world->clients[i], i, 10, 1000);
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

/* -- memory --------------------------------------------------------------------------------------
 */

/* The device holds one byte for each token. */
static void bound(struct world *world, uint64_t promised, uint64_t there) {
        world->runner.plan.device_bytes = promised;
        fake_device(world->engine, there);
}

static void those_that_do_not_fit_wait_in_order(void **state) {
        struct world *world = *state;
        bound(world, 320, 320);
        generate(world, &world->clients[0], 0, 100, 60);
        generate(world, &world->clients[1], 1, 200, 100);
        generate(world, &world->clients[2], 2, 50,
                 20); /* fits beside the first: must not overtake */
        for (unsigned turn = 0; world->runner.n_requests > 0; turn++) {
                assert_true(turn < 10000);
                runner_turn(&world->runner, false);
                for (size_t i = 0; i < 3; i++)
                        receive(&world->clients[i]);
                assert_true(world->clients[1].n_ids > 0 || world->clients[2].n_ids == 0);
                assert_true(world->clients[0].finish_reason != 0 || world->clients[1].n_ids == 0);
        }
        assert_as_alone(&world->clients[0], 0, 100, 60);
        assert_as_alone(&world->clients[1], 1, 200, 100);
        assert_as_alone(&world->clients[2], 2, 50, 20);
        assert_int_equal(world->runner.n_gave_way, 0);
}

static void what_was_promised_is_there(void **state) {
        struct world *world = *state;
        bound(world, 500, 500);
        for (uint32_t i = 0; i < 8; i++)
                generate(world, &world->clients[i], i, 100 + 10 * i, 90);
        run_until_idle(world, 8);
        for (uint32_t i = 0; i < 8; i++)
                assert_as_alone(&world->clients[i], i, 100 + 10 * i, 90);
        assert_int_equal(world->runner.n_gave_way, 0);
        assert_int_equal(fake_parts_seen(), 2);
}

static void the_youngest_gives_way_and_goes_on_later(void **state) {
        struct world *world = *state;
        bound(world, 0, 500); /* more was promised than there is */
        for (uint32_t i = 0; i < 6; i++)
                generate(world, &world->clients[i], i, 100 + 10 * i, 200);
        run_until_idle(world, 6);
        for (uint32_t i = 0; i < 6; i++)
                assert_as_alone(&world->clients[i], i, 100 + 10 * i, 200);
        assert_true(world->runner.n_gave_way > 0);
        /* Nobody begins again before another one has ended. */
        assert_true(world->runner.n_gave_way <= 6 * 4);
}

static void the_lowest_class_gives_way_first(void **state) {
        struct world *world = *state;
        bound(world, 0, 400);
        generate_as(world, &world->clients[0], SEEKD__V1__CLASS__CLASS_BACKGROUND, 0, 100, 200);
        generate(world, &world->clients[1], 1, 100, 200);
        generate(world, &world->clients[2], 2, 100, 50);
        for (unsigned turn = 0; world->runner.n_gave_way == 0; turn++) {
                assert_true(turn < 1000);
                runner_turn(&world->runner, false);
        }
        assert_null(world->clients[0].request->sequence);
        assert_non_null(world->clients[2].request->sequence);
        run_until_idle(world, 3);
        assert_as_alone(&world->clients[0], 0, 100, 200);
        assert_as_alone(&world->clients[1], 1, 100, 200);
        assert_as_alone(&world->clients[2], 2, 100, 50);
}

static void one_that_is_too_large_alone_ends_alone(void **state) {
        struct world *world = *state;
        bound(world, 0, 150);
        generate(world, &world->clients[0], 0, 100, 200);
        generate(world, &world->clients[1], 1, 40, 60);
        run_until_idle(world, 2);
        assert_int_equal(world->clients[0].finish_reason,
                         SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR);
        assert_as_alone(&world->clients[1], 1, 40, 60);
}

static void clients_that_do_not_read_leave_their_memory_to_others(void **state) {
        struct world *world = *state;
        bound(world, 4300, 4300);
        generate(world, &world->clients[0], 0, 10, 4000); /* more than its ring holds */
        for (unsigned turn = 0; turn < 5000; turn++)
                runner_turn(&world->runner, false);
        generate(world, &world->clients[1], 1, 10, 1000);
        assert_int_equal(runner_turn(&world->runner, false), RUNNER_BLOCKED); /* not yet */
        assert_int_equal(world->runner.n_gave_way, 0);
        world->clients[0].request->paused_ns -= (PAUSED_LEAVES_MS + 1) * NS_PER_MS;
        for (unsigned turn = 0; turn < 2000; turn++) {
                runner_turn(&world->runner, false);
                receive(&world->clients[1]);
        }
        assert_as_alone(&world->clients[1], 1, 10, 1000);
        assert_int_equal(world->runner.n_gave_way, 1);
        run_until_idle(world, 2);
        assert_as_alone(&world->clients[0], 0, 10, 4000);
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
                WORLD_TEST(a_flooding_session_leaves_a_place_to_others),
                WORLD_TEST(who_waits_starts_in_order_of_class),
                WORLD_TEST(a_cancelled_generation_ends_before_the_next_step),
                WORLD_TEST(a_dead_client_is_forgotten_within_one_turn),
                WORLD_TEST(a_passed_deadline_ends_it),
                WORLD_TEST(shutdown_ends_all_with_a_reason),
                WORLD_TEST(a_failing_request_fails_alone),
                WORLD_TEST(a_lying_tail_costs_only_the_liar),
                WORLD_TEST(those_that_do_not_fit_wait_in_order),
                WORLD_TEST(what_was_promised_is_there),
                WORLD_TEST(the_youngest_gives_way_and_goes_on_later),
                WORLD_TEST(the_lowest_class_gives_way_first),
                WORLD_TEST(one_that_is_too_large_alone_ends_alone),
                WORLD_TEST(clients_that_do_not_read_leave_their_memory_to_others),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
