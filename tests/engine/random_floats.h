/* Seeded test data: the same on every machine. */
#pragma once

#include <stdint.h>
#include <stdlib.h>

/* xorshift64*: good enough to fill arrays. */
static inline uint64_t random_next(uint64_t *state) {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * 0x2545F4914F6CDD1D;
}

/* Uniform in (-scale, scale). */
static inline float random_float(uint64_t *state, float scale) {
        return ((float)(random_next(state) >> 40) / 8388608.0f - 1.0f) * scale;
}

static inline float *random_floats(uint64_t *state, size_t n, float scale) {
        float *x = calloc(n + 16,
                          sizeof(*x)); /* slack: vector code may use whole registers of scratch */
        for (size_t i = 0; x && i < n; i++)
                x[i] = random_float(state, scale);
        return x;
}

static inline uint16_t *random_bf16(uint64_t *state, size_t n, float scale) {
        uint16_t *x = calloc(n + 16, sizeof(*x));
        for (size_t i = 0; x && i < n; i++) {
                union {
                        float f;
                        uint32_t u;
                } v = { .f = random_float(state, scale) };
                x[i] = (uint16_t)(v.u >> 16);
        }
        return x;
}
