/* The step scheduler: what it promises, on fixed cases and in a simulation with users who come and
 * go. SEEKD_TEST_SEED and SEEKD_TEST_ROUNDS choose other ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/fair_share.h"
#include "daemon/limits.h"
#include "daemon/scheduler.h"

#define ITEMS_MAX 64
#define BUDGET_MS 50.0
#define USERS     5

/* Steps of the pretended machine: 2 ms, 0.25 ms a row, a little more with what lies behind. */
static double true_ms(struct cost_rows rows) {
        return 2 + 0.25 * (double)rows.n + 2e-6 * (double)rows.behind;
}

static struct cost_rows rows_of(const struct schedule_item *items,
                                const struct schedule_pick *picks, size_t n) {
        struct cost_rows sum = { 0, 0 };
        for (size_t k = 0; k < n; k++) {
                struct cost_rows more = cost_rows(items[picks[k].index].position, picks[k].n);
                sum.n += more.n;
                sum.behind += more.behind;
        }
        return sum;
}

static struct schedule learned(double budget_ms) {
        struct schedule schedule;
        schedule_init(&schedule, budget_ms);
        for (uint64_t i = 0; i < 400; i++) {
                struct cost_rows rows = cost_rows(i * 37 % 5000, 1 + i * 13 % 300);
                cost_model_learn(&schedule.cost, rows, true_ms(rows));
        }
        return schedule;
}

/* What a step means for the requests. */
static void advance(struct schedule_item *items, const struct schedule_pick *picks, size_t n) {
        for (size_t k = 0; k < n; k++) {
                struct schedule_item *it = &items[picks[k].index];
                it->position += picks[k].n;
                if (it->position == it->n_known)
                        it->n_known++;
        }
}

/* -- fixed cases ---------------------------------------------------------------------------------
 */

struct desk {
        struct fair_share share;
        struct flow *flow[3]; /* three users, class TURN */
};

static void desk_init(struct desk *desk) {
        *desk = (struct desk){ 0 };
        for (unsigned i = 0; i < 3; i++)
                assert_non_null(desk->flow[i] = flow_enter(&desk->share, SCHEDULE_TURN, i, 1));
}

static struct schedule_item item(uint64_t arrival, uint64_t position, uint64_t n_known,
                                 struct flow *flow) {
        return (struct schedule_item){ arrival, position, n_known, SCHEDULE_TURN, false, flow };
}

static void decodes_come_before_prefills(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 0, 300, desk.flow[0]),
                                         item(2, 50, 51, desk.flow[1]),
                                         item(3, 0, 40, desk.flow[2]),
                                         item(4, 7, 8, desk.flow[1]) };
        struct schedule schedule = learned(1000);
        struct schedule_pick picks[4];

        assert_int_equal(schedule_step(&schedule, items, 4, 512, picks), 4);
        assert_int_equal(picks[0].index, 1);
        assert_int_equal(picks[0].n, 1);
        assert_int_equal(picks[1].n + picks[2].n, 256 + 40);
        assert_int_equal(picks[3].index, 3); /* the session's second: there is room */
        fair_share_deinit(&desk.share);
}

static void chunks_end_on_absolute_multiples_of_128(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 100, 600, desk.flow[0]) };
        struct schedule schedule = learned(1000);
        struct schedule_pick picks[1];

        assert_int_equal(schedule_step(&schedule, items, 1, 512, picks), 1);
        assert_int_equal(picks[0].n, 28 + 3 * 128);
        items[0].position += picks[0].n;
        assert_int_equal(schedule_step(&schedule, items, 1, 512, picks), 1);
        assert_int_equal(picks[0].n, 600 - 512);
        fair_share_deinit(&desk.share);
}

/* A prompt of whole pages, sent again, goes on from the state before its last page. */
static void the_last_chunk_is_a_step_of_its_own(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 0, 512, desk.flow[0]) };
        struct schedule schedule = learned(1000);
        struct schedule_pick picks[1];

        assert_int_equal(schedule_step(&schedule, items, 1, 1024, picks), 1);
        assert_int_equal(picks[0].n, 384);
        fair_share_deinit(&desk.share);
}

