/* KV that outlives its request: what was computed for a prompt is kept in memory and on disk, and a
 * later prompt that begins alike goes on from there.
 *
 *   lease   one running sequence's place in the tree of prefixes (memory/prefix.h). While it lives,
 *           what it goes on from and what it has added stays.
 *
 * The engine thread calls everything here and nothing blocks it: what lies only on disk is read by
 * the cache's own thread, which touches the lease's buffers and no node; the lease is LOADING until
 * then. Pages and frontiers go to the disk in the background, as they come (memory/kv_store.h).
 *
 * Bytes are those that were given, verified where they came from disk; what fails is a miss. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/page_id.h"
#include "memory/prefix.h"

struct error;
struct kv_cache;
struct kv_lease;
struct kv_store;

struct kv_cache_config {
        const struct page_key *key; /* copied */
        struct page_id fingerprint; /* of page_format_fingerprint() */
        size_t page_bytes, frontier_bytes;
        uint64_t host_bytes; /* memory for kept pages and frontiers; leases may hold it all */
        uint64_t
                owner_bytes_max; /* of it for one uid, 0 = all. Under pressure who has more than an
                                  * equal share makes room for the others; nobody loses his share */
        struct kv_store *store;  /* NULL: memory only; outlives the cache */
        uint64_t owner_pinned_bytes_max; /* of one uid, by kv_cache_pin(); 0 = no limit */
        /* Called by the reading thread when a lease may have become ready; NULL = nobody. */
        void (*notify)(void *context);
        void *context;
        /* Called when leases alone stand in the way of room. True: one has ended, there may be room
         * now. NULL: leases do not give way. */
        bool (*end_lease)(void *context);
        void *end_lease_context;
};

/* Takes what the store holds into the tree. 0 or -ENOMEM. */
int kv_cache_open(const struct kv_cache_config *config, struct kv_cache **ret, struct error *err);

/* NULL-safe, returns NULL. All leases ended and pins returned before. */
struct kv_cache *kv_cache_close(struct kv_cache *cache);

/* Fastest first. The device's is its user's: a sequence that was not given up (daemon/parking.h).
 */
enum kv_tier { KV_TIER_NONE, KV_TIER_DEVICE, KV_TIER_HOST, KV_TIER_DISK };

/* What a lookup found: for the client, in words of the protocol's CacheVerdict. */
struct kv_verdict {
        uint32_t n_reused; /* tokens that need not be computed */
        enum kv_tier tier; /* the slowest that takes part */
        enum prefix_end end;
        uint32_t differs_at; /* with PREFIX_END_DIFFERENT; some tokens of both sides */
        uint32_t n_prompt_ids, n_kept_ids;
        uint32_t prompt_ids[PREFIX_SIDES_MAX], kept_ids[PREFIX_SIDES_MAX];
};

/* A place for a sequence that will compute ids[0..n): looks up what is kept of them. `owner`: uid;
 * `subject` separates caches of one owner, NULL = "". 0 or -ENOMEM. */
int kv_cache_lease(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                   uint32_t n, struct kv_lease **ret);

/* The same for a sequence that nobody waits for (a hint's): in memory only its owner makes room for
 * it, no lease ends for its sake, and nothing of it goes to the disk before a lease of the other
 * kind goes on from it. */
int kv_cache_lease_spare(struct kv_cache *cache, uint32_t owner, const char *subject,
                         const uint32_t *ids, uint32_t n, struct kv_lease **ret);

/* What a lease of these tokens would find, without taking one: nothing is read, `tier` says HOST
 * for the disk too. What is found counts as used, but not as a lookup. 0 or -ENOMEM. */
int kv_cache_look(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                  uint32_t n, struct kv_verdict *ret);

/* How many tokens a lease of these would reuse, n > 0. Changes nothing, not even what counts as
 * used, and reads nothing; costs a hash for each page that is reused. */
uint32_t kv_cache_known(struct kv_cache *cache, uint32_t owner, const char *subject,
                        const uint32_t *ids, uint32_t n);

/* Differs when something may have been kept or have gone since. */
uint64_t kv_cache_version(const struct kv_cache *cache);

/* The end of a turn: what was added goes to the disk now. */
void kv_lease_flush(struct kv_lease *lease);

