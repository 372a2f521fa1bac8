/* What the tree knows of the store. A value that was given to the store is there a second later, or
 * never; the tree does not wait for it. When it matters, the store is asked; what is not there then
 * counts as not stored, and is looked at again later: nothing may lie on disk that the tree does
 * not know of, for it would never be deleted. */
#include <stdlib.h>

#include "memory/kv_cache_private.h"

/* Without memory for it the value is found at the next start. */
static void remember_late(struct kv_cache *cache, const struct page_id *id, bool unwanted) {
        if (cache->n_late == cache->late_capacity) {
                size_t capacity = cache->late_capacity ? 2 * cache->late_capacity : 64;
                struct kv_late *more = reallocarray(cache->late, capacity, sizeof(*more));
                if (!more)
                        return;
                cache->late = more;
                cache->late_capacity = capacity;
        }
        cache->late[cache->n_late++] = (struct kv_late){ *id, unwanted };
}

bool kv_cache_is_stored(struct kv_cache *cache, struct prefix_node *node) {
        struct kv_entry entry;
        bool stored = cache->store && kv_store_find(cache->store, &node->id, &entry);
        if (!stored && node->disk == PREFIX_SENT)
                remember_late(cache, &node->id, false);
        prefix_set_disk(&cache->prefix, node, stored ? PREFIX_STORED : PREFIX_NOT_STORED);
        return stored;
}

bool kv_cache_is_coming(struct kv_cache *cache, const struct page_id *id) {
        for (size_t i = 0; i < cache->n_late; i++)
                if (page_id_equal(&cache->late[i].id, id)) {
                        cache->late[i] = cache->late[--cache->n_late];
                        return true;
                }
        return false;
}

/* True: decided. What hangs on something that is late itself waits for it, but the `last` time. */
static bool look_at(struct kv_cache *cache, const struct kv_late *late, bool last) {
        struct kv_entry e;
        if (!kv_store_find(cache->store, &late->id, &e))
                return false;
        bool page = e.kind == KV_EXTENT, wanted = !late->unwanted;
        if (wanted || prefix_find(&cache->prefix, &late->id)) {
                if (prefix_stored(&cache->prefix, page ? PREFIX_PAGE : PREFIX_FRONTIER, &e.id,
                                  &e.parent, e.owner, e.position + (page ? PAGE_TOKENS : 0),
                                  e.n_tokens, cache->prefix.arrived))
                        return true;
                if (!last)
                        return false;
        }
        kv_store_delete(cache->store, &e.value, 1);
        return true;
}

/* Mostly once over: a chain was dropped leaves first, so the last ones are its beginning. */
static void look_at_all(struct kv_cache *cache, bool last) {
        size_t before;
        do {
                before = cache->n_late;
                for (size_t i = cache->n_late; i-- > 0;)
                        if (look_at(cache, &cache->late[i], last))
                                cache->late[i] = cache->late[--cache->n_late];
        } while (cache->n_late > 0 && cache->n_late < before);
}

void kv_cache_look_at_late(struct kv_cache *cache) {
        struct kv_store_statistics s;
        if (cache->n_late == 0)
                return;
        kv_store_statistics(cache->store, &s);
        look_at_all(cache, false);
        look_at_all(cache, true);
        if (s.queued_bytes == 0) /* before they were looked at: what is not there will not be */
                cache->n_late = 0;
}

void kv_cache_discard(struct kv_cache *cache, struct prefix_node *frontier) {
        struct kv_entry entry;
        struct prefix_node *page = frontier->parent;
        bool lost = page->lost_state; /* this one is not missed */
        if (cache->store && kv_store_find(cache->store, &frontier->id, &entry))
                kv_store_delete(cache->store, &entry.value, 1);
        else if (frontier->disk == PREFIX_SENT)
                remember_late(cache, &frontier->id, true);
        prefix_forget(&cache->prefix, frontier);
        page->lost_state = lost;
}
