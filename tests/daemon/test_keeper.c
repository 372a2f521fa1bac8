/* Real sequences with kept KV: wherever a request goes on from, whatever gives way to whom, logits
 * and tokens are those of a request that is alone with all the memory there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "daemon/answer_stream.h"
#include "daemon/keeper_private.h"
#include "daemon/limits.h"
#include "daemon/memory_plan.h"
#include "daemon/request.h"
#include "engine/engine.h"
#include "engine/text_stream.h"
#include "proto/record_types.h"
#include "proto/token_delta.h"
#include "tests/daemon/runner_world.h"

#define TURN_TOKENS   900 /* seven pages and some */
#define SECOND_TOKENS 60
#define HOT_ROWS      8 /* as many as nano selects: fewer are not legal */
#define ALL_TOKENS    (TURN_TOKENS + SECOND_TOKENS)
#define NOW_NS        1 /* time stands still: a state is kept each second */
#define PARKED_BYTES  (1 << 20)

struct memory {
        uint64_t device, host;
        const char *state_dir; /* "": none */
};

struct machine {
        struct engine *engine;
        struct keeper *keeper; /* NULL: host = 0 */
        struct memory_plan plan;
};

static struct machine start(struct memory memory) {
        struct machine machine = { 0 };
        struct error err = { 0 };
        struct engine_options options = {
                .model_dir = MODEL_DIR,
                .n_threads = 1,
                .batch_rows_max = 256,
                .device_kv_bytes = memory.device,
                .hot_rows = HOT_ROWS,
        };
        if (engine_open(&options, &machine.engine, &err) < 0)
                fail_msg("%s", err.text);
        struct keeper_options keeper_options = {
                .model_dir = MODEL_DIR,
                .state_dir = memory.state_dir,
                .host_bytes = memory.host,
                .disk_bytes = 64 << 20,
                .parked_bytes = PARKED_BYTES,
        };
        if (keeper_open(&keeper_options, machine.engine, &machine.keeper, &err) < 0 ||
            memory_plan(machine.engine, memory.device, memory.host, &machine.plan, &err) < 0)
                fail_msg("%s", err.text);
        return machine;
}

static struct keeper_statistics statistics(const struct machine *machine) {
        struct keeper_statistics s;
        keeper_statistics(machine->keeper, machine->engine, &s);
        return s;
}

/* Nothing stays: no sequence, no byte. */
static void stop(struct machine *machine) {
        machine->keeper = keeper_close(machine->keeper);
        struct keeper_statistics s = statistics(machine);
        assert_int_equal(s.device.n_sequences, 0);
        assert_int_equal(s.device.device_bytes, 0);
        machine->engine = engine_close(machine->engine);
}

static struct request *ask(uint32_t seed, uint32_t n) {
        struct request *request = request_new(NULL, NULL, RECORD_GENERATE, 1);
        assert_non_null(request);
        request->uid = 1000;
        request->n_prompt = n;
        request->started_ns = NOW_NS;
        for (uint32_t i = 0; i < n; i++) {
                uint32_t id = prompt_id(seed, i);
                assert_int_equal(token_list_append(&request->tokens, &id, 1), 0);
        }
        return request;
}

static void begin(struct machine *machine, struct request *request) {
        int r;
        while ((r = keeper_begin(machine->keeper, machine->engine, request)) == -EAGAIN)
                ;
        assert_int_equal(r, 0);
}

/* Computes what is left of the prompt; the logits of its last token. */
static void compute(struct machine *machine, struct request *request, float *ret_logits) {
        uint64_t position;
        while ((position = sequence_position(request->sequence)) < request->n_prompt) {
                uint64_t n = CHUNK_TOKENS - position % CHUNK_TOKENS,
                         left = request->n_prompt - position;
                struct batch_part part = { .sequence = request->sequence,
                                           .ids = request->tokens.ids + position,
                                           .n = (uint32_t)(n < left ? n : left),
                                           .n_logits = n >= left,
                                           .logits = ret_logits };
                struct error err = { 0 };
                if (engine_step(machine->engine, &part, 1, &err) < 0)
                        fail_msg("%s", err.text);
                keeper_computed(request, NOW_NS);
        }
}

static float *new_logits(const struct machine *machine) {
        return calloc(engine_config(machine->engine)->vocab_size, sizeof(float));
}

