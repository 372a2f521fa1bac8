#include "daemon/scheduler.h"

#include <assert.h>
#include <limits.h>
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
        for (size_t k = 0; k < n_picks; k++)
                rows = cost_rows_sum(rows, cost_rows(items[picks[k].index].position, picks[k].n));
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

/* -- whose turn it is ----------------------------------------------------------------------------
 */

struct plan {
        struct schedule *schedule;
        struct schedule_item *items;
        size_t n_items;
        bool only_background;
        unsigned turns;           /* of each session in this step */
        unsigned user_turns;      /* of each user's decodes */
        struct cost_rows decodes; /* whose turn it is */
        struct schedule_pick *pick;
        size_t n_picks;
        uint32_t rows_left;
        double ms_left; /* of the budget for prefills */
};

/* Whoever comes, or could not be computed for a while, begins with those who have had fewest turns:
 * with a whole one. */
static uint64_t n_turns(const struct schedule_item *item) {
        uint64_t fewest = item->flow->n_turns / TURN_STEPS * TURN_STEPS;
        return item->n_turns > fewest ? item->n_turns : fewest;
}

/* Of one session: who has had fewer turns, then who came first, or, at a keystroke, last. */
static bool goes_before(const struct schedule_item *a, const struct schedule_item *b) {
        if (n_turns(a) / TURN_STEPS != n_turns(b) / TURN_STEPS)
                return n_turns(a) < n_turns(b);
        bool newest_first = a->class == SCHEDULE_INTERACTIVE;
        return newest_first ? a->arrival > b->arrival : a->arrival < b->arrival;
}

static bool waits_longer(const struct schedule_item *a, const struct schedule_item *b) {
        return a->served != b->served ? a->served < b->served : a->arrival < b->arrival;
}

static struct flow *first_flow(const struct plan *plan) {
        return plan->items[0].flow->share->first;
}

/* True: others wait for its sake. */
static bool counts(const struct plan *plan, const struct flow *flow) {
        return flow->n_runnable > 0 &&
                (flow->class != SCHEDULE_BACKGROUND || plan->only_background);
}

static void count_requests(struct plan *plan) {
        for (struct flow *f = first_flow(plan); f; f = f->next)
                f->n_runnable = f->n_taken = 0;
        plan->only_background = true;
        for (size_t i = 0; i < plan->n_items; i++) {
                struct schedule_item *item = &plan->items[i];
                item->picked = false;
                item->place = 0;
                for (size_t k = 0; k < plan->n_items; k++)
                        item->place += plan->items[k].flow == item->flow &&
                                goes_before(&plan->items[k], item);
                item->flow->n_runnable++;
                plan->only_background &= item->class == SCHEDULE_BACKGROUND;
        }
        for (size_t i = 0; i < plan->n_items; i++)
                if (plan->items[i].place == 0)
                        plan->items[i].flow->n_turns = n_turns(&plan->items[i]);
        plan->turns = UINT_MAX;
        for (const struct flow *f = first_flow(plan); f; f = f->next)
                if (f->parent && counts(plan, f) && f->n_runnable < plan->turns)
                        plan->turns = f->n_runnable;
}

/* Decodes of each user; a prompt alone counts as one, which others' decodes would slow as much. */
static unsigned count_decodes(struct plan *plan) {
        for (size_t i = 0; i < plan->n_items; i++) {
                const struct schedule_item *item = &plan->items[i];
                struct flow *user = item->flow->parent;
                if (!is_prefill(item) && item->place < plan->turns) {
                        user->n_runnable++;
                        plan->decodes = cost_rows_sum(plan->decodes, cost_rows(item->position, 1));
                }
        }
        for (size_t i = 0; i < plan->n_items; i++)
                if (plan->items[i].flow->parent->n_runnable == 0)
                        plan->items[i].flow->parent->n_runnable = 1;
        return (unsigned)plan->decodes.n;
}

