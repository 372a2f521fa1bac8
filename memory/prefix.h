/* What is remembered of which prompts: a tree of pages of tokens, with the states in which a
 * sequence can go on.
 *
 *   root      a user's subject: the empty prefix; kept while anything hangs on it
 *   page      PAGE_TOKENS tokens after its parent, and where the rows of these tokens are
 *   frontier  a state at a position: the pages before it, then up to PAGE_TOKENS - 1 more tokens
 *
 * A node's bytes may lie in memory (`data`), on disk (`disk`), or both; a node with neither is
 * forgotten with all that hangs on it. Going on at a frontier needs its bytes and those of all
 * pages before it.
 *
 * What may go from a tier, that is nodes of which nothing in that tier hangs on and that nobody
 * needs, lies in a heap for each owner and tier, least worth first (memory/eviction.h): leaves go
 * first, and never an ancestor of something that is in use.
 *
 * Pure bookkeeping: no I/O, no clock, no thread. One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/page_id.h"
#include "memory/pairing_heap.h"

enum prefix_kind { PREFIX_ROOT, PREFIX_PAGE, PREFIX_FRONTIER };

enum prefix_tier { PREFIX_MEMORY, PREFIX_DISK, PREFIX_TIERS };

enum prefix_disk {
        PREFIX_NOT_STORED,
        PREFIX_SENT,   /* given to the store, which may not have written it yet */
        PREFIX_STORED, /* was there when the store was asked last */
};

struct prefix_node {
        enum prefix_kind kind;
        struct page_id id;
        uint32_t owner;    /* uid */
        uint32_t position; /* tokens up to its end */
        uint32_t n_tokens; /* root 0, page PAGE_TOKENS, frontier fewer */
        uint32_t *tokens;  /* [n_tokens]; NULL: on disk only, not read yet */
        uint8_t *data;     /* its bytes in memory, or NULL; owned */
        enum prefix_disk disk;
        bool lost_state; /* page: a frontier that hung on it was evicted */
        bool purged;     /* root: of leases that a purge outlived; found no more */
        uint32_t pins;   /* leases that need `data` or the node itself to stay */
        uint32_t held;   /* pins of the outside: it stays in one of the tiers */
        uint32_t hits;   /* leases that went on from it, or from something after it */
        uint64_t used;   /* when it was used last, in bytes that had come into memory */

        /* The tree's. */
        struct prefix_node *parent;                  /* NULL for a root */
        struct prefix_node *child, *previous, *next; /* first child; siblings */
        struct prefix_node *bucket_next;
        uint32_t n_below[PREFIX_TIERS]; /* children in the tier */
        struct heap_link order[PREFIX_TIERS];
        struct prefix_account *account;
};

/* What belongs to one uid. There are as many as users of the machine: a list will do. */
struct prefix_account {
        uint32_t owner;
        size_t n_nodes;      /* the account is there while it has some */
        uint64_t held_bytes; /* of nodes that are held, each once */
        uint64_t data_bytes; /* of its nodes' data, and what is reserved for such */
        struct pairing_heap order[PREFIX_TIERS]; /* what may go */
        struct prefix_account *next;
};

/* Identities remembered of nodes that were forgotten, to tell "evicted" from "never seen": 32 KiB.
 */
#define PREFIX_FORGOTTEN 1024

struct prefix {
        const struct page_key *key; /* borrowed */
        size_t page_bytes, frontier_bytes;
        struct prefix_node **bucket;
        size_t n_buckets, n_nodes;
        struct prefix_account *accounts;
        struct page_id *forgotten; /* [PREFIX_FORGOTTEN] a ring of the last ones */
        size_t n_forgotten;
        uint64_t data_bytes; /* of all `data`, and what is reserved for such */
        uint64_t arrived;    /* bytes that ever came into memory: the tree's time */
        /* What the worth of a node depends on. Set by the owner; all > 0. */
        double half_life[PREFIX_TIERS]; /* bytes: sizes of the tiers */
        double ms_per_token;            /* to compute */
        double disk_ms_per_byte;        /* to read from disk */
};

int prefix_init(struct prefix *ret, const struct page_key *key, size_t page_bytes,
                size_t frontier_bytes); /* 0 or -ENOMEM */
void prefix_deinit(struct prefix *prefix);

/* The root of this identity, made when missing. NULL: out of memory. */
struct prefix_node *prefix_root(struct prefix *prefix, const struct page_id *id, uint32_t owner);

/* A page or frontier below `parent` (a root or page) with these tokens; made when missing, without
 * bytes. NULL: out of memory. */
struct prefix_node *prefix_page(struct prefix *prefix, struct prefix_node *parent,
                                const uint32_t tokens[PAGE_TOKENS]);
struct prefix_node *prefix_frontier(struct prefix *prefix, struct prefix_node *parent,
                                    const uint32_t *tail, uint32_t n_tail);

/* A node as the disk knows it: identity and place, no tokens. `used`: of a new one. NULL: its
 * parent is unknown, or out of memory. */