/* Flushes and ends it; what it added is kept. NULL-safe, returns NULL. Waits for a read in flight.
 */
struct kv_lease *kv_lease_end(struct kv_lease *lease);

/* True: the bytes to go on from are in memory. False: they are being read; ask again. A read that
 * fails shortens what is reused (the verdict says so then). */
bool kv_lease_ready(struct kv_lease *lease);

const struct kv_verdict *kv_lease_verdict(const struct kv_lease *lease);

/* When ready and n_reused > 0: the full pages in order, and the frontier. Valid until the lease
 * adds something or ends. */
const uint8_t *const *kv_lease_pages(struct kv_lease *lease, uint32_t *ret_n);
const uint8_t *kv_lease_frontier(struct kv_lease *lease);

/* The caller has copied the frontier: its bytes need not stay any more. */
void kv_lease_release_frontier(struct kv_lease *lease);

/* A full page and the place of its bytes in memory, which stay there until the lease ends. */
struct kv_lease_page {
        uint32_t number;
        uint8_t *data;  /* page_bytes */
        bool unwritten; /* the caller writes `data` before its next call; else it only reads it */
};

/* The sequence has computed ids[0..position). True: its next full page with bytes in memory. False:
 * there is none now (up to date, or no memory: then the lease keeps no more, until
 * kv_lease_retry()). A page that is on disk already is passed over when there is no memory. */
bool kv_lease_add_page(struct kv_lease *lease, const uint32_t *ids, uint32_t position,
                       struct kv_lease_page *ret);

/* There may be memory again for what could not be kept. */
void kv_lease_retry(struct kv_lease *lease);

/* False: there was no memory for something; what comes after it would be of no use. */
bool kv_lease_keeps(const struct kv_lease *lease);

/* The same for the state at `position`, once its pages are added. NULL: already kept, or no memory.
 * One that is not lasting gives way to the lease's next frontier: it is there for the case that the
 * sequence does not come that far. */
uint8_t *kv_lease_add_frontier(struct kv_lease *lease, const uint32_t *ids, uint32_t position,
                               bool lasting);

/* A step of n_tokens tokens took so long: from this the cache knows what it saves. Small steps say
 * nothing, and are ignored. */
void kv_cache_computed(struct kv_cache *cache, uint32_t n_tokens, double ms);

/* A prefix that somebody wants kept for good. */
struct kv_pin;

/* Pins what is kept of ids[0..n): the pages and the last state within them. Until it is unpinned
 * this goes from memory only when it is on disk, and from there never to make room; what the disk
 * loses to damage is lost, and pinned again when somebody has computed it again. Prefixes may
 * overlap; common pages count once. Pins are not on disk: after a start they are set again.
 *   -ENOENT  nothing is kept of it    -EDQUOT  more than owner_pinned_bytes_max    -ENOMEM */
int kv_cache_pin(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                 uint32_t n, struct kv_pin **ret);
struct kv_pin *kv_cache_unpin(struct kv_pin *pin); /* NULL-safe, returns NULL */

uint32_t kv_pin_tokens(const struct kv_pin *pin); /* how many of ids[0..n) are pinned */
uint64_t kv_cache_pinned_bytes(const struct kv_cache *cache, uint32_t owner);

/* What one uid has in memory. */
struct kv_cache_owner {
        uint32_t owner;
        uint64_t bytes, pinned_bytes; /* pinned: in memory or on disk */
};

void kv_cache_each_owner(const struct kv_cache *cache,
                         void (*visit)(void *context, const struct kv_cache_owner *owner),
                         void *context);

/* Forgets all that a uid has in memory; what is on disk is the store's to purge, after this. Its
 * pins have been returned. Leases that run keep what they hold until they end, nobody else finds
 * it, and what they would add is not kept. 0, or -ENOMEM: nothing was forgotten. */
int kv_cache_purge(struct kv_cache *cache, uint32_t owner);

struct kv_cache_statistics {
        uint64_t n_nodes, host_bytes, host_bytes_max;
        uint64_t lookups;
        uint64_t evicted_nodes, deleted_values, thinned, refused_adds, failed_reads;
};

void kv_cache_statistics(const struct kv_cache *cache, struct kv_cache_statistics *ret);
