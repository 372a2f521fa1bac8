/* What clients wait for, by the clock of a pretended machine: agents beside a session that floods,
 * against the same session asking for one thing at a time; a completion at a keystroke beside long
 * prompts. Exact numbers, printed. SEEKD_TEST_SEED chooses other pauses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/fair_share.h"
#include "daemon/scheduler.h"

#define AGENTS    4
#define FLOOD_MAX 14 /* what admission leaves to one session beside so many */
#define ASKERS    (AGENTS + FLOOD_MAX)
#define PLAY_MS   2e6
#define SAMPLES   400000

struct samples {
        double ms[SAMPLES];
        size_t n;
};

/* Sends one request after the other. */
struct asker {
        bool is_watched;
        uint64_t session;
        enum schedule_class class;
        uint32_t n_prompt, n_answer;
        double pause_ms;

        struct flow *flow; /* NULL: pauses until */
        double due_ms;
        struct schedule_item item;
        double shown_ms; /* when the token before came, or the request was sent */
        uint32_t n_shown;
};

struct machine {
        double fixed_ms, row_ms; /* of a step */
};

struct world {
        struct machine machine;
        uint64_t seed;
        struct fair_share share;
        struct schedule schedule;
        struct asker asker[ASKERS];
        unsigned n_askers;
        uint64_t n_arrivals;
        double now_ms;
        struct samples first, next; /* waits for tokens of those that are watched */
        unsigned n_others;          /* tokens of the others */
        unsigned n_steps;
};

struct outcome {
        double first, next; /* p95, ms */
        unsigned n_others;
        double step_ms; /* on average */
};

static uint64_t next_random(uint64_t *seed) {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        return *seed;
}

static void add_sample(struct samples *samples, double ms) {
        if (samples->n < SAMPLES)
                samples->ms[samples->n++] = ms;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;
        return (x > y) - (x < y);
}

static double p95(struct samples *samples) {
        assert_true(samples->n > 500);
        qsort(samples->ms, samples->n, sizeof(double), compare);
        return samples->ms[samples->n * 95 / 100];
}

static void ask(struct world *w, struct asker *asker) {
        asker->flow = flow_enter(&w->share, asker->class, 1, asker->session);
        assert_non_null(asker->flow);
        asker->item = (struct schedule_item){ .arrival = ++w->n_arrivals,
                                              .n_known = asker->n_prompt,
                                              .class = asker->class,
                                              .flow = asker->flow };
        asker->shown_ms = asker->due_ms;
        asker->n_shown = 0;
}

static void show(struct world *w, struct asker *asker) {
        if (asker->is_watched)
                add_sample(asker->n_shown == 0 ? &w->first : &w->next, w->now_ms - asker->shown_ms);
        else
                w->n_others++;
        asker->shown_ms = w->now_ms;
        asker->item.n_known++;
        if (++asker->n_shown < asker->n_answer)
                return;
        asker->flow = flow_leave(&w->share, asker->flow);
        double jitter = 0.5 + (double)(next_random(&w->seed) % 1000) / 1000;
        asker->due_ms = w->now_ms + asker->pause_ms * jitter;
}

static size_t collect(struct world *w, struct schedule_item *items, struct asker **of) {
        size_t n = 0;
        for (unsigned i = 0; i < w->n_askers; i++) {
                struct asker *asker = &w->asker[i];
                if (!asker->flow && asker->due_ms <= w->now_ms)
                        ask(w, asker);
                if (!asker->flow)
                        continue;
                of[n] = asker;
                items[n++] = asker->item;
        }
        return n;
}

static void step(struct world *w) {
        struct schedule_item items[ASKERS];
        struct asker *of[ASKERS];
        struct schedule_pick picks[ASKERS];
        struct cost_rows rows = { 0, 0 };
        size_t n_items = collect(w, items, of),
               n = schedule_step(&w->schedule, items, n_items, 512, picks);
        for (size_t k = 0; k < n; k++)
                rows = cost_rows_sum(rows, cost_rows(items[picks[k].index].position, picks[k].n));
        double ms = w->machine.fixed_ms + w->machine.row_ms * (double)rows.n;
        w->now_ms += n > 0 ? ms : 1;
        w->n_steps += n > 0;
        schedule_took(&w->schedule, items, picks, n, ms);
        for (size_t k = 0; k < n; k++) {
                struct asker *asker = of[picks[k].index];
                asker->item = items[picks[k].index];
                asker->item.position += picks[k].n;
                if (asker->item.position == asker->item.n_known)
                        show(w, asker);
        }
}

