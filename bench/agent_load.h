/* Agents at work against a daemon: a trace (agent_trace.h) played by one event loop over libseekd's
 * descriptors, a connection each agent and editor.
 *
 * One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/agent_trace.h"
#include "bench/report.h"
#include "client/seekd.h"

struct error;

#define LOAD_AGENTS_MAX  48 /* of the 64 connections that one user may have */
#define LOAD_FILLERS_MAX 32 /* of one connection: as many requests as it may have */
#define LOAD_CLASSES     (SEEKD_CLASS_BACKGROUND + 1)

/* Clients that each send one new prompt after the other, of which nothing is kept. */
struct load_filler {
        unsigned n;
        bool together; /* on one connection, else on one each */
        uint32_t n_prompt, n_answer;
        int service;
};

struct load_turns { /* requests of each */
        unsigned agents[LOAD_AGENTS_MAX], editor;
};

struct agent_load {
        const char *socket;
        const struct agent_trace *trace;
        const char *subject; /* what is kept for another is of no use */
        unsigned n_agents;
        bool editor;
        struct load_filler filler;
        double seconds; /* agents and editor begin nothing later; 0: `turns` ends it */
        const struct load_turns *turns; /* so many of each; NULL: `seconds` ends it */
        bool equal;                     /* agents ask for the same lengths, without pauses */
        bool one_at_a_time;             /* who was ready first goes first, when nobody is served */
};

/* Without what fillers do. */
struct load_outcome {
        struct series ttft[LOAD_CLASSES]; /* ms, from being ready to the first token */
        struct series service;            /* tokens of each agent within `seconds` */
        struct load_turns turns;
        double seconds; /* until the last answer's end */
        uint64_t n_prompt, n_cached;
        uint64_t n_seen; /* tokens of prompts that the same subject has sent or been sent before */
};

/* Asks for the common beginnings first, so that they are kept, then runs. 0 or a negative errno: a
 * request failed. `ret` is zeroed before, and deinitialised by the caller after either. */
int agent_load_run(const struct agent_load *load, struct load_outcome *ret, struct error *err);
void load_outcome_deinit(struct load_outcome *outcome);
