#include "engine/grammar/constraint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/grammar/machine.h"
#include "engine/grammar/mask_trie.h"
#include "engine/grammar/text_state.h"
#include "engine/tokenizer.h"

/* Masks kept of strings with a pattern, whose tokens have to be walked through: as many as the
 * states of a short pattern. 16 KiB each with a vocabulary of 128,000. */
#define KEPT_MASKS 16

/* A walk through fewer nodes costs some ten microseconds and is not kept. */
#define KEPT_WALK_MIN 4096

/* Tokens that stay inside an automaton's string from one of its states. */
struct kept_mask {
        uint32_t node, state;
        uint64_t used; /* when, by the count of masks */
        uint64_t *mask;
};

/* Threads after each byte of the token that a walk is at. */
struct level {
        size_t first; /* in `stack` */
        uint32_t n;
        uint32_t n_links;
};

struct constraint {
        const struct grammar *grammar;
        const struct mask_trie *trie;
        struct link_pool pool;
        struct thread threads[MACHINE_THREADS_MAX];
        size_t n_threads;

        /* Scratch. */
        struct thread next[MACHINE_THREADS_MAX];
        struct thread *stack;
        size_t stack_room;
        struct level *levels; /* [depth_max + 1] */
        uint32_t *numbers;    /* for compaction */
        size_t numbers_room;
        uint64_t *mask;
        struct kept_mask kept[KEPT_MASKS];
        uint64_t n_masks;
};

int constraint_new(const struct grammar *grammar, const struct mask_trie *trie,
                   struct constraint **ret, struct error *err) {
        *ret = NULL;
        if (grammar->needs_dsml && trie->dsml_id == TRIE_NO_TOKEN)
                return error_set(err, -ENOTSUP, "the tokenizer has no token '｜DSML｜'");
        if (grammar->needs_think_end && trie->think_end_id == TRIE_NO_TOKEN)
                return error_set(err, -ENOTSUP, "the tokenizer has no token '</think>'");
        struct constraint *constraint = calloc(1, sizeof(*constraint));
        if (!constraint)
                return error_set(err, -ENOMEM, "out of memory");
        constraint->grammar = grammar;
        constraint->trie = trie;
        constraint->levels = malloc((trie->depth_max + (size_t)1) * sizeof(struct level));
        constraint->mask = malloc(trie->n_words * sizeof(uint64_t));
        if (!constraint->levels || !constraint->mask) {
                constraint_free(constraint);
                return error_set(err, -ENOMEM, "out of memory");
        }
        machine_start(grammar, &constraint->threads[0]);
        constraint->n_threads = 1;
        *ret = constraint;
        return 0;
}

struct constraint *constraint_free(struct constraint *constraint) {
        if (!constraint)
                return NULL;
        link_pool_deinit(&constraint->pool);
        for (size_t i = 0; i < KEPT_MASKS; i++)
                free(constraint->kept[i].mask);
        free(constraint->stack);
        free(constraint->levels);
        free(constraint->numbers);
        free(constraint->mask);
        free(constraint);
        return NULL;
}

static void set(uint64_t *mask, uint32_t id) {
        mask[id / 64] |= UINT64_C(1) << id % 64;
}

static void add(uint64_t *mask, const uint64_t *more, size_t n) {
        for (size_t i = 0; i < n; i++)
                mask[i] |= more[i];
}

/* -------- walking -------- */