/* Of all users, were none to have more of them than `each`. */
static double n_capped(const struct plan *plan, unsigned each) {
        double n = 0;
        for (const struct flow *f = first_flow(plan); f; f = f->next)
                if (!f->parent)
                        n += f->n_runnable < each ? f->n_runnable : each;
        return n;
}

/* Decodes as long as n users' turns of the fewest, a + b * rows <= n (a + b * fewest), are dealt to
 * the users one by one. */
static void cap_users(struct plan *plan) {
        const struct cost_model *cost = &plan->schedule->cost;
        unsigned n_users = 0, fewest = UINT_MAX, n = count_decodes(plan);
        for (const struct flow *f = first_flow(plan); f; f = f->next)
                if (!f->parent && counts(plan, f)) {
                        n_users++;
                        fewest = f->n_runnable < fewest ? f->n_runnable : fewest;
                }
        double all_ms = cost_model_more(cost, plan->decodes),
               fixed_ms = cost_model_step(cost, plan->decodes) - all_ms;
        plan->user_turns = UINT_MAX;
        if (n_users < 2 || all_ms <= 0)
                return;
        double n_most = n_users * (double)fewest + (n_users - 1) * fixed_ms / (all_ms / n);
        unsigned each = fewest;
        while (each < n && n_capped(plan, each + 1) <= n_most)
                each++;
        plan->user_turns = each;
}

/* -- one step ------------------------------------------------------------------------------------
 */

static void take(struct plan *plan, size_t index, uint32_t n, bool surplus) {
        struct schedule_item *item = &plan->items[index];
        double ms = cost_model_more(&plan->schedule->cost, cost_rows(item->position, n));
        plan->pick[plan->n_picks++] = (struct schedule_pick){ index, n, surplus };
        plan->rows_left -= n;
        item->picked = true;
        item->served = ++plan->schedule->n_picks;
        item->n_turns = n_turns(item) + !surplus;
        item->flow->n_taken++;
        if (is_prefill(item)) {
                double *earned = &plan->schedule->earned_ms[item->class];
                *earned = fmax(0, *earned - ms);
                plan->ms_left -= ms;
        } else {
                item->flow->parent->n_taken++;
        }
        flow_serve(item->flow, ms);
}

typedef bool choice(const struct plan *plan, const struct schedule_item *item);

/* One more of its session, and of its user. */
static bool is_no_surplus(const struct plan *plan, const struct schedule_item *item) {
        return item->flow->n_taken < plan->turns &&
                (is_prefill(item) || item->flow->parent->n_taken < plan->user_turns);
}

static bool has_turn(const struct plan *plan, const struct schedule_item *item) {
        return item->place < plan->turns && is_no_surplus(plan, item);
}

static bool is_any(const struct plan *plan, const struct schedule_item *item) {
        (void)plan;
        (void)item;
        return true;
}

/* The one that waits longest. SIZE_MAX: none. */
static size_t first_decode(const struct plan *plan, choice *may) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < plan->n_items; i++) {
                const struct schedule_item *item = &plan->items[i];
                if (!item->picked && !is_prefill(item) && may(plan, item) &&
                    (best == SIZE_MAX || waits_longer(item, &plan->items[best])))
                        best = i;
        }
        return best;
}

static void take_decodes(struct plan *plan, choice *may, uint32_t rows_kept) {
        for (size_t i; plan->rows_left > rows_kept && (i = first_decode(plan, may)) != SIZE_MAX;)
                take(plan, i, 1, false);
}

