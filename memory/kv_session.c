/* A session on disk: its record, and its token ids in chunks. */
#include <errno.h>
#include <string.h>

#include "memory/kv_private.h"

/* -- writing: in the writer's transaction, LMDB's status -----------------------------------------
 */

static int put(const struct kv_store *store, MDB_txn *txn, enum kv_database database,
               const uint8_t *key, size_t key_bytes, const uint8_t *record, size_t bytes) {
        MDB_val k = { key_bytes, (void *)key }, data;
        int r = mdb_get(txn, store->dbi[database], &k, &data);
        if (r == 0 && data.mv_size == bytes && memcmp(data.mv_data, record, bytes) == 0)
                return 0; /* most of a session's ids are on disk since an earlier turn */
        if (r != 0 && r != MDB_NOTFOUND)
                return r;
        data = (MDB_val){ bytes, (void *)record };
        return mdb_put(txn, store->dbi[database], &k, &data, 0);
}

/* Deletes a session's chunks from `number` on. */
static int cut(const struct kv_store *store, MDB_txn *txn, uint64_t id, uint32_t number) {
        struct kv_chunk_key from = kv_chunk_key(id, number);
        MDB_cursor *cursor;
        int r = mdb_cursor_open(txn, store->dbi[KV_TOKENS], &cursor);
        if (r != 0)
                return r;
        for (;;) {
                MDB_val key = { sizeof(from.bytes), from.bytes }, data;
                r = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
                if (r != 0 || memcmp(key.mv_data, from.bytes, KV_SESSION_KEY_BYTES) != 0)
                        break;
                if ((r = mdb_cursor_del(cursor, 0)) != 0)
                        break;
        }
        mdb_cursor_close(cursor);
        return r == MDB_NOTFOUND ? 0 : r;
}

int kv_session_write(const struct kv_store *store, MDB_txn *txn, const struct kv_session *session,
                     const uint32_t *ids) {
        uint8_t record[KV_SESSION_BYTES_MAX], chunk[KV_CHUNK_BYTES_MAX];
        uint32_t n_chunks = kv_chunks(session->n_tokens);
        struct kv_chunk_key key = kv_chunk_key(session->id, 0);
        size_t bytes = kv_session_encode(session, record);
        int r = put(store, txn, KV_SESSIONS, key.bytes, KV_SESSION_KEY_BYTES, record, bytes);
        for (uint32_t i = 0; i < n_chunks && r == 0; i++) {
                uint64_t from = (uint64_t)i * KV_CHUNK_TOKENS, left = session->n_tokens - from;
                key = kv_chunk_key(session->id, i);
                bytes = kv_chunk_encode(&key, ids + from,
                                        left < KV_CHUNK_TOKENS ? left : KV_CHUNK_TOKENS, chunk);
                r = put(store, txn, KV_TOKENS, key.bytes, sizeof(key.bytes), chunk, bytes);
        }
        return r != 0 ? r : cut(store, txn, session->id, n_chunks);
}

int kv_session_erase(const struct kv_store *store, MDB_txn *txn, uint64_t id) {
        struct kv_chunk_key key = kv_chunk_key(id, 0);
        MDB_val k = { KV_SESSION_KEY_BYTES, key.bytes };
        int r = mdb_del(txn, store->dbi[KV_SESSIONS], &k, NULL);
        return r == 0 || r == MDB_NOTFOUND ? cut(store, txn, id, 0) : r;
}

/* -- reading -------------------------------------------------------------------------------------
 */

static int read_chunks(const struct kv_store *store, MDB_txn *txn, uint64_t id, uint32_t *ids,
                       size_t n) {
        uint32_t chunk[KV_CHUNK_TOKENS];
        for (size_t at = 0; at < n; at += KV_CHUNK_TOKENS) {
                struct kv_chunk_key key = kv_chunk_key(id, (uint32_t)(at / KV_CHUNK_TOKENS));
                MDB_val k = { sizeof(key.bytes), key.bytes }, data;
                size_t wanted = n - at < KV_CHUNK_TOKENS ? n - at : KV_CHUNK_TOKENS;
                int r = mdb_get(txn, store->dbi[KV_TOKENS], &k, &data);
                if (r != 0)
                        return r == MDB_NOTFOUND ? -ENOENT : kv_errno(r);
                if (kv_chunk_decode(&key, data.mv_data, data.mv_size, chunk) < wanted)
                        return -ENOENT;
                memcpy(ids + at, chunk, wanted * sizeof(*ids));
        }
        return 0;
}

int kv_store_read_session(struct kv_store *store, uint64_t id, uint32_t *ids, size_t n) {
        MDB_txn *txn;
        pthread_mutex_lock(&store->map);
        int r = kv_errno(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn));
        if (r == 0) {
                r = read_chunks(store, txn, id, ids, n);
                mdb_txn_abort(txn);
        }
        pthread_mutex_unlock(&store->map);
        return r;
}
