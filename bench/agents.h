/* The parts of seekd-bench agents. One thread, besides the daemon that is measured. */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "bench/agent_load.h"
#include "bench/agent_trace.h"

struct error;

#define AGENTS_COUNTS_MAX 8

/* As --parts has them, in this order. */
enum agents_part { PART_COUNTS, PART_QUEUE, PART_EQUAL, PART_EDITOR, PART_FLOOD, PART_CANCEL };
#define PARTS_ALL 0x3FU

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
        unsigned parts;      /* 1 << enum agents_part */
        unsigned n_threads;  /* of the daemon */
        double decode_bytes; /* of weights that one token needs */

        bool json;
        struct agents_result results[AGENTS_RESULTS_MAX];
        size_t n_results, n_printed;
};

/* The parts that are asked for, but cancels. 0 or a negative errno. */
int agents_measure(struct agents_bench *bench, struct error *err);

/* How fast a cancel is, and what it loses. 0 or a negative errno. */
int agents_measure_cancel(struct agents_bench *bench, struct error *err);

/* A prompt that takes long to read. */
uint32_t agents_long_prompt(const struct agents_bench *bench);

/* The name of what is returned is empty. */
struct agents_result *agents_add(struct agents_bench *bench, const char *unit, double value,
                                 const char *reference, double reference_value);

/* What was added since the last time. */
void agents_print(struct agents_bench *bench);

static inline bool agents_has_part(const struct agents_bench *bench, enum agents_part part) {
        return bench->parts >> part & 1;
}

/* A line on a terminal. */
void agents_say(const char *what);
