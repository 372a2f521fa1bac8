/* One session that floods, among agents who ask for one thing at a time: what they wait for, by the
 * clock of a pretended machine, against the same session asking for one thing at a time. Exact
 * numbers, printed. SEEKD_TEST_SEED chooses other agents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/fair_share.h"
#include "daemon/scheduler.h"

#define AGENTS    4
#define FLOOD_MAX 14 /* what admission leaves to one session beside so many */
#define ASKERS    (AGENTS + FLOOD_MAX)
#define FLOOD_MS  2e6
#define SAMPLES   400000
#define FLOODER   0 /* its session */

struct samples {
        double ms[SAMPLES];
        size_t n;
};

/* Sends one request after the other. */
struct asker {
        uint64_t session;
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

struct flood {
        struct machine machine;
        uint64_t seed;
        struct fair_share share;
        struct schedule schedule;
        struct asker asker[ASKERS];
        unsigned n_askers;
        uint64_t n_arrivals;
        double now_ms;
        struct samples first, next; /* waits for agents' tokens */
        unsigned n_flooded;         /* tokens of the others */
};

struct outcome {
        double first, next; /* p95, ms */
        unsigned n_flooded;
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

static void ask(struct flood *f, struct asker *asker) {
        asker->flow = flow_enter(&f->share, SCHEDULE_AGENT, 1, asker->session);
        assert_non_null(asker->flow);
        asker->item = (struct schedule_item){ .arrival = ++f->n_arrivals,
                                              .n_known = asker->n_prompt,
                                              .class = SCHEDULE_AGENT,
                                              .flow = asker->flow };
        asker->shown_ms = asker->due_ms;
        asker->n_shown = 0;
}

static void show(struct flood *f, struct asker *asker) {
        if (asker->session == FLOODER)
                f->n_flooded++;
        else
                add_sample(asker->n_shown == 0 ? &f->first : &f->next, f->now_ms - asker->shown_ms);
        asker->shown_ms = f->now_ms;
        asker->item.n_known++;
        if (++asker->n_shown < asker->n_answer)
                return;
        asker->flow = flow_leave(&f->share, asker->flow);
        double jitter = 0.5 + (double)(next_random(&f->seed) % 1000) / 1000;
        asker->due_ms = f->now_ms + asker->pause_ms * jitter;
}

static size_t collect(struct flood *f, struct schedule_item *items, struct asker **of) {
        size_t n = 0;
        for (unsigned i = 0; i < f->n_askers; i++) {
                struct asker *asker = &f->asker[i];
                if (!asker->flow && asker->due_ms <= f->now_ms)
                        ask(f, asker);
                if (!asker->flow)
                        continue;
                of[n] = asker;
                items[n++] = asker->item;
        }
        return n;
}

static void step(struct flood *f) {
        struct schedule_item items[ASKERS];
        struct asker *of[ASKERS];
        struct schedule_pick picks[ASKERS];
        struct cost_rows rows = { 0, 0 };
        size_t n_items = collect(f, items, of),
               n = schedule_step(&f->schedule, items, n_items, 512, picks);
        for (size_t k = 0; k < n; k++)
                rows = cost_rows_sum(rows, cost_rows(items[picks[k].index].position, picks[k].n));
        double ms = f->machine.fixed_ms + f->machine.row_ms * (double)rows.n;
        f->now_ms += n > 0 ? ms : 1;
        schedule_took(&f->schedule, items, picks, n, ms);
        for (size_t k = 0; k < n; k++) {
                struct asker *asker = of[picks[k].index];
                asker->item = items[picks[k].index];
                asker->item.position += picks[k].n;
                if (asker->item.position == asker->item.n_known)
                        show(f, asker);
        }
}

/* The flood's prompts fill a step's budget, one by one or together: who comes to a machine that
 * only the flood was using waits for such a step, in either case. */
static struct outcome play(struct machine machine, unsigned n_flood) {
        const char *seed = getenv("SEEKD_TEST_SEED");
        struct flood *f = calloc(1, sizeof(*f));
        assert_non_null(f);
        f->machine = machine;
        f->seed = seed ? strtoull(seed, NULL, 10) : 88172645463325252ULL;
        schedule_init(&f->schedule, 50);
        for (unsigned i = 0; i < AGENTS; i++)
                f->asker[f->n_askers++] = (struct asker){ 1 + i, 60 + 20 * i, 30, 400 };
        for (unsigned i = 0; i < n_flood; i++)
                f->asker[f->n_askers++] = (struct asker){ FLOODER, 4000, 250, 0 };
        while (f->now_ms < FLOOD_MS)
                step(f);
        struct outcome outcome = { p95(&f->first), p95(&f->next), f->n_flooded };
        for (unsigned i = 0; i < f->n_askers; i++)
                flow_leave(&f->share, f->asker[i].flow);
        fair_share_deinit(&f->share);
        free(f);
        return outcome;
}

static void check(struct machine machine) {
        struct outcome alone = play(machine, 0), polite = play(machine, 1),
                       flood = play(machine, FLOOD_MAX);
        printf("step %.1f ms, row %.2f ms: p95 of first and next tokens: alone %.1f %.1f ms, "
               "polite %.1f %.1f ms, flood %.1f %.1f ms; its tokens %u and %u\n",
               machine.fixed_ms, machine.row_ms, alone.first, alone.next, polite.first, polite.next,
               flood.first, flood.next, polite.n_flooded, flood.n_flooded);
        assert_true(flood.first < 1.1 * polite.first);
        assert_true(flood.next < 1.1 * polite.next);
        assert_true(flood.n_flooded > 0.75 * polite.n_flooded); /* nor is it punished */
}

static void where_each_row_costs_as_much_as_a_step(void **state) {
        (void)state;
        check((struct machine){ 2, 2 });
}

static void where_a_row_costs_an_eighth_of_a_step(void **state) {
        (void)state;
        check((struct machine){ 2, 0.25 });
}

static void where_rows_cost_nearly_nothing(void **state) {
        (void)state;
        check((struct machine){ 20, 0.1 });
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(where_each_row_costs_as_much_as_a_step),
                cmocka_unit_test(where_a_row_costs_an_eighth_of_a_step),
                cmocka_unit_test(where_rows_cost_nearly_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
