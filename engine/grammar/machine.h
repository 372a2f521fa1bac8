/* The machine: which symbols may come next in a grammar, one symbol at a time.
 *
 * It follows up to MACHINE_THREADS_MAX alternatives at once ("anyOf" can leave open for a while
 * which it is). Each is a stack of frames; stacks share their lower parts, which lie in a pool and
 * never change, so that a step costs what it changes and going back is forgetting what came later.
 *
 * Alternatives keep the order of the schema, equal ones are merged; what is more than
 * MACHINE_THREADS_MAX is dropped from the end: then some documents of the schema cannot be written,
 * but what is written is still one. Every alternative can be completed, whatever was chosen so far.
 *
 * A function of the symbols only. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/grammar/program.h"

/* Unions in real schemas have up to about twenty members that begin alike (discriminated by a
 * name). */
#define MACHINE_THREADS_MAX 32

/* Blanks that may stand between two tokens of JSON, besides one line break: the deepest indentation
 * of printed documents, and so little that no model gets lost in it. */
#define MACHINE_BLANKS_MAX 40

enum frame_kind {
        FRAME_ROOT,
        FRAME_STRING,
        FRAME_WORDS,
        FRAME_AUTOMATON,
        FRAME_OBJECT,
        FRAME_NAME,
        FRAME_ARRAY,
        FRAME_SEQUENCE,
        FRAME_LOOP,
        FRAME_RAW,
        FRAME_FREE,
};

struct frame {
        uint32_t node;
        uint8_t kind;   /* enum frame_kind */
        uint8_t phase;  /* of containers: what comes next, 0 = the beginning; of texts: enum
                           text_state */
        uint8_t blanks; /* since the last token of JSON */
        bool broken;    /* there was a line break among them */
        uint32_t a, b, c;
        uint32_t unused; /* keeps the struct free of padding: frames are compared as bytes */
        uint64_t seen[SEEN_WORDS]; /* OBJECT, LOOP: words that came */
};

struct thread {
        struct frame top;
        uint32_t below; /* in the pool; LINK_NONE at the bottom */
        uint32_t depth; /* frames below */
};

#define LINK_NONE UINT32_MAX

struct link {
        struct frame frame;
        uint32_t below, depth;
};

struct link_pool {
        struct link *links;
        uint32_t n, capacity;
};

void link_pool_deinit(struct link_pool *pool);

/* The one thread at the beginning. */
void machine_start(const struct grammar *grammar, struct thread *ret);

/* Takes a symbol: fills `out` (room for MACHINE_THREADS_MAX) and returns how many threads remain,
 * 0 when the symbol may not come, -ENOMEM. `out` and `in` do not overlap. What is pushed goes to
 * the end of the pool; all up to there may be forgotten once none of its threads is wanted. */
int machine_step(const struct grammar *grammar, struct link_pool *pool, const struct thread *in,
                 size_t n_in, uint8_t symbol, struct thread *out);

/* Drops from the pool what no thread stands on. `scratch` holds pool->n numbers. */
void machine_compact(struct link_pool *pool, struct thread *threads, size_t n, uint32_t *scratch);

/* Inside a JSON string: what comes next does not end it until there is a quote. */
bool frame_in_string(const struct grammar *grammar, const struct frame *frame);
