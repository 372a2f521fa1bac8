/* The disk's budget: whose values make room for whom. What goes from disk is a value: a frontier,
 * or an extent, whose pages go together. */
#include <math.h>
#include <stdlib.h>

#include "memory/eviction.h"
#include "memory/kv_cache_private.h"

/* What is deleted at once when the budget is used up: so that it is not the next write's problem
 * again. */
#define SHRINK_SHARE 16

/* The most that a value takes on disk beyond its bytes: header with token ids, rounded to LMDB
 * pages. */
#define VALUE_OVERHEAD (3 * 4096)

struct shrink {
        struct kv_cache *cache;
        struct prefix_node **aside; /* what cannot go now: back in order afterwards */
        size_t n_aside, capacity;
};

static bool put_aside(struct shrink *shrink, struct prefix_node *node) {
        if (shrink->n_aside == shrink->capacity) {
                size_t capacity = shrink->capacity ? 2 * shrink->capacity : 64;
                struct prefix_node **more = reallocarray(shrink->aside, capacity, sizeof(*more));
                if (!more)
                        return false;
                shrink->aside = more;
                shrink->capacity = capacity;
        }
        heap_remove(&node->account->order[PREFIX_DISK], &node->order[PREFIX_DISK]);
        shrink->aside[shrink->n_aside++] = node;
        return true;
}

/* The pages of the value that ends with `last`, last first; a frontier is one alone. */
static size_t value_nodes(struct kv_cache *cache, struct prefix_node *last, uint64_t value,
                          struct prefix_node *ret[KV_EXTENT_PAGES_MAX]) {
        struct kv_entry entry;
        size_t n = 0;
        for (struct prefix_node *at = last; n < KV_EXTENT_PAGES_MAX; at = at->parent) {
                if (at->kind == PREFIX_ROOT || !kv_store_find(cache->store, &at->id, &entry) ||
                    entry.value != value)
                        break;
                ret[n++] = at;
        }
        return n;
}

/* Whether nothing but the value's own pages needs them on disk. What has no bytes in memory is
 * forgotten with the value, so nothing that has some may hang on it. */
static bool may_go(struct prefix_node *const *node, size_t n) {
        for (size_t i = 0; i < n; i++) {
                const struct prefix_node *own = i > 0 ? node[i - 1] : NULL, *child = node[i]->child;
                bool others = child && (child != own || child->next || own->data);
                if (prefix_in_use(node[i]) || node[i]->n_below[PREFIX_DISK] > (own != NULL) ||
                    (others && !node[i]->data))
                        return false;
        }
        return n > 0;
}

/* What an account would lose first: the last node of a value. */
static struct prefix_node *first_of(struct shrink *shrink, struct prefix_account *account,
                                    double *ret_score) {
        struct kv_cache *cache = shrink->cache;
        struct prefix_node *node, *nodes[KV_EXTENT_PAGES_MAX];
        struct kv_entry entry;
        while ((node = prefix_first(&cache->prefix, account, PREFIX_DISK, ret_score))) {
                bool found = kv_store_find(cache->store, &node->id, &entry);
                if (!found && node->disk == PREFIX_STORED) { /* damaged, or purged */
                        prefix_lose(&cache->prefix, node);
                        continue;
                }
                if (found && may_go(nodes, value_nodes(cache, node, entry.value, nodes)))
                        return node;
                if (!put_aside(shrink, node)) /* not written yet, or in need */
                        break;
        }
        *ret_score = INFINITY;
        return NULL;
}

/* Nodes that have bytes in memory stay. Returns the bytes. */
static uint64_t delete_value(struct kv_cache *cache, struct prefix_node *last) {
        struct prefix_node *node[KV_EXTENT_PAGES_MAX];
        struct kv_entry entry;
        if (!kv_store_find(cache->store, &last->id, &entry))
                return 0;
        size_t n = value_nodes(cache, last, entry.value, node);
        kv_store_delete(cache->store, &entry.value, 1);
        for (size_t i = 0; i < n; i++)
                prefix_set_disk(&cache->prefix, node[i], PREFIX_NOT_STORED);
        while (n-- > 0)
                if (!node[n]->data) {
                        prefix_forget(&cache->prefix, node[n]);
                        break;
                }
        cache->statistics.deleted_values++;
        return entry.value_bytes;
}

/* -- whose ---------------------------------------------------------------------------------------
 */

struct owners {
        struct eviction_owner owner[KV_OWNERS_MAX]; /* [0] asks */
        struct prefix_account *account[KV_OWNERS_MAX];
        struct prefix_node *first[KV_OWNERS_MAX];
        size_t n;
};

static void list_owners(struct shrink *shrink, struct prefix_account *asking, struct owners *ret) {
        struct kv_store *store = shrink->cache->store;
        ret->n = 0;
        ret->account[ret->n++] = asking;
        for (struct prefix_account *a = shrink->cache->prefix.accounts; a && ret->n < KV_OWNERS_MAX;
             a = a->next)
                if (a != asking)
                        ret->account[ret->n++] = a;
        for (size_t i = 0; i < ret->n; i++) {
                ret->owner[i].bytes = kv_store_owner_bytes(store, ret->account[i]->owner);
                ret->first[i] = first_of(shrink, ret->account[i], &ret->owner[i].score);
        }
}

/* Until `bytes` are free, and then a share of the disk as long as somebody has too much. */
static uint64_t make_room(struct shrink *shrink, struct prefix_account *asking, uint64_t bytes,
                          uint64_t bytes_max) {
        uint64_t freed = 0;
        while (freed < bytes || freed < bytes_max / SHRINK_SHARE) {
                struct owners owners;
                list_owners(shrink, asking, &owners);
                size_t i = eviction_owner(owners.owner, owners.n, 0, bytes, bytes_max, 0);
                if (i == EVICTION_NOBODY ||
                    (freed >= bytes && owners.owner[i].bytes <= bytes_max / owners.n))
                        break;
                freed += delete_value(shrink->cache, owners.first[i]);
        }
        return freed;
}

static uint64_t make_own_room(struct shrink *shrink, struct prefix_account *asking, uint64_t bytes,
                              uint64_t owner_bytes_max) {
        uint64_t freed = 0;
        double score;
        struct prefix_node *node;
        while ((freed < bytes || freed < owner_bytes_max / SHRINK_SHARE) &&
               (node = first_of(shrink, asking, &score)))
                freed += delete_value(shrink->cache, node);
        return freed;
}

bool kv_cache_shrink_disk(struct kv_cache *cache, struct prefix_account *account, uint64_t bytes) {
        struct shrink shrink = { .cache = cache };
        struct kv_store_statistics s;
        uint64_t freed;
        bytes += VALUE_OVERHEAD;
        kv_cache_look_at_late(cache);
        kv_store_statistics(cache->store, &s);
        if (s.write_bytes_per_day > 0 && s.day_bytes + bytes > s.write_bytes_per_day)
                return false; /* deleting does not bring it back */
        if (s.value_bytes + bytes > s.bytes_max)
                freed = make_room(&shrink, account, bytes, s.bytes_max);
        else
                freed = make_own_room(&shrink, account, bytes, s.owner_bytes_max);
        for (size_t i = 0; i < shrink.n_aside; i++)
                prefix_reorder(&cache->prefix, shrink.aside[i]);
        free(shrink.aside);
        return freed > 0;
}
