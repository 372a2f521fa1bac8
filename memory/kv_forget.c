/* Pins, and forgetting: by number, by owner, because of damage. A forgotten value is a miss at
 * once; the writer deletes it from disk when its last pin is returned. */
#include <errno.h>
#include <stdlib.h>

#include "memory/kv_private.h"

uint64_t kv_store_pin(struct kv_store *store, const struct page_id *id) {
        kv_lock(store);
        struct kv_node *node = kv_index_find(&store->index, id, NULL);
        if (node)
                kv_index_pin(node);
        uint64_t value = node ? node->value : 0;
        kv_unlock(store);
        return value;
}

void kv_store_unpin(struct kv_store *store, uint64_t value) {
        kv_lock(store);
        struct kv_node *node = kv_index_find_value(&store->index, value);
        if (node) {
                kv_index_unpin(&store->index, node);
                if (node->doomed && node->pins == 0)
                        kv_work_came(store);
        }
        kv_unlock(store);
}

void kv_store_delete(struct kv_store *store, const uint64_t *values, size_t n) {
        kv_lock(store);
        for (size_t i = 0; i < n; i++) {
                struct kv_node *node = kv_index_find_value(&store->index, values[i]);
                if (node)
                        kv_index_doom(&store->index, node);
        }
        kv_work_came(store);
        kv_unlock(store);
}

void kv_quarantine(struct kv_store *store, struct kv_node *node) {
        store->statistics.quarantined_values += kv_index_doom(&store->index, node);
        kv_work_came(store);
}

/* Calls of a uid or about a session that are not decided yet come to nothing. */
static void cancel(struct kv_item *item, uint32_t owner, uint64_t session) {
        for (; item; item = item->next) {
                if (session ? item->type == KV_ITEM_SESSION && item->session->id == session
                            : item->type != KV_ITEM_SESSION_DELETE && item->owner == owner)
                        item->cancelled = true;
        }
}

static struct kv_item *delete_item(uint64_t id) {
        struct kv_item *item = calloc(1, sizeof(*item));
        if (item)
                item->session = calloc(1, sizeof(*item->session));
        if (!item || !item->session) {
                kv_item_free(item);
                return NULL;
        }
        item->type = KV_ITEM_SESSION_DELETE;
        item->session->id = id;
        return item;
}

/* Lock held. */
static void enqueue_delete(struct kv_store *store, struct kv_item *item) {
        *store->queue.last = item;
        store->queue.last = &item->next;
        store->accepted++;
        kv_work_came(store);
}

int kv_store_delete_session(struct kv_store *store, uint64_t id) {
        struct kv_item *item = delete_item(id);
        if (!item)
                return -ENOMEM;
        kv_lock(store);
        cancel(store->in_flight, 0, id);
        cancel(store->queue.first, 0, id);
        kv_index_remove_session(&store->index, id);
        enqueue_delete(store, item);
        kv_unlock(store);
        return 0;
}

/* Lock held. */
static int purge_sessions(struct kv_store *store, uint32_t owner) {
        for (size_t i = 0; i < store->index.n_sessions;) {
                const struct kv_session *session = store->index.sessions[i];
                if (session->owner != owner) {
                        i++;
                        continue;
                }
                struct kv_item *item = delete_item(session->id);
                if (!item)
                        return -ENOMEM;
                kv_index_remove_session(&store->index, item->session->id);
                enqueue_delete(store, item);
        }
        return 0;
}

int kv_store_purge(struct kv_store *store, uint32_t owner, kv_done *done, void *context) {
        struct kv_purge *purge = calloc(1, sizeof(*purge));
        if (!purge)
                return -ENOMEM;
        *purge = (struct kv_purge){ .owner = owner, .done = done, .context = context };
        kv_lock(store);
        cancel(store->in_flight, owner, 0);
        cancel(store->queue.first, owner, 0);
        struct kv_node *node;
        for (size_t at = 0; (node = id_table_next(&store->index.by_value, &at));)
                if (node->owner == owner)
                        kv_index_doom(&store->index, node);
        int r = purge_sessions(store, owner);
        if (r == 0) {
                purge->next = store->purges;
                store->purges = purge;
                store->fresh_purge = true;
                purge = NULL;
        }
        kv_work_came(store);
        kv_unlock(store);
        free(purge);
        return r;
}

/* Whether something of the owner's is still on disk or on its way there. */
static bool owns_something(const struct kv_store *store, uint32_t owner) {
        const struct kv_node *node;
        for (size_t at = 0; (node = id_table_next(&store->index.by_value, &at));)
                if (node->doomed && node->owner == owner)
                        return true;
        for (const struct kv_item *item = store->queue.first; item; item = item->next)
                if (item->type == KV_ITEM_SESSION_DELETE)
                        return true;
        return false;
}

void kv_purges_advance(struct kv_store *store, struct kv_purge **ret_done) {
        *ret_done = NULL;
        for (struct kv_purge **at = &store->purges; *at;) {
                struct kv_purge *purge = *at;
                if (store->suspended || owns_something(store, purge->owner)) {
                        at = &purge->next;
                        continue;
                }
                *at = purge->next;
                purge->next = *ret_done;
                *ret_done = purge;
        }
}
