/* The memory of kept KV: who makes room for whom, and with what. */
#include <math.h>
#include <stdlib.h>

#include "memory/eviction.h"
#include "memory/kv_cache_private.h"

/* What an account would lose first. The store is asked whether it has it: what was sent and is not
 * there is worth more than it seemed. */
static struct prefix_node *first_of(struct kv_cache *cache, struct prefix_account *account,
                                    double *ret_score) {
        for (;;) {
                struct prefix_node *node =
                        prefix_first(&cache->prefix, account, PREFIX_MEMORY, ret_score);
                if (!node || node->disk == PREFIX_NOT_STORED || kv_cache_is_stored(cache, node))
                        return node;
        }
}

/* The account that loses something for `asking`, or NULL. */
static struct prefix_account *loser(struct kv_cache *cache, struct prefix_account *asking,
                                    size_t bytes) {
        struct eviction_owner owner[KV_OWNERS_MAX];
        struct prefix_account *account[KV_OWNERS_MAX];
        size_t n = 1;
        account[0] = asking;
        for (struct prefix_account *a = cache->prefix.accounts; a && n < KV_OWNERS_MAX; a = a->next)
                if (a != asking && a->data_bytes > 0)
                        account[n++] = a;
        for (size_t i = 0; i < n; i++) {
                owner[i].bytes = account[i]->data_bytes;
                first_of(cache, account[i], &owner[i].score);
        }
        size_t i =
                eviction_owner(owner, n, 0, bytes, cache->host_bytes_max, cache->owner_bytes_max);
        return i == EVICTION_NOBODY ? NULL : account[i];
}

static bool fits(const struct kv_cache *cache, const struct prefix_account *account, size_t bytes) {
        return cache->prefix.data_bytes + bytes <= cache->host_bytes_max &&
                (cache->owner_bytes_max == 0 ||
                 account->data_bytes + bytes <= cache->owner_bytes_max);
}

uint8_t *kv_cache_room(struct kv_cache *cache, struct prefix_account *account, size_t bytes,
                       bool spare) {
        while (!fits(cache, account, bytes)) {
                struct prefix_account *from = spare ? account : loser(cache, account, bytes);
                double score;
                struct prefix_node *node = from ? first_of(cache, from, &score) : NULL;
                if (!node && !spare && cache->end_lease &&
                    cache->end_lease(cache->end_lease_context))
                        continue;
                if (!node)
                        return NULL;
                prefix_drop_data(&cache->prefix, node);
                cache->statistics.evicted_nodes++;
        }
        uint8_t *room = malloc(bytes);
        if (room)
                prefix_reserve(&cache->prefix, account, bytes);
        return room;
}

void kv_cache_fill(struct kv_cache *cache, struct prefix_node *node, uint8_t *room) {
        prefix_set_data(&cache->prefix, node, room);
}

void kv_cache_return(struct kv_cache *cache, struct prefix_account *account, uint8_t *room,
                     size_t bytes) {
        if (room)
                prefix_unreserve(&cache->prefix, account, bytes);
        free(room);
}