/* One turn from beginning to end; its logits. */
static float *turn(struct machine *machine, uint32_t seed, uint32_t n, struct kv_verdict *ret) {
        float *logits = new_logits(machine);
        struct request *request = ask(seed, n);
        begin(machine, request);
        *ret = request->verdict;
        compute(machine, request, logits);
        keeper_end(request);
        assert_null(request->sequence);
        assert_null(request->lease);
        request_free(request);
        return logits;
}

static void assert_logits(const struct machine *machine, float *logits, const float *expected) {
        assert_memory_equal(logits, expected,
                            engine_config(machine->engine)->vocab_size * sizeof(float));
        free(logits);
}

/* What nothing kept, nothing bounded gives. */
static float *alone(uint32_t seed, uint32_t n) {
        struct kv_verdict verdict;
        struct machine machine = start((struct memory){ 0, 0, "" });
        float *logits = turn(&machine, seed, n, &verdict);
        stop(&machine);
        return logits;
}

static char *new_folder(void) {
        static char folder[] = "/tmp/seekd-test-XXXXXX";
        strcpy(folder + sizeof(folder) - 7, "XXXXXX");
        assert_non_null(mkdtemp(folder));
        return folder;
}

static void remove_folder(const char *folder) {
        char command[128];
        snprintf(command, sizeof(command), "rm -r %s", folder);
        assert_int_equal(system(command), 0);
}

static void each_tier_gives_the_same_logits(void **state) {
        (void)state;
        CLEANUP_FREE float *expected = alone(1, ALL_TOKENS);
        const char *folder = new_folder();
        struct memory memory = { 0, 16 << 20, folder };
        struct machine machine = start(memory);
        struct kv_verdict verdict;

        free(turn(&machine, 1, TURN_TOKENS, &verdict));
        assert_int_equal(verdict.tier, KV_TIER_NONE);
        assert_int_equal(statistics(&machine).n_parked, 1);
        assert_logits(&machine, turn(&machine, 1, ALL_TOKENS, &verdict), expected);
        assert_int_equal(verdict.tier, KV_TIER_DEVICE);
        assert_int_equal(verdict.n_reused, TURN_TOKENS);
        assert_int_equal(verdict.end, PREFIX_END_WHOLE);
        assert_int_equal(statistics(&machine).n_parked, 1); /* instead of the turn before */
        assert_int_equal(statistics(&machine).hits[KV_TIER_DEVICE], 1);

        assert_true(keeper_drop_parked(machine.keeper, NULL));
        assert_logits(&machine, turn(&machine, 1, ALL_TOKENS, &verdict), expected);
        assert_int_equal(verdict.tier, KV_TIER_HOST);
        assert_true(verdict.n_reused >= TURN_TOKENS - PAGE_TOKENS);
        stop(&machine);

        machine = start(memory);
        assert_logits(&machine, turn(&machine, 1, ALL_TOKENS, &verdict), expected);
        assert_int_equal(verdict.tier, KV_TIER_DISK);
        stop(&machine);
        remove_folder(folder);
}

static void a_prompt_sent_again_does_not_take_what_it_left_behind(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 16 << 20, "" });
        struct kv_verdict verdict;
        free(turn(&machine, 1, TURN_TOKENS, &verdict));
        free(turn(&machine, 1, TURN_TOKENS, &verdict));
        assert_int_equal(verdict.tier, KV_TIER_HOST); /* one token must be computed */
        stop(&machine);
}

static void parked_sequences_are_their_users(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 16 << 20, "" });
        struct kv_verdict verdict;
        free(turn(&machine, 1, TURN_TOKENS, &verdict));
        struct request *request = ask(1, ALL_TOKENS);
        request->uid++;
        begin(&machine, request);
        assert_int_equal(request->verdict.tier, KV_TIER_NONE);
        keeper_end(request);
        request_free(request);
        request = ask(1, ALL_TOKENS);
        strcpy(request->subject, "another");
        begin(&machine, request);
        assert_int_equal(request->verdict.tier, KV_TIER_NONE);
        keeper_end(request);
        request_free(request);
        stop(&machine);
}

static void a_spilled_sequence_goes_on_from_the_device(void **state) {
        (void)state;
        CLEANUP_FREE float *expected = alone(2, ALL_TOKENS);
        struct machine machine = start((struct memory){ 0, 16 << 20, "" });
        CLEANUP_FREE float *logits = new_logits(&machine);
        struct request *request = ask(2, TURN_TOKENS);
        struct kv_verdict verdict;
        begin(&machine, request);
        compute(&machine, request, logits);
        assert_int_equal(sequence_spill(request->sequence), 0);
        keeper_end(request);
        request_free(request);
        assert_logits(&machine, turn(&machine, 2, ALL_TOKENS, &verdict), expected);
        assert_int_equal(verdict.tier, KV_TIER_DEVICE);
        assert_true(statistics(&machine).device.rows_missed > 0);
        stop(&machine);
}