struct prefix_node *prefix_stored(struct prefix *prefix, enum prefix_kind kind,
                                  const struct page_id *id, const struct page_id *parent,
                                  uint32_t owner, uint32_t position, uint32_t n_tokens,
                                  uint64_t used);

struct prefix_node *prefix_find(struct prefix *prefix, const struct page_id *id);

size_t prefix_data_bytes(const struct prefix *prefix,
                         const struct prefix_node *node); /* its size */

/* Bytes that will become a node's of this account count at once. */
void prefix_reserve(struct prefix *prefix, struct prefix_account *account, size_t bytes);
void prefix_unreserve(struct prefix *prefix, struct prefix_account *account, size_t bytes);

/* Gives a node its bytes (taken over, of malloc(), reserved before). */
void prefix_set_data(struct prefix *prefix, struct prefix_node *node, uint8_t *data);

/* Frees a node's bytes. It is forgotten with what hangs on it when they are not on disk either. */
void prefix_drop_data(struct prefix *prefix, struct prefix_node *node);

void prefix_set_disk(struct prefix *prefix, struct prefix_node *node, enum prefix_disk disk);

/* Gives a node another identity, under which nobody looks for it. */
void prefix_rename(struct prefix *prefix, struct prefix_node *node, const struct page_id *id);

/* Forgets a node and what hangs on it. Nothing of it may be in use. */
void prefix_forget(struct prefix *prefix, struct prefix_node *node);

/* The disk has lost a node, and what hangs on it with it; what was only sent may still come. What
 * has no bytes in memory either is forgotten, but nodes in use stay, without bytes: as if never
 * kept, until they are filled again. */
void prefix_lose(struct prefix *prefix, struct prefix_node *node);

/* Forgets a node, and those before it, as far as nothing is kept of them, hangs on them or needs
 * them: to be called when the last need of a node ends. NULL-safe. */
void prefix_tidy(struct prefix *prefix, struct prefix_node *node);

/* True: a lease or a pin needs it. Whoever needs a node needs all before it as well, so that
 * nothing of an unused node's subtree is in use. */
bool prefix_in_use(const struct prefix_node *node);

/* Holds `node` and all before it, for good; each call is returned by one prefix_release(). False:
 * more than bytes_max of its owner would be held; then nothing is. */
bool prefix_hold(struct prefix *prefix, struct prefix_node *node, uint64_t bytes_max);
void prefix_release(struct prefix *prefix, struct prefix_node *node);

/* A lease needs this node, or no longer. */
void prefix_pin(struct prefix *prefix, struct prefix_node *node);
void prefix_unpin(struct prefix *prefix, struct prefix_node *node);

/* `node` and what is before it are used now; with `hit` by somebody who goes on from there. */
void prefix_touch(struct prefix *prefix, struct prefix_node *node, bool hit);

/* What an account should lose first in a tier, and its score. NULL, INFINITY: nothing may go. */
struct prefix_node *prefix_first(struct prefix *prefix, struct prefix_account *account,
                                 enum prefix_tier tier, double *ret_score);

/* prefix_order.c: something that decides whether, and how soon, the node may go has changed. */
void prefix_reorder(struct prefix *prefix, struct prefix_node *node);

/* The longest frontier within ids[0..n), n included, whose bytes are kept. NULL: none. */
struct prefix_node *prefix_longest(struct prefix *prefix, struct prefix_node *root,
                                   const uint32_t *ids, uint32_t n);

/* Why a lookup did not reach further. */
enum prefix_end {
        PREFIX_END_COLD,        /* nothing kept begins like this */
        PREFIX_END_WHOLE,       /* all that was ever kept of these tokens is reused */
        PREFIX_END_DIFFERENT,   /* what is kept goes on with other tokens */
        PREFIX_END_EVICTED,     /* more was kept, and forgotten to make room */
        PREFIX_END_NO_FRONTIER, /* pages are kept further than any state to go on from */
        PREFIX_END_OTHER_MODEL, /* no lookup's: as COLD, and what was kept is of another model */
};

#define PREFIX_SIDES_MAX 8 /* kept tokens in a verdict */

struct prefix_match {
        struct prefix_node *frontier; /* NULL: nothing to go on from */
        uint32_t position;            /* of the frontier; 0 without */
        enum prefix_end end;
        uint32_t known; /* tokens that it has in common with what is kept */
        /* With PREFIX_END_DIFFERENT: the first position that differs, and the kept tokens there. */
        uint32_t differs_at, n_other;
        uint32_t other[PREFIX_SIDES_MAX];
};

/* The longest prefix of ids[0..n) from which a sequence can go on, leaving at least one token to
 * compute. Changes nothing. `stored_tokens` (may be NULL) is asked for the tokens of a few nodes
 * that have none, to tell where tokens differ: it returns true and fills node->tokens. */
void prefix_lookup(struct prefix *prefix, struct prefix_node *root, const uint32_t *ids, uint32_t n,
                   bool (*stored_tokens)(void *context, struct prefix_node *node), void *context,
                   struct prefix_match *ret);