static void a_budget_of_time_bounds_prefills(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 0, 5000, desk.flow[0]),
                                         item(2, 0, 5000, desk.flow[1]) };
        struct schedule schedule = learned(100); /* three chunks of 32 ms */
        struct schedule_pick picks[2];

        size_t n = schedule_step(&schedule, items, 2, 4096, picks);
        uint32_t rows = 0;
        for (size_t i = 0; i < n; i++)
                rows += picks[i].n;
        assert_int_equal(rows, 3 * 128);
        items[1].class = SCHEDULE_INTERACTIVE; /* half of it while somebody urgent is there */
        assert_int_equal(schedule_step(&schedule, items, 2, 4096, picks), 1);
        assert_int_equal(picks[0].index, 1);
        assert_int_equal(picks[0].n, 128);
        fair_share_deinit(&desk.share);
}

static void the_users_take_turns(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 0, 100000, desk.flow[0]),
                                         item(2, 0, 100000, desk.flow[0]),
                                         item(3, 0, 100000, desk.flow[1]),
                                         item(4, 0, 100000, desk.flow[2]) };
        struct schedule schedule = learned(BUDGET_MS);
        uint32_t served[4] = { 0 };
        struct schedule_pick picks[4];
        for (unsigned step = 0; step < 90; step++) {
                size_t n = schedule_step(&schedule, items, 4, 512, picks);
                for (size_t i = 0; i < n; i++)
                        served[picks[i].index] += picks[i].n / 128;
                advance(items, picks, n);
        }
        assert_in_range(served[0] + served[1], served[2] - 2, served[2] + 2);
        assert_in_range(served[3], served[2] - 2, served[2] + 2);
        fair_share_deinit(&desk.share);
}

/* No room for surplus here: two decodes take 2.5 ms, a third 0.25. */
static void requests_of_one_session_take_turns_beside_another(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 100, 101, desk.flow[0]),
                                         item(2, 100, 101, desk.flow[0]),
                                         item(3, 100, 101, desk.flow[0]),
                                         item(4, 100, 101, desk.flow[1]) };
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_pick picks[4];
        for (unsigned step = 0; step < 3 * TURN_STEPS; step++) {
                assert_int_equal(schedule_step(&schedule, items, 4, 512, picks), 2);
                advance(items, picks, 2);
        }
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(items[i].position, 100 + TURN_STEPS);
        assert_int_equal(items[3].position, 100 + 3 * TURN_STEPS);
        assert_int_equal(schedule_step(&schedule, items, 3, 512, picks), 3); /* nobody else */
        fair_share_deinit(&desk.share);
}

/* 2 ms and nearly 0.25 a row: two users' steps of one decode are as long as one of nearly ten. */
static void many_sessions_of_one_user_take_turns_beside_another(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct schedule_item items[20];
        struct schedule_pick picks[20];
        struct schedule schedule = learned(BUDGET_MS);
        for (unsigned i = 0; i < 20; i++)
                items[i] = item(i + 1, 100, 101, flow_enter(&share, SCHEDULE_TURN, i == 7, i));
        for (unsigned step = 0; step < 19; step++) {
                assert_int_equal(schedule_step(&schedule, items, 20, 512, picks), 9);
                advance(items, picks, 9);
        }
        for (unsigned i = 0; i < 20; i++)
                assert_int_equal(items[i].position, 100 + (i == 7 ? 19 : 8));
        fair_share_deinit(&share);
}

static void who_is_urgent_goes_first_and_the_newest_of_them(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct flow *turn = flow_enter(&share, SCHEDULE_TURN, 1, 1),
                    *key = flow_enter(&share, SCHEDULE_INTERACTIVE, 1, 1);
        struct schedule_item items[] = { item(1, 0, 100000, turn), item(2, 0, 100, key),
                                         item(3, 0, 100, key) };
        items[1].class = items[2].class = SCHEDULE_INTERACTIVE;
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_pick picks[3];

        assert_int_equal(schedule_step(&schedule, items, 3, 512, picks), 1); /* half a budget */
        assert_int_equal(picks[0].index, 2);
        fair_share_deinit(&share);
}

