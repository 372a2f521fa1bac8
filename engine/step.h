/* One step in flight: the batch as rows. All tokens of all parts form one list of rows; dense
 * operations run over all rows, attention looks up each row's sequence. */
#pragma once

#include "engine/model.h"
#include "engine/workspace.h"

/* What choices.h's caller may see or replace, if there is one: values about to be quantised. */
static inline void offer_values(const struct engine *e, enum choice_values kind, uint32_t layer,
                                uint64_t row, uint32_t slot, uint32_t n, float *x) {
        if (e->choices && e->choices->values)
                e->choices->values(e->choices->userdata, kind, layer, row, slot, n, x);
}

struct step {
        struct engine *engine;
        struct workspace *ws;
        const struct batch_part *parts;
        size_t n_parts;
        uint32_t n_rows;
        uint32_t *first_row; /* [n_parts] */

        /* A row in which NaN or infinity came up where it would not reach the check of the residual
         * streams: in keys to be packed, which have no code for it, or in scores, where it would
         * only lose a choice. UINT32_MAX = none. */
        uint32_t bad_row;
};

/* What a product with `w` reads of n_rows rows x: x itself, or, where the model quantises that
 * input, its rows quantised and dequantised in `room` (as large as x; may be x). */
const float *linear_input(struct step *step, const struct matrix *w, const float *x,
                          uint32_t n_rows, float *room);

/* y = x w^T for n_rows rows of the step's size, split over the pool by outputs. x is what
 * linear_input() gave. */
void linear(struct step *step, const struct matrix *w, const float *x, uint32_t n_rows, float *y,
            bool round);

/* Block-diagonal: group g of x (w->k wide each) meets rows [g n/groups, (g+1) n/groups) of w. */
void linear_grouped(struct step *step, const struct matrix *w, uint32_t n_groups, const float *x,
                    uint32_t n_rows, float *y, bool round);

/* Asks for the Engram rows of all layers; after that either every layer runs or engram_abandon() is
 * called, which waits until nothing is written to the staging buffers any more. */
void engram_request(struct step *step);
void engram_abandon(struct step *step);

/* ws->h in place. 0, or the source of rows failed. */
int engram_layer(struct step *step, uint32_t layer, struct error *err);
