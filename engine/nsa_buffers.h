/* What native sparse attention adds to a workspace. R rows, H heads, G groups. */
#pragma once

#include <stdint.h>

/* The branches, in the order of their gates. */
enum nsa_branch { NSA_COMPRESSED, NSA_SELECTED, NSA_WINDOW, N_NSA_BRANCHES };

struct nsa_buffers {
        float *k, *v;                   /* [R][G * key], [R][G * value] one projection */
        float *token[N_NSA_BRANCHES];   /* [R][G][key, value]; the same where branches share it */
        float *gates;                   /* [R][H][N_NSA_BRANCHES] */
        float *entry;                   /* [E][G][key, value], E = the most that close in a step */
        float *block, *inner, *learned; /* [E][G] inputs of the learned compression, its hidden
                                           layer and its output */
        uint8_t *rows;                  /* [R] packed rows of one stream */
        uint32_t group;                 /* whose attention is computed */
};

/* Private to one worker. */
struct nsa_scratch {
        float *branch;          /* [H / G][value] output of one branch */
        float *entries;         /* [n_entries_max][key, value] of one group, unpacked; grows */
        float *attend;          /* [H / G][n_entries_max + 16] */
        uint32_t n_entries_max; /* entries that both have room for */
};
