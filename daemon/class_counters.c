#include "daemon/class_counters.h"

#include <assert.h>

#include "daemon/request.h"

/* No row is free, whatever the model has learned: a nanosecond. */
#define ROW_MS_LEAST 1e-6

static double cost_ms(const struct schedule *schedule, const struct schedule_item *item,
                      uint32_t n_rows) {
        return cost_model_more(&schedule->cost, cost_rows(item->position, n_rows)) +
                ROW_MS_LEAST * n_rows;
}

void class_counters_step(struct class_counters *counters, const struct schedule *schedule,
                         const struct schedule_item *items, const struct schedule_pick *picks,
                         size_t n_picks, uint64_t ns) {
        double cost[SCHEDULE_CLASSES] = { 0 }, all = 0;
        for (size_t i = 0; i < n_picks; i++) {
                const struct schedule_item *item = &items[picks[i].index];
                double ms = cost_ms(schedule, item, picks[i].n);
                cost[item->class] += ms;
                all += ms;
        }
        for (unsigned class = 0; class < SCHEDULE_CLASSES && all > 0; class ++)
                counters[class].engine_ns += (uint64_t)((double)ns * cost[class] / all);
}

void class_counters_token(struct class_counters *counters, const struct request *request,
                          enum schedule_class class, uint64_t now_ns) {
        struct class_counters *of = &counters[class];
        of->n_generated_tokens++;
        if (request->first_token_ns == 0) {
                histogram_add(&of->queue, request->started_ns - request->received_ns);
                histogram_add(&of->first_token, now_ns - request->received_ns);
                return;
        }
        bool paused = request->unpaused_ns > request->last_token_ns;
        histogram_add(&of->token,
                      now_ns - (paused ? request->unpaused_ns : request->last_token_ns));
}

void class_counters_finish(struct class_counters *counters, enum schedule_class class, int reason) {
        assert(reason >= 0 && reason < FINISH_REASONS);
        counters[class].finished[reason]++;
}
