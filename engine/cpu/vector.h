/* What the files that are compiled once per instruction set share: names that differ per set. */
#pragma once

#include "engine/backend.h"

#if defined(__AVX512F__)
#define VECTOR(name) avx512_##name
#define VECTOR_NAME  "cpu avx512"
#else
#define VECTOR(name) avx2_##name
#define VECTOR_NAME  "cpu avx2"
#endif

extern const struct backend VECTOR(backend);

void VECTOR(matmul)(const struct matmul *m, uint32_t first, uint32_t last);

/* Its way for up to MATMUL_ROWS_FEW rows of BF16 or float32, k a multiple of 16 and at least so
 * many outputs. */
#define MATMUL_TILE_OUTPUTS 3
void VECTOR(matmul_tiles)(const struct matmul *m, uint32_t first, uint32_t last);
void VECTOR(matmul_transposed)(const struct matmul *m, uint32_t first, uint32_t last);
