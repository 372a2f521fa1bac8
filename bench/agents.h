/* The parts of seekd-bench agents. One thread, besides the daemon that is measured. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "bench/agent_load.h"
#include "bench/agent_trace.h"

struct error;

#define AGENTS_COUNTS_MAX 8

/* Of each number of agents: throughput, and two of each class that a trace has. */
#define AGENTS_RESULTS_MAX (AGENTS_COUNTS_MAX * 9 + 8)

struct agents_result {
        char name[40];
        const char *unit;
        double value;
        const char *reference; /* what it is compared with; static */
        double reference_value;
};

struct agents_bench {
        const char *socket;
        struct agent_trace trace;
        unsigned counts[AGENTS_COUNTS_MAX]; /* numbers of agents, ascending */
        unsigned n_counts;
        unsigned n_seconds, n_completions, n_cancels;
        unsigned n_threads;  /* of the daemon */
        double decode_bytes; /* of weights that one token needs */

        struct agents_result results[AGENTS_RESULTS_MAX];
        size_t n_results;
};

/* Everything but cancels. 0 or a negative errno. */
int agents_measure(struct agents_bench *bench, struct error *err);

/* How fast a cancel is, and what it loses. 0 or a negative errno. */
int agents_measure_cancel(struct agents_bench *bench, struct error *err);

/* A prompt that takes long to read. */
uint32_t agents_long_prompt(const struct agents_bench *bench);

/* The name of what is returned is empty. */
struct agents_result *agents_add(struct agents_bench *bench, const char *unit, double value,
                                 const char *reference, double reference_value);

/* A line on a terminal. */
void agents_say(const char *what);