/* A text that parts from the first one in its seventh page, where no state lies, so that it is
 * computed from its start. */
static void compute_another(struct machine *machine, uint32_t differs_by) {
        CLEANUP_FREE float *logits = new_logits(machine);
        struct request *request = ask(3, TURN_TOKENS);
        request->tokens.ids[6 * PAGE_TOKENS + 5] ^= differs_by;
        begin(machine, request);
        assert_int_equal(request->verdict.n_reused, 0);
        assert_int_equal(request->verdict.end, PREFIX_END_DIFFERENT);
        compute(machine, request, logits);
        assert_int_equal(sequence_spill(request->sequence), 0);
        assert_true(sequence_bytes(request->sequence) <=
                    engine_kv_bytes(machine->engine, TURN_TOKENS, true));
        keeper_end(request);
        request_free(request);
}

static void pages_that_others_have_kept_are_lent_too(void **state) {
        (void)state;
        const char *folder = new_folder();
        struct memory memory = { 0, 16 << 20, folder };
        struct machine machine = start(memory);
        struct kv_verdict verdict;
        free(turn(&machine, 3, TURN_TOKENS, &verdict));
        stop(&machine);
        machine = start(memory);
        compute_another(&machine, 1); /* they are on disk only */
        compute_another(&machine, 2); /* they are in memory */
        stop(&machine);
        remove_folder(folder);
}

static void what_found_no_memory_is_lent_when_there_is_some(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 0, "" });
        uint64_t host = 9 * engine_page_bytes(machine.engine) +
                2 * (uint64_t)engine_state_bytes(machine.engine);
        stop(&machine);
        machine = start((struct memory){ 0, host, "" });
        CLEANUP_FREE float *logits = new_logits(&machine);
        struct request *first = ask(5, TURN_TOKENS), *second = ask(6, TURN_TOKENS);
        begin(&machine, first);
        compute(&machine, first, logits);
        begin(&machine, second);
        compute(&machine, second, logits);
        assert_true(statistics(&machine).cache.refused_adds > 0);
        assert_false(keeper_lend(second));
        keeper_leave(first);
        request_free(first);
        assert_true(keeper_lend(second));
        assert_false(keeper_lend(second));
        assert_int_equal(sequence_spill(second->sequence), 0);
        assert_true(sequence_bytes(second->sequence) <=
                    engine_kv_bytes(machine.engine, TURN_TOKENS, true));
        keeper_end(second);
        request_free(second);
        stop(&machine);
}

static void the_plan_says_how_much_fits(void **state) {
        (void)state;
        struct error err = { 0 };
        struct memory_plan plan;
        struct machine machine = start((struct memory){ 0, 0, "" });
        uint32_t whole = engine_config(machine.engine)->max_positions;
        assert_int_equal(machine.plan.context, whole);

        /* Without a host tier all rows must fit; with one, what is left after spilling. */
        uint64_t device = engine_kv_bytes(machine.engine, 2000, false);
        assert_int_equal(memory_plan(machine.engine, device, 0, &plan, &err), 0);
        assert_int_equal(plan.context, 16 * PAGE_TOKENS);
        assert_int_equal(memory_plan(machine.engine, device, 1 << 30, &plan, &err), 0);
        assert_true(plan.context > 16 * PAGE_TOKENS);
        assert_true(memory_plan_commit(machine.engine, &plan, plan.context) <= device);
        assert_true(memory_plan_commit(machine.engine, &plan, plan.context + 1) > device);

        /* A host tier that is too small bounds it, too. */
        uint64_t host = 20 * engine_page_bytes(machine.engine);
        assert_int_equal(memory_plan(machine.engine, device, host, &plan, &err), 0);
        assert_true(plan.context >= 16 * PAGE_TOKENS && plan.context < 21 * PAGE_TOKENS);

        assert_int_equal(memory_plan(machine.engine, 1000, host, &plan, &err), -ENOSPC);
        assert_non_null(strstr(err.text, "device_kv"));
        stop(&machine);
}

