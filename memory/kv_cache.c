#include "memory/kv_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/kv_cache_private.h"
#include "memory/kv_store.h"

/* -- opening -------------------------------------------------------------------------------------
 */

struct entry_list {
        struct kv_entry *entry;
        size_t n, capacity;
        bool failed;
};

static void collect(void *context, const struct kv_entry *entry) {
        struct entry_list *list = context;
        if (list->failed)
                return;
        if (list->n == list->capacity) {
                size_t capacity = list->capacity ? 2 * list->capacity : 1024;
                struct kv_entry *more = reallocarray(list->entry, capacity, sizeof(*more));
                if (!more) {
                        list->failed = true;
                        return;
                }
                list->entry = more;
                list->capacity = capacity;
        }
        list->entry[list->n++] = *entry;
}

static int by_position(const void *a, const void *b) {
        const struct kv_entry *x = a, *y = b;
        if (x->position != y->position)
                return x->position < y->position ? -1 : 1;
        return (int)x->kind - (int)y->kind; /* pages before the frontiers that follow them */
}

/* A page's position in the store is where it begins; the tree counts tokens up to a node's end. */
static int load(struct kv_cache *cache) {
        struct entry_list list = { 0 };
        if (!cache->store)
                return 0;
        kv_store_each(cache->store, collect, &list);
        if (list.n > 0)
                qsort(list.entry, list.n, sizeof(*list.entry), by_position);
        for (size_t i = 0; i < list.n; i++) {
                const struct kv_entry *e = &list.entry[i];
                bool page = e->kind == KV_EXTENT;
                prefix_stored(&cache->prefix, page ? PREFIX_PAGE : PREFIX_FRONTIER, &e->id,
                              &e->parent, e->owner, e->position + (page ? PAGE_TOKENS : 0),
                              e->n_tokens);
        }
        free(list.entry);
        return list.failed ? -ENOMEM : 0;
}

int kv_cache_open(const struct kv_cache_config *config, struct kv_cache **ret, struct error *err) {
        struct kv_cache *cache = calloc(1, sizeof(*cache));
        if (!cache)
                return error_set(err, -ENOMEM, "out of memory for the KV cache");
        cache->key = *config->key;
        cache->fingerprint = config->fingerprint;
        cache->host_bytes_max = config->host_bytes;
        cache->owner_pinned_bytes_max =
                config->owner_pinned_bytes_max ? config->owner_pinned_bytes_max : UINT64_MAX;
        cache->store = config->store;
        int r = prefix_init(&cache->prefix, &cache->key, config->page_bytes,
                            config->frontier_bytes);
        if (r == 0)
                r = load(cache);
        cache->reader.notify = config->notify;
        cache->reader.context = config->context;
        if (r == 0)
                r = kv_reader_start(&cache->reader, cache->store);
        if (r < 0) {
                prefix_deinit(&cache->prefix);
                free(cache);
                return error_set(err, r, "the KV cache cannot start");
        }
        *ret = cache;
        return 0;
}

struct kv_cache *kv_cache_close(struct kv_cache *cache) {
        if (!cache)
                return NULL;
        kv_reader_stop(&cache->reader);
        prefix_deinit(&cache->prefix);
        free(cache);
        return NULL;
}

void kv_cache_statistics(const struct kv_cache *cache, struct kv_cache_statistics *ret) {
        *ret = cache->statistics;
        ret->n_nodes = cache->prefix.n_nodes;
        ret->host_bytes = cache->prefix.data_bytes;
        ret->host_bytes_max = cache->host_bytes_max;
}

/* -- room ----------------------------------------------------------------------------------------
 */

/* The store is asked when it matters, instead of telling of each write. */
bool kv_cache_is_stored(struct kv_cache *cache, struct prefix_node *node) {
        struct kv_entry entry;
        node->stored = cache->store && kv_store_find(cache->store, &node->id, &entry);
        return node->stored;
}

uint8_t *kv_cache_room(struct kv_cache *cache, size_t bytes) {
        struct prefix *prefix = &cache->prefix;
        while (prefix->data_bytes + cache->promised_bytes + bytes > cache->host_bytes_max) {
                struct prefix_node *oldest = prefix_oldest(prefix);
                if (!oldest)
                        return NULL;
                if (!kv_cache_is_stored(cache, oldest) && prefix_in_use(oldest))
                        continue; /* passed over from now on */
                prefix_drop_data(prefix, oldest);
                cache->statistics.evicted_nodes++;
        }
        uint8_t *room = malloc(bytes);
        cache->promised_bytes += room ? bytes : 0;
        return room;
}

void kv_cache_fill(struct kv_cache *cache, struct prefix_node *node, uint8_t *room) {
        prefix_set_data(&cache->prefix, node, room);
        cache->promised_bytes -= prefix_data_bytes(&cache->prefix, node);
}

void kv_cache_return(struct kv_cache *cache, uint8_t *room, size_t bytes) {
        cache->promised_bytes -= room ? bytes : 0;
        free(room);
}

/* -- the disk's budget ---------------------------------------------------------------------------
 */

/* What is deleted at once when the budget is used up: so that it is not the next write's problem
 * again. */
#define SHRINK_SHARE 16

struct leaf {
        uint64_t used, value;
        uint32_t bytes;
};

static int by_use(const void *a, const void *b) {
        const struct leaf *x = a, *y = b;
        return x->used < y->used ? -1 : x->used > y->used;
}

/* Whether a value may go: its pages are the last ones of a chain, up to `last`. */
static bool may_go(struct kv_cache *cache, const struct prefix_node *last, uint64_t value) {
        struct kv_entry entry;
        for (const struct prefix_node *n = last; n->kind != PREFIX_ROOT; n = n->parent) {
                if (!kv_store_find(cache->store, &n->id, &entry) || entry.value != value)
                        break;
                if (prefix_in_use(n) || (n == last ? n->child : n->child->next) != NULL)
                        return false;
        }
        return true;
}

/* Nodes on disk that nothing hangs on, and their number; NULL: none or no memory. */
static struct leaf *stored_leaves(struct kv_cache *cache, size_t *ret_n) {
        struct prefix *prefix = &cache->prefix;
        struct leaf *leaf = calloc(prefix->n_nodes + 1, sizeof(*leaf));
        *ret_n = 0;
        for (size_t i = 0; leaf && i < prefix->n_buckets; i++)
                for (struct prefix_node *n = prefix->bucket[i]; n; n = n->bucket_next) {
                        struct kv_entry entry;
                        if (n->child || !kv_store_find(cache->store, &n->id, &entry) ||
                            !may_go(cache, n, entry.value))
                                continue;
                        leaf[(*ret_n)++] = (struct leaf){ n->used, entry.value, entry.value_bytes };
                }
        return leaf;
}

/* Least recently used leaves go first, until a share of the budget is free. Their nodes stay when
 * they have bytes in memory. */
bool kv_cache_shrink_disk(struct kv_cache *cache) {
        struct kv_store_statistics s;
        size_t n = 0;
        kv_store_statistics(cache->store, &s);
        uint64_t wanted = s.bytes_max / SHRINK_SHARE, freed = 0;
        struct leaf *leaf = stored_leaves(cache, &n);
        if (n > 0)
                qsort(leaf, n, sizeof(*leaf), by_use);
        for (size_t i = 0; i < n && freed < wanted; i++) {
                kv_store_delete(cache->store, &leaf[i].value, 1);
                freed += leaf[i].bytes;
        }
        free(leaf);
        return freed > 0;
}
