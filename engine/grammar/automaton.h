/* Deterministic automata over bytes, on their way into a program. State 0 is the start. Every state
 * can be reached and leads to an accepting one; no states at all: nothing is accepted. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/grammar/program.h"

struct nfa;

struct automaton {
        struct automaton_state *states;
        struct automaton_edge *edges;
        uint32_t n_states, n_edges;
};

/* Larger ones are not built: patterns of real schemas need tens, with a maximal length hundreds. */
#define AUTOMATON_STATES_MAX 4096

/* What building may still cost, in visited states: shared by all patterns of a request, so that
 * many small ones cost no more than one large one. */
#define AUTOMATON_STEPS_MAX (32u << 20)

/* -ENOTSUP when it would be too large or the steps are used up, -ENOMEM. */
int automaton_from_nfa(const struct nfa *nfa, size_t *steps, struct automaton *ret);
/* Of a pattern, see pattern.h; the same errors. */
int automaton_from_pattern(const char *pattern, size_t n, size_t *steps, struct automaton *ret);

/* Keeps the texts of `min` to `max` code points (UINT32_MAX = no limit). */
int automaton_limit_length(struct automaton *automaton, uint32_t min, uint32_t max, size_t *steps);

/* From texts to JSON strings of them: quotes, and short escapes wherever the text has what they
 * stand for. */
int automaton_quote(struct automaton *automaton);

/* 0 and the start's index in the program, or an error of program_add_states(). */
int automaton_add(const struct automaton *automaton, struct grammar *grammar, uint32_t *ret,
                  struct error *err);

void automaton_deinit(struct automaton *automaton);