/* The least that a request of this length can be planned with. */
static void the_smallest_legal_device_is_enough(void **state) {
        (void)state;
        CLEANUP_FREE float *expected = alone(4, ALL_TOKENS);
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t device = engine_kv_bytes(plain.engine, ALL_TOKENS, true);
        assert_true(device < engine_kv_bytes(plain.engine, ALL_TOKENS, false));
        stop(&plain);
        struct kv_verdict verdict;
        struct machine machine = start((struct memory){ device, 16 << 20, "" });
        assert_logits(&machine, turn(&machine, 4, ALL_TOKENS, &verdict), expected);
        struct keeper_statistics s = statistics(&machine);
        assert_true(s.device.spills > 0);
        assert_true(s.device.device_bytes_max <= device);
        stop(&machine);
}

/* -- many at once --------------------------------------------------------------------------------
 */

static struct world *new_world(const struct machine *machine) {
        struct world *world = calloc(1, sizeof(*world));
        assert_non_null(world);
        world_init(world, machine->engine, machine->keeper, &machine->plan);
        return world;
}

static void free_world(struct world *world) {
        world_deinit(world);
        free(world);
}

#define LONG_TOKENS 2000
#define GENERATED   40

/* The first n clients ask for the continuation of about n_prompt tokens each. */
static struct world *serve(struct machine *machine, uint32_t n, uint32_t n_prompt) {
        struct world *world = new_world(machine);
        for (uint32_t i = 0; i < n; i++)
                generate(world, &world->clients[i], i, n_prompt - 10 * i, GENERATED);
        run_until_idle(world, n);
        return world;
}

/* They get what they get where nothing is kept and nothing bounded. */
static void assert_as_with_plenty(const struct world *world, uint32_t n, uint32_t n_prompt) {
        struct machine plain = start((struct memory){ 0, 0, "" });
        struct world *expected = serve(&plain, n, n_prompt);
        for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(world->clients[i].n_ids, GENERATED);
                assert_memory_equal(world->clients[i].ids, expected->clients[i].ids,
                                    GENERATED * sizeof(uint32_t));
        }
        free_world(expected);
        stop(&plain);
}

/* Device memory for n of these requests when all their pages can be lent. */
static uint64_t spilled_bytes(unsigned n, uint32_t n_prompt) {
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t bytes = n * engine_kv_bytes(plain.engine, n_prompt + GENERATED, true);
        stop(&plain);
        return bytes;
}

static void a_small_device_serves_many(void **state) {
        (void)state;
        uint64_t device = spilled_bytes(2, LONG_TOKENS);
        struct machine machine = start((struct memory){ device, 16 << 20, "" });
        struct world *world = serve(&machine, 4, LONG_TOKENS);
        assert_as_with_plenty(world, 4, LONG_TOKENS);
        struct keeper_statistics s = statistics(&machine);
        assert_true(s.device.spills > 0);
        assert_true(s.device.device_bytes_max <= device);
        assert_int_equal(world->runner.n_gave_way, 0);
        free_world(world);
        stop(&machine);
}

/* More is promised than there is: three begin together, but the host has room for the pages of one,
 * and the device lacks a page for that one's rows. It cannot lend what it computed while the others
 * held the host's memory until they have left it. */
static void where_memory_is_short_the_youngest_gives_way(void **state) {
        (void)state;
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t page = engine_page_bytes(plain.engine);
        uint64_t device = engine_kv_bytes(plain.engine, LONG_TOKENS + GENERATED, false) - page;
        uint64_t host = (LONG_TOKENS + GENERATED) / ENGINE_PAGE_TOKENS * page +
                2 * (uint64_t)engine_state_bytes(plain.engine);
        stop(&plain);
        struct machine machine = start((struct memory){ device, host, "" });
        machine.plan.device_bytes = 0;
        struct world *world = serve(&machine, 3, LONG_TOKENS);
        assert_as_with_plenty(world, 3, LONG_TOKENS);
        assert_true(world->runner.n_gave_way > 0);
        assert_true(world->runner.n_gave_way <= 3); /* of each, once for each that ended before */
        assert_true(statistics(&machine).device.device_bytes_max <= device);
        free_world(world);
        stop(&machine);
}

static void conversations_that_fit_together_all_stay(void **state) {
        (void)state;
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t device = 2 * engine_kv_bytes(plain.engine, ALL_TOKENS + 1, false);
        stop(&plain);
        struct machine machine = start((struct memory){ device, 16 << 20, "" });
        struct world *world = new_world(&machine);
        for (uint32_t i = 0; i < 4; i++) { /* their first turns, then their second ones */
                generate(world, &world->clients[i], i % 2, i < 2 ? TURN_TOKENS : ALL_TOKENS, 1);
                run_until_idle(world, i + 1);
        }
        assert_int_equal(statistics(&machine).hits[KV_TIER_DEVICE], 2);
        assert_int_equal(statistics(&machine).n_parked, 2);
        free_world(world);
        stop(&machine);
}

