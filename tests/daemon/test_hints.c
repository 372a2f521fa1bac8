/* Hints at work, with the real engine: prepared while nobody is there, out of the way at once, at
 * nobody else's cost; and what follows is the same with and without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "daemon/keeper.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "proto/record_types.h"
#include "tests/daemon/runner_world.h"

#define HINT_TOKENS   900 /* seven pages and some */
#define PROMPT_TOKENS 960
#define GENERATED     20

struct machine {
        struct engine *engine;
        struct keeper *keeper;
        struct world *world;
};

/* Device memory for `device` bytes; 0: no bound. `host`: 0: nothing is kept. */
static struct machine start(uint64_t device, uint64_t host) {
        struct machine machine = { .world = calloc(1, sizeof(*machine.world)) };
        struct error err = { 0 };
        struct memory_plan plan;
        struct engine_options options = {
                .model_dir = MODEL_DIR,
                .n_threads = 1,
                .batch_rows_max = 256,
                .device_kv_bytes = device,
        };
        struct keeper_options kept = {
                .model_dir = MODEL_DIR,
                .state_dir = "",
                .host_bytes = host,
                .user_percent = 100,
                .parked_bytes = 16 << 20,
        };
        assert_non_null(machine.world);
        if (engine_open(&options, &machine.engine, &err) < 0 ||
            keeper_open(&kept, machine.engine, &machine.keeper, &err) < 0 ||
            memory_plan(machine.engine, device, host, &plan, &err) < 0)
                fail_msg("%s", err.text);
        world_init(machine.world, machine.engine, machine.keeper, &plan);
        return machine;
}

static uint64_t n_sequences(const struct machine *machine) {
        struct engine_kv_statistics s;
        engine_kv_statistics(machine->engine, &s);
        return s.n_sequences;
}

static void stop(struct machine *machine) {
        world_deinit(machine->world);
        keeper_close(machine->keeper);
        assert_int_equal(n_sequences(machine), 0);
        engine_close(machine->engine);
        free(machine->world);
}

static const struct hint_statistics *statistics(const struct machine *machine) {
        return &machine->world->runner.hints.statistics;
}

/* What a user says of a prompt, `age_s` ago. */
static void hint_of(struct machine *machine, uint32_t uid, uint32_t seed, uint32_t n,
                    uint64_t age_s) {
        struct request *request = request_new(NULL, NULL, RECORD_HINT, 1);
        assert_non_null(request);
        request->uid = uid;
        request->n_prompt = n;
        request->received_ns = clock_ns() - age_s * NS_PER_S;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t id = prompt_id(seed, i);
                assert_int_equal(token_list_append(&request->tokens, &id, 1), 0);
        }
        hints_note(&machine->world->runner, request);
        assert_int_equal(request->result_type, RECORD_ACKNOWLEDGED);
        request_free(request);
}

static enum runner_state turn(struct machine *machine) {
        return runner_turn(&machine->world->runner, false);
}

static struct client *client(struct machine *machine, unsigned i) {
        return &machine->world->clients[i];
}

/* What a prompt is answered without any hint, and with it. */
static void a_hint_is_done_while_nobody_is_there(void **state) {
        (void)state;
        struct machine plain = start(0, 0), machine = start(0, 16 << 20);
        generate(plain.world, client(&plain, 0), 1, PROMPT_TOKENS, GENERATED);
        run_until_idle(plain.world, 1);

        hint_of(&machine, 0, 1, HINT_TOKENS, 0);
        assert_int_equal(n_sequences(&machine), 0);
        unsigned n_turns = 0;
        while (turn(&machine) == RUNNER_BUSY)
                n_turns++;
        assert_int_equal(n_turns, 8); /* a chunk each */
        assert_int_equal(statistics(&machine)->n_done, 1);
        assert_int_equal(statistics(&machine)->n_tokens, HINT_TOKENS);
        assert_int_equal(n_sequences(&machine), 0);

        generate(machine.world, client(&machine, 0), 1, PROMPT_TOKENS, GENERATED);
        turn(&machine);
        const struct kv_verdict *verdict = &client(&machine, 0)->request->verdict;
        assert_int_equal(verdict->n_reused, HINT_TOKENS);
        assert_int_equal(verdict->tier, KV_TIER_HOST);
        assert_int_equal(verdict->end, PREFIX_END_WHOLE);
        run_until_idle(machine.world, 1);
        assert_int_equal(client(&machine, 0)->n_ids, GENERATED);
        assert_memory_equal(client(&machine, 0)->ids, client(&plain, 0)->ids,
                            GENERATED * sizeof(uint32_t));
        struct keeper_statistics s;
        keeper_statistics(machine.keeper, machine.engine, &s);
        assert_int_equal(s.asked_tokens, PROMPT_TOKENS); /* nobody asked for the hint's */
        stop(&plain);
        stop(&machine);
}

static void a_hint_gives_way_at_once_and_goes_on_later(void **state) {
        (void)state;
        struct machine machine = start(0, 16 << 20);
        hint_of(&machine, 0, 1, HINT_TOKENS, 0);
        turn(&machine);
        turn(&machine);
        assert_int_equal(n_sequences(&machine), 1);
        generate(machine.world, client(&machine, 0), 2, 300, GENERATED);
        while (!client(&machine, 0)->given_back) {
                turn(&machine);
                receive(client(&machine, 0));
                if (client(&machine, 0)->request)
                        assert_true(n_sequences(&machine) <= 1); /* and that is the request's */
                assert_true(client(&machine, 0)->given_back ||
                            statistics(&machine)->n_tokens == 2 * CHUNK_TOKENS);
        }
        run_until_idle(machine.world, 1);
        assert_int_equal(statistics(&machine)->n_done, 1);
        assert_int_equal(statistics(&machine)->n_tokens, HINT_TOKENS); /* nothing twice */
        stop(&machine);
}

