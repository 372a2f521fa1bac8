/* seekd-bench agents: several agents at once, one client beside others, an editor beside prompts.
 *
 * Every part uses a subject of its own, so that nothing of an earlier part is kept for it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "bench/agents.h"
#include "bench/bandwidth.h"
#include "bench/report.h"

/* The number of agents that the queue is compared with, at most. */
#define QUEUE_AGENTS 8

#define EQUAL_AGENTS 8 /* and at least two */

/* Who suffers from a flooding client. */
#define FLOODED_AGENTS 4

/* Beside an editor. */
#define LONG_PREFILLS 2

/* Of the longest beginning that an agent sends. */
#define LONG_PROMPT_TOKENS 20000
/* However small the traffic is made: eight chunks, so that it can be cancelled on its way. */
#define LONG_PROMPT_TOKENS_MIN 1024

/* Of a prompt of a flooding client, and of its answer: as an agent's in the middle of a task. */
#define FLOOD_PROMPT_TOKENS 4000
#define FLOOD_ANSWER_TOKENS 250

static const char *const class_names[LOAD_CLASSES] = {
        [SEEKD_CLASS_INTERACTIVE] = "interactive",
        [SEEKD_CLASS_TURN] = "turn",
        [SEEKD_CLASS_AGENT] = "agent",
        [SEEKD_CLASS_BACKGROUND] = "background",
};

/* What is compared with another part. */
struct parts {
        struct series fewest[LOAD_CLASSES]; /* ttft */
        struct load_turns turns;            /* what the queue has to do */
        double seconds;                     /* without a queue */
        double n_prompt, n_cached, n_seen;
};

uint32_t agents_long_prompt(const struct agents_bench *bench) {
        uint32_t n = LONG_PROMPT_TOKENS / bench->trace.scale;
        return n > LONG_PROMPT_TOKENS_MIN ? n : LONG_PROMPT_TOKENS_MIN;
}

static double at_least_one(double n) {
        return n > 1 ? n : 1;
}

static void add_name(struct agents_result *result, const char *name) {
        snprintf(result->name, sizeof(result->name), "%s", name);
}

static struct agent_load new_load(const struct agents_bench *bench, const char *subject) {
        return (struct agent_load){ .socket = bench->socket,
                                    .trace = &bench->trace,
                                    .subject = subject };
}

static double sum(const struct series *series) {
        double ret = 0;
        for (size_t i = 0; i < series->n; i++)
                ret += series->values[i];
        return ret;
}

/* -- several agents and an editor ----------------------------------------------------------------
 */

static void add_ttft(struct agents_bench *bench, unsigned n_agents, struct parts *parts,
                     const struct load_outcome *outcome) {
        for (unsigned class = 0; class < LOAD_CLASSES; class ++) {
                const struct series *ttft = &outcome->ttft[class];
                struct series *fewest = &parts->fewest[class];
                if (ttft->n == 0)
                        continue;
                if (fewest->n == 0) /* of the first that had any */
                        for (size_t i = 0; i < ttft->n; i++)
                                series_add(fewest, ttft->values[i]);
                for (unsigned q = 50; q <= 95; q += 45) {
                        struct agents_result *result =
                                agents_add(bench, "ms", series_quantile(ttft, q / 100.0),
                                           "the same with the fewest agents",
                                           series_quantile(fewest, q / 100.0));
                        snprintf(result->name, sizeof(result->name), "agents.%u.ttft.%s.p%u",
                                 n_agents, class_names[class], q);
                }
        }
}

static int measure_count(struct agents_bench *bench, const struct bandwidth *bandwidth,
                         unsigned n_agents, struct parts *parts, struct error *err) {
        char subject[32];
        double bytes_per_s;
        snprintf(subject, sizeof(subject), "agents %u", n_agents);
        struct agent_load load = new_load(bench, subject);
        struct load_outcome outcome;
        load.n_agents = n_agents;
        load.editor = true;
        load.seconds = bench->n_seconds;
        agents_say(subject);
        int r = bandwidth_read(bandwidth, &bytes_per_s, err);
        if (r < 0)
                return r;
        r = agent_load_run(&load, &outcome, err);
        if (r == 0) {
                struct agents_result *result =
                        agents_add(bench, "tokens/s", sum(&outcome.service) / load.seconds,
                                   "agents x measured read bandwidth / weight bytes of a token",
                                   n_agents * bytes_per_s / bench->decode_bytes);
                snprintf(result->name, sizeof(result->name), "agents.%u.throughput", n_agents);
                add_ttft(bench, n_agents, parts, &outcome);
                parts->n_prompt += (double)outcome.n_prompt;
                parts->n_cached += (double)outcome.n_cached;
                parts->n_seen += (double)outcome.n_seen;
                if (parts->seconds == 0 || n_agents <= QUEUE_AGENTS) {
                        parts->turns = outcome.turns;
                        parts->seconds = outcome.seconds;
                }
                agents_print(bench);
        }
        load_outcome_deinit(&outcome);
        return r;
}

