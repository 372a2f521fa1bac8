/* One transaction: what is to be forgotten, what is to be kept, and the entries that say so. */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "memory/kv_private.h"
#include "memory/lmdb_file.h"

/* The 16 bytes in front of a value are LMDB's, and it believes the length it reads there when it
 * frees the run. They follow from the tree, so they are set right first: a flipped bit in them must
 * not make LMDB give away pages of other values. */
static int mend_run(const struct kv_store *store, const struct kv_node *node) {
        struct {
                uint64_t number;
                uint16_t pad, flags;
                uint32_t pages;
        } head, right = { .number = node->run, .flags = 0x04 /* P_OVERFLOW */ };
        static_assert(sizeof(head) == LMDB_PAGE_HEADER, "as in the file");
        right.pages = (uint32_t)lmdb_run_pages(node->bytes);
        off_t at = (off_t)(node->run * LMDB_PAGE_BYTES);
        ssize_t n = pread(store->data_fd, &head, sizeof(head), at);
        if (n != (ssize_t)sizeof(head))
                return n < 0 ? errno : EIO;
        right.pad = head.pad; /* means nothing there */
        if (memcmp(&head, &right, sizeof(head)) == 0)
                return 0;
        n = pwrite(store->data_fd, &right, sizeof(right), at);
        return n == (ssize_t)sizeof(right) ? 0 : n < 0 ? errno : EIO;
}

static int delete_key(const struct kv_store *store, MDB_txn *txn, enum kv_database database,
                      const void *bytes, size_t n) {
        MDB_val key = { n, (void *)bytes };
        int r = mdb_del(txn, store->dbi[database], &key, NULL);
        return r == MDB_NOTFOUND ? 0 : r;
}

/* An entry may meanwhile lead to a later value: then it stays. */
static int delete_place(const struct kv_store *store, MDB_txn *txn, enum kv_database database,
                        const struct page_id *id, uint64_t value) {
        MDB_val key = { PAGE_ID_BYTES, (void *)id->bytes }, data;
        struct kv_place place;
        int r = mdb_get(txn, store->dbi[database], &key, &data);
        if (r != 0)
                return r == MDB_NOTFOUND ? 0 : r;
        if (kv_place_decode(id, data.mv_data, data.mv_size, &place) && place.value != value)
                return 0;
        return mdb_del(txn, store->dbi[database], &key, NULL);
}

static int delete_node(const struct kv_store *store, MDB_txn *txn, const struct kv_node *node) {
        static const struct page_id unknown;
        enum kv_database database = node->kind == KV_FRONTIER ? KV_FRONTIERS : KV_PAGES;
        for (unsigned i = 0; i < node->count; i++) {
                if (page_id_equal(&node->id[i], &unknown))
                        continue; /* never was live */
                int r = delete_place(store, txn, database, &node->id[i], node->value);
                if (r != 0)
                        return r;
        }
        int r = mend_run(store, node);
        return r != 0 ? r : delete_key(store, txn, KV_VALUES, &node->value, sizeof(node->value));
}

static int put_value(const struct kv_store *store, MDB_txn *txn, const struct kv_item *item) {
        struct kv_node *node = item->node;
        MDB_val key = { sizeof(node->value), &node->value }, data = { node->bytes, NULL };
        int r = mdb_put(txn, store->dbi[KV_VALUES], &key, &data, MDB_RESERVE | MDB_APPEND);
        if (r != 0)
                return r;
        /* The page that is being made knows its number; once written, that is its place. */
        memcpy(&node->run, (uint8_t *)data.mv_data - LMDB_PAGE_HEADER, sizeof(node->run));
        memcpy(data.mv_data, item->bytes, node->bytes);

        struct kv_place place = {
                .value = node->value,
                .owner = node->owner,
                .kind = node->kind,
                .count = node->count,
                .n_tail = node->n_tail,
                .parent = node->parent,
        };
        bool first = true;
        for (unsigned i = 0; i < node->count && r == 0; i++) {
                if (!(node->live >> i & 1))
                        continue;
                if (!first)
                        place.parent = node->id[i - 1];
                first = false;
                place.index = (uint8_t)i;
                place.position = node->position + i * PAGE_TOKENS;
                uint8_t record[KV_PLACE_BYTES];
                kv_place_encode(&node->id[i], &place, record);
                MDB_val id = { PAGE_ID_BYTES, node->id[i].bytes };
                MDB_val bytes = { sizeof(record), record };
                r = mdb_put(txn, store->dbi[node->kind == KV_FRONTIER ? KV_FRONTIERS : KV_PAGES],
                            &id, &bytes, 0);
        }
        return r;
}

static int put_meta(const struct kv_store *store, MDB_txn *txn, const struct kv_meta *meta) {
        uint8_t record[KV_META_BYTES];
        kv_meta_encode(meta, record);
        MDB_val key = { strlen(KV_META_KEY), KV_META_KEY }, data = { sizeof(record), record };
        return mdb_put(txn, store->dbi[KV_META], &key, &data, 0);
}

static int write_all(const struct kv_store *store, MDB_txn *txn, const struct kv_batch *batch) {
        int r = 0;
        for (const struct kv_stale *stale = batch->stale; stale && r == 0; stale = stale->next)
                r = delete_key(store, txn, stale->database, stale->key, stale->bytes);
        for (const struct kv_node *node = batch->doomed; node && r == 0; node = node->next_doomed)
                r = delete_node(store, txn, node);
        for (const struct kv_item *item = batch->items; item && r == 0; item = item->next) {
                if (!item->written)
                        continue;
                switch (item->type) {
                case KV_ITEM_VALUE: r = put_value(store, txn, item); break;
                case KV_ITEM_SESSION:
                        r = kv_session_write(store, txn, item->session, item->ids);
                        break;
                case KV_ITEM_SESSION_DELETE:
                        r = kv_session_erase(store, txn, item->session->id);
                        break;
                }
        }
        return r != 0 ? r : put_meta(store, txn, &batch->meta);
}

int kv_commit(struct kv_store *store, const struct kv_batch *batch) {
        for (;;) {
                MDB_txn *txn;
                int r = mdb_txn_begin(store->env, NULL, 0, &txn);
                if (r != 0)
                        return kv_errno(r);
                r = write_all(store, txn, batch);
                if (r == 0)
                        r = mdb_txn_commit(txn);
                else
                        mdb_txn_abort(txn);
                if (r != MDB_MAP_FULL || kv_environment_grow(store) < 0)
                        return kv_errno(r);
        }
}
