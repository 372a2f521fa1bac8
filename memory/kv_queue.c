/* The writer: takes what waits in groups, commits each as one transaction, and tells the callers.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "memory/kv_private.h"

void kv_item_free(struct kv_item *item) {
        if (!item)
                return;
        free(item->node);
        free(item->bytes);
        free(item->session);
        free(item->ids);
        free(item);
}

void kv_stale_free(struct kv_stale *list) {
        while (list) {
                struct kv_stale *next = list->next;
                free(list);
                list = next;
        }
}

void kv_work_came(struct kv_store *store) {
        if (store->work_since_ns == 0)
                store->work_since_ns = clock_ns();
        pthread_cond_signal(&store->work);
}

/* -- deciding what to take -----------------------------------------------------------------------
 */

static struct kv_node *find_pending(const struct kv_batch *batch, const struct page_id *id) {
        struct kv_node *node = id_table_get(&batch->pending, kv_id_prefix(id));
        for (unsigned i = 0; node && i < node->count; i++)
                if (page_id_equal(&node->id[i], id))
                        return node;
        return NULL;
}

/* An extent that shares pages with one of this transaction waits for the next. */
static bool must_wait(const struct kv_batch *batch, const struct kv_item *item) {
        for (unsigned i = 0; item->node && i < item->node->count; i++)
                if (id_table_get(&batch->pending, kv_id_prefix(&item->node->id[i])))
                        return true;
        return false;
}

/* Which parts become live: those that nothing holds, or that all of whose holder is covered. */
static void choose_live(const struct kv_index *index, struct kv_node *node,
                        const struct page_id *parent) {
        uint8_t live = 0;
        node->live = (uint8_t)((1U << node->count) - 1); /* as kv_node_covers() looks at it */
        for (unsigned i = 0; i < node->count; i++) {
                const struct kv_node *holder = kv_index_find(index, &node->id[i], NULL);
                if (!holder || (holder->count < node->count && kv_node_covers(node, holder)))
                        live |= (uint8_t)(1U << i);
        }
        node->live = live;
        unsigned first = live ? (unsigned)__builtin_ctz(live) : 0;
        node->parent = first > 0 ? node->id[first - 1] : *parent;
}

static int prepare_value(struct kv_store *store, struct kv_batch *batch, struct kv_item *item) {
        struct kv_index *index = &store->index;
        struct kv_node *node = item->node;
        const struct page_id parent = node->parent; /* of the first part */
        choose_live(index, node, &parent);
        if (!node->live)
                return -EALREADY;
        if (kv_node_needs_parent(node) && !kv_index_find(index, &node->parent, NULL) &&
            !find_pending(batch, &node->parent))
                return -ENOENT;
        /* Room for all of the batch, since insertion comes after the commit and must not fail. */
        int r = id_table_reserve(&index->by_value, index->by_value.n + batch->pending.n + 1);
        if (r == 0)
                r = id_table_reserve(&index->by_id,
                                     index->by_id.n + batch->pending.n + node->count);
        for (unsigned i = 0; i < node->count && r == 0; i++)
                r = id_table_set(&batch->pending, kv_id_prefix(&node->id[i]), node);
        if (r == 0)
                node->value = store->next_value++;
        return r;
}

static int prepare_session(struct kv_store *store, struct kv_batch *batch,
                           const struct kv_item *item) {
        struct kv_index *index = &store->index;
        if (kv_index_session(index, item->session->id))
                return 0;
        if (index->n_sessions + batch->n_sessions >= KV_SESSIONS_MAX)
                return -ENOSPC;
        return kv_index_reserve_sessions(index, ++batch->n_sessions);
}

/* Lock held. */
static void prepare(struct kv_store *store, struct kv_batch *batch, struct kv_item *item) {
        int r = 0;
        if (item->cancelled)
                r = -ECANCELED;
        else if (item->type == KV_ITEM_VALUE)
                r = prepare_value(store, batch, item);
        else if (item->type == KV_ITEM_SESSION)
                r = prepare_session(store, batch, item);
        item->written = r == 0;
        item->status = r == -EALREADY ? 0 : r;
}