/* What the queue is compared with: the most agents that it may be, or the fewest that there are. */
static unsigned queue_count(const struct agents_bench *bench) {
        unsigned i = 0;
        while (i + 1 < bench->n_counts && bench->counts[i + 1] <= QUEUE_AGENTS)
                i++;
        return i;
}

static int measure_counts(struct agents_bench *bench, struct parts *parts, struct error *err) {
        struct bandwidth bandwidth;
        bool all = agents_has_part(bench, PART_COUNTS);
        int r = bandwidth_init(&bandwidth, bench->n_threads, err);
        for (unsigned i = 0; r == 0 && i < bench->n_counts; i++)
                if (all || i == queue_count(bench))
                        r = measure_count(bench, &bandwidth, bench->counts[i], parts, err);
        bandwidth_deinit(&bandwidth);
        if (r == 0)
                add_name(agents_add(bench, "of 1", parts->n_cached / at_least_one(parts->n_prompt),
                                    "all that was sent or answered before",
                                    parts->n_seen / at_least_one(parts->n_prompt)),
                         "agents.hit_rate");
        return r;
}

/* The same requests, one after the other. */
static int measure_queue(struct agents_bench *bench, const struct parts *parts, struct error *err) {
        struct agent_load load = new_load(bench, "queue");
        struct load_outcome outcome;
        for (unsigned i = 0; i < LOAD_AGENTS_MAX; i++)
                if (parts->turns.agents[i] > 0)
                        load.n_agents = i + 1;
        load.editor = true;
        load.turns = &parts->turns;
        load.one_at_a_time = true;
        agents_say("queue");
        int r = agent_load_run(&load, &outcome, err);
        if (r == 0)
                add_name(agents_add(bench, "times", outcome.seconds / parts->seconds,
                                    "the same requests one at a time", 1),
                         "agents.speedup_vs_queue");
        load_outcome_deinit(&outcome);
        return r;
}

/* -- fairness ------------------------------------------------------------------------------------
 */

/* Jain, Chiu, Hawe (1984): 1 when all have the same, 1/n when one has all. */
static double jain(const struct series *x) {
        double squares = 0;
        for (size_t i = 0; i < x->n; i++)
                squares += x->values[i] * x->values[i];
        return squares > 0 ? sum(x) * sum(x) / ((double)x->n * squares) : 0;
}

static int measure_equal(struct agents_bench *bench, struct error *err) {
        struct agent_load load = new_load(bench, "equal");
        struct load_outcome outcome;
        unsigned most = bench->counts[bench->n_counts - 1];
        load.n_agents = most < 2 ? 2 : most > EQUAL_AGENTS ? EQUAL_AGENTS : most;
        load.equal = true;
        load.seconds = bench->n_seconds;
        agents_say("equal agents");
        int r = agent_load_run(&load, &outcome, err);
        if (r == 0)
                add_name(agents_add(bench, "of 1", jain(&outcome.service), "all have the same", 1),
                         "agents.jain");
        load_outcome_deinit(&outcome);
        return r;
}

static int flooded_p95(struct agents_bench *bench, const char *subject, unsigned n_fillers,
                       double *ret, struct error *err) {
        struct agent_load load = new_load(bench, subject);
        struct load_outcome outcome;
        struct series ttft = { 0 };
        load.n_agents = FLOODED_AGENTS;
        load.seconds = bench->n_seconds;
        load.filler =
                (struct load_filler){ .n = n_fillers,
                                      .together = true,
                                      .n_prompt = FLOOD_PROMPT_TOKENS / bench->trace.scale,
                                      .n_answer = FLOOD_ANSWER_TOKENS / bench->trace.scale + 1,
                                      .service = SEEKD_CLASS_AGENT };
        agents_say(subject);
        int r = agent_load_run(&load, &outcome, err);
        for (unsigned class = SEEKD_CLASS_TURN; class <= SEEKD_CLASS_AGENT; class ++)
                for (size_t i = 0; i < outcome.ttft[class].n; i++)
                        series_add(&ttft, outcome.ttft[class].values[i]);
        *ret = series_quantile(&ttft, 0.95);
        series_deinit(&ttft);
        load_outcome_deinit(&outcome);
        return r;
}

