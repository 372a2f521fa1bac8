/* Attention over compressed rows (CSA and HCA: DeepSeek-V4): what a step needs of it. */
#pragma once

#include <stdint.h>

/* Of layers that attend all their rows. Belongs to the workspace; grows with the context, of
 * n_rows_max rows. */
struct csa_buffers {
        float *rows;   /* [workers][n_rows_max][head_dim] a query's, unpacked */
        float *attend; /* [workers][scratch of an attention operation] */
        uint32_t n_rows_max;
};

void csa_free(struct csa_buffers *buffers);