/* The prefill that goes next, of one class or of any (SCHEDULE_CLASSES). SIZE_MAX: none. */
static size_t first_prefill(const struct plan *plan, enum schedule_class class, choice *may) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < plan->n_items; i++) {
                const struct schedule_item *item = &plan->items[i];
                if (!is_prefill(item) || (class != SCHEDULE_CLASSES && item->class != class) ||
                    item->picked || !may(plan, item))
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
        size_t first = first_prefill(plan, SCHEDULE_CLASSES, has_turn);
        for (unsigned class = SCHEDULE_BACKGROUND; class > SCHEDULE_INTERACTIVE; class --) {
                size_t i = first_prefill(plan, class, has_turn);
                if (i == SIZE_MAX || plan->items[first].class == class)
                        continue;
                double ms = chunk_ms(plan->schedule, &plan->items[i]);
                uint32_t n = chunk(plan->items[i].position, plan->items[i].n_known);
                if (plan->schedule->earned_ms[class] < ms || n > plan->rows_left)
                        continue;
                take(plan, i, n, false);
                return;
        }
}

/* A completion's first token waits for the end of the step that is under way and for its own, which
 * nobody's prompt makes longer. */
static void take_prefills(struct plan *plan) {
        enum schedule_class first = SCHEDULE_CLASSES;
        for (size_t i; (i = first_prefill(plan, SCHEDULE_CLASSES, has_turn)) != SIZE_MAX;) {
                const struct schedule_item *item = &plan->items[i];
                if (chunk(item->position, item->n_known) > plan->rows_left)
                        return; /* a smaller one behind it must not overtake it for ever */
                if (first != SCHEDULE_CLASSES && chunk_ms(plan->schedule, item) > plan->ms_left)
                        return;
                if (first == SCHEDULE_INTERACTIVE && item->class != first)
                        return;
                first = first == SCHEDULE_CLASSES ? item->class : first;
                take(plan, i, prefill_tokens(plan, item), false);
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

/* What waits longest first, then one chunk of each prompt, as far as they fit. */
static void take_surplus(struct plan *plan) {
        const struct cost_model *cost = &plan->schedule->cost;
        double ms_left = SURPLUS *
                cost_model_step(cost, picked_rows(plan->items, plan->pick, plan->n_picks));
        for (size_t i; plan->rows_left > 0 && (i = first_decode(plan, is_any)) != SIZE_MAX;) {
                ms_left -= cost_model_more(cost, cost_rows(plan->items[i].position, 1));
                if (ms_left < 0)
                        return;
                take(plan, i, 1, true);
        }
        for (size_t i; (i = first_prefill(plan, SCHEDULE_CLASSES, is_any)) != SIZE_MAX;) {
                const struct schedule_item *item = &plan->items[i];
                uint32_t n = chunk(item->position, item->n_known);
                ms_left -= chunk_ms(plan->schedule, item);
                if (ms_left < 0 || n > plan->rows_left)
                        return;
                take(plan, i, n, true);
        }
}

size_t schedule_step(struct schedule *schedule, struct schedule_item *items, size_t n_items,
                     uint32_t rows_max, struct schedule_pick *ret) {
        assert(rows_max >= 2 * CHUNK_TOKENS);
        struct plan plan = { .schedule = schedule,
                             .items = items,
                             .n_items = n_items,
                             .pick = ret,
                             .rows_left = rows_max };
        if (n_items == 0)
                return 0;
        count_requests(&plan);
        cap_users(&plan);
        bool any_prefill = first_prefill(&plan, SCHEDULE_CLASSES, has_turn) != SIZE_MAX;

        plan.ms_left = budget(&plan);
        take_decodes(&plan, has_turn, any_prefill ? CHUNK_TOKENS : 0);
        if (any_prefill) {
                take_earned(&plan);
                take_prefills(&plan);
        }
        take_decodes(&plan, is_no_surplus, 0); /* instead of prefills that have to wait */
        take_surplus(&plan);
        earn(&plan);
        return plan.n_picks;
}

void schedule_took(struct schedule *schedule, const struct schedule_item *items,
                   const struct schedule_pick *picks, size_t n_picks, double ms) {
        cost_model_learn(&schedule->cost, picked_rows(items, picks, n_picks), ms);
}
