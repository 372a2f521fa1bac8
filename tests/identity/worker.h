/* One process's life: goes on with conversations that earlier ones began, through the real keeper,
 * and compares every token and logit with the reference. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/identity/ledger.h"
#include "tests/identity/machine.h"
#include "tests/identity/reference.h"

struct worker_options {
        struct machine_options machine;
        const struct reference *reference;
        struct ledger *ledger;
        unsigned n_slots; /* conversations in one step, at most SLOTS */
        unsigned epoch;   /* number of this process, from 1 */
        bool after_kill;  /* how the one before it ended */
        unsigned n_turns; /* to begin before it ends in peace; 0 = until it is killed */
        uint64_t seed;
};

/* Exit status of the process: 0, or 1 with a message on standard error. Differences are in the
 * ledger and no failure. */
int worker_run(const struct worker_options *options);
