/* What the files of the KV store share. Not for others. */
#pragma once

#include <lmdb.h>
#include <pthread.h>
#include <string.h>

#include "memory/kv_index.h"
#include "memory/kv_record.h"
#include "memory/kv_store.h"
#include "memory/kv_value.h"
#include "memory/lmdb_file.h"

/* A transaction's values: what a commit groups. */
#define KV_COMMIT_BYTES (8U << 20)

/* What is accepted is committed after this time at the latest. A crash costs what was computed
 * since then and, before it, since the last state (STATE_NS in daemon/keeping.c): less than a
 * second in all. Four synced commits a second are a hundredth of what a disk does. */
#define KV_COMMIT_NS (NS_PER_S / 4)

/* Pause between attempts to write while the disk is full or broken. */
#define KV_RETRY_NS (5 * NS_PER_S)

enum kv_database {
        KV_FRONTIERS,
        KV_META,
        KV_PAGES,
        KV_SESSIONS,
        KV_TOKENS,
        KV_VALUES,
        KV_DATABASES
};
extern const struct lmdb_database kv_databases[KV_DATABASES];

#define KV_FILE_NAME    "kv.mdb"
#define KV_DAMAGED_NAME "kv.mdb.damaged"

/* Flags that LMDB keeps in the file: it is a file of its own, not a folder. */
#define KV_ENV_FLAGS MDB_NOSUBDIR

enum kv_item_type { KV_ITEM_VALUE, KV_ITEM_SESSION, KV_ITEM_SESSION_DELETE };

/* An accepted call on its way to disk. */
struct kv_item {
        struct kv_item *next;
        enum kv_item_type type;
        int status;     /* what its completion will say */
        bool cancelled; /* purged or deleted meanwhile */
        bool written;   /* in this transaction */
        uint32_t owner;
        size_t cost; /* of the queue's memory */
        kv_done *done;
        void *context;
        struct kv_node *node;       /* value */
        uint8_t *bytes;             /* value: node->bytes of them */
        struct kv_session *session; /* delete: its id alone */
        uint32_t *ids;              /* of the session, session->n_tokens of them */
};

struct kv_queue {
        struct kv_item *first, **last;
        size_t bytes;
};

struct kv_purge {
        struct kv_purge *next;
        uint32_t owner;
        kv_done *done;
        void *context;
};

/* An index entry that was found damaged or pointing nowhere: deleted by the first commit. */
struct kv_stale {
        struct kv_stale *next;
        enum kv_database database;
        size_t bytes;
        uint8_t key[];
};

struct kv_store {
        /* Constant after open. */
        struct page_key key;
        struct page_id fingerprint;
        uint32_t page_bytes, frontier_bytes_max;
        uint64_t frontier_value_bytes; /* size class */
        uint64_t bytes_max, owner_bytes_max, write_bytes_per_day;
        size_t queue_bytes_max;
        void (*report)(void *context, enum kv_event event, const char *text);
        void *context;
        int folder_fd;
        int lock_fd; /* its lock keeps other processes out */
        int data_fd; /* LMDB's own */
        pthread_t writer;

        /* The writer's, or open's before it runs. */
        MDB_env *env;
        MDB_dbi dbi[KV_DATABASES];
        pthread_mutex_t map; /* held by who reads through LMDB, and while the map grows */
        uint64_t map_bytes;

        pthread_mutex_t lock; /* of all that follows */
        pthread_cond_t work;  /* for the writer */
        pthread_cond_t idle;  /* for kv_store_sync() */
        struct kv_index index;
        struct kv_queue queue;
        struct kv_item *in_flight; /* taken from the queue, not yet decided */
        struct kv_purge *purges;
        struct kv_stale *stale;
        uint64_t next_value;
        uint64_t day, day_bytes, day_told; /* day_told: on which KV_EVENT_SPENT was reported */
        uint64_t accepted, decided;        /* items */
        uint64_t work_since_ns;            /* when the oldest waiting work came; 0 = none */
        uint64_t retry_ns;                 /* while suspended: not before */
        bool flush, closing;
        bool busy;        /* the writer has a batch */
        bool fresh_purge; /* not looked at yet */
        int suspended;    /* 0, or why nothing is stored: -ENOSPC, -EIO, ... */
        struct kv_store_statistics statistics;
};

