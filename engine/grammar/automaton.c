#include "engine/grammar/automaton.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/nfa.h"
#include "engine/grammar/pattern.h"

void automaton_deinit(struct automaton *automaton) {
        free(automaton->states);
        free(automaton->edges);
        *automaton = (struct automaton){ 0 };
}

/* What any pattern costs: for the blocks of memory that one needs. */
#define AUTOMATON_STEPS_LEAST 1024

static bool spend(size_t *steps, size_t n) {
        if (*steps < n) {
                *steps = 0;
                return false;
        }
        *steps -= n;
        return true;
}

/* -------- growing -------- */

struct growing {
        struct automaton automaton;
        uint32_t states_room, edges_room;
};

static int grow_state(struct growing *growing, bool accepts) {
        struct automaton *automaton = &growing->automaton;
        if (automaton->n_states == AUTOMATON_STATES_MAX)
                return -ENOTSUP;
        if (automaton->n_states == growing->states_room) {
                uint32_t room = growing->states_room > 0 ? 2 * growing->states_room : 16;
                struct automaton_state *larger = realloc(automaton->states, room * sizeof(*larger));
                if (!larger)
                        return -ENOMEM;
                automaton->states = larger;
                growing->states_room = room;
        }
        automaton->states[automaton->n_states++] = (struct automaton_state){ .accepts = accepts };
        return 0;
}

/* For the state `from`, whose edges are added in one go, in ascending order. */
static int grow_edge(struct growing *growing, uint32_t from, unsigned low, unsigned high,
                     uint32_t target) {
        struct automaton *automaton = &growing->automaton;
        struct automaton_state *state = &automaton->states[from];
        if (state->n_edges == 0)
                state->first = automaton->n_edges;
        struct automaton_edge *last =
                state->n_edges > 0 ? &automaton->edges[automaton->n_edges - 1] : NULL;
        if (last && last->target == target && last->high + 1u == low) {
                last->high = (uint8_t)high;
                return 0;
        }
        if (automaton->n_edges == growing->edges_room) {
                uint32_t room = growing->edges_room > 0 ? 2 * growing->edges_room : 64;
                struct automaton_edge *larger = realloc(automaton->edges, room * sizeof(*larger));
                if (!larger)
                        return -ENOMEM;
                automaton->edges = larger;
                growing->edges_room = room;
        }
        automaton->edges[automaton->n_edges++] =
                (struct automaton_edge){ (uint8_t)low, (uint8_t)high, target };
        state->n_edges++;
        return 0;
}

/* -------- what leads nowhere -------- */

/* Marks the states from which an accepting one can be reached: backwards along the edges, which are
 * sorted by target first. */
static int mark_live(const struct automaton *automaton, bool *live) {
        uint32_t n = automaton->n_states, n_pending = 0;
        uint32_t *ends =
                calloc(n + (size_t)2, sizeof(*ends)); /* by target: where its sources end */
        uint32_t *sources = malloc((automaton->n_edges + (size_t)1) * sizeof(*sources));
        uint32_t *pending = malloc((n + (size_t)1) * sizeof(*pending));
        int r = ends && sources && pending ? 0 : -ENOMEM;
        for (uint32_t e = 0; r == 0 && e < automaton->n_edges; e++)
                ends[automaton->edges[e].target + 2]++;
        for (uint32_t i = 2; r == 0 && i < n + 2; i++)
                ends[i] += ends[i - 1];
        for (uint32_t i = 0; r == 0 && i < n; i++) {
                const struct automaton_state *state = &automaton->states[i];
                for (unsigned e = 0; e < state->n_edges; e++)
                        sources[ends[automaton->edges[state->first + e].target + 1]++] = i;
                live[i] = state->accepts;
                if (live[i])
                        pending[n_pending++] = i;
        }
        while (r == 0 && n_pending > 0) {
                uint32_t at = pending[--n_pending];
                for (uint32_t s = ends[at]; s < ends[at + 1]; s++)
                        if (!live[sources[s]]) {
                                live[sources[s]] = true;
                                pending[n_pending++] = sources[s];
                        }
        }
        free(ends);
        free(sources);
        free(pending);
        return r;
}