/* A client that does not read keeps no hint from being prepared. */
static void who_does_not_read_needs_no_machine(void **state) {
        (void)state;
        struct machine machine = start(0, 16 << 20);
        generate(machine.world, client(&machine, 0), 2, 10, 4000);
        while (turn(&machine) == RUNNER_BUSY)
                ;
        assert_int_not_equal(client(&machine, 0)->request->paused_ns, 0);
        hint_of(&machine, 0, 1, HINT_TOKENS, 0);
        while (turn(&machine) == RUNNER_BUSY)
                ;
        assert_int_equal(statistics(&machine)->n_done, 1);
        stop(&machine);
}

static uint32_t uid_at_work(const struct machine *machine) {
        const struct hints *hints = &machine->world->runner.hints;
        for (unsigned i = 0; i < hints->n; i++)
                if (hints->hint[i]->leased)
                        return hints->hint[i]->uid;
        return UINT32_MAX;
}

static void the_newest_hint_of_each_user_counts(void **state) {
        (void)state;
        struct machine machine = start(0, 16 << 20);
        hint_of(&machine, 1, 1, HINT_TOKENS, 0);
        hint_of(&machine, 2, 2, HINT_TOKENS, 0);
        turn(&machine);
        uint32_t first = uid_at_work(&machine);
        hint_of(&machine, first, 3, HINT_TOKENS, 0); /* what it has got counts against this one */
        turn(&machine);
        assert_int_equal(uid_at_work(&machine), 3 - first);
        run_until_idle(machine.world, 0);
        assert_int_equal(statistics(&machine)->n_noted, 3);
        assert_int_equal(statistics(&machine)->n_replaced, 1);
        assert_int_equal(statistics(&machine)->n_done, 2);
        assert_int_equal(statistics(&machine)->n_tokens, 2 * HINT_TOKENS + CHUNK_TOKENS);
        stop(&machine);
}

static void hints_are_bounded_in_number_and_time(void **state) {
        (void)state;
        struct machine machine = start(0, 16 << 20);
        for (uint32_t uid = 0; uid < HINTS_MAX + 3; uid++)
                hint_of(&machine, uid, 1, 10, 0);
        assert_int_equal(machine.world->runner.hints.n, HINTS_MAX);
        assert_int_equal(statistics(&machine)->n_dropped, 3);
        hints_forget_user(&machine.world->runner, 3);
        assert_int_equal(machine.world->runner.hints.n, HINTS_MAX - 1);
        hints_forget_all(&machine.world->runner);
        assert_int_equal(machine.world->runner.hints.n, 0);
        hint_of(&machine, 1, 1, 10, HINT_LIFE_S + 1);
        assert_int_equal(turn(&machine), RUNNER_IDLE);
        assert_int_equal(machine.world->runner.hints.n, 0);
        assert_int_equal(statistics(&machine)->n_tokens, 0);
        stop(&machine);
}

/* A conversation is parked on a device that has room for one and a half. */
static void a_hint_takes_no_room_from_others(void **state) {
        (void)state;
        struct machine plain = start(0, 16 << 20);
        uint64_t one = engine_kv_bytes(plain.engine, PROMPT_TOKENS + GENERATED, false);
        stop(&plain);
        struct machine machine = start(one + one / 2, 16 << 20);
        generate(machine.world, client(&machine, 0), 2, PROMPT_TOKENS, GENERATED);
        run_until_idle(machine.world, 1);
        hint_of(&machine, 0, 1, HINT_TOKENS, 0);
        run_until_idle(machine.world, 1);
        struct keeper_statistics s;
        keeper_statistics(machine.keeper, machine.engine, &s);
        assert_int_equal(s.n_parked, 1);
        assert_int_equal(s.device.spills, 0);
        assert_int_equal(statistics(&machine)->n_dropped, 1);
        assert_int_equal(statistics(&machine)->n_tokens, 0);
        hint_of(&machine, 0, 1, CHUNK_TOKENS, 0); /* a short one fits */
        run_until_idle(machine.world, 1);
        assert_int_equal(statistics(&machine)->n_done, 1);
        stop(&machine);
}

/* Where nothing is kept, nothing is computed for nobody. */
static void without_memory_hints_are_dropped(void **state) {
        (void)state;
        struct machine machine = start(0, 0);
        hint_of(&machine, 0, 1, HINT_TOKENS, 0);
        run_until_idle(machine.world, 0);
        assert_int_equal(statistics(&machine)->n_dropped, 1);
        assert_int_equal(statistics(&machine)->n_tokens, 0);
        stop(&machine);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_hint_is_done_while_nobody_is_there),
                cmocka_unit_test(a_hint_gives_way_at_once_and_goes_on_later),
                cmocka_unit_test(who_does_not_read_needs_no_machine),
                cmocka_unit_test(the_newest_hint_of_each_user_counts),
                cmocka_unit_test(hints_are_bounded_in_number_and_time),
                cmocka_unit_test(a_hint_takes_no_room_from_others),
                cmocka_unit_test(without_memory_hints_are_dropped),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
