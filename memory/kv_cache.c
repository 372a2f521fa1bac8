#include "memory/kv_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "memory/kv_cache_private.h"
#include "memory/kv_store.h"

/* 1 GB/s: what a disk gives one reader. It is compared with the time to compute the same tokens,
 * which is hundreds of times longer: a factor of three does not matter. */
#define DISK_MS_PER_BYTE 1e-6

/* Until a step was measured: the order of a small model on a processor. */
#define MS_PER_TOKEN_UNKNOWN 1.0

/* Share of the newest measurement in the mean: the last hundred steps count. */
#define MS_PER_TOKEN_SHARE 0.01

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

/* What the store holds, and when it was used last as far as is known: when it was written. */
struct known_entry {
        struct kv_entry entry;
        uint64_t used;
};

static int by_value(const void *a, const void *b) {
        const struct kv_entry *x = a, *y = b;
        return x->value < y->value ? -1 : x->value > y->value;
}

static int by_position(const void *a, const void *b) {
        const struct kv_entry *x = &((const struct known_entry *)a)->entry,
                              *y = &((const struct known_entry *)b)->entry;
        if (x->position != y->position)
                return x->position < y->position ? -1 : 1;
        return (int)x->kind - (int)y->kind; /* pages before the frontiers that follow them */
}

/* A page's position in the store is where it begins; the tree counts tokens up to a node's end. */
static void add_known(struct kv_cache *cache, const struct known_entry *known) {
        const struct kv_entry *e = &known->entry;
        bool page = e->kind == KV_EXTENT;
        prefix_stored(&cache->prefix, page ? PREFIX_PAGE : PREFIX_FRONTIER, &e->id, &e->parent,
                      e->owner, e->position + (page ? PAGE_TOKENS : 0), e->n_tokens, known->used);
}

static int load(struct kv_cache *cache) {
        struct entry_list list = { 0 };
        struct prefix *prefix = &cache->prefix;
        if (!cache->store)
                return 0;
        kv_store_each(cache->store, collect, &list);
        CLEANUP_FREE struct kv_entry *entry = list.entry;
        CLEANUP_FREE struct known_entry *known = calloc(list.n + 1, sizeof(*known));
        if (list.failed || !known)
                return -ENOMEM;
        if (list.n > 0)
                qsort(entry, list.n, sizeof(*entry), by_value);
        for (size_t i = 0; i < list.n; i++) {
                prefix->arrived +=
                        entry[i].kind == KV_EXTENT ? prefix->page_bytes : prefix->frontier_bytes;
                known[i] = (struct known_entry){ entry[i], prefix->arrived };
        }
        qsort(known, list.n, sizeof(*known), by_position);
        for (size_t i = 0; i < list.n; i++)
                add_known(cache, &known[i]);
        return 0;
}

static void set_worths(struct kv_cache *cache) {
        struct prefix *prefix = &cache->prefix;
        prefix->ms_per_token = MS_PER_TOKEN_UNKNOWN;
        prefix->disk_ms_per_byte = DISK_MS_PER_BYTE;
        prefix->half_life[PREFIX_MEMORY] = (double)cache->host_bytes_max + 1;
        if (cache->store) {
                struct kv_store_statistics s;
                kv_store_statistics(cache->store, &s);
                prefix->half_life[PREFIX_DISK] = (double)s.bytes_max + 1;
        }
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
        cache->owner_bytes_max = config->owner_bytes_max;
        cache->store = config->store;
        int r = prefix_init(&cache->prefix, &cache->key, config->page_bytes,
                            config->frontier_bytes);
        if (r == 0) {
                set_worths(cache);
                r = load(cache);
        }
        cache->end_lease = config->end_lease;
        cache->end_lease_context = config->end_lease_context;
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
        free(cache->late);
        free(cache);
        return NULL;
}

void kv_cache_statistics(const struct kv_cache *cache, struct kv_cache_statistics *ret) {
        *ret = cache->statistics;
        ret->n_nodes = cache->prefix.n_nodes;
        ret->host_bytes = cache->prefix.data_bytes;
        ret->host_bytes_max = cache->host_bytes_max;
}

void kv_cache_computed(struct kv_cache *cache, uint32_t n_tokens, double ms) {
        double *mean = &cache->prefix.ms_per_token;
        if (n_tokens < PAGE_TOKENS || !(ms > 0))
                return;
        if (!cache->is_measured)
                *mean = ms / n_tokens;
        cache->is_measured = true;
        *mean += (ms / n_tokens - *mean) * MS_PER_TOKEN_SHARE;
}