static void no_prompt_makes_the_step_of_a_keystroke_longer(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item items[] = { item(1, 0, 5000, desk.flow[0]),
                                         item(2, 0, 40, desk.flow[1]) };
        items[1].class = SCHEDULE_INTERACTIVE;
        struct schedule schedule = learned(1000);
        struct schedule_pick picks[2];

        assert_int_equal(schedule_step(&schedule, items, 2, 512, picks), 1);
        assert_int_equal(picks[0].index, 1);
        advance(items, picks, 1);
        assert_int_equal(schedule_step(&schedule, items, 2, 512, picks), 2); /* it decodes */
        fair_share_deinit(&desk.share);
}

/* Prompts that had the machine to themselves have had their share: a completion that comes waits
 * for no chunk of theirs. */
static void who_was_served_has_earned_nothing(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct flow *turn = flow_enter(&share, SCHEDULE_TURN, 1, 1),
                    *key = flow_enter(&share, SCHEDULE_INTERACTIVE, 1, 1);
        struct schedule_item items[] = { item(1, 0, 1 << 20, turn), item(2, 0, 40, key) };
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_pick picks[2];
        items[1].class = SCHEDULE_INTERACTIVE;
        for (unsigned step = 0; step < 100; step++) {
                assert_int_equal(schedule_step(&schedule, items, 1, 512, picks), 1);
                items[0].position += picks[0].n;
        }
        assert_int_equal(schedule_step(&schedule, items, 2, 512, picks), 1);
        assert_int_equal(picks[0].index, 1);
        fair_share_deinit(&share);
}

static void a_kept_prompt_goes_before_cold_ones_but_not_for_ever(void **state) {
        (void)state;
        struct desk desk;
        desk_init(&desk);
        struct schedule_item cold = item(1, 0, 4000, desk.flow[0]),
                             warm = item(2, 3900, 4000, desk.flow[1]);
        warm.warm = true;
        assert_true(schedule_before(&warm, &cold));
        flow_serve(desk.flow[1], 2 * WARM_MS);
        assert_false(schedule_before(&warm, &cold));
        fair_share_deinit(&desk.share);
}

/* The same among the sessions of one user. */
static void kept_prompts_of_one_session_do_not_starve_another(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct flow *cold = flow_enter(&share, SCHEDULE_AGENT, 1, 1),
                    *kept = flow_enter(&share, SCHEDULE_AGENT, 1, 2);
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_item items[] = { { 1, 0, 1 << 20, SCHEDULE_AGENT, false, cold },
                                         { 2, 9000, 10000, SCHEDULE_AGENT, true, kept } };
        struct schedule_pick picks[2];
        double largest = true_ms(cost_rows(1 << 16, 4 * CHUNK_TOKENS));
        for (unsigned step = 0; step < 1000; step++) {
                size_t n = schedule_step(&schedule, items, 2, 512, picks);
                for (size_t k = 0; k < n; k++)
                        if (picks[k].index == 0)
                                items[0].position += picks[k].n;
                assert_true(kept->served - cold->served <= WARM_MS + largest);
        }
        assert_true(items[0].position > 0);
        fair_share_deinit(&share);
}

static void nobody_saves_up_a_claim_or_loses_a_debt(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct flow *busy = flow_enter(&share, SCHEDULE_TURN, 1, 1),
                    *greedy = flow_enter(&share, SCHEDULE_TURN, 2, 1);
        flow_serve(busy, 500);
        flow_serve(greedy, 900);
        struct flow *late = flow_enter(&share, SCHEDULE_TURN, 3, 1);
        assert_true(late->parent->served == 500);

        flow_leave(&share, greedy);
        greedy = flow_enter(&share, SCHEDULE_TURN, 2, 1);
        assert_true(greedy->parent->served == 900);
        flow_leave(&share, greedy);
        flow_serve(busy, 1000);
        flow_serve(late, 1001);
        flow_leave(&share, late); /* sweeps: all have passed 900 */
        assert_int_equal(share.n_flows,
                         3); /* `busy`, its session, and `late`, who is ahead of it */
        fair_share_deinit(&share);
}