/* Copies the states that live, with their edges between each other, in their order. */
static void copy_live(const struct automaton *from, const bool *live, const uint32_t *moved,
                      struct automaton *to) {
        for (uint32_t i = 0; i < from->n_states; i++) {
                if (!live[i])
                        continue;
                const struct automaton_state *state = &from->states[i];
                uint32_t first = to->n_edges;
                for (unsigned e = 0; e < state->n_edges; e++) {
                        struct automaton_edge edge = from->edges[state->first + e];
                        if (!live[edge.target])
                                continue;
                        edge.target = moved[edge.target];
                        to->edges[to->n_edges++] = edge;
                }
                to->states[to->n_states++] = (struct automaton_state){
                        .first = first,
                        .n_edges = (uint16_t)(to->n_edges - first),
                        .accepts = state->accepts,
                };
        }
}

static int drop_dead(struct automaton *automaton) {
        uint32_t n = automaton->n_states;
        struct automaton kept = {
                .states = malloc((n + (size_t)1) * sizeof(struct automaton_state)),
                .edges = malloc((automaton->n_edges + (size_t)1) * sizeof(struct automaton_edge)),
        };
        bool *live = calloc(n + (size_t)1, sizeof(*live));
        uint32_t *moved = malloc((n + (size_t)1) * sizeof(*moved));
        int r = -ENOMEM;
        if (live && moved && kept.states && kept.edges)
                r = mark_live(automaton, live);
        if (r == 0) {
                uint32_t n_live = 0;
                for (uint32_t i = 0; i < n; i++)
                        moved[i] = live[i] ? n_live++ : UINT32_MAX;
                if (n > 0 && live[0])
                        copy_live(automaton, live, moved, &kept);
        }
        free(live);
        free(moved);
        if (r < 0) {
                automaton_deinit(&kept);
                return r;
        }
        automaton_deinit(automaton);
        *automaton = kept;
        return 0;
}

/* -------- subsets of a nondeterministic automaton -------- */

struct subset {
        uint32_t first, n; /* in members */
};

struct determinizing {
        const struct nfa *nfa;
        size_t *steps;
        struct growing growing;
        struct subset subsets[AUTOMATON_STATES_MAX];
        uint16_t *members;
        size_t n_members, members_room;
        uint32_t table[2 * AUTOMATON_STATES_MAX]; /* hash -> 1 + state */
        /* The set being made. */
        uint16_t set[NFA_STATES_MAX];
        size_t n_set;
        bool in_set[NFA_STATES_MAX];
};

/* Adds a state and what it leads to without a byte. */
static void add_closure(struct determinizing *work, uint16_t state) {
        size_t at = work->n_set;
        if (!work->in_set[state]) {
                work->in_set[state] = true;
                work->set[work->n_set++] = state;
        }
        for (; at < work->n_set; at++) {
                const struct nfa_state *from = &work->nfa->states[work->set[at]];
                if (from->kind != NFA_EITHER)
                        continue;
                for (unsigned i = 0; i < 2; i++) {
                        uint16_t next = from->next[i];
                        if (next == UINT16_MAX || work->in_set[next])
                                continue;
                        work->in_set[next] = true;
                        work->set[work->n_set++] = next;
                }
        }
}

static int by_number(const void *a, const void *b) {
        return *(const uint16_t *)a - *(const uint16_t *)b;
}

/* Leaves only what decides: states with bytes and the accepting one, in ascending order. */
static void settle_set(struct determinizing *work) {
        size_t n = 0;
        for (size_t i = 0; i < work->n_set; i++) {
                work->in_set[work->set[i]] = false;
                if (work->nfa->states[work->set[i]].kind != NFA_EITHER)
                        work->set[n++] = work->set[i];
        }
        work->n_set = n;
        qsort(work->set, n, sizeof(*work->set), by_number);
}

static bool is_subset(const struct determinizing *work, uint32_t state) {
        const struct subset *subset = &work->subsets[state];
        return subset->n == work->n_set &&
                memcmp(work->members + subset->first, work->set, subset->n * sizeof(*work->set)) ==
                0;
}

