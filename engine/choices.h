/* The discrete choices of a forward pass, open to a caller that wants to see or replace them.
 *
 * Two correct implementations of a model differ by rounding, and where a rounding tips a choice
 * (which expert, which compressed row, which code of a quantised value) the results part by far
 * more than rounding. With the choices of one forced on the other, what is left is arithmetic, and
 * that agrees closely or is wrong. For tests and offline use: `seekd-eval --force`. Production
 * passes no choices, and every hook is then one test of a pointer.
 *
 * A callback gets our choice and may overwrite it with another valid one (it is not checked again).
 * Rows are named by position, so a step has one part. Callbacks come from any thread of the step,
 * at once for different rows. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Vectors that are quantised. The first four always are, the inputs of a linear layer where its
 * weight is FP8 or FP4. Matrices that share an input share its kind. */
enum choice_values {
        CHOICE_WINDOW,      /* row = position; head_dim values */
        CHOICE_LATENT,      /* row = compressed row; head_dim */
        CHOICE_INDEX_KEY,   /* row = compressed row; index_head_dim */
        CHOICE_INDEX_QUERY, /* row = position, slot = head; index_head_dim */
        CHOICE_WQ_A,        /* also wkv */
        CHOICE_WQ_B,        /* also the indexer's */
        CHOICE_WO_B,
        CHOICE_EXPERTS_W1, /* of all experts, the shared one too; also w3 */
        CHOICE_EXPERTS_W2, /* slot = place of the expert among the position's */
        CHOICE_SHARED_W2,
        CHOICE_ENGRAM_WKV,
        CHOICE_VALUES_MAX,
};

struct choices {
        void *userdata;

        /* The n experts of a position, ascending. */
        void (*router)(void *userdata, uint32_t layer, uint64_t position, uint32_t n,
                       uint32_t *experts);

        /* The n (of at most n_max) compressed rows that an index source selected, or blocks that a
         * group of heads did (slot = the group, else 0), ascending. Returns the new n. */
        uint32_t (*selection)(void *userdata, uint32_t layer, uint64_t position, uint32_t slot,
                              uint32_t n_max, uint32_t n, uint32_t *rows);

        /* n values about to be quantised. What is written here is quantised in their stead: values
         * that are quantised already stay what they are. */
        void (*values)(void *userdata, enum choice_values kind, uint32_t layer, uint64_t row,
                       uint32_t slot, uint32_t n, float *x);
};

/* "window", "latent", "index_key", "wq_a.input", ...: how files name the kind. */
const char *choice_values_name(enum choice_values kind);

struct step;
struct matrix;

/* Input x of row `row` of a call of linear_input() for weight `w`, about to be quantised to FP8.
 * `w` is one of the engine's own matrices. */
void choices_linear_input(const struct step *step, const struct matrix *w, uint32_t row, float *x);