static void the_model_learns_what_steps_cost(void **state) {
        (void)state;
        struct schedule schedule = learned(BUDGET_MS);
        for (uint64_t n = 1; n < 400; n += 57) {
                struct cost_rows rows = cost_rows(1000 * n % 4000, n);
                assert_true(fabs(cost_model_step(&schedule.cost, rows) - true_ms(rows)) <
                            0.02 * true_ms(rows));
        }
        for (unsigned i = 0; i < 100000; i++) /* hours of single decodes */
                cost_model_learn(&schedule.cost, cost_rows(100, 1), 2.25);
        assert_true(isfinite(cost_model_step(&schedule.cost, cost_rows(0, 128))));
        cost_model_learn(&schedule.cost, cost_rows(0, 1), NAN);
        cost_model_learn(&schedule.cost, cost_rows(0, 1), -1);
        for (unsigned i = 0; i < 1000; i++) /* the machine is half as fast */
                cost_model_learn(&schedule.cost, cost_rows(0, 1 + i % 200),
                                 2 * true_ms(cost_rows(0, 1 + i % 200)));
        double ms = cost_model_step(&schedule.cost, cost_rows(0, 100));
        assert_true(fabs(ms / (2 * true_ms(cost_rows(0, 100))) - 1) < 0.05);
}

/* -- simulation ----------------------------------------------------------------------------------
 */

static uint64_t next_random(uint64_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        return *seed;
}

struct world {
        uint64_t seed;
        struct fair_share share;
        struct schedule schedule;
        uint32_t rows_max;
        struct schedule_item item[ITEMS_MAX];
        double waited_ms[ITEMS_MAX]; /* since it was served last, and in how many steps */
        unsigned waited_steps[ITEMS_MAX];
        size_t n_items;
        unsigned n_users;
        uint64_t n_arrivals;
        double longest_chunk_ms;
};

static void arrive(struct world *w) {
        static const enum schedule_class classes[] = { SCHEDULE_INTERACTIVE, SCHEDULE_TURN,
                                                       SCHEDULE_AGENT, SCHEDULE_AGENT,
                                                       SCHEDULE_BACKGROUND };
        if (w->n_items == ITEMS_MAX)
                return;
        enum schedule_class class = classes[next_random(&w->seed) % 5];
        uint64_t n = 2 + next_random(&w->seed) % (class == SCHEDULE_INTERACTIVE ? 200 : 3000),
                 kept = next_random(&w->seed) % 3 == 0 ? n * 19 / 20 : 0;
        struct flow *flow =
                flow_enter(&w->share, class, (uint32_t)(next_random(&w->seed) % w->n_users),
                           next_random(&w->seed) % 3);
        assert_non_null(flow);
        w->waited_ms[w->n_items] = 0;
        w->waited_steps[w->n_items] = 0;
        w->item[w->n_items++] =
                (struct schedule_item){ ++w->n_arrivals,         kept, n, class, kept > 0, flow,
                                        .n_turns = flow->n_turns };
}

static void leave(struct world *w, size_t i) {
        flow_leave(&w->share, w->item[i].flow);
        w->n_items--;
        for (; i < w->n_items; i++) { /* arrivals stay in order */
                w->item[i] = w->item[i + 1];
                w->waited_ms[i] = w->waited_ms[i + 1];
                w->waited_steps[i] = w->waited_steps[i + 1];
        }
}

/* Requests of the session that has the fewest of those that count. */
static unsigned fewest_of_a_session(const struct world *w) {
        unsigned fewest = ITEMS_MAX, fewest_in_background = ITEMS_MAX;
        for (size_t i = 0; i < w->n_items; i++) {
                unsigned n = 0;
                for (size_t k = 0; k < w->n_items; k++)
                        n += w->item[k].flow == w->item[i].flow;
                unsigned *least =
                        w->item[i].class == SCHEDULE_BACKGROUND ? &fewest_in_background : &fewest;
                *least = n < *least ? n : *least;
        }
        return fewest < ITEMS_MAX ? fewest : fewest_in_background;
}

