/* Forgetting all that a user has in memory. */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "memory/kv_cache_private.h"

void kv_cache_each_owner(const struct kv_cache *cache,
                         void (*visit)(void *context, const struct kv_cache_owner *owner),
                         void *context) {
        for (const struct prefix_account *a = cache->prefix.accounts; a; a = a->next)
                visit(context,
                      &(struct kv_cache_owner){ .owner = a->owner,
                                                .bytes = a->data_bytes,
                                                .pinned_bytes = a->held_bytes });
}

/* The owner's roots, one for each of his subjects. NULL: no memory. */
static struct prefix_node **roots_of(const struct prefix *prefix, uint32_t owner, size_t *ret_n) {
        size_t n = 0, capacity = 16;
        struct prefix_node **root = calloc(capacity, sizeof(struct prefix_node *));
        for (size_t i = 0; root && i < prefix->n_buckets; i++)
                for (struct prefix_node *node = prefix->bucket[i]; node; node = node->bucket_next) {
                        if (node->kind != PREFIX_ROOT || node->owner != owner)
                                continue;
                        if (n == capacity) {
                                struct prefix_node **more = reallocarray(
                                        root, 2 * capacity, sizeof(struct prefix_node *));
                                if (!more) {
                                        free(root);
                                        return NULL;
                                }
                                root = more;
                                capacity *= 2;
                        }
                        root[n++] = node;
                }
        *ret_n = n;
        return root;
}

/* Nobody finds it any more; who needs it has a pointer. */
static void hide(struct prefix *prefix, struct prefix_node *node) {
        struct page_id id;
        randombytes_buf(&id, sizeof(id));
        prefix_set_disk(prefix, node, PREFIX_NOT_STORED);
        prefix_rename(prefix, node, &id);
}

static void forget_unused_children(struct prefix *prefix, struct prefix_node *node) {
        for (struct prefix_node *child = node->child, *next; child; child = next) {
                next = child->next;
                if (!prefix_in_use(child))
                        prefix_forget(prefix, child);
        }
}

/* In preorder, over what is in use: what is not has nothing in use below it. */
static void purge_root(struct prefix *prefix, struct prefix_node *root) {
        if (!prefix_in_use(root)) {
                prefix_forget(prefix, root);
                return;
        }
        root->purged = true;
        for (struct prefix_node *node = root; node;) {
                hide(prefix, node);
                forget_unused_children(prefix, node);
                if (node->child) {
                        node = node->child;
                        continue;
                }
                while (node && !node->next)
                        node = node->parent;
                node = node ? node->next : NULL;
        }
}

int kv_cache_purge(struct kv_cache *cache, uint32_t owner) {
        size_t n;
        struct prefix_node **root = roots_of(&cache->prefix, owner, &n);
        if (!root)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                purge_root(&cache->prefix, root[i]);
        free(root);
        cache->n_changes++;
        return 0;
}