static int keep_members(struct determinizing *work, struct subset *ret) {
        if (work->members_room - work->n_members < work->n_set) {
                size_t room = 2 * work->members_room + work->n_set;
                uint16_t *larger = realloc(work->members, room * sizeof(*larger));
                if (!larger)
                        return -ENOMEM;
                work->members = larger;
                work->members_room = room;
        }
        memcpy(work->members + work->n_members, work->set, work->n_set * sizeof(*work->set));
        *ret = (struct subset){ (uint32_t)work->n_members, (uint32_t)work->n_set };
        work->n_members += work->n_set;
        return 0;
}

/* The state that stands for the set, which becomes empty. */
static int state_of_set(struct determinizing *work, uint32_t *ret) {
        settle_set(work);
        uint64_t hash = 0xcbf29ce484222325;
        bool accepts = false;
        for (size_t i = 0; i < work->n_set; i++) {
                hash = (hash ^ work->set[i]) * 0x100000001b3;
                accepts = accepts || work->nfa->states[work->set[i]].kind == NFA_ACCEPT;
        }
        size_t slot = (hash ^ hash >> 32) % (2 * AUTOMATON_STATES_MAX);
        while (work->table[slot] != 0 && !is_subset(work, work->table[slot] - 1))
                slot = (slot + 1) % (2 * AUTOMATON_STATES_MAX);
        int r = 0;
        if (work->table[slot] == 0) {
                uint32_t state = work->growing.automaton.n_states;
                r = grow_state(&work->growing, accepts);
                if (r == 0)
                        r = keep_members(work, &work->subsets[state]);
                if (r == 0)
                        work->table[slot] = state + 1;
        }
        *ret = work->table[slot] - 1;
        work->n_set = 0;
        return r;
}

/* Bytes between two of these places lead to the same set. */
static void mark_borders(const struct determinizing *work, const struct subset *subset,
                         bool *borders) {
        for (uint32_t i = 0; i < subset->n; i++) {
                const struct nfa_state *state =
                        &work->nfa->states[work->members[subset->first + i]];
                if (state->kind == NFA_BYTES)
                        borders[state->low] = borders[state->high + 1] = true;
        }
}

static int leave(struct determinizing *work, uint32_t from) {
        bool borders[257] = { false };
        struct subset subset = work->subsets[from];
        mark_borders(work, &subset, borders);
        for (unsigned low = 0, high; low < 256; low = high + 1) {
                for (high = low; high < 255 && !borders[high + 1];)
                        high++;
                if (!spend(work->steps, subset.n + 1))
                        return -ENOTSUP;
                for (uint32_t i = 0; i < subset.n; i++) {
                        const struct nfa_state *state =
                                &work->nfa->states[work->members[subset.first + i]];
                        if (state->kind == NFA_BYTES && state->low <= low && state->high >= high)
                                add_closure(work, state->next[0]);
                }
                if (work->n_set == 0)
                        continue;
                if (!spend(work->steps, 2 * work->n_set))
                        return -ENOTSUP;
                uint32_t target;
                int r = state_of_set(work, &target);
                if (r == 0)
                        r = grow_edge(&work->growing, from, low, high, target);
                if (r < 0)
                        return r;
        }
        return 0;
}

int automaton_from_nfa(const struct nfa *nfa, size_t *steps, struct automaton *ret) {
        struct determinizing *work = calloc(1, sizeof(*work));
        if (!work)
                return -ENOMEM;
        work->nfa = nfa;
        work->steps = steps;
        add_closure(work, nfa->start);
        uint32_t start;
        int r = state_of_set(work, &start);
        for (uint32_t i = 0; r == 0 && i < work->growing.automaton.n_states; i++)
                r = leave(work, i);
        struct automaton automaton = work->growing.automaton;
        free(work->members);
        free(work);
        if (r == 0)
                r = drop_dead(&automaton);
        if (r < 0)
                automaton_deinit(&automaton);
        *ret = automaton;
        return r;
}

int automaton_from_pattern(const char *pattern, size_t n, size_t *steps, struct automaton *ret) {
        *ret = (struct automaton){ 0 };
        struct nfa *nfa = malloc(sizeof(*nfa));
        if (!nfa)
                return -ENOMEM;
        int r = -ENOTSUP;
        if (spend(steps, n + AUTOMATON_STEPS_LEAST)) {
                r = pattern_compile(pattern, n, nfa);
                if (!spend(steps, nfa->n))
                        r = -ENOTSUP;
        }
        if (r == 0)
                r = automaton_from_nfa(nfa, steps, ret);
        free(nfa);
        return r;
}