/* Beside a parked sequence there is room for a prompt, but not for the page that its answer begins:
 * the parked one goes before a running one is spilled. */
static void parked_sequences_make_room_on_the_device(void **state) {
        (void)state;
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t prompt = engine_kv_bytes(plain.engine, LONG_TOKENS, false),
                 whole = engine_kv_bytes(plain.engine, LONG_TOKENS + 60, false);
        assert_true(whole > prompt);
        stop(&plain);
        struct machine machine = start((struct memory){ prompt + whole, 16 << 20, "" });
        struct world *world = new_world(&machine);
        for (uint32_t i = 0; i < 3; i++) {
                generate(world, &world->clients[i], i, LONG_TOKENS, 60);
                run_until_idle(world, i + 1);
                assert_int_equal(world->clients[i].n_ids, 60);
        }
        struct keeper_statistics s = statistics(&machine);
        assert_int_equal(s.n_parked, 1);
        assert_int_equal(s.device.spills, 0);
        assert_int_equal(s.parked_bytes, s.device.device_bytes);
        free_world(world);
        stop(&machine);
}

static void parked_sequences_make_room_in_the_host(void **state) {
        (void)state;
        struct machine plain = start((struct memory){ 0, 0, "" });
        uint64_t host = 12 * engine_page_bytes(plain.engine) + engine_state_bytes(plain.engine);
        stop(&plain);
        struct machine machine = start((struct memory){ 0, host, "" });
        struct kv_verdict verdict;
        for (uint32_t i = 0; i < 4; i++)
                free(turn(&machine, i, TURN_TOKENS, &verdict));
        struct keeper_statistics s = statistics(&machine);
        assert_int_equal(s.cache.refused_adds, 0);
        assert_int_equal(s.n_parked, 1);
        stop(&machine);
}

static void no_more_are_parked_than_may(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 64 << 20, "" });
        struct kv_verdict verdict;
        for (uint32_t i = 0; i < PARKED_MAX + 3; i++)
                free(turn(&machine, i, 2 + i, &verdict));
        assert_int_equal(statistics(&machine).n_parked, PARKED_MAX);
        free(turn(&machine, 0, 3, &verdict)); /* the oldest went first */
        assert_int_not_equal(verdict.tier, KV_TIER_DEVICE);
        free(turn(&machine, PARKED_MAX + 2, PARKED_MAX + 5, &verdict));
        assert_int_equal(verdict.tier, KV_TIER_DEVICE);
        stop(&machine);
}

/* Four places are taken. The first one's prompt is the beginning of the last one's that waits, who
 * thus goes before somebody who came earlier and must be computed. */
static void what_is_kept_by_now_goes_before_what_is_not(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 16 << 20, "" });
        struct world *world = new_world(&machine);
        for (uint32_t i = 0; i < 4; i++)
                generate(world, &world->clients[i], 1 + i, TURN_TOKENS, i == 0 ? 10 : 400);
        generate(world, &world->clients[4], 7, ALL_TOKENS, 10);
        generate(world, &world->clients[5], 1, ALL_TOKENS, 10);
        const struct request *cold = world->clients[4].request, *warm = world->clients[5].request;
        runner_turn(&world->runner, false);
        assert_int_equal(warm->n_found, 0);
        assert_int_equal(cold->queue_place, 1);
        while (!cold->sequence && !warm->sequence)
                runner_turn(&world->runner, false);
        assert_non_null(warm->sequence);
        assert_null(cold->sequence);
        assert_int_equal(warm->n_found, TURN_TOKENS);
        assert_int_equal(warm->verdict.n_reused, TURN_TOKENS);
        assert_int_equal(cold->n_found, 0);
        run_until_idle(world, 6);
        free_world(world);
        stop(&machine);
}

/* -- retention -----------------------------------------------------------------------------------
 */

static void ignore(void *userdata, const struct token_delta *delta, const char *text, size_t n) {
        (void)userdata;
        (void)delta;
        (void)text;
        (void)n;
}