/* Whoever else works takes time; a flood may take no more than that. */
static int measure_flood(struct agents_bench *bench, struct error *err) {
        double alone, polite, flooded;
        int r = flooded_p95(bench, "nobody else", 0, &alone, err);
        if (r == 0)
                r = flooded_p95(bench, "one request at a time", 1, &polite, err);
        if (r == 0)
                r = flooded_p95(bench, "flood", LOAD_FILLERS_MAX, &flooded, err);
        if (r == 0)
                add_name(agents_add(bench, "of 1", flooded / alone - 1,
                                    "the same client, one request at a time", polite / alone - 1),
                         "agents.flood_p95_change");
        return r;
}

/* -- an editor beside long prompts ---------------------------------------------------------------
 */

static int completion_p95(struct agents_bench *bench, const char *subject, unsigned n_prefills,
                          double *ret, struct load_outcome *outcome, struct error *err) {
        struct agent_load load = new_load(bench, subject);
        const struct load_turns turns = { .editor = bench->n_completions };
        load.editor = true;
        load.turns = &turns;
        load.filler = (struct load_filler){ .n = n_prefills,
                                            .n_prompt = agents_long_prompt(bench),
                                            .n_answer = 1,
                                            .service = SEEKD_CLASS_TURN };
        agents_say(subject);
        int r = agent_load_run(&load, outcome, err);
        *ret = series_quantile(&outcome->ttft[SEEKD_CLASS_INTERACTIVE], 0.95);
        return r;
}

static int n_steps(const struct agents_bench *bench, double *ret, struct error *err) {
        char why[SEEKD_ERROR_BYTES];
        struct seekd_client *client;
        struct seekd_stats *stats;
        if (seekd_connect(bench->socket, &client, why, sizeof(why)) < 0)
                return error_set(err, -EIO, "the daemon: %s", why);
        int r = seekd_stats(client, &stats);
        if (r == 0)
                *ret = (double)stats->steps;
        else
                error_set(err, -EIO, "the daemon: %s", seekd_last_error(client));
        if (r == 0)
                seekd_free(stats);
        seekd_disconnect(client);
        return err->code;
}

/* A completion comes in the middle of a step, of which it has to see the end. */
static int measure_interactive(struct agents_bench *bench, struct error *err) {
        struct load_outcome unloaded = { 0 }, loaded = { 0 };
        double unloaded_ms, loaded_ms, before, after;
        int r = completion_p95(bench, "editor", 0, &unloaded_ms, &unloaded, err);
        if (r == 0)
                r = n_steps(bench, &before, err);
        if (r == 0)
                r = completion_p95(bench, "editor, prefills", LONG_PREFILLS, &loaded_ms, &loaded,
                                   err);
        if (r == 0)
                r = n_steps(bench, &after, err);
        if (r == 0) {
                double step_ms = loaded.seconds * 1e3 / at_least_one(after - before);
                add_name(agents_add(bench, "times", loaded_ms / unloaded_ms,
                                    "1.5 and one step of the loaded daemon",
                                    1.5 + step_ms / unloaded_ms),
                         "agents.interactive_p95_ratio");
        }
        load_outcome_deinit(&unloaded);
        load_outcome_deinit(&loaded);
        return r;
}

static int measure_agents(struct agents_bench *bench, struct error *err) {
        struct parts parts = { .seconds = 0 };
        int r = measure_counts(bench, &parts, err);
        agents_print(bench);
        if (r == 0 && agents_has_part(bench, PART_QUEUE))
                r = measure_queue(bench, &parts, err);
        for (unsigned class = 0; class < LOAD_CLASSES; class ++)
                series_deinit(&parts.fewest[class]);
        return r;
}

int agents_measure(struct agents_bench *bench, struct error *err) {
        static const struct {
                unsigned parts; /* any of them */
                int (*measure)(struct agents_bench *bench, struct error *err);
        } steps[] = {
                { 1U << PART_COUNTS | 1U << PART_QUEUE, measure_agents },
                { 1U << PART_EQUAL, measure_equal },
                { 1U << PART_EDITOR, measure_interactive },
                { 1U << PART_FLOOD, measure_flood },
        };
        int r = 0;
        for (size_t i = 0; r == 0 && i < sizeof(steps) / sizeof(steps[0]); i++)
                if (bench->parts & steps[i].parts) {
                        r = steps[i].measure(bench, err);
                        agents_print(bench);
                }
        return r;
}
