/* What the processes of one run know together. It lies in memory that they share, so that it
 * outlives the one that is killed; a worker alone writes while it runs, the parent reads. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Conversations under way at the same time, and how many of them in one step. */
#define LIVES 12
#define SLOTS 3

/* How often a conversation is interrupted at most before its end. */
#define CUTS_PER_LIFE 3

/* Where the computation that a sequence goes on from was found. LMDB, kill and restart are one
 * place, the disk: in the process that wrote it, after its end by SIGKILL and after one in peace.
 */
enum source {
        SOURCE_DEVICE,
        SOURCE_HOST,
        SOURCE_LMDB,
        SOURCE_KILL,
        SOURCE_RESTART,
        SOURCE_NONE, /* nowhere: computed from the first token, and compared as well */
        N_SOURCES
};

/* One owner's conversation, from its first token to its last, through many processes. */
struct life {
        unsigned conversation;
        uint32_t owner;
        char subject[32];
        uint32_t cut[CUTS_PER_LIFE + 1]; /* ascending positions; the last one is the end */
        unsigned n_turns;                /* begun: the next one ends at cut[n_turns] */
        unsigned epoch;                  /* process of the last turn, 0 = none */
        _Atomic uint32_t reached;        /* tokens computed, of which all is known */
};

struct row {
        _Atomic uint64_t cuts, small_pool_cuts, tokens_reused, positions, logits;
        _Atomic uint64_t wrong_tokens, wrong_logits;
};

struct ledger {
        struct life life[LIVES];
        unsigned n_lives; /* made so far */
        uint64_t random;  /* that lives are made with */

        struct row row[N_SOURCES];
        _Atomic uint64_t turns_ended;
        _Atomic uint64_t nothing_kept;    /* turns that had to begin again: nothing was committed */
        _Atomic uint32_t tokens_lost_max; /* between what was computed and what was kept of it */

        _Atomic uint64_t rows_gathered; /* of sequences that were spilled from small pools */

        _Atomic bool differs; /* the first difference is below */
        unsigned first_conversation;
        uint32_t first_position, first_reused;
        int first_source;
        unsigned first_epoch;
};
