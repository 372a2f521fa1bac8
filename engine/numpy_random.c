#include "engine/numpy_random.h"

#include <assert.h>

#define POOL_WORDS 4

/* The constants are those of M. E. O'Neill's seed_seq_fe and PCG, as NumPy fixes them. */
#define HASH_START      0x43b0d7e5u
#define HASH_MULTIPLIER 0x931e8875u
#define OUT_START       0x8b51f9ddu
#define OUT_MULTIPLIER  0x58f38dedu
#define MIX_LEFT        0xca01f9ddu
#define MIX_RIGHT       0x4973f715u
#define STEP_HIGH       UINT64_C(0x2360ED051FC65DA4)
#define STEP_LOW        UINT64_C(0x4385DF649FCCF645)

static uint32_t hash_word(uint32_t value, uint32_t *constant) {
        value ^= *constant;
        *constant *= HASH_MULTIPLIER;
        value *= *constant;
        return value ^ value >> 16;
}

static uint32_t mix(uint32_t left, uint32_t right) {
        uint32_t value = MIX_LEFT * left - MIX_RIGHT * right;
        return value ^ value >> 16;
}

/* SeedSequence with one word of entropy. */
static void fill_pool(uint32_t pool[static POOL_WORDS], uint32_t seed) {
        uint32_t constant = HASH_START;
        for (unsigned i = 0; i < POOL_WORDS; i++)
                pool[i] = hash_word(i == 0 ? seed : 0, &constant);
        for (unsigned from = 0; from < POOL_WORDS; from++)
                for (unsigned to = 0; to < POOL_WORDS; to++)
                        if (from != to)
                                pool[to] = mix(pool[to], hash_word(pool[from], &constant));
}

static uint64_t next_seed_word(const uint32_t pool[static POOL_WORDS], unsigned n,
                               uint32_t *constant) {
        uint64_t word = 0;
        for (unsigned half = 0; half < 2; half++) {
                uint32_t value = pool[(2 * n + half) % POOL_WORDS] ^ *constant;
                *constant *= OUT_MULTIPLIER;
                value *= *constant;
                value ^= value >> 16;
                word |= (uint64_t)value << (32 * half);
        }
        return word;
}

static void step(struct numpy_random *random) {
        uint128 multiplier = (uint128)STEP_HIGH << 64 | STEP_LOW;
        random->state = random->state * multiplier + random->increment;
}

void numpy_random_init(struct numpy_random *random, uint32_t seed) {
        uint32_t pool[POOL_WORDS], constant = OUT_START;
        fill_pool(pool, seed);
        uint64_t words[4];
        for (unsigned i = 0; i < 4; i++)
                words[i] = next_seed_word(pool, i, &constant);
        uint128 start = (uint128)words[0] << 64 | words[1];
        uint128 sequence = (uint128)words[2] << 64 | words[3];
        *random = (struct numpy_random){ .state = 0, .increment = sequence << 1 | 1 };
        step(random);
        random->state += start;
        step(random);
}

uint64_t numpy_random_raw(struct numpy_random *random) {
        step(random);
        uint64_t folded = (uint64_t)(random->state >> 64) ^ (uint64_t)random->state;
        unsigned turn = (unsigned)(random->state >> 122);
        return folded >> turn | folded << (-turn & 63);
}

uint64_t numpy_random_bounded(struct numpy_random *random, uint64_t bound) {
        assert(bound > UINT64_C(1) << 32);
        uint64_t biased = -bound % bound; /* low halves below this occur once too often */
        for (;;) {
                uint128 product = (uint128)numpy_random_raw(random) * bound;
                if ((uint64_t)product >= biased)
                        return (uint64_t)(product >> 64);
        }
}
