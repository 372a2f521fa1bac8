#include "engine/eval/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/numerics.h"

static void sequence_freep(struct sequence **sequence) {
        sequence_free(*sequence);
}

void eval_top(const float *logits, uint32_t n, uint32_t k, uint32_t *ret_ids) {
        uint32_t found = 0;
        for (uint32_t i = 0; i < n; i++) {
                if (found == k && logits[i] <= logits[ret_ids[k - 1]])
                        continue;
                uint32_t at = found < k ? found++ : k - 1;
                for (; at > 0 && logits[i] > logits[ret_ids[at - 1]]; at--)
                        ret_ids[at] = ret_ids[at - 1];
                ret_ids[at] = i;
        }
}

/* -log softmax(logits)[id] */
static double token_nll(const float *logits, uint32_t n, uint32_t id) {
        float max = logits[0];
        for (uint32_t i = 1; i < n; i++)
                max = logits[i] > max ? logits[i] : max;
        double sum = 0.0;
        for (uint32_t i = 0; i < n; i++)
                sum += math_exp((double)logits[i] - (double)max);
        return math_log(sum) - ((double)logits[id] - (double)max);
}

static int prefill(struct engine *engine, struct sequence *sequence, const uint32_t *ids, size_t n,
                   const struct eval_options *options, struct eval_result *result,
                   struct error *err) {
        uint32_t chunk = options->chunk ? options->chunk : engine_batch_rows_max(engine);
        for (size_t at = 0; at < n; at += chunk) {
                uint32_t rows = n - at < chunk ? (uint32_t)(n - at) : chunk;
                struct batch_part part = { sequence, ids + at, rows, rows,
                                           result->logits + at * result->vocab_size };
                int r = engine_step(engine, &part, 1, err);
                if (r < 0)
                        return r;
                if (options->progress)
                        options->progress(options->userdata, at + rows, n);
        }
        return 0;
}

static int generate(struct engine *engine, struct sequence *sequence, uint32_t n,
                    struct eval_result *result, struct error *err) {
        size_t v = result->vocab_size;
        for (uint32_t i = 0; i < n; i++) {
                const float *last = result->logits + (result->n_tokens + i - 1) * v;
                eval_top(last, result->vocab_size, 1, &result->generated[i]);
                result->n_generated = i + 1;
                if (i + 1 == n)
                        break;
                struct batch_part part = { sequence, &result->generated[i], 1, 1,
                                           result->logits + (result->n_tokens + i) * v };
                int r = engine_step(engine, &part, 1, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int eval_run(struct engine *engine, const uint32_t *ids, size_t n,
             const struct eval_options *options, struct eval_result *ret, struct error *err) {
        uint32_t v = engine_config(engine)->vocab_size;
        size_t n_positions = n + (options->generate > 0 ? options->generate - 1 : 0);
        struct eval_result result = { .n_tokens = n, .vocab_size = v, .n_positions = n_positions };
        __attribute__((cleanup(sequence_freep))) struct sequence *sequence = NULL;

        if (n == 0)
                return error_set(err, -EINVAL, "no tokens to evaluate");
        result.logits = calloc(n_positions, (size_t)v * sizeof(float));
        result.generated = calloc(options->generate + 1, sizeof(uint32_t));
        int r = result.logits && result.generated ? sequence_new(engine, &sequence) : -ENOMEM;
        if (r < 0)
                error_set(err, r, "no memory for the logits of %zu positions", n_positions);

        uint64_t start = clock_ns();
        if (r == 0)
                r = prefill(engine, sequence, ids, n, options, &result, err);
        uint64_t middle = clock_ns();
        if (r == 0)
                r = generate(engine, sequence, options->generate, &result, err);
        if (r < 0) {
                eval_result_deinit(&result);
                return r;
        }
        result.prefill_s = (double)(middle - start) / (double)NS_PER_S;
        result.decode_s = (double)(clock_ns() - middle) / (double)NS_PER_S;
        for (size_t i = 1; i < n; i++)
                result.nll += token_nll(result.logits + (i - 1) * v, v, ids[i]) / (double)(n - 1);
        *ret = result;
        return 0;
}

void eval_result_deinit(struct eval_result *result) {
        free(result->logits);
        free(result->generated);
        *result = (struct eval_result){ 0 };
}
