#include "memory/kv_store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "memory/kv_private.h"

#define QUEUE_BYTES_DEFAULT (64U << 20)

void kv_report(struct kv_store *store, enum kv_event event, const char *format, ...) {
        if (!store->report)
                return;
        char text[640];
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        store->report(store->context, event, text);
}

/* -- opening and closing -------------------------------------------------------------------------
 */

static int check_config(const struct kv_store_config *config, struct error *err) {
        if (config->page_bytes == 0 || config->page_bytes > KV_PAGE_BYTES_MAX)
                return error_set(err, -EINVAL, "KV pages of %u bytes; 1 to %u are possible",
                                 config->page_bytes, KV_PAGE_BYTES_MAX);
        if (config->frontier_bytes_max == 0 || config->frontier_bytes_max > KV_FRONTIER_BYTES_MAX)
                return error_set(err, -EINVAL, "frontiers of %u bytes; 1 to %u are possible",
                                 config->frontier_bytes_max, KV_FRONTIER_BYTES_MAX);
        if (config->bytes_max == 0 || config->bytes_max > (uint64_t)1 << 46)
                return error_set(err, -EINVAL,
                                 "a disk budget of %llu bytes; 1 to 2^46 are possible",
                                 (unsigned long long)config->bytes_max);
        return 0;
}

static void init_locks(struct kv_store *store) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_mutex_init(&store->lock, NULL);
        pthread_mutex_init(&store->map, NULL);
        pthread_cond_init(&store->work, &monotonic);
        pthread_cond_init(&store->idle, NULL);
        pthread_condattr_destroy(&monotonic);
}

static struct kv_store *store_new(const struct kv_store_config *config) {
        struct kv_store *store = calloc(1, sizeof(*store));
        if (!store)
                return NULL;
        store->key = *config->key;
        store->fingerprint = config->fingerprint;
        store->page_bytes = config->page_bytes;
        store->frontier_bytes_max = config->frontier_bytes_max;
        store->frontier_value_bytes = kv_value_round(kv_value_header_bytes(PAGE_TOKENS, 1) +
                                                     (uint64_t)config->frontier_bytes_max);
        store->bytes_max = config->bytes_max;
        store->owner_bytes_max =
                config->owner_bytes_max ? config->owner_bytes_max : config->bytes_max;
        store->write_bytes_per_day = config->write_bytes_per_day;
        store->queue_bytes_max =
                config->queue_bytes_max ? config->queue_bytes_max : QUEUE_BYTES_DEFAULT;
        store->report = config->report;
        store->context = config->context;
        store->folder_fd = store->lock_fd = store->data_fd = -1;
        store->queue.last = &store->queue.first;
        store->next_value = 1;
        init_locks(store);
        return store;
}

static void store_free(struct kv_store *store) {
        kv_environment_close(store);
        for (struct kv_item *item; (item = store->queue.first);) { /* deletions that failed */
                store->queue.first = item->next;
                kv_item_free(item);
        }
        kv_index_deinit(&store->index);
        kv_stale_free(store->stale);
        pthread_cond_destroy(&store->work);
        pthread_cond_destroy(&store->idle);
        pthread_mutex_destroy(&store->lock);
        pthread_mutex_destroy(&store->map);
        explicit_bzero(&store->key, sizeof(store->key));
        free(store);
}

int kv_store_open(const struct kv_store_config *config, struct kv_store **ret, struct error *err) {
        int r = check_config(config, err);
        if (r < 0)
                return r;
        struct kv_store *store = store_new(config);
        if (!store)
                return error_set(err, -ENOMEM, "no memory for the KV store");
        uint64_t start = clock_ns();
        r = kv_environment_open(store, config->folder, err);
        store->statistics.load_ns = clock_ns() - start;
        if (r == 0 && store->statistics.dropped_entries > 0)
                kv_report(store, KV_EVENT_DAMAGED_VALUE,
                          "kv.mdb: %llu entries were damaged or incomplete; dropped",
                          (unsigned long long)store->statistics.dropped_entries);
        if (r == 0 && (store->index.doomed || store->stale))
                kv_work_came(store); /* nobody else knows the store yet */
        if (r == 0 && (r = -pthread_create(&store->writer, NULL, kv_writer, store)) < 0)
                error_set(err, r, "the KV store's writer cannot start");
        if (r < 0) {
                store_free(store);
                return r;
        }
        *ret = store;
        return 0;
}

