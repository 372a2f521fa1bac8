/* Prefixes that are kept for good: sessions that their owners have pinned. */
#include <errno.h>
#include <stdlib.h>

#include "memory/kv_cache_private.h"

struct kv_pin {
        struct kv_cache *cache;
        struct prefix_node *root, *frontier;
};

int kv_cache_pin(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                 uint32_t n, struct kv_pin **ret) {
        struct prefix *prefix = &cache->prefix;
        struct page_id id;
        page_id_root(&cache->key, &cache->fingerprint, owner, subject, &id);
        struct prefix_node *root = prefix_find(prefix, &id);
        struct prefix_node *frontier = root ? prefix_longest(prefix, root, ids, n) : NULL;
        if (!frontier)
                return -ENOENT;
        struct kv_pin *pin = malloc(sizeof(*pin));
        if (!pin)
                return -ENOMEM;
        if (!prefix_hold(prefix, frontier, cache->owner_pinned_bytes_max)) {
                free(pin);
                return -EDQUOT;
        }
        prefix_pin(prefix, root);
        *pin = (struct kv_pin){ cache, root, frontier };
        *ret = pin;
        return 0;
}

struct kv_pin *kv_cache_unpin(struct kv_pin *pin) {
        if (!pin)
                return NULL;
        struct prefix *prefix = &pin->cache->prefix;
        prefix_release(prefix, pin->frontier);
        prefix_unpin(prefix, pin->root);
        prefix_tidy(prefix, pin->root);
        free(pin);
        return NULL;
}

uint32_t kv_pin_tokens(const struct kv_pin *pin) {
        return pin->frontier->position;
}

uint64_t kv_cache_pinned_bytes(const struct kv_cache *cache, uint32_t owner) {
        for (const struct prefix_account *a = cache->prefix.accounts; a; a = a->next)
                if (a->owner == owner)
                        return a->held_bytes;
        return 0;
}
