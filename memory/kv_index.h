/* What is in the store, in memory: where each page and frontier lies, what hangs on what, who owns
 * how much. Rebuilt from the file's index databases at open. The store's lock guards all of it.
 *
 * A *node* is a stored value. Its parts (pages, or one frontier) are found by identity while they
 * are live; a part dies when a larger extent replaces it, a node when it is doomed. Nodes form
 * trees: a node hangs on the one that holds the page before its first live part. A doomed node
 * takes its subtree along and stays known by number until it is deleted from disk. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/id_table.h"
#include "memory/kv_store.h"

struct kv_node {
        uint64_t value;
        uint64_t run;      /* its first LMDB page */
        uint32_t bytes;    /* on disk */
        uint32_t position; /* extent: of its first token; frontier: tokens before it */
        uint32_t owner;
        uint32_t pins;
        uint8_t kind;   /* enum kv_kind */
        uint8_t count;  /* parts */
        uint8_t n_tail; /* frontier */
        uint8_t live;   /* bit i: part i is found by its identity */
        bool doomed;
        struct page_id parent; /* page before the first live part, or root */
        struct kv_node *up, *first_child, *next, *previous;
        struct kv_node *next_doomed;
        struct page_id id[]; /* [count]; of live parts */
};

struct kv_owner {
        uint32_t uid;
        uint64_t bytes; /* stored or queued, not doomed */
        uint64_t n_pages, n_frontiers;
        bool told; /* that it has reached its share */
};

struct kv_index {
        struct id_table by_value; /* all nodes */
        struct id_table by_id;    /* live parts, by the first 8 bytes of the identity */
        struct id_table owners;
        struct kv_node *doomed; /* those without pins: to be deleted from disk */
        uint64_t n_pages, n_frontiers;
        uint64_t bytes;               /* of all owners */
        struct kv_session **sessions; /* sorted by id */
        size_t n_sessions, sessions_capacity;
};

void kv_index_deinit(struct kv_index *index);

struct kv_node *kv_node_new(unsigned count); /* zeroed; NULL = no memory */

/* The node whose live part has this identity, and which part; NULL = none. */
struct kv_node *kv_index_find(const struct kv_index *index, const struct page_id *id,
                              unsigned *ret_part);
struct kv_node *kv_index_find_value(const struct kv_index *index, uint64_t value);

/* The parent of the first live part must be stored, unless that part begins a conversation. */
bool kv_node_needs_parent(const struct kv_node *node);

/* Whether `covering` has all live parts of `node`. */
bool kv_node_covers(const struct kv_node *covering, const struct kv_node *node);

/* Makes room, so that inserting a node of so many parts cannot fail. 0 or -ENOMEM. */
int kv_index_reserve(struct kv_index *index, unsigned n_parts);

/* Takes the node over, room having been made. Its live parts replace those of nodes that it covers
 * (these are doomed). kv_index_link() says where it hangs: false = its parent is not there. */
void kv_index_insert(struct kv_index *index, struct kv_node *node);
bool kv_index_link(struct kv_index *index, struct kv_node *node);

/* Forgets a node and all that hangs on it; returns how many nodes. */
size_t kv_index_doom(struct kv_index *index, struct kv_node *node);

void kv_index_pin(struct kv_node *node);
void kv_index_unpin(struct kv_index *index, struct kv_node *node);

/* Frees a doomed node that is gone from disk and from index->doomed. */
void kv_index_remove(struct kv_index *index, struct kv_node *node);

/* The owner's account, made when missing. NULL = no memory. */
struct kv_owner *kv_index_owner(struct kv_index *index, uint32_t uid);
void kv_index_charge(struct kv_index *index, struct kv_owner *owner, uint64_t bytes);
void kv_index_refund(struct kv_index *index, uint32_t uid, uint64_t bytes);

struct kv_session *kv_index_session(const struct kv_index *index, uint64_t id);
int kv_index_reserve_sessions(struct kv_index *index, size_t n_more);
/* Takes `session` (heap) over, room having been made; frees the one that it replaces. */
void kv_index_put_session(struct kv_index *index, struct kv_session *session);
void kv_index_remove_session(struct kv_index *index, uint64_t id);