/* -------- length -------- */

/* States of the product: (state, code points so far); without a maximum, counted up to `min`. */
struct counting {
        const struct automaton *from;
        uint32_t min, max, counts; /* counts: how many different ones */
        struct growing growing;
        uint32_t *state_of; /* [n_states * counts], 1 + number in the product */
        uint32_t *pairs;    /* [AUTOMATON_STATES_MAX] */
};

static int pair_state(struct counting *work, uint32_t state, uint32_t count, uint32_t *ret) {
        uint32_t pair = state * work->counts + count;
        if (work->state_of[pair] == 0) {
                uint32_t n = work->growing.automaton.n_states;
                int r = grow_state(&work->growing,
                                   work->from->states[state].accepts && count >= work->min);
                if (r < 0)
                        return r;
                work->pairs[n] = pair;
                work->state_of[pair] = n + 1;
        }
        *ret = work->state_of[pair] - 1;
        return 0;
}

static int count_edge(struct counting *work, uint32_t from, uint32_t count, unsigned low,
                      unsigned high, uint32_t target) {
        bool begins = low < 0x80 || low >= 0xc0; /* a code point; edges cross no such border */
        if (begins && count == work->max)
                return 0;
        if (begins && count + 1 < work->counts)
                count++;
        uint32_t state;
        int r = pair_state(work, target, count, &state);
        return r < 0 ? r : grow_edge(&work->growing, from, low, high, state);
}

static int count_edges(struct counting *work, uint32_t at) {
        const struct automaton_state *state = &work->from->states[work->pairs[at] / work->counts];
        uint32_t count = work->pairs[at] % work->counts;
        int r = 0;
        for (unsigned e = 0; e < state->n_edges && r == 0; e++) {
                struct automaton_edge edge = work->from->edges[state->first + e];
                static const uint8_t cuts[] = { 0x80, 0xc0 };
                unsigned low = edge.low;
                for (unsigned i = 0; i < 2 && r == 0; i++)
                        if (low < cuts[i] && edge.high >= cuts[i]) {
                                r = count_edge(work, at, count, low, cuts[i] - 1u, edge.target);
                                low = cuts[i];
                        }
                if (r == 0)
                        r = count_edge(work, at, count, low, edge.high, edge.target);
        }
        return r;
}

int automaton_limit_length(struct automaton *automaton, uint32_t min, uint32_t max, size_t *steps) {
        if ((min == 0 && max == UINT32_MAX) || automaton->n_states == 0)
                return 0;
        struct counting work = { .from = automaton, .min = min, .max = max };
        uint32_t last = max == UINT32_MAX ? min : max;
        if (last > AUTOMATON_STATES_MAX || !spend(steps, (size_t)automaton->n_states * (last + 1)))
                return -ENOTSUP;
        work.counts = last + 1;
        work.state_of = calloc((size_t)automaton->n_states * work.counts, sizeof(*work.state_of));
        work.pairs = malloc(AUTOMATON_STATES_MAX * sizeof(*work.pairs));
        int r = work.state_of && work.pairs ? 0 : -ENOMEM;
        uint32_t start;
        if (r == 0)
                r = pair_state(&work, 0, 0, &start);
        for (uint32_t i = 0; r == 0 && i < work.growing.automaton.n_states; i++)
                r = count_edges(&work, i);
        free(work.state_of);
        free(work.pairs);
        if (r == 0)
                r = drop_dead(&work.growing.automaton);
        if (r < 0) {
                automaton_deinit(&work.growing.automaton);
                return r;
        }
        automaton_deinit(automaton);
        *automaton = work.growing.automaton;
        return 0;
}

/* -------- quotes -------- */

static uint32_t target_of(const struct automaton *automaton, const struct automaton_state *state,
                          uint8_t byte) {
        for (unsigned e = 0; e < state->n_edges; e++) {
                const struct automaton_edge *edge = &automaton->edges[state->first + e];
                if (byte >= edge->low && byte <= edge->high)
                        return edge->target;
        }
        return UINT32_MAX;
}