/* Room for one more level behind `used` threads. */
static int reserve(struct constraint *constraint, size_t used) {
        size_t room = used + MACHINE_THREADS_MAX;
        if (room <= constraint->stack_room)
                return 0;
        room *= 2;
        struct thread *larger = realloc(constraint->stack, room * sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        constraint->stack = larger;
        constraint->stack_room = room;
        return 0;
}

/* Adds to the mask the tokens of `trie` that the threads take. */
static int walk(struct constraint *constraint, const struct trie *trie,
                const struct thread *threads, size_t n_threads) {
        if (reserve(constraint, n_threads) < 0)
                return -ENOMEM;
        struct level *levels = constraint->levels;
        memcpy(constraint->stack, threads, n_threads * sizeof(*threads));
        levels[0] = (struct level){ 0, (uint32_t)n_threads, constraint->pool.n };
        int r = 0;
        for (uint32_t i = 0; i < trie->n;) {
                const struct trie_node *node = &trie->nodes[i];
                struct level *level = &levels[node->depth];
                size_t behind = level->first + level->n;
                if (reserve(constraint, behind) < 0) {
                        r = -ENOMEM;
                        break;
                }
                constraint->pool.n = level->n_links;
                struct thread *out = constraint->stack + behind;
                r = machine_step(constraint->grammar, &constraint->pool,
                                 constraint->stack + level->first, level->n, node->byte, out);
                if (r < 0)
                        break;
                if (r == 0) {
                        i = node->skip;
                        continue;
                }
                if (node->id != TRIE_NO_TOKEN)
                        set(constraint->mask, node->id);
                level[1] = (struct level){ behind, (uint32_t)r, constraint->pool.n };
                i++;
        }
        constraint->pool.n = levels[0].n_links;
        return r < 0 ? r : 0;
}

static uint32_t automaton_next(const struct grammar *grammar, uint32_t state, uint8_t byte) {
        const struct automaton_state *from = &grammar->states[state];
        const struct automaton_edge *edges = grammar->edges + from->first;
        for (unsigned i = 0; i < from->n_edges && edges[i].low <= byte; i++)
                if (byte <= edges[i].high)
                        return edges[i].target;
        return NODE_NONE;
}

/* The tokens that stay inside an automaton's string, from one of its states: as walk(), but a state
 * is a number, and a step some nanoseconds. The number of nodes visited. */
static size_t walk_automaton(struct constraint *constraint, uint32_t state, uint64_t *mask) {
        const struct trie *trie = &constraint->trie->unquoted;
        uint32_t states[TRIE_TOKEN_BYTES_MAX + 1] = { state };
        size_t n_visits = 0;
        for (uint32_t i = 0; i < trie->n; n_visits++) {
                const struct trie_node *node = &trie->nodes[i];
                uint32_t next =
                        automaton_next(constraint->grammar, states[node->depth], node->byte);
                if (next == NODE_NONE) {
                        i = node->skip;
                        continue;
                }
                states[node->depth + 1] = next;
                if (node->id != TRIE_NO_TOKEN)
                        set(mask, node->id);
                i++;
        }
        return n_visits;
}

/* One of the symbols that are no bytes. */
static int try_symbol(struct constraint *constraint, uint8_t symbol, uint32_t id) {
        if (id == TRIE_NO_TOKEN || id >= constraint->trie->n_ids)
                return 0;
        uint32_t n_links = constraint->pool.n;
        int r = machine_step(constraint->grammar, &constraint->pool, constraint->threads,
                             constraint->n_threads, symbol, constraint->next);
        constraint->pool.n = n_links;
        if (r > 0)
                set(constraint->mask, id);
        return r < 0 ? r : 0;
}

/* -------- inside strings -------- */

/* A string with at most `room` more characters. */
static void add_string(struct constraint *constraint, uint32_t room) {
        const struct mask_trie *trie = constraint->trie;
        if (room >= trie->depth_max) {
                add(constraint->mask, trie->inside_string, trie->n_words);
                return;
        }
        for (uint32_t i = 0; i < trie->n_within[room]; i++)
                set(constraint->mask, trie->by_length[i]);
}

static struct kept_mask *find_kept(struct constraint *constraint, const struct frame *frame) {
        struct kept_mask *oldest = &constraint->kept[0];
        for (size_t i = 0; i < KEPT_MASKS; i++) {
                struct kept_mask *kept = &constraint->kept[i];
                if (kept->used != 0 && kept->node == frame->node && kept->state == frame->a)
                        return kept;
                if (kept->used < oldest->used)
                        oldest = kept;
        }
        if (!oldest->mask)
                oldest->mask = malloc(constraint->trie->n_words * sizeof(uint64_t));
        oldest->used = 0;
        return oldest->mask ? oldest : NULL;
}

static int add_automaton(struct constraint *constraint, const struct thread *thread) {
        size_t n_words = constraint->trie->n_words;
        struct kept_mask *kept = find_kept(constraint, &thread->top);
        if (!kept)
                return -ENOMEM;
        if (kept->used == 0) {
                memset(kept->mask, 0, n_words * sizeof(uint64_t));
                size_t n_visits = walk_automaton(constraint, thread->top.a, kept->mask);
                add(constraint->mask, kept->mask, n_words);
                if (n_visits < KEPT_WALK_MIN)
                        return 0;
                kept->node = thread->top.node;
                kept->state = thread->top.a;
        } else {
                add(constraint->mask, kept->mask, n_words);
        }
        kept->used = constraint->n_masks;
        return 0;
}

/* Between two characters of a name in an object that takes others than its own: every name can
 * become one of those. Not when a declared name needs an escape that others do not have. */
static bool is_open_name(const struct constraint *constraint, const struct thread *thread) {
        const struct node *object = &constraint->grammar->nodes[thread->top.node];
        uint32_t additional = object->object.additional;
        const struct link *below = &constraint->pool.links[thread->below];
        return thread->top.phase == TEXT_PLAIN && additional != NODE_NONE &&
                !object->object.odd_names &&
                below->depth + 1 + constraint->grammar->nodes[additional].height <=
                GRAMMAR_DEPTH_MAX;
}

/* Tokens without a quote: no thread leaves its string, so that each can be looked at alone. */
static int add_inside(struct constraint *constraint, const struct thread *thread) {
        const struct mask_trie *trie = constraint->trie;
        const struct node *node = &constraint->grammar->nodes[thread->top.node];
        if (thread->top.kind == FRAME_STRING && thread->top.phase == TEXT_PLAIN) {
                add_string(constraint,
                           node->string.max == UINT32_MAX ? UINT32_MAX
                                                          : node->string.max - thread->top.a);
                return 0;
        }
        if (thread->top.kind == FRAME_AUTOMATON)
                return add_automaton(constraint, thread);
        if (thread->top.kind == FRAME_NAME && is_open_name(constraint, thread)) {
                add(constraint->mask, trie->inside_name, trie->n_words);
                return 0;
        }
        return walk(constraint, &trie->unquoted, thread, 1);
}

static bool all_in_strings(const struct constraint *constraint) {
        for (size_t i = 0; i < constraint->n_threads; i++)
                if (!frame_in_string(constraint->grammar, &constraint->threads[i].top))
                        return false;
        return true;
}

/* -------- masks -------- */

/* The free text that all threads are in, or that comes next; NULL when it is not. Free text never
 * has alternatives. */
static const struct node *free_text(const struct constraint *constraint) {
        const struct grammar *grammar = constraint->grammar;
        const struct frame *top = &constraint->threads[0].top;
        const struct node *node = &grammar->nodes[top->node];
        uint32_t element = 0;
        if (top->kind == FRAME_FREE)
                return node;
        if (top->kind == FRAME_SEQUENCE)
                element = top->a;
        else if (top->kind != FRAME_ROOT || top->phase != 0 || node->kind != NODE_SEQUENCE)
                return NULL;
        const struct node *next = &grammar->nodes[grammar->lists[node->list.first + element]];
        return next->kind == NODE_FREE ? next : NULL;
}

/* Before a trigger: every token, also those that are no text, but the end where it is too early.
 * NULL: all without exception. */
static const uint64_t *free_mask(struct constraint *constraint, const struct node *node) {
        const struct mask_trie *trie = constraint->trie;
        if (node->free.may_end)
                return NULL;
        memset(constraint->mask, 0xff, trie->n_words * sizeof(uint64_t));
        constraint->mask[trie->end_id / 64] &= ~(UINT64_C(1) << trie->end_id % 64);
        return constraint->mask;
}

static int fill(struct constraint *constraint) {
        const struct mask_trie *trie = constraint->trie;
        const struct frame *top = &constraint->threads[0].top;
        if (all_in_strings(constraint)) {
                for (size_t i = 0; i < constraint->n_threads; i++) {
                        int r = add_inside(constraint, &constraint->threads[i]);
                        if (r < 0)
                                return r;
                }
                return walk(constraint, &trie->quoted, constraint->threads, constraint->n_threads);
        }
        if (constraint->n_threads == 1 && top->kind == FRAME_RAW && top->phase == TEXT_PLAIN &&
            top->b == 0) {
                add(constraint->mask, trie->inside_raw, trie->n_words);
                return 0;
        }
        return walk(constraint, &trie->all, constraint->threads, constraint->n_threads);
}

int constraint_mask(struct constraint *constraint, const uint64_t **ret) {
        const struct mask_trie *trie = constraint->trie;
        const struct node *free_node = free_text(constraint);
        constraint->n_masks++;
        if (free_node) {
                *ret = free_mask(constraint, free_node);
                return 0;
        }
        memset(constraint->mask, 0, trie->n_words * sizeof(uint64_t));
        int r = fill(constraint);
        if (r == 0)
                r = try_symbol(constraint, SYMBOL_END, trie->end_id);
        if (r == 0)
                r = try_symbol(constraint, SYMBOL_DSML, trie->dsml_id);
        if (r == 0)
                r = try_symbol(constraint, SYMBOL_THINK_END, trie->think_end_id);
        if (r < 0)
                return r;
        *ret = constraint->mask;
        for (size_t i = 0; i < trie->n_words; i++)
                if (constraint->mask[i] != 0)
                        return 0;
        return -EILSEQ;
}

/* -------- accepting -------- */

/* Stands for added tokens that mean nothing here, in text before a trigger: no byte of text. */
#define SYMBOL_OTHER 0

/* The symbols of a token. */
static const uint8_t *symbols_of(const struct constraint *constraint, uint32_t id, uint8_t *one,
                                 size_t *ret_n) {
        const struct mask_trie *trie = constraint->trie;
        *ret_n = 1;
        if (id >= trie->n_ids)
                return NULL;
        if (id == trie->end_id)
                *one = SYMBOL_END;
        else if (id == trie->dsml_id)
                *one = SYMBOL_DSML;
        else if (id == trie->think_end_id)
                *one = SYMBOL_THINK_END;
        else if (trie->usable[id / 64] >> id % 64 & 1)
                return (const uint8_t *)tokenizer_bytes(trie->tokenizer, id, ret_n);
        else if (free_text(constraint))
                *one = SYMBOL_OTHER;
        else
                return NULL;
        return one;
}

static int compact(struct constraint *constraint) {
        if (constraint->pool.n == 0)
                return 0;
        if (constraint->numbers_room < constraint->pool.n) {
                size_t room = 2 * (size_t)constraint->pool.n;
                uint32_t *larger = realloc(constraint->numbers, room * sizeof(*larger));
                if (!larger)
                        return -ENOMEM;
                constraint->numbers = larger;
                constraint->numbers_room = room;
        }
        machine_compact(&constraint->pool, constraint->threads, constraint->n_threads,
                        constraint->numbers);
        return 0;
}

int constraint_accept(struct constraint *constraint, uint32_t id) {
        uint8_t one;
        size_t n;
        const uint8_t *symbols = symbols_of(constraint, id, &one, &n);
        if (!symbols)
                return -EILSEQ;
        struct thread at[MACHINE_THREADS_MAX];
        size_t n_at = constraint->n_threads;
        uint32_t n_links = constraint->pool.n;
        memcpy(at, constraint->threads, n_at * sizeof(*at));
        for (size_t i = 0; i < n; i++) {
                int r = machine_step(constraint->grammar, &constraint->pool, at, n_at, symbols[i],
                                     constraint->next);
                if (r <= 0) {
                        constraint->pool.n = n_links;
                        return r < 0 ? r : -EILSEQ;
                }
                n_at = (size_t)r;
                memcpy(at, constraint->next, n_at * sizeof(*at));
        }
        memcpy(constraint->threads, at, n_at * sizeof(*at));
        constraint->n_threads = n_at;
        return compact(constraint);
}