static unsigned n_picked(const struct world *w, const struct schedule_pick *picks, size_t n,
                         const struct flow *flow) {
        unsigned sum = 0;
        for (size_t k = 0; k < n; k++)
                sum += w->item[picks[k].index].flow == flow;
        return sum;
}

static bool has_several_users(const struct world *w) {
        for (size_t i = 0; i < w->n_items; i++)
                if (w->item[i].flow->parent != w->item[0].flow->parent)
                        return true;
        return false;
}

/* More than a turn of each session makes the step SURPLUS longer at most. Returns what is left. */
static double check_surplus(const struct world *w, const struct schedule_pick *picks, size_t n,
                            unsigned turns) {
        const struct cost_model *cost = &w->schedule.cost;
        struct cost_rows base = { 0, 0 };
        for (size_t k = 0; k < n; k++)
                if (!picks[k].surplus) {
                        assert_true(n_picked(w, picks, k, w->item[picks[k].index].flow) < turns);
                        base = cost_rows_sum(base, rows_of(w->item, &picks[k], 1));
                }
        double ms = cost_model_step(cost, rows_of(w->item, picks, n)),
               most = (1 + SURPLUS) * cost_model_step(cost, base);
        assert_true(ms <= most + 1e-9);
        return most - ms;
}

/* Nothing is left out that would have fitted: the first prefill that was passed over is too large
 * for the rows or for the time that are left; or it was not its turn, and what is left for surplus
 * is not enough. */
static void check_work_conserving(const struct world *w, const struct schedule_pick *picks,
                                  size_t n) {
        bool picked[ITEMS_MAX] = { false };
        uint32_t rows = 0;
        double prefill_ms = 0;
        bool urgent = false; /* a completion's prompt, beside which there is no other class's */
        unsigned turns = fewest_of_a_session(w);
        for (size_t k = 0; k < n; k++) {
                const struct schedule_item *it = &w->item[picks[k].index];
                assert_false(picked[picks[k].index]);
                picked[picks[k].index] = true;
                assert_in_range(picks[k].n, 1, it->n_known - it->position);
                uint64_t end = it->position + picks[k].n;
                assert_true(end == it->n_known || end % CHUNK_TOKENS == 0);
                rows += picks[k].n;
                urgent |= it->class == SCHEDULE_INTERACTIVE && it->n_known - it->position > 1;
                if (it->n_known - it->position > 1)
                        prefill_ms += cost_model_more(&w->schedule.cost,
                                                      cost_rows(it->position, picks[k].n));
        }
        assert_true(rows <= w->rows_max && n >= 1);
        double surplus_ms = check_surplus(w, picks, n, turns),
               row_ms = fmax(cost_model_more(&w->schedule.cost, cost_rows(0, 1)),
                             cost_model_more(&w->schedule.cost, cost_rows(8192, 1)));
        for (size_t i = 0; i < w->n_items; i++) {
                const struct schedule_item *it = &w->item[i];
                bool decode = it->n_known - it->position == 1,
                     had_turn = n_picked(w, picks, n, it->flow) >= turns;
                if (picked[i] || rows == w->rows_max)
                        continue;
                if (decode) /* those whose turn it is fit: ITEMS_MAX < CHUNK_TOKENS */
                        assert_true((had_turn || has_several_users(w)) && row_ms > surplus_ms);
                else if (rows + CHUNK_TOKENS <= w->rows_max && !had_turn &&
                         !(urgent && it->class != SCHEDULE_INTERACTIVE))
                        assert_true(prefill_ms + w->longest_chunk_ms >= BUDGET_MS * 0.5);
        }
}

