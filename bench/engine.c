/* seekd-bench engine: tokens per second of one model, beside what memory alone would allow.
 *
 * Decoding one token reads every weight that the token uses once, so the limit is read bandwidth
 * over bytes per token (engine_decode_bytes; KV rows are left out, the contexts here are short).
 * The bandwidth is measured in the same run, by the same number of threads, over a buffer far
 * larger than the caches. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "bench/bandwidth.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/report.h"
#include "engine/engine.h"

#define PREFILL_CHUNK 128
#define BATCH         8

struct arguments {
        const char *model;
        unsigned n_threads, n_tokens, n_runs;
        bool json;
};

/* Token i of the text that is run: any mixture does, as long as routers and n-grams see variety. */
static uint32_t token_at(const struct engine *engine, unsigned i) {
        return i == 0 ? engine_config(engine)->bos_id
                      : (i * 2654435761U >> 8) % engine_config(engine)->vocab_size;
}

static int step(struct engine *engine, struct sequence **s, size_t n_sequences, unsigned first,
                unsigned n, float *logits, struct error *err) {
        uint32_t ids[BATCH][PREFILL_CHUNK];
        struct batch_part parts[BATCH];
        for (size_t i = 0; i < n_sequences; i++) {
                for (unsigned j = 0; j < n; j++)
                        ids[i][j] = token_at(engine, first + j + (first + j > 0 ? (unsigned)i : 0));
                parts[i] = (struct batch_part){ s[i], ids[i], n, 1,
                                                logits + i * engine_config(engine)->vocab_size };
        }
        return engine_step(engine, parts, n_sequences, err);
}

/* Tokens per second of n_tokens tokens for each of n_sequences, `chunk` at a time. */
static int measure(struct engine *engine, size_t n_sequences, unsigned chunk, unsigned n_tokens,
                   double *ret, struct error *err) {
        struct sequence *s[BATCH] = { NULL };
        CLEANUP_FREE float *logits =
                calloc(n_sequences * engine_config(engine)->vocab_size, sizeof(float));
        int r = logits ? 0 : error_set(err, -ENOMEM, "out of memory");
        for (size_t i = 0; r == 0 && i < n_sequences; i++)
                r = sequence_new(engine, &s[i]);
        uint64_t start = clock_ns();
        for (unsigned at = 0; r == 0 && at < n_tokens; at += chunk)
                r = step(engine, s, n_sequences, at, n_tokens - at < chunk ? n_tokens - at : chunk,
                         logits, err);
        *ret = (double)n_tokens * (double)n_sequences /
                ((double)(clock_ns() - start) / (double)NS_PER_S);
        for (size_t i = 0; i < n_sequences; i++)
                sequence_free(s[i]);
        return r;
}

/* Rounds interleave everything that is compared, so that a busy machine slows all of it alike. */
static int run(const struct arguments *a, struct engine *engine, struct error *err) {
        struct bandwidth bandwidth;
        struct series limit = { 0 }, decode = { 0 }, prefill = { 0 }, batch = { 0 };
        double bytes = (double)engine_decode_bytes(engine), value;
        int r = bandwidth_init(&bandwidth, a->n_threads, err);
        for (unsigned i = 0; r == 0 && i < a->n_runs; i++) {
                r = bandwidth_read(&bandwidth, &value, err);
                if (r < 0)
                        break;
                series_add(&limit, value / bytes);
                r = measure(engine, 1, 1, a->n_tokens, &value, err);
                series_add(&decode, value);
                if (r == 0)
                        r = measure(engine, BATCH, 1, a->n_tokens / 4 + 1, &value, err);
                series_add(&batch, value);
                if (r == 0)
                        r = measure(engine, 1, PREFILL_CHUNK, 4 * a->n_tokens, &value, err);
                series_add(&prefill, value);
        }
        bandwidth_deinit(&bandwidth);
        char device[256];
        snprintf(device, sizeof(device), "%s, %s, %u thread%s", report_cpu(),
                 engine_backend_name(engine), a->n_threads, a->n_threads > 1 ? "s" : "");
        const struct measurement rows[] = {
                { "engine.decode", "tokens/s", &decode,
                  "measured read bandwidth / weight bytes per token", &limit },
                { "engine.prefill", "tokens/s", &prefill, "engine.decode", &decode },
                { "engine.decode.batch8", "tokens/s", &batch, "engine.decode", &decode },
        };
        if (r == 0)
                report_print(rows, sizeof(rows) / sizeof(*rows), device, a->json);
        series_deinit(&limit), series_deinit(&decode), series_deinit(&prefill),
                series_deinit(&batch);
        return r;
}

static int parse(int argc, char **argv, struct arguments *a) {
        const struct option_rule rules[] = {
                OPTION_REQUIRED("model", "DIR", &a->model, "model folder"),
                OPTION_NUMBER("threads", &a->n_threads, 1, BANDWIDTH_THREADS_MAX,
                              "default 1: per core"),
                OPTION_NUMBER("tokens", &a->n_tokens, 1, 1U << 16,
                              "decoded tokens per run (default 256)"),
                OPTION_NUMBER("runs", &a->n_runs, 1, 1000,
                              "rounds (default 7); medians are printed"),
                OPTION_FLAG("json", &a->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "engine", "Tokens per second of decoding (alone and eight together) and prefill.",
                rules, sizeof(rules) / sizeof(rules[0])
        };
        return options_parse(&line, argc, argv);
}

int bench_engine(int argc, char **argv) {
        struct arguments a = { .n_threads = 1, .n_tokens = 256, .n_runs = 7 };
        struct error err = { 0 };
        struct engine *engine;
        if (parse(argc, argv, &a) < 0)
                return 2;
        struct engine_options options = { .model_dir = a.model,
                                          .n_threads = a.n_threads,
                                          .batch_rows_max = BATCH * PREFILL_CHUNK };
        int r = engine_open(&options, &engine, &err);
        if (r == 0) {
                r = run(&a, engine, &err);
                engine_close(engine);
        }
        if (r < 0)
                fprintf(stderr, "seekd-bench engine: %s\n", err.text);
        return r < 0;
}