/* Lock held. */
static void take(struct kv_store *store, struct kv_batch *batch) {
        struct kv_item **last = &batch->items;
        size_t bytes = 0;
        while (store->queue.first && bytes < KV_COMMIT_BYTES) {
                struct kv_item *item = store->queue.first;
                if (must_wait(batch, item))
                        break;
                store->queue.first = item->next;
                if (!store->queue.first)
                        store->queue.last = &store->queue.first;
                bytes += item->cost;
                item->next = NULL;
                *last = item;
                last = &item->next;
                prepare(store, batch, item);
        }
        store->in_flight = batch->items;
        batch->doomed = store->index.doomed;
        store->index.doomed = NULL;
        batch->stale = store->stale;
        store->stale = NULL;
        batch->meta = (struct kv_meta){
                .version = KV_META_VERSION,
                .page_bytes = store->page_bytes,
                .frontier_bytes_max = store->frontier_bytes_max,
                .next_value = store->next_value,
                .day = store->day,
                .day_bytes = store->day_bytes,
                .fingerprint = store->fingerprint,
        };
        store->flush = false;
        store->fresh_purge = false;
        store->busy = true;
        store->work_since_ns = store->queue.first ? clock_ns() : 0;
}

/* -- after the commit ----------------------------------------------------------------------------
 */

static void publish_value(struct kv_store *store, struct kv_item *item) {
        struct kv_node *node = item->node;
        item->node = NULL;
        kv_index_insert(&store->index, node);
        /* What happened meanwhile: purged, or its parent was forgotten. */
        if (item->cancelled || !node->live || !kv_index_link(&store->index, node))
                kv_index_doom(&store->index, node);
        store->statistics.written_bytes += node->bytes;
}

/* Lock held. What was accepted becomes visible, what was deleted is gone. */
static void publish(struct kv_store *store, struct kv_batch *batch) {
        while (batch->doomed) {
                struct kv_node *node = batch->doomed;
                batch->doomed = node->next_doomed;
                kv_index_remove(&store->index, node);
        }
        kv_stale_free(batch->stale);
        batch->stale = NULL;
        for (struct kv_item *item = batch->items; item; item = item->next) {
                if (!item->written)
                        continue;
                if (item->type == KV_ITEM_VALUE) {
                        publish_value(store, item);
                } else if (item->type == KV_ITEM_SESSION && !item->cancelled) {
                        kv_index_put_session(&store->index, item->session);
                        item->session = NULL;
                }
        }
}

static void refund(struct kv_store *store, const struct kv_item *item) {
        if (item->type == KV_ITEM_VALUE && item->node)
                kv_index_refund(&store->index, item->owner, item->node->bytes);
}

/* Lock held. Nothing of the batch is on disk: deletions wait on, the rest fails. */
static void give_back(struct kv_store *store, struct kv_batch *batch, int status) {
        for (struct kv_node *node; (node = batch->doomed);) {
                batch->doomed = node->next_doomed;
                node->next_doomed = store->index.doomed;
                store->index.doomed = node;
        }
        store->stale = batch->stale;
        batch->stale = NULL;
        for (struct kv_item *item = batch->items; item; item = item->next)
                if (item->written)
                        item->status = status;
}

/* Lock held. While nothing can be stored, what waits would wait forever. */
static void fail_queue(struct kv_store *store, struct kv_batch *batch, int status) {
        struct kv_item **last = &batch->items;
        while (*last)
                last = &(*last)->next;
        *last = store->queue.first;
        for (struct kv_item *item = *last; item; item = item->next)
                item->status = item->cancelled ? -ECANCELED : status;
        store->queue.first = NULL;
        store->queue.last = &store->queue.first;
}

/* Lock held. What was forgotten must go from disk, too: that waits, as the deletion of values does,
 * before all that comes. Who waits for the queue does not wait for it any more. */
static void keep_deletions(struct kv_store *store, struct kv_batch *batch) {
        for (struct kv_item **at = &batch->items; *at;) {
                struct kv_item *item = *at;
                if (item->type != KV_ITEM_SESSION_DELETE) {
                        at = &item->next;
                        continue;
                }
                *at = item->next;
                item->next = NULL;
                item->written = false;
                item->status = 0;
                *store->queue.last = item;
                store->queue.last = &item->next;
                store->accepted++;
                store->decided++;
        }
}

