/* Made-up Engram tables for tests: any row can be computed at any time. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/engram_import.h"

/* Byte i of a row: a mixture of everything that names it. */
static inline void made_up_row(uint64_t seed, unsigned table, uint64_t row, uint8_t *to,
                               uint32_t n) {
        uint64_t x = seed * 0x9E3779B97F4A7C15U ^ (uint64_t)table << 56 ^ row;
        for (uint32_t i = 0; i < n; i++) {
                if (i % 8 == 0) {
                        x ^= x >> 30, x *= 0xBF58476D1CE4E5B9U;
                        x ^= x >> 27, x *= 0x94D049BB133111EBU;
                        x ^= x >> 31, x += 0x9E3779B97F4A7C15U;
                }
                to[i] = (uint8_t)(x >> i % 8 * 8);
        }
}

struct made_up {
        struct engram_source source;
        uint64_t seed;
        uint64_t n_read;               /* rows */
        uint64_t fail_at, sleep_every; /* 0 = never: this row cannot be read; nap every so many */
};

static inline int made_up_read(void *context, unsigned table, uint64_t first, uint64_t n,
                               uint8_t *dest, size_t stride, struct error *err) {
        struct made_up *m = context;
        uint32_t bytes = m->source.about.code_bytes + m->source.about.scale_bytes;
        for (uint64_t i = 0; i < n; i++) {
                if (m->fail_at != 0 && first + i == m->fail_at)
                        return error_set(err, -EIO, "row %llu of the source is unreadable",
                                         (unsigned long long)m->fail_at);
                made_up_row(m->seed, table, first + i, dest + i * stride, bytes);
                if (m->sleep_every != 0 && ++m->n_read % m->sleep_every == 0)
                        usleep(1000);
        }
        return 0;
}

/* Two tables, of `rows` and two thirds of that. */
static inline void made_up_init(struct made_up *ret, uint64_t seed, uint64_t rows,
                                uint32_t code_bytes, uint32_t scale_bytes) {
        *ret = (struct made_up){ .seed = seed };
        struct engram_about *about = &ret->source.about;
        about->n_tables = 2;
        about->code_bytes = code_bytes;
        about->scale_bytes = scale_bytes;
        about->n_multipliers = 4;
        about->n_primes = 24;
        about->n_rows[0] = rows;
        about->n_rows[1] = rows * 2 / 3 + 1;
        for (unsigned t = 0; t < 2; t++) {
                for (unsigned i = 0; i < 4; i++)
                        about->multiplier[t][i] = 1 + 2 * (int64_t)(t * 4 + i);
                for (unsigned i = 0; i < 24; i++)
                        about->prime[t][i] = 101 + (int64_t)(t * 24 + i);
        }
        memset(about->fingerprint, (int)seed, sizeof(about->fingerprint));
        ret->source.read = made_up_read;
        ret->source.context = ret;
}
