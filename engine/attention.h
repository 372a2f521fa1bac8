/* The kinds of attention: what each keeps, what it needs, and how it computes a layer. One file a
 * kind (attention_KIND.c); the table of all is in attention.c. What kinds share: attention_window
 * (sliding windows), attention_tile (rows that were selected, brought to the device), indexer,
 * shared_kv (one row of KV for all heads). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/model_config.h"

struct engine;
struct frontier_layout;
struct kv_layout;
struct step;
struct workspace;

/* The largest that any part of a model needs of one worker's scratch memory. */
struct scratch_needs {
        size_t input;  /* numbers of a product's input row */
        size_t attend; /* floats of an attention operation's scratch */
        size_t rows;   /* KV rows whose slots are looked up together */
        size_t keys;   /* floats of KV rows that are unpacked together */
};

static inline void scratch_at_least(size_t *need, size_t n) {
        *need = n > *need ? n : *need;
}

struct attention_operations {
        const char *name; /* for people: "CSA2" */

        /* Adds what the layer keeps of each token to `layout` (kv_layout_add_rows(), its
         * main_stream and key_stream), and of its last position to `frontier`
         * (frontier_add_state(), frontier_add_window()). Layers come in order. Pure. */
        void (*layout)(const struct model_config *config, uint32_t layer, struct kv_layout *layout,
                       struct frontier_layout *frontier);

        /* Takes the kind's buffers for `rows` rows of a step from the workspace, once for all
         * layers of the kind (workspace_room()). */
        void (*buffers)(struct workspace *ws, const struct engine *engine, size_t rows);

        /* Raises what the kind needs more of. */
        void (*scratch)(const struct model_config *config, struct scratch_needs *needs);

        /* Room for what grows with the context: n_tokens, the longest of the step's sequences. 0 or
         * -ENOMEM. NULL: nothing grows. */
        int (*grow)(struct workspace *ws, const struct engine *engine, uint32_t n_tokens);

        /* ws->x, the normed input, to ws->y for all rows of the step, appending what the layer
         * keeps of them. What cannot be kept is reported by step->bad_row. */
        void (*compute)(struct step *step, uint32_t layer);
};

const struct attention_operations *attention_operations(enum attention_kind kind);

/* Whether some layer of the model is of this kind. */
bool attention_in_use(const struct model_config *config, enum attention_kind kind);

extern const struct attention_operations attention_csa2;
extern const struct attention_operations attention_mla;
extern const struct attention_operations attention_nsa;
extern const struct attention_operations attention_csa;