void kv_report(struct kv_store *store, enum kv_event event, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static inline void kv_lock(struct kv_store *store) {
        pthread_mutex_lock(&store->lock);
}

static inline void kv_unlock(struct kv_store *store) {
        pthread_mutex_unlock(&store->lock);
}

/* kv_environment.c: the file and LMDB's handles. */
int kv_environment_open(struct kv_store *store, const char *folder, struct error *err);
void kv_environment_close(struct kv_store *store);
/* More room in the map after MDB_MAP_FULL, with no transaction open. 0, or -ENOSPC at its limit. */
int kv_environment_grow(struct kv_store *store);
int kv_errno(int lmdb_status); /* 0 or a negative errno */

/* kv_load.c: the index from the file, which it checks. -ENODATA = there is nothing in it; -ESTALE =
 * it is of another fingerprint, or of other sizes. */
int kv_load(struct kv_store *store, int fd, struct page_id *ret_fingerprint, struct error *err);

/* kv_aside.c: stores of other fingerprints. Opening. */
/* Gives this fingerprint's store its name again, if it was put aside and there is no kv.mdb. 1, 0 =
 * nothing to do, or what the file system says. */
int kv_aside_take_back(struct kv_store *store, struct error *err);
/* Renames kv.mdb, which is of this fingerprint, and removes what was put aside before, but for this
 * store's own. */
int kv_aside_put(struct kv_store *store, const struct page_id *fingerprint, struct error *err);

/* kv_queue.c: what waits, and the thread that takes it. */
void *kv_writer(void *store);
/* Something to do has come. Lock held. */
void kv_work_came(struct kv_store *store);
void kv_item_free(struct kv_item *item);
void kv_stale_free(struct kv_stale *list);

/* kv_commit.c: one transaction. Called by the writer without the lock. */
struct kv_batch {
        struct kv_item *items;
        struct kv_node *doomed;
        struct kv_stale *stale;
        struct id_table pending; /* identities that this batch stores: first 8 bytes -> node */
        size_t n_sessions;       /* new ones */
        struct kv_meta meta;
};
int kv_commit(struct kv_store *store, const struct kv_batch *batch);

/* kv_session.c: a session's ids in a transaction of the writer. LMDB's status. */
int kv_session_write(const struct kv_store *store, MDB_txn *txn, const struct kv_session *session,
                     const uint32_t *ids);
int kv_session_erase(const struct kv_store *store, MDB_txn *txn, uint64_t id);

/* kv_read.c: parts of one value that somebody reads. */
struct kv_reading {
        struct kv_node *node; /* pinned: its constant fields may be read without the lock */
        struct page_id id[KV_EXTENT_PAGES_MAX]; /* copied, as are these: */
        struct page_id parent;
        unsigned first, n;
        bool parent_known; /* the value's first part is live: `parent` is its parent */
        struct kv_value_header header;
};
size_t kv_reading_header_bytes(const struct kv_node *node);
/* Reads the header, which must be the one that the index and the identities promise. NULL, or what
 * is wrong. */
const char *kv_reading_check(const struct kv_store *store, struct kv_reading *reading,
                             const uint8_t *bytes);
/* Returns the pin; a value with something wrong is forgotten, and somebody told. */
void kv_reading_end(struct kv_store *store, struct kv_reading *reading, const char *wrong,
                    uint64_t bytes);

/* kv_forget.c. Lock held. */
void kv_quarantine(struct kv_store *store, struct kv_node *node);
void kv_purges_advance(struct kv_store *store, struct kv_purge **ret_done);

static inline uint64_t kv_id_prefix(const struct page_id *id) {
        uint64_t prefix;
        memcpy(&prefix, id->bytes, sizeof(prefix));
        return prefix;
}
