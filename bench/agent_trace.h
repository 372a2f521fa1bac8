/* What coding agents ask of a model, made up: which request follows which, how long each part is
 * and how long a tool takes, all from a seed.
 *
 * An agent's session begins with its tools and system prompt, the same for all agents. A task is a
 * person's message (class turn), then requests of a tool loop (class agent), each of which is the
 * one before with the answer and a tool's result behind it. Within a task the agent starts a
 * sub-agent, which goes on from all that the agent knows and of which only a report comes back.
 * A session's first request has a title written beside it. An editor sends completions at a
 * keystroke: the text of the last one and what was typed since, or another place.
 *
 * Pure. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct agent_trace {
        uint32_t seed;
        unsigned scale;    /* lengths of real agents divided by this */
        unsigned pause_ms; /* median of what a tool takes; of a keystroke a quarter */
        uint32_t bos_id, vocab_size;
};

/* Who asks. */
enum trace_kind { TRACE_AGENT, TRACE_TITLE, TRACE_EDITOR, TRACE_KINDS };

/* Where the prompt begins before n_new tokens are added to it. */
enum trace_base {
        TRACE_FRESH, /* the kind's common beginning */
        TRACE_ON,    /* the prompt and answer before */
        TRACE_TYPED, /* the prompt before, its answer forgotten */
        TRACE_FORK,  /* as TRACE_ON; it comes back here */
        TRACE_JOIN,  /* what there was at the fork */
};

struct trace_step {
        enum trace_base base;
        int service; /* enum seekd_class */
        uint32_t n_new, n_answer;
        double pause_ms; /* since the answer before */
};

/* Request `turn` of the `number`-th of its kind. */
struct trace_step agent_trace_step(const struct agent_trace *trace, enum trace_kind kind,
                                   unsigned number, unsigned turn);

/* Tokens that all of a kind begin with, BOS included. */
uint32_t agent_trace_n_common(const struct agent_trace *trace, enum trace_kind kind);
uint32_t agent_trace_common(const struct agent_trace *trace, enum trace_kind kind, uint32_t i);

/* Token i of what a step adds. */
uint32_t agent_trace_new(const struct agent_trace *trace, enum trace_kind kind, unsigned number,
                         unsigned turn, uint32_t i);
