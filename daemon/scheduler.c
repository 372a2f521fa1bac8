#include "daemon/scheduler.h"

#include <assert.h>
#include <math.h>

#include "daemon/fair_share.h"
#include "daemon/limits.h"

/* Part of all time that a class gets when higher ones would take everything. A hundredth of an
 * hour-long prefill is not nothing: half a minute of progress. Interactive needs none, nobody is
 * above it. */
static const double share_of[SCHEDULE_CLASSES] = {
        [SCHEDULE_INTERACTIVE] = 0,
        [SCHEDULE_TURN] = 0.20,
        [SCHEDULE_AGENT] = 0.10,
        [SCHEDULE_BACKGROUND] = 0.02,
};

/* The budget while an interactive request is being answered: its decodes come between. */
#define URGENT_BUDGET 0.5

void schedule_init(struct schedule *ret, double budget_ms) {
        *ret = (struct schedule){ .budget_ms = budget_ms };
        cost_model_init(&ret->cost);
}

static uint64_t pending(const struct schedule_item *item) {
        return item->n_known - item->position;
}

static bool is_prefill(const struct schedule_item *item) {
        return pending(item) > 1;
}

/* Tokens up to the next multiple of CHUNK_TOKENS, or all that are pending. */
static uint32_t chunk(uint64_t position, uint64_t n_known) {
        uint64_t room = CHUNK_TOKENS - position % CHUNK_TOKENS, left = n_known - position;
        return (uint32_t)(left < room ? left : room);
}

static double chunk_ms(const struct schedule *schedule, const struct schedule_item *item) {
        return cost_model_more(&schedule->cost,
                               cost_rows(item->position, chunk(item->position, item->n_known)));
}

static struct cost_rows picked_rows(const struct schedule_item *items,
                                    const struct schedule_pick *picks, size_t n_picks) {
        struct cost_rows rows = { 0, 0 };
        for (size_t k = 0; k < n_picks; k++) {
                struct cost_rows more = cost_rows(items[picks[k].index].position, picks[k].n);
                rows = (struct cost_rows){ rows.n + more.n, rows.behind + more.behind };
        }
        return rows;
}

/* -- order ---------------------------------------------------------------------------------------
 */

/* A head start of WARM_MS, before other users and before the user's own sessions. */
static double claim(const struct schedule_item *item) {
        const struct flow *user = item->flow->parent;
        bool first = item->warm && item->flow->served <= user->least + WARM_MS;
        return user->served - (first ? WARM_MS : 0);
}

/* One key after the other, so that the order is transitive and may be sorted by. */
bool schedule_before(const struct schedule_item *a, const struct schedule_item *b) {
        if (a->class != b->class)
                return a->class < b->class;
        if (claim(a) != claim(b))
                return claim(a) < claim(b);
        if (a->flow->parent != b->flow->parent)
                return a->flow->parent->key < b->flow->parent->key;
        if (a->flow->served != b->flow->served)
                return a->flow->served < b->flow->served;
        bool newest_first = a->class == SCHEDULE_INTERACTIVE;
        return newest_first ? a->arrival > b->arrival : a->arrival < b->arrival;
}

/* -- one step ------------------------------------------------------------------------------------
 */

struct plan {
        struct schedule *schedule;
        const struct schedule_item *items;
        size_t n_items;
        struct schedule_pick *pick;
        size_t n_picks;
        uint32_t rows_left;
        double ms_left; /* of the budget for prefills */
};

static bool is_picked(const struct plan *plan, size_t index) {
        for (size_t i = 0; i < plan->n_picks; i++)
                if (plan->pick[i].index == index)
                        return true;
        return false;
}

static void take(struct plan *plan, size_t index, uint32_t n) {
        const struct schedule_item *item = &plan->items[index];
        double ms = cost_model_more(&plan->schedule->cost, cost_rows(item->position, n));
        plan->pick[plan->n_picks++] = (struct schedule_pick){ index, n };
        plan->rows_left -= n;
        if (is_prefill(item)) {
                double *earned = &plan->schedule->earned_ms[item->class];
                *earned = fmax(0, *earned - ms);
                plan->ms_left -= ms;
        }
        flow_serve(item->flow, ms);
}

/* Index of the first item that arrived after `arrival`, 0 when there is none. */
static size_t first_after(const struct plan *plan, uint64_t arrival) {
        for (size_t i = 0; i < plan->n_items; i++)
                if (plan->items[i].arrival > arrival)
                        return i;
        return 0;
}

static void take_decodes(struct plan *plan, uint32_t rows_kept) {
        size_t start = first_after(plan, plan->schedule->decoded);
        for (size_t k = 0; k < plan->n_items && plan->rows_left > rows_kept; k++) {
                size_t i = (start + k) % plan->n_items;
                if (is_prefill(&plan->items[i]))
                        continue;
                take(plan, i, 1);
                plan->schedule->decoded = plan->items[i].arrival;
        }
}

