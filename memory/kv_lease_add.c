/* What a lease keeps as its sequence goes on. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "memory/kv_cache_private.h"

static struct prefix_node *tip(const struct kv_lease *lease) {
        return lease->n_pages > 0 ? lease->page[lease->n_pages - 1] : lease->root;
}

/* -- to the disk ---------------------------------------------------------------------------------
 */

/* Tries again once after making room. True: queued, or there already. */
static bool accepted(struct kv_lease *lease, int (*put)(struct kv_lease *lease, void *what),
                     void *what, size_t bytes) {
        int r = put(lease, what);
        if (r == -EDQUOT && kv_cache_shrink_disk(lease->cache, lease->root->account, bytes))
                r = put(lease, what);
        if (r != 0 && r != -EAGAIN)
                lease->stores = false;
        return r == 0;
}

static int put_extent(struct kv_lease *lease, void *what) {
        return kv_store_put_extent(lease->cache->store, what, NULL, NULL);
}

static int put_frontier(struct kv_lease *lease, void *what) {
        return kv_store_put_frontier(lease->cache->store, what, NULL, NULL);
}

/* Also what was on disk when the store was asked last: it may be no longer. */
static void mark_sent(struct kv_lease *lease, struct prefix_node *node) {
        prefix_set_disk(&lease->cache->prefix, node, PREFIX_SENT);
}

/* Pages [n_written, n_written + n) as one extent. */
static bool write_extent(struct kv_lease *lease, uint32_t n) {
        uint32_t tokens[KV_EXTENT_PAGES_MAX * PAGE_TOKENS], first = lease->n_written;
        struct kv_extent extent = {
                .owner = lease->root->owner,
                .position = first * PAGE_TOKENS,
                .n_pages = n,
                .parent = first > 0 ? lease->page[first - 1]->id : lease->root->id,
                .tokens = tokens,
        };
        for (uint32_t i = 0; i < n; i++) {
                const struct prefix_node *page = lease->page[first + i];
                memcpy(tokens + (size_t)i * PAGE_TOKENS, page->tokens,
                       sizeof(tokens[0]) * PAGE_TOKENS);
                extent.page[i] = page->data;
        }
        if (!accepted(lease, put_extent, &extent, n * lease->cache->prefix.page_bytes))
                return false;
        for (uint32_t i = 0; i < n; i++)
                mark_sent(lease, lease->page[first + i]);
        return true;
}

/* True: on disk, or on its way: not to be given again. */
static bool is_given(struct kv_lease *lease, struct prefix_node *node) {
        if (kv_cache_is_stored(lease->cache, node))
                return true;
        if (!kv_cache_is_coming(lease->cache, &node->id))
                return false;
        mark_sent(lease, node);
        return true;
}

/* The largest extent that may begin at this page number and holds no more than n pages: extents lie
 * aligned to their size, so that the same pages always share one. */
static uint32_t extent_pages(uint32_t page, uint32_t n) {
        uint32_t size = KV_EXTENT_PAGES_MAX;
        while (page % size != 0 || size > n)
                size /= 2;
        return size;
}

static bool can_write(const struct kv_lease *lease, uint32_t page) {
        return lease->page[page]->data && lease->page[page]->tokens;
}

/* Whole extents as they fill; with `all` what is left too. */
static void write_pages(struct kv_lease *lease, bool all) {
        while (lease->stores && lease->n_written < lease->n_pages) {
                uint32_t left = lease->n_pages - lease->n_written,
                         n = extent_pages(lease->n_written, left);
                if (is_given(lease, lease->page[lease->n_written])) {
                        lease->n_written++;
                        continue;
                }
                if (!all && n < KV_EXTENT_PAGES_MAX && left < KV_EXTENT_PAGES_MAX)
                        return;
                for (uint32_t i = 0; i < n; i++)
                        if (!can_write(lease, lease->n_written + i))
                                return;
                if (!write_extent(lease, n))
                        return;
                lease->n_written += n;
        }
}

static void write_frontier(struct kv_lease *lease) {
        struct prefix_node *node = lease->unwritten;
        if (!node)
                return;
        struct kv_frontier frontier = {
                .owner = node->owner,
                .position = node->position,
                .chain = node->parent->id,
                .tail = node->tokens,
                .data = node->data,
                .bytes = (uint32_t)lease->cache->prefix.frontier_bytes,
        };
        write_pages(lease, true); /* a state without its pages is of no use */
        if (lease->stores && lease->n_written == lease->n_pages && !is_given(lease, node) &&
            accepted(lease, put_frontier, &frontier, frontier.bytes))
                mark_sent(lease, node);
        lease->unwritten = NULL;
        prefix_unpin(&lease->cache->prefix, node);
}

/* What its owner had is purged: nothing that comes from before is kept. */
static void notice_purge(struct kv_lease *lease) {
        if (lease->root->purged)
                lease->keeps = lease->stores = false;
}

