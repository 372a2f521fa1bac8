/* A nondeterministic automaton over bytes: what a pattern becomes on its way to automaton.h. */
#pragma once

#include <stdint.h>

/* Patterns of real schemas need a few hundred; `[a-z]{1,64}` needs 128 and `.{1,255}`, over UTF-8,
 * some 10,000. */
#define NFA_STATES_MAX 16384

enum nfa_kind {
        NFA_BYTES,  /* a byte of low..high leads to next[0] */
        NFA_EITHER, /* next[0] or next[1] without a byte */
        NFA_ACCEPT,
};

struct nfa_state {
        uint8_t kind, low, high;
        uint16_t next[2];
};

struct nfa {
        struct nfa_state states[NFA_STATES_MAX];
        uint16_t n;
        uint16_t start;
};
