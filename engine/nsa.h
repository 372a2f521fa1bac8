/* Parts of native sparse attention (attention_nsa.c), and what they have in common. A token's row
 * of a branch is, group after group, its key and its value; an entry is such a row that stands for
 * compress_block tokens, the first entry for the tokens from 0 on, the next ones compress_stride
 * later each. */
#pragma once

#include "engine/step.h"

static inline uint32_t nsa_group_values(const struct model_config *c) {
        return c->head_dim + c->nsa.value_dim;
}

static inline uint32_t nsa_row_values(const struct model_config *c) {
        return c->n_kv_heads * nsa_group_values(c);
}

static inline uint32_t nsa_group_heads(const struct model_config *c) {
        return c->n_heads / c->n_kv_heads;
}

/* Rows of the entries' stream that hold no entry: row i closes with token (i + 1) * stride - 1, and
 * the first entry with token compress_block - 1. */
static inline uint32_t nsa_rows_before_entries(const struct model_config *c) {
        return c->nsa.compress_block / c->nsa.compress_stride - 1;
}

/* Entries whose last token is at or before `position`. */
static inline uint64_t nsa_entries(const struct model_config *c, uint64_t position) {
        uint64_t rows = (position + 1) / c->nsa.compress_stride,
                 before = nsa_rows_before_entries(c);
        return rows > before ? rows - before : 0;
}

void nsa_compress_buffers(struct workspace *ws, const struct model_config *config, size_t rows);

/* Appends the entries that this step's rows close, made of ws->nsa.token[NSA_COMPRESSED]. */
void nsa_compress(struct step *step, uint32_t layer);

/* For all rows and the group ws->nsa.group: attends the entries, into ws->o, gated, and from what
 * the heads took of each chooses blocks, whose tokens are ws->selected. */
void nsa_select(struct step *step, uint32_t layer);

int nsa_select_grow(struct workspace *ws, const struct engine *engine, uint32_t n_tokens);

/* o += gate * x for the group's heads of row r; each head's gate is that of `branch`. */
void nsa_add_branch(const struct step *step, uint32_t r, enum nsa_branch branch, const float *x);
