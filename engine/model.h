/* What `struct engine` and `struct sequence` are made of: shared by the files of this folder only.
 */
#pragma once

#include <sys/queue.h>

#include "engine/backend.h"
#include "engine/choices.h"
#include "engine/engine.h"
#include "engine/engram_hash.h"
#include "engine/engram_rows.h"
#include "engine/kv.h"
#include "engine/kv_pool.h"
#include "engine/rope.h"
#include "engine/weights.h"

struct checkpoint;
struct pool;
struct workspace;

struct engine {
        /* Immutable after engine_open(): */
        struct model_config config;
        struct checkpoint *checkpoint;
        struct weights weights;
        struct tokenizer *tokenizer;
        struct engram_hash hash;
        struct rope_frequencies rope;
        struct kv_layout kv_layout;
        struct frontier_layout frontier_layout;
        const struct backend *backend;
        const struct kv_operations *kv;
        struct engram_tables engram_tables;
        struct engram_rows engram_rows; /* where the tables' rows come from */
        bool round;                     /* activations rounded to BF16 */
        const struct choices *choices;  /* NULL in production */

        /* Owned by the thread that steps: */
        struct pool *pool;
        struct workspace *workspace;
        struct engram_checkpoint_rows engram_checkpoint; /* the default source's state */
        unsigned rows_max;
        struct kv_pool kv_pool;
        LIST_HEAD(, sequence) sequences;
        uint64_t spills;
        void (*layer_done)(void *userdata, uint32_t done, uint32_t total); /* NULL: nobody asks */
        void *layer_done_userdata;
};

struct sequence {
        struct engine *engine;
        LIST_ENTRY(sequence) of_engine;
        struct kv *kv;
        uint8_t *frontier; /* frontier_layout.bytes */
};

static inline struct frontier_header *sequence_header(const struct sequence *sequence) {
        return (struct frontier_header *)(void *)sequence->frontier;
}

static inline uint8_t *sequence_window(const struct sequence *sequence, uint32_t layer) {
        return sequence->frontier + sequence->engine->frontier_layout.window_offset[layer];
}

/* What the layer keeps between steps beside its window: its kind of attention knows the meaning. */
static inline float *sequence_state(const struct sequence *sequence, uint32_t layer) {
        return (float *)(void *)(sequence->frontier +
                                 sequence->engine->frontier_layout.state_offset[layer]);
}