void kv_store_close(struct kv_store *store) {
        if (!store)
                return;
        kv_lock(store);
        store->closing = true;
        pthread_cond_signal(&store->work);
        kv_unlock(store);
        pthread_join(store->writer, NULL);
        while (store->purges) { /* of values that somebody still has pinned */
                struct kv_purge *purge = store->purges;
                store->purges = purge->next;
                if (purge->done)
                        purge->done(purge->context, -ECANCELED);
                free(purge);
        }
        store_free(store);
}

/* -- putting -------------------------------------------------------------------------------------
 */

/* A day is the machine's idea of one; when its clock jumps, a new budget begins. */
static void begin_day(struct kv_store *store) {
        uint64_t today = (uint64_t)time(NULL) / 86400;
        if (today != store->day) {
                store->day = today;
                store->day_bytes = 0;
        }
}

/* A refusal that somebody should hear of, once. */
struct news {
        bool day, share;
};

/* Lock held. Whether `bytes` more of this uid fit all that is limited; then they are charged. */
static int charge(struct kv_store *store, uint32_t uid, uint64_t bytes, struct news *news) {
        struct kv_owner *owner = kv_index_owner(&store->index, uid);
        if (!owner)
                return -ENOMEM;
        begin_day(store);
        if (store->write_bytes_per_day > 0 &&
            store->day_bytes + bytes > store->write_bytes_per_day) {
                news->day = store->day_told != store->day;
                store->day_told = store->day;
                return -EDQUOT;
        }
        if (owner->bytes + bytes > store->owner_bytes_max) {
                news->share = !owner->told && store->owner_bytes_max < store->bytes_max;
                owner->told = true;
                return -EDQUOT;
        }
        if (store->index.bytes + bytes > store->bytes_max)
                return -EDQUOT;
        kv_index_charge(&store->index, owner, bytes);
        store->day_bytes += bytes;
        return 0;
}

/* Lock held. Takes the item over on success. */
static int accept(struct kv_store *store, struct kv_item *item, struct news *news) {
        if (store->suspended)
                return -ENOSPC;
        /* One alone may be larger than the queue. */
        if (store->queue.bytes > 0 && store->queue.bytes + item->cost > store->queue_bytes_max)
                return -EAGAIN;
        int r = item->type == KV_ITEM_VALUE ? charge(store, item->owner, item->node->bytes, news)
                                            : 0;
        if (r < 0)
                return r;
        *store->queue.last = item;
        store->queue.last = &item->next;
        store->queue.bytes += item->cost;
        store->accepted++;
        kv_work_came(store);
        return 0;
}

static int submit(struct kv_store *store, struct kv_item *item, kv_done *done, void *context) {
        item->done = done;
        item->context = context;
        struct news news = { 0 };
        uint32_t owner = item->owner;
        kv_lock(store);
        int r = accept(store, item, &news);
        kv_unlock(store);
        if (r < 0)
                kv_item_free(item);
        if (news.day)
                kv_report(
                        store, KV_EVENT_SPENT,
                        "kv.mdb: the %llu bytes that may be written in a day are written; nothing "
                        "more is stored today, reading goes on",
                        (unsigned long long)store->write_bytes_per_day);
        if (news.share)
                kv_report(store, KV_EVENT_SHARE,
                          "kv.mdb: user %u has the %llu bytes that one user may have; what is new "
                          "of his takes the place of what is old",
                          owner, (unsigned long long)store->owner_bytes_max);
        return r;
}

/* An item whose value has its header; parts are at value bytes + *ret_at. */
static struct kv_item *value_item(const struct kv_value_header *header, uint64_t bytes,
                                  const void *const *parts) {
        struct kv_item *item = calloc(1, sizeof(*item));
        if (!item)
                return NULL;
        item->type = KV_ITEM_VALUE;
        item->owner = header->owner;
        item->node = kv_node_new(header->n_parts);
        item->bytes = malloc(bytes);
        if (!item->node || !item->bytes) {
                kv_item_free(item);
                return NULL;
        }
        item->cost = sizeof(*item) + bytes;
        item->node->bytes = (uint32_t)bytes;
        item->node->kind = (uint8_t)header->kind;
        item->node->owner = header->owner;
        item->node->position = header->position;
        item->node->parent = header->parent;
        kv_value_encode(header, item->bytes);
        uint8_t *to = item->bytes + kv_value_header_bytes(header->n_tokens, header->n_parts);
        for (uint32_t i = 0; i < header->n_parts; i++, to += header->part_bytes)
                memcpy(to, parts[i], header->part_bytes);
        memset(to, 0, (size_t)(item->bytes + bytes - to));
        return item;
}