/* The prefill that goes next, of one class or of any (SCHEDULE_CLASSES). SIZE_MAX: none. */
static size_t first_prefill(const struct plan *plan, enum schedule_class class) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < plan->n_items; i++) {
                const struct schedule_item *item = &plan->items[i];
                if (!is_prefill(item) || (class != SCHEDULE_CLASSES && item->class != class) ||
                    is_picked(plan, i))
                        continue;
                if (best == SIZE_MAX || schedule_before(item, &plan->items[best]))
                        best = i;
        }
        return best;
}

/* Whole chunks as long as rows and time last, one at least. The last one is never joined to others:
 * the state before it is kept. */
static uint32_t prefill_tokens(const struct plan *plan, const struct schedule_item *item) {
        uint32_t n = chunk(item->position, item->n_known);
        while (item->position + n + CHUNK_TOKENS < item->n_known &&
               n + CHUNK_TOKENS <= plan->rows_left &&
               cost_model_more(&plan->schedule->cost,
                               cost_rows(item->position, n + CHUNK_TOKENS)) <= plan->ms_left)
                n += CHUNK_TOKENS;
        return n;
}

/* One chunk for the lowest class that has earned it and would otherwise wait for higher ones. */
static void take_earned(struct plan *plan) {
        size_t first = first_prefill(plan, SCHEDULE_CLASSES);
        for (unsigned class = SCHEDULE_BACKGROUND; class > SCHEDULE_INTERACTIVE; class --) {
                size_t i = first_prefill(plan, class);
                if (i == SIZE_MAX || plan->items[first].class == class)
                        continue;
                double ms = chunk_ms(plan->schedule, &plan->items[i]);
                uint32_t n = chunk(plan->items[i].position, plan->items[i].n_known);
                if (plan->schedule->earned_ms[class] < ms || n > plan->rows_left)
                        continue;
                take(plan, i, n);
                return;
        }
}

static void take_prefills(struct plan *plan) {
        bool first = true;
        for (size_t i; (i = first_prefill(plan, SCHEDULE_CLASSES)) != SIZE_MAX; first = false) {
                const struct schedule_item *item = &plan->items[i];
                if (chunk(item->position, item->n_known) > plan->rows_left)
                        return; /* a smaller one behind it must not overtake it for ever */
                if (!first && chunk_ms(plan->schedule, item) > plan->ms_left)
                        return;
                take(plan, i, prefill_tokens(plan, item));
        }
}

/* A class with prefills earns its share of the step; what it is served counts against that, so that
 * one that had the machine to itself has no claim on the step in which somebody urgent comes. Up to
 * two chunks: one to wait its turn behind other earners, no more, else it would be a burst. */
static void earn(const struct plan *plan) {
        struct schedule *schedule = plan->schedule;
        double most[SCHEDULE_CLASSES] = { 0 };
        for (size_t i = 0; i < plan->n_items; i++) {
                const struct schedule_item *item = &plan->items[i];
                if (is_prefill(item))
                        most[item->class] = fmax(most[item->class], 2 * chunk_ms(schedule, item));
        }
        double ms = cost_model_step(&schedule->cost,
                                    picked_rows(plan->items, plan->pick, plan->n_picks));
        for (unsigned class = SCHEDULE_TURN; class < SCHEDULE_CLASSES; class ++)
                schedule->earned_ms[class] =
                        fmin(schedule->earned_ms[class] + share_of[class] * ms, most[class]);
}

static double budget(const struct plan *plan) {
        for (size_t i = 0; i < plan->n_items; i++)
                if (plan->items[i].class == SCHEDULE_INTERACTIVE)
                        return plan->schedule->budget_ms * URGENT_BUDGET;
        return plan->schedule->budget_ms;
}

size_t schedule_step(struct schedule *schedule, const struct schedule_item *items, size_t n_items,
                     uint32_t rows_max, struct schedule_pick *ret) {
        assert(rows_max >= 2 * CHUNK_TOKENS);
        struct plan plan = { schedule, items, n_items, ret, 0, rows_max, 0 };
        bool any_prefill = first_prefill(&plan, SCHEDULE_CLASSES) != SIZE_MAX;

        plan.ms_left = budget(&plan);
        take_decodes(&plan, any_prefill ? CHUNK_TOKENS : 0);
        if (any_prefill) {
                take_earned(&plan);
                take_prefills(&plan);
                earn(&plan);
        }
        return plan.n_picks;
}

void schedule_took(struct schedule *schedule, const struct schedule_item *items,
                   const struct schedule_pick *picks, size_t n_picks, double ms) {
        cost_model_learn(&schedule->cost, picked_rows(items, picks, n_picks), ms);
}