/* Decodes take no longer than each user's in turn would if he had as many as whoever has fewest. */
static void check_users(const struct world *w, const struct schedule_pick *picks, size_t n) {
        const struct cost_model *cost = &w->schedule.cost;
        struct cost_rows decodes = { 0, 0 };
        unsigned n_users = 0, n_of[USERS * SCHEDULE_CLASSES] = { 0 }, fewest = ITEMS_MAX;
        bool only_background = true;
        for (size_t i = 0; i < w->n_items; i++)
                only_background &= w->item[i].class == SCHEDULE_BACKGROUND;
        for (size_t i = 0; i < w->n_items; i++)
                if (w->item[i].class != SCHEDULE_BACKGROUND || only_background)
                        n_of[w->item[i].class * USERS + w->item[i].flow->parent->key]++;
        for (unsigned u = 0; u < USERS * SCHEDULE_CLASSES; u++) {
                n_users += n_of[u] > 0;
                fewest = n_of[u] > 0 && n_of[u] < fewest ? n_of[u] : fewest;
        }
        for (size_t k = 0; k < n; k++)
                if (picks[k].n == 1 &&
                    w->item[picks[k].index].n_known == w->item[picks[k].index].position + 1)
                        decodes = cost_rows_sum(decodes, rows_of(w->item, &picks[k], 1));
        double most = n_users * cost_model_step(cost, cost_rows(8192, fewest)) +
                SURPLUS * cost_model_step(cost, rows_of(w->item, picks, n));
        if (n_users > 1 && decodes.n > SCHEDULE_CLASSES * USERS)
                assert_true(cost_model_step(cost, decodes) <= most);
}

static void check_waits(struct world *w, const struct schedule_pick *picks, size_t n, double ms) {
        for (size_t i = 0; i < w->n_items; i++) {
                w->waited_ms[i] += ms;
                w->waited_steps[i]++;
        }
        for (size_t k = 0; k < n; k++) {
                w->waited_ms[picks[k].index] = 0;
                w->waited_steps[picks[k].index] = 0;
        }
        for (size_t i = 0; i < w->n_items; i++) {
                /* Lowest share 0.02, at most ITEMS_MAX before it in its class, a longest chunk
                 * each, and WARM_MS for each user who may be ahead: */
                double bound = (ITEMS_MAX * w->longest_chunk_ms + 5 * WARM_MS) / 0.02;
                assert_true(w->waited_ms[i] < bound);
        }
}

/* Among those who were there all along: who is served by turns is apart by no more than a pick of
 * each, and the head start. */
static void run_world(uint64_t seed, unsigned n_steps) {
        struct world w = { .seed = seed, .schedule = learned(BUDGET_MS) };
        struct schedule_pick picks[ITEMS_MAX];
        w.rows_max = 2 * CHUNK_TOKENS + (uint32_t)(next_random(&w.seed) % 600);
        w.n_users = 1 + (unsigned)(next_random(&w.seed) % USERS);
        w.longest_chunk_ms = true_ms(cost_rows(8192, CHUNK_TOKENS));
        for (unsigned step = 0; step < n_steps; step++) {
                if (next_random(&w.seed) % 4 == 0 || w.n_items == 0)
                        arrive(&w);
                size_t n = schedule_step(&w.schedule, w.item, w.n_items, w.rows_max, picks);
                check_work_conserving(&w, picks, n);
                check_users(&w, picks, n);
                double ms = true_ms(rows_of(w.item, picks, n)) *
                        (0.8 + (double)(next_random(&w.seed) % 400) / 1000);
                schedule_took(&w.schedule, w.item, picks, n, ms);
                check_waits(&w, picks, n, ms);
                advance(w.item, picks, n);
                for (size_t i = w.n_items; i-- > 0;) /* ends, or is cancelled */
                        if (next_random(&w.seed) % (w.item[i].position > 100 ? 40 : 400) == 0)
                                leave(&w, i);
        }
        while (w.n_items > 0)
                leave(&w, w.n_items - 1);
        fair_share_deinit(&w.share);
}

static uint64_t from_environment(const char *name, uint64_t otherwise) {
        const char *text = getenv(name);
        return text ? strtoull(text, NULL, 10) : otherwise;
}

static void simulation(void **state) {
        (void)state;
        uint64_t seed = from_environment("SEEKD_TEST_SEED", 88172645463325252ULL),
                 rounds = from_environment("SEEKD_TEST_ROUNDS", 50);
        printf("seed %llu\n", (unsigned long long)seed);
        for (uint64_t i = 0; i < rounds; i++)
                run_world(seed + i, 2000);
}

