/* A KV store in this process's memory that fails when it is told to: the functions of
 * memory/kv_store.h that the cache calls, for tests that link it instead of the real one.
 *
 * As in the real one a value can be found some time after it was accepted, or is given up then; an
 * extent's pages are one value; forgetting a node forgets all that hangs on it. */
#pragma once

#include <stdint.h>

#include "memory/kv_store.h"

struct faulty_store_rates { /* of 256 calls, how many ... */
        unsigned put;       /* are refused at once */
        unsigned commit;    /* are accepted, then given up */
        unsigned read;      /* find damage */
        unsigned late;      /* are accepted and written later */
        bool full;          /* nothing is stored */
};

struct kv_store *faulty_store_new(uint64_t seed, const struct page_key *key, uint32_t page_bytes,
                                  uint32_t frontier_bytes, uint64_t bytes_max);
void faulty_store_set(struct kv_store *store, struct faulty_store_rates rates);
void faulty_store_limit(struct kv_store *store, uint64_t owner_bytes_max,
                        uint64_t write_bytes_per_day);
void faulty_store_next_day(struct kv_store *store);
void faulty_store_purge(struct kv_store *store, uint32_t owner);
void faulty_store_write(struct kv_store *store); /* what is late is written now */
void faulty_store_crash(struct kv_store *store); /* what is late is lost */
/* Records deleted only because they hung on a value that was. */
uint64_t faulty_store_collateral(const struct kv_store *store);
void faulty_store_free(struct kv_store *store);