int kv_store_put_extent(struct kv_store *store, const struct kv_extent *extent, kv_done *done,
                        void *context) {
        uint32_t n = extent->n_pages;
        if (n == 0 || n > KV_EXTENT_PAGES_MAX || (n & (n - 1)) != 0 ||
            extent->position % PAGE_TOKENS != 0 || extent->position > UINT32_MAX - n * PAGE_TOKENS)
                return -EINVAL;
        CLEANUP_FREE struct kv_value_header *header = calloc(1, sizeof(*header));
        if (!header)
                return -ENOMEM;
        header->kind = KV_EXTENT;
        header->fingerprint = store->fingerprint;
        header->parent = extent->parent;
        header->position = extent->position;
        header->owner = extent->owner;
        header->n_tokens = n * PAGE_TOKENS;
        header->n_parts = n;
        header->part_bytes = store->page_bytes;
        memcpy(header->tokens, extent->tokens, header->n_tokens * sizeof(uint32_t));
        for (uint32_t i = 0; i < n; i++)
                header->part_crc[i] = crc32c(0, extent->page[i], store->page_bytes);
        uint64_t bytes = kv_value_round(kv_value_header_bytes(header->n_tokens, n) +
                                        (uint64_t)n * store->page_bytes);
        struct kv_item *item = value_item(header, bytes, extent->page);
        if (!item)
                return -ENOMEM;
        const struct page_id *parent = &extent->parent;
        for (uint32_t i = 0; i < n; i++) {
                page_id_next(&store->key, parent, extent->tokens + (size_t)i * PAGE_TOKENS,
                             &item->node->id[i]);
                parent = &item->node->id[i];
        }
        return submit(store, item, done, context);
}

int kv_store_put_frontier(struct kv_store *store, const struct kv_frontier *frontier, kv_done *done,
                          void *context) {
        uint32_t n_tail = frontier->position % PAGE_TOKENS;
        if (frontier->bytes == 0 || frontier->bytes > store->frontier_bytes_max)
                return -EINVAL;
        CLEANUP_FREE struct kv_value_header *header = calloc(1, sizeof(*header));
        if (!header)
                return -ENOMEM;
        header->kind = KV_FRONTIER;
        header->fingerprint = store->fingerprint;
        header->parent = frontier->chain;
        header->position = frontier->position;
        header->owner = frontier->owner;
        header->n_tokens = n_tail;
        header->n_parts = 1;
        header->part_bytes = frontier->bytes;
        if (n_tail > 0)
                memcpy(header->tokens, frontier->tail, n_tail * sizeof(uint32_t));
        header->part_crc[0] = crc32c(0, frontier->data, frontier->bytes);
        struct kv_item *item = value_item(header, store->frontier_value_bytes, &frontier->data);
        if (!item)
                return -ENOMEM;
        item->node->n_tail = (uint8_t)n_tail;
        page_id_frontier(&store->key, &frontier->chain, frontier->position, frontier->tail, n_tail,
                         &item->node->id[0]);
        return submit(store, item, done, context);
}

int kv_store_put_session(struct kv_store *store, const struct kv_session *session,
                         const uint32_t *ids, kv_done *done, void *context) {
        if (session->id == 0 || session->n_tokens > KV_SESSION_TOKENS_MAX ||
            session->n_name > KV_SESSION_NAME_BYTES ||
            strnlen(session->subject, KV_SUBJECT_BYTES) == KV_SUBJECT_BYTES)
                return -EINVAL;
        size_t bytes = session->n_tokens * sizeof(*ids);
        struct kv_item *item = calloc(1, sizeof(*item));
        if (item) {
                item->session = malloc(sizeof(*item->session));
                item->ids = malloc(bytes > 0 ? bytes : 1);
        }
        if (!item || !item->session || !item->ids) {
                kv_item_free(item);
                return -ENOMEM;
        }
        item->type = KV_ITEM_SESSION;
        item->owner = session->owner;
        item->cost = sizeof(*item) + sizeof(*item->session) + bytes;
        *item->session = *session;
        if (bytes > 0)
                memcpy(item->ids, ids, bytes);
        return submit(store, item, done, context);
}

