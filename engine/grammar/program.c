#include "engine/grammar/program.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* One of the grammar's growing arrays; its room is the power of two that holds `n`. */
struct array {
        void *elements;
        size_t element_bytes;
        uint32_t n;
        uint32_t max;
        const char *name;
};

/* `ret` is the index of the first that was added. */
static int append(struct array *array, const void *source, size_t n, uint32_t *ret,
                  struct error *err) {
        if (n > array->max - array->n)
                return error_set(err, -E2BIG, "needs more than %u %s", array->max, array->name);
        size_t old = 1, new;
        while (old < array->n)
                old *= 2;
        for (new = old; new < array->n + n;)
                new *= 2;
        if (!array->elements || new > old) {
                void *larger = realloc(array->elements, new * array->element_bytes);
                if (!larger)
                        return error_set(err, -ENOMEM, "out of memory");
                array->elements = larger;
        }
        if (n > 0)
                memcpy((char *)array->elements + array->n * array->element_bytes, source,
                       n * array->element_bytes);
        *ret = array->n;
        array->n += (uint32_t)n;
        return 0;
}

int program_add_node(struct grammar *grammar, const struct node *node, uint32_t *ret,
                     struct error *err) {
        struct array array = { grammar->nodes, sizeof(*node), grammar->n_nodes, GRAMMAR_NODES_MAX,
                               "nodes" };
        int r = append(&array, node, 1, ret, err);
        grammar->nodes = array.elements;
        grammar->n_nodes = array.n;
        return r;
}

int program_add_list(struct grammar *grammar, const uint32_t *list, size_t n, uint32_t *ret,
                     struct error *err) {
        struct array array = { grammar->lists, sizeof(*list), grammar->n_lists, GRAMMAR_PIECES_MAX,
                               "list entries" };
        int r = append(&array, list, n, ret, err);
        grammar->lists = array.elements;
        grammar->n_lists = array.n;
        return r;
}

int program_add_states(struct grammar *grammar, const struct automaton_state *states, size_t n,
                       uint32_t *ret, struct error *err) {
        struct array array = { grammar->states, sizeof(*states), grammar->n_states,
                               GRAMMAR_PIECES_MAX, "automaton states" };
        int r = append(&array, states, n, ret, err);
        grammar->states = array.elements;
        grammar->n_states = array.n;
        return r;
}

int program_add_edges(struct grammar *grammar, const struct automaton_edge *edges, size_t n,
                      uint32_t *ret, struct error *err) {
        struct array array = { grammar->edges, sizeof(*edges), grammar->n_edges, GRAMMAR_PIECES_MAX,
                               "automaton edges" };
        int r = append(&array, edges, n, ret, err);
        grammar->edges = array.elements;
        grammar->n_edges = array.n;
        return r;
}

static int add_word(struct grammar *grammar, const char *text, size_t n, struct error *err) {
        struct word word = { .n = (uint32_t)n };
        struct array array = { grammar->text, 1, grammar->n_text, GRAMMAR_TEXT_MAX,
                               "bytes of words" };
        int r = append(&array, text, n, &word.at, err);
        grammar->text = array.elements;
        grammar->n_text = array.n;
        if (r < 0)
                return r;
        uint32_t index;
        array = (struct array){ grammar->words, sizeof(word), grammar->n_words, GRAMMAR_PIECES_MAX,
                                "words" };
        r = append(&array, &word, 1, &index, err);
        grammar->words = array.elements;
        grammar->n_words = array.n;
        return r;
}

/* -------- words -------- */

int new_words_add(struct new_words *words, const char *text, size_t n, uint32_t value) {
        if (words->n == words->capacity) {
                size_t capacity = words->capacity > 0 ? 2 * words->capacity : 8;
                struct new_word *larger = realloc(words->words, capacity * sizeof(*words->words));
                if (!larger)
                        return -ENOMEM;
                words->words = larger;
                words->capacity = capacity;
        }
        char *copy = malloc(n > 0 ? n : 1);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, text, n);
        words->words[words->n++] = (struct new_word){ .text = copy, .n = n, .value = value };
        return 0;
}

void new_words_deinit(struct new_words *words) {
        for (size_t i = 0; i < words->n; i++)
                free(words->words[i].text);
        free(words->words);
        *words = (struct new_words){ 0 };
}

