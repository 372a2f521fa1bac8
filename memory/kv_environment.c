/* The store's file and LMDB's handles on it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "memory/kv_private.h"
#include "memory/lmdb_file.h"

#define LOCK_NAME "kv.lock"

/* Address space, not memory. The budget counts values; a quarter more is for the index and for runs
 * that wait to be reused, and the least is for stores so small that LMDB's own pages count.
 * Fragmentation may ask for more: twice the budget at most. */
#define MAP_BYTES_MIN (64ULL << 20)

const struct lmdb_database kv_databases[KV_DATABASES] = {
        [KV_FRONTIERS] = { "frontiers", 0 }, [KV_META] = { "meta", 0 },
        [KV_PAGES] = { "pages", 0 },         [KV_SESSIONS] = { "sessions", 0 },
        [KV_TOKENS] = { "tokens", 0 },       [KV_VALUES] = { "values", MDB_INTEGERKEY },
};

int kv_errno(int status) {
        if (status == MDB_SUCCESS)
                return 0;
        if (status == MDB_MAP_FULL || status == ENOSPC || status == EDQUOT)
                return -ENOSPC;
        return status > 0 ? -status : -EIO; /* LMDB's own are negative */
}

static int lock_store(struct kv_store *store, const char *folder, struct error *err) {
        store->lock_fd = openat(store->folder_fd, LOCK_NAME,
                                O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (store->lock_fd < 0)
                return error_errno(err, "%s/%s", folder, LOCK_NAME);
        if (flock(store->lock_fd, LOCK_EX | LOCK_NB) == 0)
                return 0;
        if (errno == EWOULDBLOCK)
                return error_set(err, -EBUSY, "%s/%s: another process uses this store", folder,
                                 KV_FILE_NAME);
        return error_errno(err, "%s/%s", folder, LOCK_NAME);
}

/* Reads what is there. -ENODATA = nothing, -EUCLEAN = nothing to be trusted, -ESTALE =
 * *ret_other's.
 */
static int load_file(struct kv_store *store, struct page_id *ret_other, struct error *err) {
        CLEANUP_CLOSE int fd =
                openat(store->folder_fd, KV_FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? -ENODATA : error_errno(err, "open");
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "fstat");
        if (!S_ISREG(st.st_mode))
                return error_set(err, -EINVAL, "not a regular file");
        return kv_load(store, fd, ret_other, err);
}

/* The store of this model, whichever name it has. As load_file(). */
static int load_ours(struct kv_store *store, struct error *err) {
        struct page_id other;
        int r = kv_aside_take_back(store, err); /* when a start was cut off between two names */
        if (r >= 0)
                r = load_file(store, &other, err);
        if (r != -ESTALE || page_id_equal(&other, &store->fingerprint))
                return r;
        r = kv_aside_put(store, &other, err);
        if (r == 0)
                r = kv_aside_take_back(store, err);
        return r < 0 ? r : load_file(store, &other, err);
}

static int move_aside(struct kv_store *store, struct error *err) {
        if (renameat(store->folder_fd, KV_FILE_NAME, store->folder_fd, KV_DAMAGED_NAME) < 0 ||
            fsync(store->folder_fd) < 0)
                return error_errno(err, "%s: cannot be moved aside", KV_FILE_NAME);
        return 0;
}

/* Opens LMDB and its databases; what is missing is made, with a meta record, in one transaction. */
static int open_lmdb(struct kv_store *store, const char *path) {
        int r = mdb_env_create(&store->env);
        if (r != 0)
                return r;
        if ((r = mdb_env_set_mapsize(store->env, store->map_bytes)) != 0 ||
            (r = mdb_env_set_maxdbs(store->env, KV_DATABASES)) != 0 ||
            (r = mdb_env_open(store->env, path, KV_ENV_FLAGS | MDB_NOTLS | MDB_NORDAHEAD, 0600)) !=
                    0)
                return r;
        MDB_txn *txn;
        if ((r = mdb_txn_begin(store->env, NULL, 0, &txn)) != 0)
                return r;
        for (unsigned i = 0; i < KV_DATABASES && r == 0; i++)
                r = mdb_dbi_open(txn, kv_databases[i].name, MDB_CREATE | kv_databases[i].flags,
                                 &store->dbi[i]);
        struct kv_meta meta = {
                .version = KV_META_VERSION,
                .page_bytes = store->page_bytes,
                .frontier_bytes_max = store->frontier_bytes_max,
                .next_value = store->next_value,
                .day = store->day,
                .day_bytes = store->day_bytes,
                .fingerprint = store->fingerprint,
        };
        uint8_t record[KV_META_BYTES];
        kv_meta_encode(&meta, record);
        MDB_val key = { strlen(KV_META_KEY), KV_META_KEY }, data = { sizeof(record), record };
        if (r == 0)
                r = mdb_put(txn, store->dbi[KV_META], &key, &data, 0);
        if (r != 0) {
                mdb_txn_abort(txn);
                return r;
        }
        return mdb_txn_commit(txn);
}

static int open_env(struct kv_store *store, const char *folder, struct error *err) {
        char path[PATH_MAX];
        if (snprintf(path, sizeof(path), "%s/%s", folder, KV_FILE_NAME) >= (int)sizeof(path))
                return error_set(err, -ENAMETOOLONG, "%s", folder);
        uint64_t budget = store->bytes_max + store->bytes_max / 4;
        store->map_bytes = budget + MAP_BYTES_MIN;
        MDB_envinfo info;
        int r = open_lmdb(store, path);
        if (r == 0)
                r = mdb_env_get_fd(store->env, &store->data_fd);
        if (r == 0) /* reads announce what they want (kv_store_expect()), nothing lies around it */
                posix_fadvise(store->data_fd, 0, 0, POSIX_FADV_RANDOM);
        if (r == 0 && (r = mdb_env_info(store->env, &info)) == 0)
                store->map_bytes = info.me_mapsize; /* more, when the file is larger */
        if (r == 0 && fsync(store->folder_fd) < 0)
                r = errno;
        if (r == 0)
                return 0;
        if (store->env)
                mdb_env_close(store->env);
        store->env = NULL;
        /* After the file was found sound, LMDB's complaints are about disk and memory. */
        return error_set(err, kv_errno(r), "%s: %s", path, mdb_strerror(r));
}

/* Whether the address space has room for a map of that size beside the present one. LMDB unmaps
 * first and maps then; if that fails, its next transaction reads where nothing is mapped. */
static bool can_map(int fd, uint64_t bytes) {
        void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return false;
        munmap(map, bytes);
        return true;
}

int kv_environment_grow(struct kv_store *store) {
        uint64_t limit = 2 * store->bytes_max + 2 * MAP_BYTES_MIN;
        uint64_t wanted = store->map_bytes + store->map_bytes / 4;
        if (wanted > limit || !can_map(store->data_fd, wanted))
                return -ENOSPC;
        pthread_mutex_lock(&store->map);
        int r = mdb_env_set_mapsize(store->env, wanted);
        pthread_mutex_unlock(&store->map);
        if (r != 0)
                return -ENOSPC;
        store->map_bytes = wanted;
        return 0;
}

int kv_environment_open(struct kv_store *store, const char *folder, struct error *err) {
        store->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->folder_fd < 0)
                return error_errno(err, "%s", folder);
        int r = lock_store(store, folder, err);
        if (r < 0)
                return r;
        struct error why = { 0 };
        r = load_ours(store, &why);
        if (r == -EUCLEAN) {
                r = move_aside(store, err);
                if (r < 0)
                        return r;
                store->statistics.moved_aside = true;
                kv_report(store, KV_EVENT_DAMAGED_STORE,
                          "%s/%s: damaged (%s); moved to %s, starting empty", folder, KV_FILE_NAME,
                          why.text, KV_DAMAGED_NAME);
        } else if (r == -ENODATA) {
                if (unlinkat(store->folder_fd, KV_FILE_NAME, 0) < 0 && errno != ENOENT)
                        return error_errno(err, "%s/%s", folder, KV_FILE_NAME);
        } else if (r < 0) {
                return error_set(err, r, "%s/%s: %s", folder, KV_FILE_NAME, why.text);
        }
        return open_env(store, folder, err);
}

void kv_environment_close(struct kv_store *store) {
        if (store->env)
                mdb_env_close(store->env);
        if (store->lock_fd >= 0)
                close(store->lock_fd);
        if (store->folder_fd >= 0)
                close(store->folder_fd);
}
