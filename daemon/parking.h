/* Sequences whose turn is over, left on the device for the next one: a conversation goes on with
 * the same tokens and some more, and then nothing has to be copied.
 *
 * What is parked is a copy: its state and pages are kept as those of any turn. So it is given up
 * without a thought when a request needs its room on the device or when the pages that it holds in
 * memory stand in the way of others: which one first says daemon/retention.h. A sequence cannot be
 * rewound: only a prompt that begins with all of its tokens can take it over. Engine thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/limits.h"

struct kv_lease;
struct request;
struct sequence;

struct parked {
        uint32_t uid;
        char subject[SUBJECT_BYTES_MAX + 1];
        uint32_t *ids; /* [n] computed; owned */
        uint32_t n;
        uint64_t until_ns; /* its tool's answer is expected until then; 0: it waits for no tool */
        struct sequence *sequence; /* owned */
        struct kv_lease *lease;    /* owned; ends after the sequence, which borrows its pages */
};

struct parking {
        struct parked parked[PARKED_MAX]; /* oldest first */
        unsigned n;
        uint64_t bytes_max; /* on the device */
};

/* Takes over sequence and lease of a request, of which everything is kept. `until_ns`: as in struct
 * parked. False: they stay the request's, there is no room or what is there is of more use. */
bool parking_add(struct parking *parking, struct request *request, uint64_t until_ns,
                 uint64_t now_ns);

/* The longest one with which this request could go on; NULL: none. */
struct parked *parking_find(struct parking *parking, const struct request *request);

/* Gives sequence and lease to the request. */
void parking_take(struct parking *parking, struct parked *parked, struct request *request);

/* Gives up the one that goes first, but `except` (may be NULL). False: there is none. */
bool parking_drop(struct parking *parking, const struct parked *except, uint64_t now_ns);

void parking_drop_user(struct parking *parking, uint32_t uid); /* all of this user's */

/* On the device, without `except`. */
uint64_t parking_bytes(const struct parking *parking, const struct parked *except);