/* Equal users who always want more: the most and the least served are never further apart than two
 * of the largest picks. (Whoever is picked had the least; the pick puts it at most one pick ahead
 * of all others; the same holds for each of them. Both ends move by a pick: two.) */
static void the_service_gap_is_bounded(void **state) {
        (void)state;
        struct fair_share share = { 0 };
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_item items[8];
        struct schedule_pick picks[8];
        double largest = true_ms(cost_rows(70000, 4 * CHUNK_TOKENS));
        for (unsigned i = 0; i < 8; i++) /* user i has i + 1 ... sessions would not help either */
                items[i] = (struct schedule_item){
                        i + 1,          0,     1 << 20,
                        SCHEDULE_AGENT, false, flow_enter(&share, SCHEDULE_AGENT, i < 4 ? 0 : i, i)
                };
        for (unsigned step = 0; step < 2000; step++) {
                size_t n = schedule_step(&schedule, items, 8, 512, picks);
                for (size_t k = 0; k < n; k++)
                        items[picks[k].index].position =
                                (items[picks[k].index].position + picks[k].n) % 65536;
                double least = INFINITY, most = 0;
                for (unsigned i = 3; i < 8; i++) { /* 0 to 3 are one user */
                        double served = items[i].flow->parent->served;
                        least = served < least ? served : least;
                        most = served > most ? served : most;
                }
                assert_true(most - least <= 2 * largest);
        }
        fair_share_deinit(&share);
}

/* While prefills of every class never end, a lower class gets its share. */
static void each_class_gets_its_share(void **state) {
        (void)state;
        static const double at_least[SCHEDULE_CLASSES] = { 0.5, 0.18, 0.09, 0.018 };
        struct fair_share share = { 0 };
        struct schedule schedule = learned(BUDGET_MS);
        struct schedule_item items[SCHEDULE_CLASSES];
        struct schedule_pick picks[SCHEDULE_CLASSES];
        double ms[SCHEDULE_CLASSES] = { 0 }, all = 0;
        for (unsigned class = 0; class < SCHEDULE_CLASSES; class ++)
                items[class] =
                        (struct schedule_item){ class + 1, 0,     1 << 30,
                                                class,     false, flow_enter(&share, class, 1, 1) };
        for (unsigned step = 0; step < 5000; step++) {
                size_t n = schedule_step(&schedule, items, SCHEDULE_CLASSES, 512, picks);
                for (size_t k = 0; k < n; k++) {
                        double t = true_ms(cost_rows(0, picks[k].n));
                        ms[picks[k].index] += t;
                        all += t;
                }
        }
        for (unsigned class = 0; class < SCHEDULE_CLASSES; class ++)
                assert_true(ms[class] >= at_least[class] * all);
        fair_share_deinit(&share);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(decodes_come_before_prefills),
                cmocka_unit_test(chunks_end_on_absolute_multiples_of_128),
                cmocka_unit_test(the_last_chunk_is_a_step_of_its_own),
                cmocka_unit_test(a_budget_of_time_bounds_prefills),
                cmocka_unit_test(the_users_take_turns),
                cmocka_unit_test(requests_of_one_session_take_turns_beside_another),
                cmocka_unit_test(many_sessions_of_one_user_take_turns_beside_another),
                cmocka_unit_test(who_is_urgent_goes_first_and_the_newest_of_them),
                cmocka_unit_test(no_prompt_makes_the_step_of_a_keystroke_longer),
                cmocka_unit_test(a_kept_prompt_goes_before_cold_ones_but_not_for_ever),
                cmocka_unit_test(kept_prompts_of_one_session_do_not_starve_another),
                cmocka_unit_test(nobody_saves_up_a_claim_or_loses_a_debt),
                cmocka_unit_test(who_was_served_has_earned_nothing),
                cmocka_unit_test(the_model_learns_what_steps_cost),
                cmocka_unit_test(simulation),
                cmocka_unit_test(the_service_gap_is_bounded),
                cmocka_unit_test(each_class_gets_its_share),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