/* What a short escape's letter stands for, in ascending order of the letters. */
static const struct {
        uint8_t letter, byte;
} escapes[] = {
        { '"', '"' },  { '/', '/' },  { '\\', '\\' }, { 'b', '\b' },
        { 'f', '\f' }, { 'n', '\n' }, { 'r', '\r' },  { 't', '\t' },
};
#define N_ESCAPES (sizeof(escapes) / sizeof(*escapes))

/* The edges of a text's state that are written as they are, `shift` states further; the escape at
 * its place among them, and the closing quote. */
static int quote_edges(const struct automaton *from, uint32_t at, struct growing *to,
                       uint32_t escape, uint32_t closed) {
        const struct automaton_state *state = &from->states[at];
        int r = 0;
        unsigned byte = 0x20;
        for (unsigned high; byte < 256 && r == 0; byte = high + 1) {
                high = byte;
                if (byte == '"') {
                        if (state->accepts)
                                r = grow_edge(to, at + 1, byte, byte, closed);
                        continue;
                }
                if (byte == '\\') {
                        if (escape != UINT32_MAX)
                                r = grow_edge(to, at + 1, byte, byte, escape);
                        continue;
                }
                uint32_t target = target_of(from, state, (uint8_t)byte);
                if (target != UINT32_MAX)
                        r = grow_edge(to, at + 1, byte, byte, target + 1);
        }
        return r;
}

static int escape_edges(const struct automaton *from, uint32_t at, struct growing *to,
                        uint32_t escape) {
        int r = 0;
        for (size_t i = 0; i < N_ESCAPES && r == 0; i++) {
                uint32_t target = target_of(from, &from->states[at], escapes[i].byte);
                if (target != UINT32_MAX)
                        r = grow_edge(to, escape, escapes[i].letter, escapes[i].letter, target + 1);
        }
        return r;
}

static bool has_escapes(const struct automaton *automaton, uint32_t at) {
        for (size_t i = 0; i < N_ESCAPES; i++)
                if (target_of(automaton, &automaton->states[at], escapes[i].byte) != UINT32_MAX)
                        return true;
        return false;
}

/* States: the opening quote's, those of the text one further, the end, escapes. */
int automaton_quote(struct automaton *automaton) {
        struct growing to = { 0 };
        uint32_t n = automaton->n_states;
        if (n == 0)
                return 0;
        int r = 0;
        for (uint32_t i = 0; i < n + 2 && r == 0; i++)
                r = grow_state(&to, i == n + 1);
        if (r == 0)
                r = grow_edge(&to, 0, '"', '"', 1);
        for (uint32_t i = 0; i < n && r == 0; i++) {
                uint32_t escape = UINT32_MAX;
                if (has_escapes(automaton, i)) {
                        escape = to.automaton.n_states;
                        r = grow_state(&to, false);
                }
                if (r == 0)
                        r = quote_edges(automaton, i, &to, escape, n + 1);
                if (r == 0 && escape != UINT32_MAX)
                        r = escape_edges(automaton, i, &to, escape);
        }
        /* A text that only has bytes which cannot be written has gone. */
        if (r == 0)
                r = drop_dead(&to.automaton);
        if (r < 0) {
                automaton_deinit(&to.automaton);
                return r;
        }
        automaton_deinit(automaton);
        *automaton = to.automaton;
        return 0;
}

/* -------- into a program -------- */

int automaton_add(const struct automaton *automaton, struct grammar *grammar, uint32_t *ret,
                  struct error *err) {
        uint32_t first_state = grammar->n_states, first_edge = grammar->n_edges, at;
        int r = program_add_edges(grammar, automaton->edges, automaton->n_edges, &at, err);
        if (r == 0)
                r = program_add_states(grammar, automaton->states, automaton->n_states, ret, err);
        if (r < 0)
                return r;
        for (uint32_t i = first_edge; i < grammar->n_edges; i++)
                grammar->edges[i].target += first_state;
        for (uint32_t i = first_state; i < grammar->n_states; i++)
                grammar->states[i].first += first_edge;
        return 0;
}