/* The request's answer was a call of the tool "f". */
static void call_a_tool(const struct machine *machine, struct request *request) {
        static const char call[] = "\n\n<｜DSML｜ calls>\n<｜DSML｜ invoke name=\"f\">\n"
                                   "</｜DSML｜ invoke>\n</｜DSML｜ calls>";
        struct answer_options options = { 0 };
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        const struct tokenizer *tokenizer = engine_tokenizer(machine->engine);
        assert_int_equal(chat_tokens_find(tokenizer, &options.tokens, &err), 0);
        assert_int_equal(answer_stream_new(&options, &request->answer), 0);
        assert_int_equal(text_stream_new(tokenizer, NULL, 0, false, &request->text), 0);
        assert_int_equal(
                tokenizer_encode(tokenizer, call, strlen(call), TOKENIZE_SPECIAL, &ids, &err), 0);
        for (size_t i = 0; i < ids.n; i++)
                answer_stream_token(request->answer, request->text,
                                    &(struct token_delta){ .id = ids.ids[i] }, ignore, NULL);
        assert_int_equal(answer_stream_finish(request->answer, request->text, 0, ignore, NULL), 0);
        request->finish_reason = SEEKD__V1__FINISH_REASON__FINISH_REASON_TOOL_CALLS;
}

/* A turn that ended at `end_ns` with a call, or without one (0). */
static void end_turn(struct machine *machine, uint32_t seed, uint64_t end_ns) {
        CLEANUP_FREE float *logits = new_logits(machine);
        struct request *request = ask(seed, TURN_TOKENS);
        begin(machine, request);
        compute(machine, request, logits);
        request->last_token_ns = end_ns;
        if (end_ns != 0)
                call_a_tool(machine, request);
        keeper_end(request);
        request_free(request);
}

static uint64_t until_ns(const struct machine *machine, unsigned i) {
        return machine->keeper->parking.parked[i].until_ns;
}

static void who_waits_for_a_tool_stays_as_long_as_it_takes(void **state) {
        (void)state;
        struct machine machine = start((struct memory){ 0, 16 << 20, "" });
        uint64_t now_ns = clock_ns();
        end_turn(&machine, 1, now_ns);
        end_turn(&machine, 2, 0);
        assert_int_equal(until_ns(&machine, 0), now_ns + PAUSE_UNKNOWN_NS);
        assert_true(keeper_drop_parked(machine.keeper, NULL)); /* not the older one */
        assert_int_equal(statistics(&machine).n_parked, 1);
        assert_int_not_equal(until_ns(&machine, 0), 0);

        struct request *next = ask(1, ALL_TOKENS); /* the tool's answer has come */
        next->received_ns = now_ns + 4 * NS_PER_S;
        keeper_arrived(machine.keeper, next);
        request_free(next);
        uint64_t long_ago_ns = now_ns - 3600 * NS_PER_S;
        end_turn(&machine, 2, 0);
        end_turn(&machine, 3, long_ago_ns);
        assert_int_equal(statistics(&machine).n_parked, 3);
        assert_int_equal(until_ns(&machine, 2), long_ago_ns + 6 * NS_PER_S);
        assert_true(keeper_drop_parked(machine.keeper, NULL)); /* its time is over */
        assert_int_equal(until_ns(&machine, 0), now_ns + PAUSE_UNKNOWN_NS);
        assert_int_equal(until_ns(&machine, 1), 0);
        stop(&machine);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_tier_gives_the_same_logits),
                cmocka_unit_test(a_prompt_sent_again_does_not_take_what_it_left_behind),
                cmocka_unit_test(parked_sequences_are_their_users),
                cmocka_unit_test(a_spilled_sequence_goes_on_from_the_device),
                cmocka_unit_test(pages_that_others_have_kept_are_lent_too),
                cmocka_unit_test(what_found_no_memory_is_lent_when_there_is_some),
                cmocka_unit_test(the_plan_says_how_much_fits),
                cmocka_unit_test(the_smallest_legal_device_is_enough),
                cmocka_unit_test(a_small_device_serves_many),
                cmocka_unit_test(where_memory_is_short_the_youngest_gives_way),
                cmocka_unit_test(conversations_that_fit_together_all_stay),
                cmocka_unit_test(parked_sequences_make_room_on_the_device),
                cmocka_unit_test(parked_sequences_make_room_in_the_host),
                cmocka_unit_test(no_more_are_parked_than_may),
                cmocka_unit_test(what_is_kept_by_now_goes_before_what_is_not),
                cmocka_unit_test(who_waits_for_a_tool_stays_as_long_as_it_takes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