/* By bytes; a word before those that it begins. */
static int compare_words(const void *a, const void *b) {
        const struct new_word *x = a, *y = b;
        int order = memcmp(x->text, y->text, x->n < y->n ? x->n : y->n);
        if (order != 0)
                return order;
        return x->n < y->n ? -1 : x->n > y->n;
}

int program_add_words(struct grammar *grammar, struct new_words *words, struct word_set *ret,
                      struct error *err) {
        if (words->n > 0)
                qsort(words->words, words->n, sizeof(*words->words), compare_words);
        size_t n_kept = 0;
        for (size_t i = 0; i < words->n; i++) {
                if (n_kept > 0 && compare_words(&words->words[n_kept - 1], &words->words[i]) == 0)
                        free(words->words[i].text);
                else
                        words->words[n_kept++] = words->words[i];
        }
        words->n = n_kept;
        *ret = (struct word_set){ .first = grammar->n_words, .n = (uint32_t)words->n };
        int r = 0;
        for (size_t i = 0; r == 0 && i < words->n; i++)
                r = add_word(grammar, words->words[i].text, words->words[i].n, err);
        return r;
}

/* -------- heights -------- */

static bool bit(const uint64_t *bits, uint32_t i) {
        return bits[i / 64] >> i % 64 & 1;
}

static uint16_t above(uint32_t height) {
        return height >= GRAMMAR_DEPTH_MAX ? HEIGHT_ENDLESS : (uint16_t)(height + 1);
}

static uint16_t height_of(const struct grammar *grammar, uint32_t node) {
        return node == NODE_NONE ? 0 : grammar->nodes[node].height;
}

static uint16_t highest(const struct grammar *grammar, uint32_t first, uint32_t n) {
        uint16_t most = 0;
        for (uint32_t i = 0; i < n; i++) {
                uint16_t height = height_of(grammar, grammar->lists[first + i]);
                most = height > most ? height : most;
        }
        return most;
}

/* Of the values that must be there. */
static uint16_t required_height(const struct grammar *grammar, const uint64_t *required,
                                uint32_t values, uint32_t n) {
        uint16_t most = 0;
        for (uint32_t i = 0; i < n; i++) {
                uint16_t height = height_of(grammar, grammar->lists[values + i]);
                if (bit(required, i) && height > most)
                        most = height;
        }
        return most;
}

static uint16_t array_height(const struct grammar *grammar, const struct node *node) {
        uint32_t n_prefix =
                node->array.n_prefix < node->array.min ? node->array.n_prefix : node->array.min;
        uint16_t height = highest(grammar, node->array.prefix, n_prefix);
        if (node->array.min > node->array.n_prefix) {
                if (node->array.items == NODE_NONE)
                        return HEIGHT_ENDLESS;
                uint16_t items = height_of(grammar, node->array.items);
                height = items > height ? items : height;
        }
        return node->array.min > node->array.max ? HEIGHT_ENDLESS : above(height);
}

static uint16_t choice_height(const struct grammar *grammar, const struct node *node) {
        uint16_t least = HEIGHT_ENDLESS;
        for (uint32_t i = 0; i < node->list.n; i++) {
                uint16_t height = height_of(grammar, grammar->lists[node->list.first + i]);
                least = height < least ? height : least;
        }
        return least;
}

/* A loop that needs a value has at least one that is flat enough. */
static uint16_t loop_height(const struct grammar *grammar, const struct node *node) {
        uint16_t height = required_height(grammar, node->loop.required, node->loop.values,
                                          node->loop.words.n);
        uint16_t least = node->loop.some ? HEIGHT_ENDLESS : 0;
        for (uint32_t i = 0; i < node->loop.words.n; i++) {
                uint16_t value = height_of(grammar, grammar->lists[node->loop.values + i]);
                if (i != node->loop.end && i != node->loop.end_empty && value < least)
                        least = value;
        }
        return above(height > least ? height : least);
}

static uint16_t compute_height(const struct grammar *grammar, const struct node *node) {
        switch (node->kind) {
        case NODE_NEVER: return HEIGHT_ENDLESS;
        case NODE_CHOICE: return choice_height(grammar, node);
        case NODE_SEQUENCE: return above(highest(grammar, node->list.first, node->list.n));
        case NODE_STRING: return node->string.min > node->string.max ? HEIGHT_ENDLESS : 1;
        case NODE_WORDS: return node->words.n > 0 ? 1 : HEIGHT_ENDLESS;
        case NODE_OBJECT:
                return above(required_height(grammar, node->object.required, node->object.values,
                                             node->object.names.n));
        case NODE_ARRAY: return array_height(grammar, node);
        case NODE_LOOP: return loop_height(grammar, node);
        default: return 1;
        }
}

