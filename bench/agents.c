/* seekd-bench agents: coding agents at work, through a daemon of the benchmark's own. */
#include "bench/agents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "bench/bandwidth.h"
#include "bench/bench.h"
#include "bench/options.h"
#include "bench/private_daemon.h"
#include "bench/report.h"
#include "bench/workplace.h"
#include "engine/engine.h"

struct arguments {
        struct agents_bench bench;
        const char *model, *tokenizer, *seekd, *folder, *counts;
};

static const char *const part_names[] = {
        [PART_COUNTS] = "counts",
        [PART_QUEUE] = "queue",
        [PART_EQUAL] = "equal",
        [PART_EDITOR] = "editor",
        [PART_FLOOD] = "flood",
        [PART_CANCEL] = "cancel",
        NULL,
};

/* -- what is printed -----------------------------------------------------------------------------
 */

struct agents_result *agents_add(struct agents_bench *bench, const char *unit, double value,
                                 const char *reference, double reference_value) {
        struct agents_result *result = &bench->results[bench->n_results++];
        *result = (struct agents_result){ .unit = unit,
                                          .value = value,
                                          .reference = reference,
                                          .reference_value = reference_value };
        return result;
}

void agents_say(const char *what) {
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "%s\n", what);
}

static void print_one(const struct agents_result *result, bool json) {
        struct series value = { 0 }, reference = { 0 };
        series_add(&value, result->value);
        series_add(&reference, result->reference_value);
        report_print(&(struct measurement){ result->name, result->unit, &value, result->reference,
                                            &reference },
                     1, report_cpu(), json);
        series_deinit(&value);
        series_deinit(&reference);
}

void agents_print(struct agents_bench *bench) {
        for (; bench->n_printed < bench->n_results; bench->n_printed++)
                print_one(&bench->results[bench->n_printed], bench->json);
}

/* -- what is measured ----------------------------------------------------------------------------
 */

/* What one decoded token reads, as the engine counts it. */
static int find_decode_bytes(struct agents_bench *bench, const char *model, struct error *err) {
        struct engine_options options = { .model_dir = model, .n_threads = 1 };
        struct engine *engine;
        int r = engine_open(&options, &engine, err);
        if (r < 0)
                return r;
        bench->decode_bytes = (double)engine_decode_bytes(engine);
        engine_close(engine);
        return 0;
}

static int measure(struct agents_bench *bench, struct private_daemon *daemon, struct error *err) {
        char socket[PATH_MAX];
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        int n = snprintf(socket, sizeof(socket), "%s/seekd.sock", daemon->folder);
        if (n < 0 || (size_t)n >= sizeof(socket))
                return error_set(err, -ENAMETOOLONG, "--folder: path too long");
        if (seekd_model_info(daemon->client, &info) < 0)
                return error_set(err, -EIO, "the daemon: %s", seekd_last_error(daemon->client));
        bench->socket = socket;
        bench->trace.bos_id = info.bos_token;
        bench->trace.vocab_size = info.vocab_size;
        int r = agents_measure(bench, err);
        if (r == 0 && agents_has_part(bench, PART_CANCEL))
                r = agents_measure_cancel(bench, err);
        bench->socket = NULL;
        return r;
}

static int run_in(struct arguments *a, const char *folder, struct error *err) {
        static const struct config_request made = { .like = "v4.1-agents",
                                                    .format = CHECKPOINT_BF16 };
        char model[PATH_MAX + 8];
        struct private_daemon daemon = { .binary = a->seekd,
                                         .model = a->model,
                                         .folder = folder,
                                         .n_threads = a->bench.n_threads,
                                         .memory = "" };
        int r = 0;
        if (!a->model) {
                snprintf(model, sizeof(model), "%s/model", folder);
                agents_say("making a model");
                r = workplace_make_model(model, &made, a->tokenizer, err);
                daemon.model = model;
        }
        if (r == 0)
                r = find_decode_bytes(&a->bench, daemon.model, err);
        if (r == 0)
                r = private_daemon_start(&daemon, err);
        if (r == 0)
                r = measure(&a->bench, &daemon, err);
        private_daemon_stop(&daemon);
        return r;
}