static struct outcome play(struct machine machine, const struct asker *askers, unsigned n) {
        const char *seed = getenv("SEEKD_TEST_SEED");
        struct world *w = calloc(1, sizeof(*w));
        assert_non_null(w);
        w->machine = machine;
        w->seed = seed ? strtoull(seed, NULL, 10) : 88172645463325252ULL;
        schedule_init(&w->schedule, 50);
        for (unsigned i = 0; i < n; i++)
                w->asker[w->n_askers++] = askers[i];
        while (w->now_ms < PLAY_MS)
                step(w);
        struct outcome outcome = { p95(&w->first), w->next.n > 0 ? p95(&w->next) : 0, w->n_others,
                                   w->now_ms / w->n_steps };
        for (unsigned i = 0; i < w->n_askers; i++)
                flow_leave(&w->share, w->asker[i].flow);
        fair_share_deinit(&w->share);
        free(w);
        return outcome;
}

/* -- a flood -------------------------------------------------------------------------------------
 */

/* Its prompts fill a step's budget, one by one or together: who comes to a machine that only the
 * flood was using waits for such a step, in either case. */
static struct outcome play_flood(struct machine machine, unsigned n_flood) {
        struct asker askers[ASKERS];
        for (unsigned i = 0; i < AGENTS; i++)
                askers[i] = (struct asker){ true, 1 + i, SCHEDULE_AGENT, 60 + 20 * i, 30, 400 };
        for (unsigned i = 0; i < n_flood; i++)
                askers[AGENTS + i] = (struct asker){ false, 0, SCHEDULE_AGENT, 4000, 250, 0 };
        return play(machine, askers, AGENTS + n_flood);
}

static void check_flood(struct machine machine) {
        struct outcome alone = play_flood(machine, 0), polite = play_flood(machine, 1),
                       flood = play_flood(machine, FLOOD_MAX);
        printf("step %.1f ms, row %.2f ms: p95 of first and next tokens: alone %.1f %.1f ms, "
               "polite %.1f %.1f ms, flood %.1f %.1f ms; its tokens %u and %u\n",
               machine.fixed_ms, machine.row_ms, alone.first, alone.next, polite.first, polite.next,
               flood.first, flood.next, polite.n_others, flood.n_others);
        assert_true(flood.first < 1.1 * polite.first);
        assert_true(flood.next < 1.1 * polite.next);
        assert_true(flood.n_others > 0.75 * polite.n_others); /* nor is it punished */
}

static void a_flood_where_each_row_costs_as_much_as_a_step(void **state) {
        (void)state;
        check_flood((struct machine){ 2, 2 });
}

static void a_flood_where_a_row_costs_an_eighth_of_a_step(void **state) {
        (void)state;
        check_flood((struct machine){ 2, 0.25 });
}

static void a_flood_where_rows_cost_nearly_nothing(void **state) {
        (void)state;
        check_flood((struct machine){ 20, 0.1 });
}

/* -- a keystroke ---------------------------------------------------------------------------------
 */

static struct outcome play_keystrokes(struct machine machine, unsigned n_prompts) {
        const struct asker askers[] = { { true, 1, SCHEDULE_INTERACTIVE, 40, 1, 300 },
                                        { false, 2, SCHEDULE_TURN, 100000, 1, 0 },
                                        { false, 3, SCHEDULE_TURN, 100000, 1, 0 } };
        return play(machine, askers, 1 + n_prompts);
}

static void check_keystrokes(struct machine machine) {
        struct outcome alone = play_keystrokes(machine, 0), beside = play_keystrokes(machine, 2);
        printf("step %.1f ms, row %.2f ms: p95 of a completion's first token: alone %.1f ms, "
               "beside "
               "two long prompts %.1f ms, of which a step takes %.1f ms\n",
               machine.fixed_ms, machine.row_ms, alone.first, beside.first, beside.step_ms);
        assert_true(beside.first < 1.5 * alone.first + beside.step_ms);
}

static void a_keystroke_beside_long_prompts(void **state) {
        (void)state;
        check_keystrokes((struct machine){ 2, 0.25 });
        check_keystrokes((struct machine){ 20, 0.1 });
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_flood_where_each_row_costs_as_much_as_a_step),
                cmocka_unit_test(a_flood_where_a_row_costs_an_eighth_of_a_step),
                cmocka_unit_test(a_flood_where_rows_cost_nearly_nothing),
                cmocka_unit_test(a_keystroke_beside_long_prompts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
