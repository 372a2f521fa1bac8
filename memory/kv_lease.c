/* One sequence's place in the tree: what it goes on from, what it adds. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory/kv_cache_private.h"

bool kv_lease_reserve(struct kv_lease *lease, uint32_t n) {
        if (n <= lease->capacity)
                return true;
        uint32_t capacity = n > 2 * lease->capacity ? n : 2 * lease->capacity;
        struct prefix_node **page = reallocarray(lease->page, capacity, sizeof(*page));
        if (!page)
                return false;
        lease->page = page;
        const uint8_t **data = reallocarray(lease->data, capacity, sizeof(*data));
        if (!data)
                return false;
        lease->data = data;
        lease->capacity = capacity;
        return true;
}

static struct prefix_node *tip(const struct kv_lease *lease) {
        return lease->n_pages > 0 ? lease->page[lease->n_pages - 1] : lease->root;
}

static void let_go(struct kv_lease *lease) {
        struct prefix *prefix = &lease->cache->prefix;
        struct prefix_node *last = tip(lease), *frontier = lease->frontier;
        prefix_touch(prefix, last, false);
        for (uint32_t i = 0; i < lease->n_pages; i++)
                prefix_unpin(prefix, lease->page[i]);
        if (frontier)
                prefix_unpin(prefix, frontier);
        lease->n_pages = 0;
        lease->frontier = NULL;
        prefix_tidy(prefix, last);
        prefix_tidy(prefix, frontier); /* hangs on one of the pages, which is there as long */
}

/* -- looking up ----------------------------------------------------------------------------------
 */

static bool stored_tokens(void *context, struct prefix_node *node) {
        struct kv_cache *cache = context;
        uint32_t tokens[PAGE_TOKENS];
        if (!cache->store ||
            kv_store_read_tokens(cache->store, &node->id, tokens) != (int)node->n_tokens)
                return false;
        node->tokens = malloc(((size_t)node->n_tokens + 1) * sizeof(*tokens));
        if (node->tokens)
                memcpy(node->tokens, tokens, node->n_tokens * sizeof(*tokens));
        return node->tokens != NULL;
}

static void write_verdict(struct kv_verdict *v, const struct prefix_match *match, enum kv_tier tier,
                          const uint32_t *ids, uint32_t n) {
        *v = (struct kv_verdict){ .n_reused = match->position, .end = match->end };
        v->tier = match->position == 0 ? KV_TIER_NONE : tier;
        if (match->end != PREFIX_END_DIFFERENT)
                return;
        const uint32_t max = sizeof(v->prompt_ids) / sizeof(*v->prompt_ids);
        uint32_t left = n - match->differs_at;
        v->differs_at = match->differs_at;
        v->n_prompt_ids = left < max ? left : max;
        v->n_kept_ids = match->n_other;
        memcpy(v->prompt_ids, ids + match->differs_at, v->n_prompt_ids * sizeof(*v->prompt_ids));
        memcpy(v->kept_ids, match->other, v->n_kept_ids * sizeof(*v->kept_ids));
}

static void free_read(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        for (size_t i = 0; i < lease->read.n_pages; i++)
                kv_cache_return(cache, lease->root->account, lease->read.page[i].data,
                                cache->prefix.page_bytes);
        kv_cache_return(cache, lease->root->account, lease->read.frontier_data,
                        cache->prefix.frontier_bytes);
        free(lease->read.page);
        lease->read.page = NULL;
        lease->read.n_pages = 0;
        lease->read.frontier_data = NULL;
}

/* Buffers for what has no bytes in memory. False: no room for them. */
static bool plan_read(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        struct kv_read *read = &lease->read;
        uint32_t n = 0;
        for (uint32_t i = 0; i < lease->n_pages; i++)
                n += !lease->page[i]->data;
        read->page = calloc((size_t)n + 1, sizeof(*read->page));
        if (!read->page)
                return false;
        for (uint32_t i = 0; i < lease->n_pages; i++) {
                if (lease->page[i]->data)
                        continue;
                uint8_t *data = kv_cache_room(cache, lease->root->account, cache->prefix.page_bytes,
                                              lease->spare);
                if (!data)
                        return false;
                read->page[read->n_pages++] = (struct kv_page_read){
                        .id = lease->page[i]->id,
                        .tokens = lease->ids + (size_t)i * PAGE_TOKENS,
                        .data = data,
                };
        }
        if (!lease->frontier->data) {
                read->frontier_data = kv_cache_room(cache, lease->root->account,
                                                    cache->prefix.frontier_bytes, lease->spare);
                read->frontier_bytes = cache->prefix.frontier_bytes;
                read->frontier = lease->frontier->id;
                read->tail = lease->ids + (size_t)lease->n_pages * PAGE_TOKENS;
                read->n_tail = lease->frontier->n_tokens;
                if (!read->frontier_data)
                        return false;
        }
        if (read->n_pages == 0 && !read->frontier_data)
                free_read(lease);
        return true;
}

