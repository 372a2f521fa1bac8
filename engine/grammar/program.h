/* A compiled grammar: nodes that the machine walks (machine.h), and what they point into.
 *
 * Symbols are bytes. Bytes that occur in no UTF-8 text stand for special tokens and for the end, so
 * that literals, word lists and automata need no second alphabet. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/grammar/grammar.h"

struct error;

#define SYMBOL_DSML      0xf8 /* the token "｜DSML｜" */
#define SYMBOL_THINK_END 0xf9 /* the token "</think>" */
#define SYMBOL_END       0xff /* the end-of-sequence token */
#define SYMBOL_FIRST     0xf5 /* from here on no byte occurs in UTF-8 */

/* What must hold the schemas that agents send (up to 70 kB for all tools of a request) and bounds
 * what a hostile one costs: 1 MiB of schema text, and 16 MiB of compiled nodes at 64 bytes each or
 * automata at 8 to 12 bytes a piece. */
#define GRAMMAR_SCHEMA_BYTES_MAX (1u << 20)
#define GRAMMAR_NODES_MAX        (1u << 16)
#define GRAMMAR_PIECES_MAX       (1u << 20) /* of each: list entries, words, states, edges */
#define GRAMMAR_TEXT_MAX                                                                           \
        (4u << 20) /* bytes of all words: escapes make text at most 6 times longer */

/* Names of one object, parameters of one tool, tools of one request: bits of `seen`. */
#define GRAMMAR_WORDS_TRACKED 256
#define SEEN_WORDS            (GRAMMAR_WORDS_TRACKED / 64)

/* Frames that may lie upon each other. Real documents nest below 20; 64 is what RFC 8259 readers
 * such as PHP's refuse at the earliest (512 / 8). */
#define GRAMMAR_DEPTH_MAX 64
#define HEIGHT_ENDLESS    UINT16_MAX /* no finite text matches */

#define NODE_NONE UINT32_MAX

enum node_kind {
        NODE_NEVER,     /* nothing matches */
        NODE_CHOICE,    /* any of a list of nodes */
        NODE_SEQUENCE,  /* a list of nodes, one behind the other */
        NODE_STRING,    /* a JSON string of min to max code points */
        NODE_WORDS,     /* one of a set of words */
        NODE_AUTOMATON, /* what an automaton accepts */
        NODE_OBJECT,    /* a JSON object */
        NODE_ARRAY,     /* a JSON array */
        NODE_LOOP,      /* word, its value, word, its value, ..., the word that ends */
        NODE_RAW,       /* UTF-8 text up to and including "</" SYMBOL_DSML */
        NODE_FREE,      /* any tokens up to and including a trigger */
};

/* A sorted set of words: words[first], ..., words[first + n - 1]. */
struct word_set {
        uint32_t first, n;
};

struct node {
        uint8_t kind;
        bool in_string;  /* WORDS, AUTOMATON: every match is a JSON string */
        uint16_t height; /* frames that the flattest match needs, its own included */
        union {
                struct {
                        uint32_t first, n; /* in lists */
                } list;                    /* CHOICE (flat: of no choices), SEQUENCE */
                struct {
                        uint32_t min, max; /* UINT32_MAX = no limit */
                } string;
                struct word_set words; /* WORDS */
                struct {
                        uint32_t start;
                } automaton;
                struct {
                        struct word_set names; /* as spelt between the quotes */
                        uint32_t values;       /* in lists, one for each name */
                        uint32_t additional;   /* node of other names' values, NODE_NONE = none */
                        bool odd_names;        /* some are spelt with \u00XX */
                        uint64_t required[SEEN_WORDS];
                } object;
                struct {
                        uint32_t prefix, n_prefix; /* in lists */
                        uint32_t items;            /* of those behind, NODE_NONE = none */
                        uint32_t min, max;
                } array;
                struct {
                        struct word_set words;
                        uint32_t values; /* in lists, one for each word, NODE_NONE behind an end */
                        uint32_t end;    /* index of the word that ends */
                        uint32_t end_empty; /* of another one, when no value came; NODE_NONE */
                        bool again;         /* a word may come more than once */
                        bool some;          /* at least one value */
                        uint64_t required[SEEN_WORDS];
                } loop;
                struct {
                        /* SYMBOL_THINK_END, or SYMBOL_DSML behind a '<' at the beginning of the
                         * text or of a line. */
                        uint8_t trigger;
                        bool may_end; /* the sequence may end before the trigger */
                } free;
        };
};

struct word {
        uint32_t at, n; /* in text */
};

/* Edges of a state are sorted and do not overlap. Every state leads to an accepting one. */
struct automaton_state {
        uint32_t first;
        uint16_t n_edges;
        bool accepts;
};

struct automaton_edge {
        uint8_t low, high;
        uint32_t target;
};

struct grammar {
        struct node *nodes;
        uint32_t *lists;
        struct word *words;
        char *text;
        struct automaton_state *states;
        struct automaton_edge *edges;
        uint32_t n_nodes, n_lists, n_words, n_text, n_states, n_edges;
        uint32_t root;
        bool blanks_first; /* blanks may stand before the root */
        bool needs_dsml, needs_think_end;
};

/* -------- building -------- */

/* Each appends and gives the index of the (first) new one. -E2BIG past the bounds above, -ENOMEM.
 */
int program_add_node(struct grammar *grammar, const struct node *node, uint32_t *ret,
                     struct error *err);
int program_add_list(struct grammar *grammar, const uint32_t *list, size_t n, uint32_t *ret,
                     struct error *err);
int program_add_states(struct grammar *grammar, const struct automaton_state *states, size_t n,
                       uint32_t *ret, struct error *err);
int program_add_edges(struct grammar *grammar, const struct automaton_edge *edges, size_t n,
                      uint32_t *ret, struct error *err);

/* A word on its way into a set; `value` goes with it when it is sorted. */
struct new_word {
        char *text; /* malloc()ed */
        size_t n;
        uint32_t value;
};
struct new_words {
        struct new_word *words;
        size_t n, capacity;
};
/* Copies `n` bytes. 0 or -ENOMEM. */
int new_words_add(struct new_words *words, const char *text, size_t n, uint32_t value);
void new_words_deinit(struct new_words *words);

/* Sorts `words` and drops those that are there already, then appends them. */
int program_add_words(struct grammar *grammar, struct new_words *words, struct word_set *ret,
                      struct error *err);

/* Once all nodes are there: heights, and choices without what never matches. -EINVAL when nothing
 * matches the root. */
int program_finish(struct grammar *grammar, struct error *err);