static int run(struct arguments *a, struct error *err) {
        char seekd[PATH_MAX];
        struct workplace place;
        int r = 0;
        if (!a->seekd)
                r = workplace_find_seekd(seekd, &a->seekd, err);
        if (r == 0)
                r = workplace_make(a->folder, "seekd-bench-agents", &place, err);
        if (r < 0)
                return r;
        r = run_in(a, place.folder, err);
        workplace_remove(&place);
        return r;
}

/* -- the command line ----------------------------------------------------------------------------
 */

/* "1,2,4" */
static int parse_counts(struct agents_bench *bench, const char *text) {
        unsigned last = 0;
        for (const char *at = text; bench->n_counts < AGENTS_COUNTS_MAX;) {
                char *end;
                unsigned long n = strtoul(at, &end, 10);
                if (end == at || at[0] == '-' || n <= last || n > LOAD_AGENTS_MAX)
                        break;
                last = bench->counts[bench->n_counts++] = (unsigned)n;
                if (*end == '\0')
                        return 0;
                if (*end != ',')
                        break;
                at = end + 1;
        }
        fprintf(stderr,
                "seekd-bench agents: --agents: '%s' is not a list of at most %d ascending numbers "
                "from 1 to %d\n",
                text, AGENTS_COUNTS_MAX, LOAD_AGENTS_MAX);
        return -EINVAL;
}

static int parse(int argc, char **argv, struct arguments *a) {
        struct agents_bench *b = &a->bench;
        const struct option_rule rules[] = {
                OPTION_TEXT("model", "DIR", &a->model,
                            "model folder; default: one of 1.2 GB is made"),
                OPTION_TEXT("tokenizer", "FILE", &a->tokenizer,
                            "tokenizer.json of the model that is made; default: the installed\n"
                            "model's"),
                OPTION_TEXT("seekd", "PATH", &a->seekd,
                            "the daemon's binary; default: the one beside this program"),
                OPTION_TEXT("folder", "DIR", &a->folder,
                            "for what is made and removed again; default /var/tmp"),
                OPTION_TEXT("agents", "LIST", &a->counts, "how many (default 1,2,4,8,16)"),
                OPTION_NUMBER("seconds", &b->n_seconds, 1, 3600, "of each part (default 30)"),
                OPTION_NUMBER("scale", &b->trace.scale, 1, 1024,
                              "lengths of real agents divided by this (default 16)"),
                OPTION_NUMBER("pause", &b->trace.pause_ms, 1, 600000,
                              "milliseconds of a tool in the median (default 500)"),
                OPTION_NUMBER("completions", &b->n_completions, 1, 10000,
                              "beside prompts, and without (default 40)"),
                OPTION_NUMBER("cancels", &b->n_cancels, 1, 10000, "default 100"),
                OPTION_NUMBER("seed", &b->trace.seed, 0, UINT32_MAX, "of the trace (default 1)"),
                OPTION_NUMBER("threads", &b->n_threads, 1, BANDWIDTH_THREADS_MAX,
                              "default: one per CPU"),
                OPTION_SET("parts", &b->parts, part_names,
                           "of counts,queue,equal,editor,flood,cancel (default all); queue is\n"
                           "compared with at most eight agents, which are measured for it"),
                OPTION_FLAG("json", &b->json, "one JSON object a line"),
        };
        const struct command_line line = {
                "agents",
                "Coding agents and an editor at work through a daemon: tokens a second, times to\n"
                "the first token, fairness, what was kept, and how they fare beside long prompts\n"
                "and a flooding client.",
                rules, sizeof(rules) / sizeof(rules[0])
        };
        int r = options_parse(&line, argc, argv);
        return r == 0 ? parse_counts(b, a->counts) : r;
}

static unsigned n_cpus(void) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return n < 1 ? 1 : n > BANDWIDTH_THREADS_MAX ? BANDWIDTH_THREADS_MAX : (unsigned)n;
}

int bench_agents(int argc, char **argv) {
        struct arguments a = {
                .bench = { .trace = { .seed = 1, .scale = 16, .pause_ms = 500 },
                           .n_seconds = 30,
                           .n_completions = 40,
                           .n_cancels = 100,
                           .parts = PARTS_ALL,
                           .n_threads = n_cpus() },
                .folder = "/var/tmp",
                .counts = "1,2,4,8,16",
        };
        struct error err = { 0 };
        if (parse(argc, argv, &a) < 0)
                return 2;
        int r = run(&a, &err);
        if (r < 0)
                fprintf(stderr, "seekd-bench agents: %s\n", err.text);
        return r < 0;
}