void kv_lease_write(struct kv_lease *lease) {
        notice_purge(lease);
        write_frontier(lease);
        write_pages(lease, true);
}

/* -- in memory -----------------------------------------------------------------------------------
 */

/* Gives a node its place for bytes. NULL: no room. */
static uint8_t *add_data(struct kv_lease *lease, struct prefix_node *node, size_t bytes) {
        uint8_t *data = kv_cache_room(lease->cache, lease->root->account, bytes, lease->spare);
        if (data)
                kv_cache_fill(lease->cache, node, data);
        else
                lease->cache->statistics.refused_adds++;
        return data;
}

/* No room for a node that the lease has pinned: it keeps nothing more. */
static void refuse(struct kv_lease *lease, struct prefix_node *node) {
        lease->keeps = false;
        prefix_unpin(&lease->cache->prefix, node);
        if (!kv_cache_is_stored(lease->cache, node) && !prefix_in_use(node))
                prefix_forget(&lease->cache->prefix, node);
}

/* The page after the tip, pinned. NULL: out of memory. */
static struct prefix_node *next_page(struct kv_lease *lease, const uint32_t *ids) {
        uint32_t number = lease->n_pages;
        struct prefix_node *page = NULL;
        if (kv_lease_reserve(lease, number + 1))
                page = prefix_page(&lease->cache->prefix, tip(lease),
                                   ids + (size_t)number * PAGE_TOKENS);
        if (page)
                prefix_pin(&lease->cache->prefix, page);
        return page;
}

bool kv_lease_add_page(struct kv_lease *lease, const uint32_t *ids, uint32_t position,
                       struct kv_lease_page *ret) {
        assert(!lease->loading);
        notice_purge(lease);
        write_frontier(lease);
        write_pages(lease, false);
        while (lease->keeps && position >= tip(lease)->position + PAGE_TOKENS) {
                struct prefix_node *page = next_page(lease, ids);
                if (!page) {
                        lease->keeps = false;
                        return false;
                }
                bool unwritten = !page->data;
                if (unwritten && !add_data(lease, page, lease->cache->prefix.page_bytes) &&
                    !kv_cache_is_stored(lease->cache, page)) {
                        refuse(lease, page);
                        return false;
                }
                *ret = (struct kv_lease_page){ lease->n_pages, page->data, unwritten };
                lease->page[lease->n_pages++] = page;
                if (page->data)
                        return true;
        }
        return false;
}

void kv_lease_retry(struct kv_lease *lease) {
        lease->keeps = true;
}

bool kv_lease_keeps(const struct kv_lease *lease) {
        return lease->keeps;
}

/* Frontiers that were only passing give way to later ones, but not before the next one is on disk:
 * till then they are what a crash leaves of the work. The one before last goes, and the last takes
 * its place. */
static void drop_passing(struct kv_lease *lease) {
        struct kv_cache *cache = lease->cache;
        struct prefix_node *last =
                lease->has_passing ? prefix_find(&cache->prefix, &lease->passing) : NULL;
        struct prefix_node *before =
                lease->has_outdated ? prefix_find(&cache->prefix, &lease->outdated) : NULL;
        bool last_is_safe = !lease->stores || (last && kv_cache_is_stored(cache, last));
        if (before && last_is_safe && !prefix_in_use(before) && before->hits == 0)
                kv_cache_discard(cache, before);
        prefix_tidy(&cache->prefix, last); /* the disk may have lost it */
        lease->outdated = lease->passing;
        lease->has_outdated = lease->has_passing;
        lease->has_passing = false;
}

uint8_t *kv_lease_add_frontier(struct kv_lease *lease, const uint32_t *ids, uint32_t position,
                               bool lasting) {
        assert(!lease->loading);
        notice_purge(lease);
        write_frontier(lease);
        struct prefix_node *page = tip(lease);
        if (!lease->keeps || position == 0 || position < page->position ||
            position - page->position >= PAGE_TOKENS)
                return NULL;
        struct prefix_node *node = prefix_frontier(&lease->cache->prefix, page,
                                                   ids + page->position, position - page->position);
        if (!node) {
                lease->keeps = false;
                return NULL;
        }
        if (node->data || kv_cache_is_stored(lease->cache, node)) {
                prefix_touch(&lease->cache->prefix, node, false);
                return NULL;
        }
        prefix_pin(&lease->cache->prefix, node);
        drop_passing(lease);
        uint8_t *data = add_data(lease, node, lease->cache->prefix.frontier_bytes);
        if (!data) {
                refuse(lease, node);
                return NULL;
        }
        lease->cache->n_changes++;
        lease->unwritten = node;
        lease->passing = node->id;
        lease->has_passing = !lasting;
        if (lasting)
                kv_lease_thin(lease, ids, node);
        return data;
}