/* Calls the completions and frees the items. Lock held, but not meanwhile. */
static void tell(struct kv_store *store, struct kv_batch *batch) {
        struct kv_purge *purges;
        kv_purges_advance(store, &purges);
        for (struct kv_item *item = batch->items; item; item = item->next) {
                refund(store, item);
                store->queue.bytes -= item->cost;
        }
        kv_unlock(store);
        uint64_t n = 0;
        while (batch->items) {
                struct kv_item *item = batch->items;
                batch->items = item->next;
                if (item->done)
                        item->done(item->context, item->status);
                kv_item_free(item);
                n++;
        }
        while (purges) {
                struct kv_purge *purge = purges;
                purges = purge->next;
                if (purge->done)
                        purge->done(purge->context, 0);
                free(purge);
        }
        kv_lock(store);
        store->decided += n;
        store->busy = false;
        pthread_cond_broadcast(&store->idle);
}

/* Lock held. Says once when storing stops and when it goes on. */
static void note_outcome(struct kv_store *store, int status) {
        int before = store->suspended;
        store->suspended = status;
        if (status == 0)
                store->statistics.commits++;
        else
                store->statistics.failed_commits++;
        if (status != 0)
                store->retry_ns = clock_ns() + KV_RETRY_NS;
        if (status == before)
                return;
        kv_unlock(store);
        if (status == -ENOSPC)
                kv_report(store, KV_EVENT_FULL,
                          "kv.mdb: no space; nothing is stored until there is, reading goes on");
        else if (status != 0)
                kv_report(store, KV_EVENT_FAILED,
                          "kv.mdb: cannot write (%s); nothing is stored, reading goes on",
                          strerror(-status));
        else
                kv_report(store, KV_EVENT_RECOVERED, "kv.mdb: storing again");
        kv_lock(store);
}

/* -- the thread ----------------------------------------------------------------------------------
 */

static bool has_work(const struct kv_store *store) {
        return store->queue.first || store->index.doomed || store->stale || store->fresh_purge ||
                store->suspended;
}

/* When what waits must be written: 0 = now, UINT64_MAX = nothing waits. */
static uint64_t due_ns(const struct kv_store *store) {
        if (!has_work(store))
                return UINT64_MAX;
        if (store->flush || store->closing)
                return 0;
        if (store->suspended)
                return store->retry_ns;
        if (store->queue.bytes >= KV_COMMIT_BYTES)
                return 0;
        return store->work_since_ns == 0 ? UINT64_MAX : store->work_since_ns + KV_COMMIT_NS;
}

/* Lock held. False = closing, and all is done that can be. */
static bool wait_for_work(struct kv_store *store) {
        for (;;) {
                uint64_t due = due_ns(store);
                if (due <= clock_ns())
                        return true;
                store->flush = false; /* nothing to flush */
                if (store->closing)
                        return false;
                pthread_cond_broadcast(&store->idle);
                if (due == UINT64_MAX) {
                        pthread_cond_wait(&store->work, &store->lock);
                } else {
                        struct timespec until = { (time_t)(due / NS_PER_S),
                                                  (long)(due % NS_PER_S) };
                        pthread_cond_timedwait(&store->work, &store->lock, &until);
                }
        }
}

void *kv_writer(void *context) {
        struct kv_store *store = context;
        kv_lock(store);
        while (wait_for_work(store)) {
                struct kv_batch batch = { 0 };
                take(store, &batch);
                kv_unlock(store);
                int r = kv_commit(store, &batch);
                kv_lock(store);
                if (r == 0) {
                        publish(store, &batch);
                } else {
                        give_back(store, &batch, r);
                        fail_queue(store, &batch, r);
                        keep_deletions(store, &batch);
                }
                store->in_flight = NULL;
                note_outcome(store, r);
                tell(store, &batch);
                id_table_deinit(&batch.pending);
                if (r < 0 && store->closing)
                        break;
        }
        kv_unlock(store);
        return NULL;
}
