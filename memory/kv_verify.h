/* Reading all that a KV store has on disk back, and checking it as every reader does.
 *
 * Whoever reads a value need not have done this. It finds damage that nobody has come across yet,
 * and takes it out of the way. The bytes come from the disk, past the kernel's memory where the
 * file system can do that, so that what is there stays there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct kv_store;

/* Callbacks may be NULL; they are called on the caller's thread. */
struct kv_verify_options {
        bool one_owner; /* what `owner` has, alone */
        uint32_t owner;
        /* Leaves processor and disk to whoever wants them, for good (base/background.h). */
        bool background;
        void (*progress)(void *userdata, uint64_t done, uint64_t total); /* bytes, per value */
        bool (*cancelled)(void *userdata); /* asked before each value */
        void *userdata;
};

struct kv_verified {
        uint64_t n_values, bytes; /* read, the damaged too */
        uint64_t n_damaged;       /* values; what hung on them is forgotten with them */
};

/* Reads what is on disk when it begins; what is deleted meanwhile is passed over. Damaged values
 * are quarantined, reported (KV_EVENT_DAMAGED_VALUE) and counted. 0, -ECANCELED or -ENOMEM, with
 * *ret up to there. Any thread; keeps no lock while it reads, and only the value that is being read
 * from being deleted. */
int kv_store_verify(struct kv_store *store, const struct kv_verify_options *options,
                    struct kv_verified *ret);