void kv_store_flush(struct kv_store *store) {
        kv_lock(store);
        store->flush = true;
        pthread_cond_signal(&store->work);
        kv_unlock(store);
}

void kv_store_sync(struct kv_store *store) {
        kv_lock(store);
        uint64_t target = store->accepted;
        uint64_t failed = store->statistics.failed_commits + store->busy;
        while (store->decided < target ||
               ((store->index.doomed || store->stale || store->busy) &&
                store->statistics.failed_commits <= failed)) {
                store->flush = true;
                pthread_cond_signal(&store->work);
                pthread_cond_wait(&store->idle, &store->lock);
        }
        kv_unlock(store);
}

/* -- asking --------------------------------------------------------------------------------------
 */

static void describe(const struct kv_node *node, unsigned part, struct kv_entry *ret) {
        *ret = (struct kv_entry){
                .value = node->value,
                .kind = node->kind,
                .owner = node->owner,
                .position = node->position + part * PAGE_TOKENS,
                .n_tokens = node->kind == KV_FRONTIER ? node->n_tail : PAGE_TOKENS,
                .id = node->id[part],
                .value_bytes = node->bytes,
        };
        bool first = part == (unsigned)__builtin_ctz(node->live);
        ret->parent = first ? node->parent : node->id[part - 1];
}

bool kv_store_find(struct kv_store *store, const struct page_id *id, struct kv_entry *ret) {
        unsigned part;
        kv_lock(store);
        const struct kv_node *node = kv_index_find(&store->index, id, &part);
        if (node)
                describe(node, part, ret);
        kv_unlock(store);
        return node;
}

void kv_store_each(struct kv_store *store,
                   void (*visit)(void *context, const struct kv_entry *entry), void *context) {
        kv_lock(store);
        const struct kv_node *node;
        for (size_t at = 0; (node = id_table_next(&store->index.by_value, &at));) {
                for (unsigned i = 0; i < node->count; i++) {
                        if (!(node->live >> i & 1))
                                continue;
                        struct kv_entry entry;
                        describe(node, i, &entry);
                        visit(context, &entry);
                }
        }
        kv_unlock(store);
}

bool kv_store_find_session(struct kv_store *store, uint64_t id, struct kv_session *ret) {
        kv_lock(store);
        const struct kv_session *session = kv_index_session(&store->index, id);
        if (session)
                *ret = *session;
        kv_unlock(store);
        return session;
}

void kv_store_each_session(struct kv_store *store,
                           void (*visit)(void *context, const struct kv_session *session),
                           void *context) {
        kv_lock(store);
        for (size_t i = 0; i < store->index.n_sessions; i++)
                visit(context, store->index.sessions[i]);
        kv_unlock(store);
}

void kv_store_each_owner(struct kv_store *store,
                         void (*visit)(void *context, const struct kv_owner_statistics *owner),
                         void *context) {
        const struct kv_owner *owner;
        kv_lock(store);
        for (size_t at = 0; (owner = id_table_next(&store->index.owners, &at));) {
                struct kv_owner_statistics s = {
                        .owner = owner->uid,
                        .n_pages = owner->n_pages,
                        .n_frontiers = owner->n_frontiers,
                        .bytes = owner->bytes,
                };
                if (s.bytes > 0)
                        visit(context, &s);
        }
        kv_unlock(store);
}

uint64_t kv_store_owner_bytes(struct kv_store *store, uint32_t uid) {
        kv_lock(store);
        const struct kv_owner *owner = id_table_get(&store->index.owners, uid);
        uint64_t bytes = owner ? owner->bytes : 0;
        kv_unlock(store);
        return bytes;
}

void kv_store_statistics(struct kv_store *store, struct kv_store_statistics *ret) {
        struct stat st;
        kv_lock(store);
        *ret = store->statistics;
        ret->n_values = store->index.by_value.n;
        ret->n_pages = store->index.n_pages;
        ret->n_frontiers = store->index.n_frontiers;
        ret->n_sessions = store->index.n_sessions;
        ret->value_bytes = store->index.bytes;
        ret->bytes_max = store->bytes_max;
        ret->owner_bytes_max = store->owner_bytes_max;
        ret->write_bytes_per_day = store->write_bytes_per_day;
        ret->queued_bytes = store->queue.bytes;
        ret->day_bytes = store->day_bytes;
        ret->suspended = store->suspended != 0;
        ret->suspended_by = store->suspended;
        kv_unlock(store);
        ret->file_bytes = fstat(store->data_fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}