/* Holds what a match goes on from. False: no memory; then the lease holds nothing. */
static bool hold(struct kv_lease *lease, struct prefix_node *frontier) {
        struct prefix *prefix = &lease->cache->prefix;
        uint32_t n = (frontier->position - frontier->n_tokens) / PAGE_TOKENS;
        if (!kv_lease_reserve(lease, n))
                return false;
        struct prefix_node *page = frontier->parent;
        for (uint32_t i = n; i > 0; i--, page = page->parent)
                prefix_pin(prefix, lease->page[i - 1] = page);
        lease->n_pages = n;
        prefix_pin(prefix, lease->frontier = frontier);
        prefix_touch(prefix, frontier, true);
        if (plan_read(lease))
                return true;
        free_read(lease);
        let_go(lease);
        return false;
}

static void start(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        struct prefix_match match;
        prefix_lookup(&cache->prefix, lease->root, lease->ids, lease->n, stored_tokens, cache,
                      &match);
        if (match.frontier && !hold(lease, match.frontier)) {
                match.position = 0;
                match.end = PREFIX_END_EVICTED;
        }
        lease->loading = lease->read.n_pages > 0 || lease->read.frontier_data;
        write_verdict(&lease->verdict, &match, lease->loading ? KV_TIER_DISK : KV_TIER_HOST,
                      lease->ids, lease->n);
        if (lease->loading)
                kv_reader_add(&cache->reader, &lease->read);
}

static struct prefix_node *root_of(struct kv_cache *cache, uint32_t owner, const char *subject) {
        struct page_id id;
        page_id_root(&cache->key, &cache->fingerprint, owner, subject, &id);
        return prefix_root(&cache->prefix, &id, owner);
}

int kv_cache_look(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                  uint32_t n, struct kv_verdict *ret) {
        struct prefix_match match;
        struct prefix_node *root = root_of(cache, owner, subject);
        if (!root)
                return -ENOMEM;
        prefix_lookup(&cache->prefix, root, ids, n, stored_tokens, cache, &match);
        write_verdict(ret, &match, KV_TIER_HOST, ids, n);
        if (match.frontier)
                prefix_touch(&cache->prefix, match.frontier, true);
        prefix_tidy(&cache->prefix, root);
        return 0;
}

uint32_t kv_cache_known(struct kv_cache *cache, uint32_t owner, const char *subject,
                        const uint32_t *ids, uint32_t n) {
        struct page_id id;
        page_id_root(&cache->key, &cache->fingerprint, owner, subject, &id);
        struct prefix_node *root = prefix_find(&cache->prefix, &id),
                           *last = root ? prefix_longest(&cache->prefix, root, ids, n - 1) : NULL;
        return last ? last->position : 0;
}

uint64_t kv_cache_version(const struct kv_cache *cache) {
        return cache->n_changes + cache->statistics.evicted_nodes +
                cache->statistics.deleted_values + cache->statistics.failed_reads;
}

static int new_lease(struct kv_cache *cache, uint32_t owner, const char *subject,
                     const uint32_t *ids, uint32_t n, bool spare, struct kv_lease **ret) {
        struct kv_lease *lease = calloc(1, sizeof(*lease));
        if (!lease)
                return -ENOMEM;
        lease->cache = cache;
        lease->n = n;
        lease->ids = malloc((size_t)n * sizeof(*ids));
        lease->root = root_of(cache, owner, subject);
        if (!lease->ids || !lease->root) {
                free(lease->ids);
                free(lease);
                return -ENOMEM;
        }
        memcpy(lease->ids, ids, (size_t)n * sizeof(*ids));
        prefix_pin(&cache->prefix, lease->root);
        lease->spare = spare;
        lease->keeps = true;
        lease->stores = cache->store != NULL && !spare;
        start(lease);
        cache->statistics.lookups++;
        *ret = lease;
        return 0;
}

