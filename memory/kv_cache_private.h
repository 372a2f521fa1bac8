/* What the files of the KV cache share. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "memory/kv_cache.h"
#include "memory/kv_store.h"

/* What a lease needs from disk. Owned by the lease; between kv_reader_add() and `done` only the
 * reader touches it. */
struct kv_read {
        struct kv_page_read *page; /* in order, into buffers of their own */
        size_t n_pages;
        struct page_id frontier; /* with frontier_data */
        const uint32_t *tail;
        uint32_t n_tail;
        uint8_t *frontier_data; /* NULL: not wanted */
        size_t frontier_bytes;

        size_t n_pages_read; /* results */
        bool frontier_read;
        atomic_bool done;
        struct kv_read *next;
};

/* One thread that reads for all leases, first come first served. */
struct kv_reader {
        struct kv_store *store;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t work, finished;
        struct kv_read *first, **last;
        bool running, stop;
        void (*notify)(void *context);
        void *context;
};

int kv_reader_start(struct kv_reader *reader, struct kv_store *store); /* no store: no thread */
void kv_reader_stop(struct kv_reader *reader);
void kv_reader_add(struct kv_reader *reader, struct kv_read *read);
void kv_reader_wait(struct kv_reader *reader, struct kv_read *read); /* until it is done */

struct kv_cache {
        struct page_key key;
        struct page_id fingerprint;
        struct prefix prefix;
        uint64_t host_bytes_max;
        uint64_t owner_bytes_max;
        uint64_t owner_pinned_bytes_max;
        struct kv_store *store;
        struct kv_reader reader;
        bool is_measured; /* the time of a token */
        struct kv_late *late;
        size_t n_late, late_capacity;
        bool (*end_lease)(void *context);
        void *end_lease_context;
        uint64_t n_changes; /* frontiers ever added, purges */
        struct kv_cache_statistics statistics;
};

/* Owners that are compared when room is needed: more than a machine has users at work. Those beyond
 * lose nothing to others. */
#define KV_OWNERS_MAX 64

/* A value that was given to the store and that the tree no longer waits for: it may still come to
 * be on disk, and then belongs to the tree again, or is deleted. */
struct kv_late {
        struct page_id id;
        bool unwanted;
};

struct kv_lease {
        struct kv_cache *cache;
        struct prefix_node *root;
        uint32_t *ids; /* [n] the prompt, for lookups and the reader */
        uint32_t n;

        struct prefix_node **page; /* [n_pages] the chain so far, each pinned */
        uint32_t n_pages, capacity;
        struct prefix_node *frontier; /* to go on from, pinned; NULL = from the start */
        const uint8_t **data;         /* [capacity] */

        struct kv_read read; /* of nodes without bytes: the last pages of the chain, and frontier */
        uint32_t n_resident; /* pages before the first that is read */
        bool loading;

        uint32_t n_written;            /* pages that are on disk or queued */
        struct prefix_node *unwritten; /* frontier that was added last, pinned; NULL = none */
        struct page_id passing;        /* id of the last frontier, when it gives way to the next */
        struct page_id outdated;       /* the one before it, which goes when that one is stored */
        bool has_passing, has_outdated;
        bool spare;  /* of kv_cache_lease_spare() */
        bool keeps;  /* false: could not keep a page, so nothing after it */
        bool stores; /* false: the store takes no more of this lease */

        struct kv_verdict verdict;
};

bool kv_lease_reserve(struct kv_lease *lease, uint32_t n_pages);

/* Queues what was added for the disk. */
void kv_lease_write(struct kv_lease *lease);

/* kv_thin.c. A lasting state was added at the end of the chain: of those before it some go. `ids`:
 * the tokens up to there. */
void kv_lease_thin(struct kv_lease *lease, const uint32_t *ids, const struct prefix_node *end);

/* kv_room.c: in memory. Room for a node's bytes within the budget, other nodes' bytes making room
 * (`spare`: those of this account only). NULL: there is none. Then it becomes the node's, or is
 * returned. */
uint8_t *kv_cache_room(struct kv_cache *cache, struct prefix_account *account, size_t bytes,
                       bool spare);
void kv_cache_fill(struct kv_cache *cache, struct prefix_node *node, uint8_t *room);
void kv_cache_return(struct kv_cache *cache, struct prefix_account *account, uint8_t *room,
                     size_t bytes); /* NULL-safe */

/* kv_disk_room.c: on disk. Makes room for `bytes` more of this account. False: none could be made.
 */
bool kv_cache_shrink_disk(struct kv_cache *cache, struct prefix_account *account, uint64_t bytes);

/* kv_late.c. Whether a node is on disk now; the store is asked when it matters, instead of telling
 * of each write. */
bool kv_cache_is_stored(struct kv_cache *cache, struct prefix_node *node);
/* True: it was given to the store, which has not decided, and nobody waited for it any more. It
 * must not be given again: deleted between the two, it would come back and the tree not know. The
 * caller waits for it again (PREFIX_SENT). */
bool kv_cache_is_coming(struct kv_cache *cache, const struct page_id *id);
/* Takes in, or deletes, what has come to be on disk late. */
void kv_cache_look_at_late(struct kv_cache *cache);
/* Forgets a state that nobody will want, in memory and on disk. It is not in use. */
void kv_cache_discard(struct kv_cache *cache, struct prefix_node *frontier);