/* Bounds the time that choices of choices of choices take to make flat: some ten milliseconds. */
#define FLATTEN_STEPS_MAX (1u << 22)

struct flattening {
        uint32_t *pending; /* [n_lists + 1] */
        uint32_t *seen;    /* [n_nodes]: 1 + the last choice that met the node */
        uint32_t *flat;    /* [n_nodes] */
        uint32_t *first;   /* [n_nodes]: the new lists */
        uint32_t *n;
        size_t n_steps;
};

/* The alternatives of a choice without choices among them, each once, in order. */
static int flatten(struct grammar *grammar, struct flattening *work, uint32_t choice,
                   struct error *err) {
        size_t n_pending = 1, n = 0;
        work->pending[0] = choice;
        while (n_pending > 0) {
                uint32_t at = work->pending[--n_pending];
                const struct node *node = &grammar->nodes[at];
                if (++work->n_steps > FLATTEN_STEPS_MAX)
                        return error_set(err, -E2BIG, "alternatives nest too much");
                if (work->seen[at] == choice + 1 || node->height == HEIGHT_ENDLESS)
                        continue;
                work->seen[at] = choice + 1;
                if (node->kind != NODE_CHOICE) {
                        work->flat[n++] = at;
                        continue;
                }
                for (uint32_t i = node->list.n; i-- > 0;)
                        work->pending[n_pending++] = grammar->lists[node->list.first + i];
        }
        work->n[choice] = (uint32_t)n;
        return program_add_list(grammar, work->flat, n, &work->first[choice], err);
}

static int flatten_choices(struct grammar *grammar, struct error *err) {
        size_t n_nodes = grammar->n_nodes;
        struct flattening work = {
                .pending = malloc((grammar->n_lists + (size_t)1) * sizeof(uint32_t)),
                .seen = calloc(n_nodes, sizeof(uint32_t)),
                .flat = malloc(n_nodes * sizeof(uint32_t)),
                .first = malloc(n_nodes * sizeof(uint32_t)),
                .n = malloc(n_nodes * sizeof(uint32_t)),
        };
        int r = 0;
        if (!work.pending || !work.seen || !work.flat || !work.first || !work.n)
                r = error_set(err, -ENOMEM, "out of memory");
        for (uint32_t i = 0; r == 0 && i < n_nodes; i++)
                if (grammar->nodes[i].kind == NODE_CHOICE)
                        r = flatten(grammar, &work, i, err);
        for (uint32_t i = 0; r == 0 && i < n_nodes; i++) {
                struct node *node = &grammar->nodes[i];
                if (node->kind == NODE_CHOICE) {
                        node->list.first = work.first[i];
                        node->list.n = work.n[i];
                }
        }
        free(work.pending);
        free(work.seen);
        free(work.flat);
        free(work.first);
        free(work.n);
        return r;
}

int program_finish(struct grammar *grammar, struct error *err) {
        /* From "endless" downwards until nothing changes: each round settles at least the nodes of
         * one more height. */
        for (uint32_t i = 0; i < grammar->n_nodes; i++)
                grammar->nodes[i].height = HEIGHT_ENDLESS;
        bool changed = true;
        for (unsigned round = 0; changed && round <= GRAMMAR_DEPTH_MAX + 1; round++) {
                changed = false;
                for (uint32_t i = grammar->n_nodes; i-- > 0;) {
                        uint16_t height = compute_height(grammar, &grammar->nodes[i]);
                        changed = changed || height != grammar->nodes[i].height;
                        grammar->nodes[i].height = height;
                }
        }
        if (height_of(grammar, grammar->root) >= GRAMMAR_DEPTH_MAX)
                return error_set(err, -EINVAL, "nothing matches, or only what nests deeper than %d",
                                 GRAMMAR_DEPTH_MAX);
        return flatten_choices(grammar, err);
}

struct grammar *grammar_free(struct grammar *grammar) {
        if (!grammar)
                return NULL;
        free(grammar->nodes);
        free(grammar->lists);
        free(grammar->words);
        free(grammar->text);
        free(grammar->states);
        free(grammar->edges);
        free(grammar);
        return NULL;
}