int kv_cache_lease(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                   uint32_t n, struct kv_lease **ret) {
        return new_lease(cache, owner, subject, ids, n, false, ret);
}

int kv_cache_lease_spare(struct kv_cache *cache, uint32_t owner, const char *subject,
                         const uint32_t *ids, uint32_t n, struct kv_lease **ret) {
        return new_lease(cache, owner, subject, ids, n, true, ret);
}

/* Takes over what was read, front to back. True: all of it. */
static bool attach(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        struct kv_read *read = &lease->read;
        size_t at = 0;
        bool all = true;
        for (uint32_t i = 0; i < lease->n_pages && at < read->n_pages_read; i++) {
                struct prefix_node *node = lease->page[i];
                if (!page_id_equal(&node->id, &read->page[at].id))
                        continue;
                if (!node->data) { /* else another lease has read it meanwhile */
                        kv_cache_fill(cache, node, read->page[at].data);
                        read->page[at].data = NULL;
                }
                at++;
        }
        if (read->frontier_data && read->frontier_read && !lease->frontier->data) {
                kv_cache_fill(cache, lease->frontier, read->frontier_data);
                read->frontier_data = NULL;
        }
        /* Not all that was asked for was read, or it is purged. */
        for (uint32_t i = 0; i < lease->n_pages; i++)
                all = all && lease->page[i]->data;
        return all && lease->frontier->data;
}

/* The first node that could not be read is no more, with all that hangs on it. Should it be on disk
 * again by now, computed anew while the read was waiting, it goes all the same: whatever the reason
 * was, the next read is of something else. */
static void forget_unread(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        struct prefix_node *bad = lease->frontier;
        struct kv_entry entry;
        for (uint32_t i = lease->n_pages; i > 0; i--)
                if (!lease->page[i - 1]->data)
                        bad = lease->page[i - 1];
        cache->statistics.failed_reads++;
        if (kv_store_find(cache->store, &bad->id, &entry))
                kv_store_delete(cache->store, &entry.value, 1);
        prefix_pin(&cache->prefix, bad); /* so that it is still there */
        let_go(lease);
        prefix_unpin(&cache->prefix, bad);
        prefix_lose(&cache->prefix, bad);
}

bool kv_lease_ready(struct kv_lease *lease) {
        if (!lease->loading)
                return true;
        if (!atomic_load(&lease->read.done))
                return false;
        lease->loading = false;
        bool all = attach(lease);
        free_read(lease);
        if (all)
                return true;
        forget_unread(lease);
        start(lease);
        return !lease->loading;
}

const struct kv_verdict *kv_lease_verdict(const struct kv_lease *lease) {
        return &lease->verdict;
}

const uint8_t *const *kv_lease_pages(struct kv_lease *lease, uint32_t *ret_n) {
        for (uint32_t i = 0; i < lease->n_pages; i++)
                lease->data[i] = lease->page[i]->data;
        *ret_n = lease->n_pages;
        return lease->data;
}

const uint8_t *kv_lease_frontier(struct kv_lease *lease) {
        return lease->frontier ? lease->frontier->data : NULL;
}

void kv_lease_release_frontier(struct kv_lease *lease) {
        struct prefix_node *frontier = lease->frontier;
        lease->frontier = NULL;
        if (!frontier)
                return;
        prefix_unpin(&lease->cache->prefix, frontier);
        prefix_tidy(&lease->cache->prefix, frontier);
}

void kv_lease_flush(struct kv_lease *lease) {
        kv_lease_write(lease);
        if (lease->cache->store)
                kv_store_flush(lease->cache->store);
        kv_cache_look_at_late(lease->cache);
}

struct kv_lease *kv_lease_end(struct kv_lease *lease) {
        if (!lease)
                return NULL;
        struct kv_cache *cache = lease->cache;
        if (lease->loading) {
                kv_reader_wait(&cache->reader, &lease->read);
                attach(lease);
                free_read(lease);
        }
        kv_lease_flush(lease);
        let_go(lease);
        prefix_unpin(&cache->prefix, lease->root);
        if (lease->root->purged && !prefix_in_use(lease->root))
                prefix_forget(&cache->prefix, lease->root);
        else
                prefix_tidy(&cache->prefix, lease->root);
        free(lease->ids);
        free(lease->page);
        free(lease->data);
        free(lease);
        return NULL;
}
