#include "daemon/estimate.h"

#include <math.h>

static double between(const struct cost_model *cost, uint64_t from, uint64_t to) {
        return to > from ? cost_model_more(cost, cost_rows(from, to - from)) : 0;
}

double estimate_prefill(const struct cost_model *cost, uint64_t from, uint64_t position,
                        uint64_t n_prompt, double elapsed_ms) {
        double left = between(cost, position, n_prompt), done = between(cost, from, position);
        if (position >= n_prompt)
                return 0;
        if (done > 0 && elapsed_ms > 0)
                return elapsed_ms * left / done;
        return cost->n_steps > 0 ? left : ESTIMATE_UNKNOWN;
}

double estimate_rest(uint64_t n_done, uint64_t n_total, double elapsed_ms) {
        if (n_done == 0 || !(elapsed_ms > 0))
                return ESTIMATE_UNKNOWN;
        return n_done < n_total ? elapsed_ms * (double)(n_total - n_done) / (double)n_done : 0;
}

void estimate_holder(struct estimate_queue *queue, double prefill_ms, double decode_ms) {
        if (queue->n == ESTIMATE_HOLDERS_MAX)
                return;
        queue->ends_ms[queue->n++] = prefill_ms + decode_ms;
        queue->prefills_end_ms = fmax(queue->prefills_end_ms, prefill_ms);
}

double estimate_next(struct estimate_queue *queue, double prefill_ms, double decode_ms) {
        unsigned first = 0;
        if (queue->n == 0)
                return ESTIMATE_UNKNOWN;
        for (unsigned i = 1; i < queue->n; i++)
                if (queue->ends_ms[i] < queue->ends_ms[first])
                        first = i;
        double start = queue->ends_ms[first];
        queue->prefills_end_ms = fmax(queue->prefills_end_ms, start) + prefill_ms;
        queue->ends_ms[first] = queue->prefills_end_ms + decode_ms;
        return start;
}
