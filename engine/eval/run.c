#include "engine/eval/run.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "engine/eval/lent_pages.h"
#include "engine/numerics.h"

/* The sequence that is evaluated, and the pages it was lent. */
struct subject {
        struct engine *engine;
        struct sequence *sequence;
        struct lent_pages lent;
};

static void subject_deinit(struct subject *s) {
        sequence_free(s->sequence);
        lent_pages_deinit(&s->lent);
}

static int subject_init(struct subject *s, size_t n_tokens, struct error *err) {
        int r = lent_pages_init(&s->lent, s->engine, n_tokens);
        if (r == 0)
                r = sequence_new(s->engine, &s->sequence);
        if (r == -ENOSPC)
                return error_set(err, r, "the device pool has no room for a sequence");
        return r < 0 ? error_set(err, r, "no memory for a sequence") : 0;
}

static int compute(struct subject *s, const uint32_t *ids, uint32_t n, float *logits,
                   struct error *err) {
        struct batch_part part = { s->sequence, ids, n, n, logits };
        int r = engine_step(s->engine, &part, 1, err);
        if (r < 0)
                return r;
        r = lent_pages_extend(&s->lent, s->engine, s->sequence);
        return r < 0 ? error_set(err, r, "no memory for pages that leave the device") : 0;
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

static int prefill(struct subject *s, const uint32_t *ids, size_t n,
                   const struct eval_options *options, struct eval_result *result,
                   struct error *err) {
        uint32_t chunk = options->chunk ? options->chunk : engine_batch_rows_max(s->engine);
        for (size_t at = 0; at < n; at += chunk) {
                uint32_t rows = n - at < chunk ? (uint32_t)(n - at) : chunk;
                int r = compute(s, ids + at, rows, result->logits + at * result->vocab_size, err);
                if (r < 0)
                        return r;
                if (options->progress)
                        options->progress(options->userdata, at + rows, n);
        }
        return 0;
}

static int generate(struct subject *s, uint32_t n, struct eval_result *result, struct error *err) {
        size_t v = result->vocab_size;
        for (uint32_t i = 0; i < n; i++) {
                const float *last = result->logits + (result->n_tokens + i - 1) * v;
                eval_top(last, result->vocab_size, 1, &result->generated[i]);
                result->n_generated = i + 1;
                if (i + 1 == n)
                        break;
                int r = compute(s, &result->generated[i], 1,
                                result->logits + (result->n_tokens + i) * v, err);
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
        struct subject subject CLEANUP(subject_deinit) = { .engine = engine };

        if (n == 0)
                return error_set(err, -EINVAL, "no tokens to evaluate");
        result.logits = calloc(n_positions, (size_t)v * sizeof(float));
        result.generated = calloc(options->generate + 1, sizeof(uint32_t));
        int r = 0;
        if (!result.logits || !result.generated)
                r = error_set(err, -ENOMEM, "no memory for the logits of %zu positions",
                              n_positions);
        if (r == 0)
                r = subject_init(&subject, n_positions, err);

        uint64_t start = clock_ns();
        if (r == 0)
                r = prefill(&subject, ids, n, options, &result, err);
        uint64_t middle = clock_ns();
        if (r == 0)
                r = generate(&subject, options->generate, &result, err);
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
