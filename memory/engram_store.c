#include "memory/engram_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

/* One extent. */
struct extent {
        uint64_t run;        /* its first LMDB page in the file */
        const uint8_t *base; /* of that page in the mapping */
        uint32_t crc;
        bool has_crc;
};

struct engram_store {
        char path[PATH_MAX];
        int fd, direct_fd;
        MDB_env *env;
        MDB_txn *txn; /* open as long as the store, so that what it read stays valid */
        struct engram_about about;
        struct engram_layout layout;
        struct extent *extent[ENGRAM_TABLES_MAX];
        uint64_t bytes;

        /* While it is opened: */
        struct error *err;
        const struct engram_about *wanted;
        uint64_t n_extents, n_checksums; /* found */
        uint64_t n_complete;             /* said by the last commit, 0 = not */
        bool has_record;
};

/* -------- reading the index -------- */

static int read_record(struct engram_store *s, const struct lmdb_node *node) {
        uint32_t extent_pages;
        int r = engram_about_unpack(node->data, node->data_bytes, &s->about, &extent_pages, s->err);
        if (r == 0 && s->wanted)
                r = engram_about_compare(&s->about, s->wanted, s->err);
        if (r == 0)
                r = engram_about_layout(&s->about, extent_pages, &s->layout, s->err);
        for (unsigned t = 0; r == 0 && t < s->layout.n_tables; t++) {
                uint64_t n = engram_layout_extents(&s->layout, t);
                s->extent[t] = calloc(n, sizeof(struct extent));
                if (!s->extent[t])
                        r = error_set(s->err, -ENOMEM, "no memory for %" PRIu64 " extents", n);
        }
        s->has_record = true;
        return r;
}

static bool key_is(const struct lmdb_node *node, const char *name) {
        return node->key_bytes == strlen(name) && memcmp(node->key, name, node->key_bytes) == 0;
}

static int visit_about(struct engram_store *s, const struct lmdb_node *node) {
        if (key_is(node, ENGRAM_KEY_TABLES) && node->data)
                return read_record(s, node);
        if (key_is(node, ENGRAM_KEY_COMPLETE) && node->data_bytes == sizeof(s->n_complete)) {
                memcpy(&s->n_complete, node->data, sizeof(s->n_complete));
                return 0;
        }
        return error_set(s->err, -EUCLEAN, "an entry that is not ours");
}

static int visit(void *context, const struct lmdb_node *node) {
        struct engram_store *s = context;
        if (node->database == ENGRAM_DB_INDEX_ABOUT)
                return visit_about(s, node);
        uint64_t key;
        memcpy(&key, node->key, sizeof(key));
        uint64_t table = key >> 32, extent = key & UINT32_MAX;
        if (!s->has_record || table >= s->layout.n_tables ||
            extent >= engram_layout_extents(&s->layout, (unsigned)table))
                return error_set(s->err, -EUCLEAN, "extent %" PRIx64 " is none of its tables'",
                                 key);
        struct extent *e = &s->extent[table][extent];
        if (node->database == ENGRAM_DB_INDEX_CHECKSUMS) {
                if (!node->data || node->data_bytes != sizeof(e->crc))
                        return error_set(s->err, -EUCLEAN, "a checksum of wrong size");
                memcpy(&e->crc, node->data, sizeof(e->crc));
                e->has_crc = true;
                s->n_checksums++;
                return 0;
        }
        if (node->data || !e->has_crc ||
            node->data_bytes != engram_layout_value_bytes(&s->layout, (unsigned)table, extent))
                return error_set(s->err, -EUCLEAN,
                                 "extent %" PRIu64 " of table %" PRIu64
                                 " has the wrong size or no checksum",
                                 extent, table);
        e->run = node->run;
        s->bytes += node->data_bytes;
        s->n_extents++;
        return 0;
}

int engram_store_walk(int fd, lmdb_visit *visitor, void *context, struct error *err) {
        static const struct lmdb_database databases[] = {
                [ENGRAM_DB_INDEX_ABOUT] = { ENGRAM_DB_ABOUT, 0 },
                [ENGRAM_DB_INDEX_CHECKSUMS] = { ENGRAM_DB_CHECKSUMS, MDB_INTEGERKEY },
                [ENGRAM_DB_INDEX_EXTENTS] = { ENGRAM_DB_EXTENTS, MDB_INTEGERKEY },
        };
        return lmdb_file_walk(fd, MDB_NOSUBDIR, databases, 3, visitor, context, err);
}

static int read_index(struct engram_store *s) {
        int r = engram_store_walk(s->fd, visit, s, s->err);
        if (r < 0)
                return r == -ENODATA ? -EUCLEAN : r;
        uint64_t n = 0;
        for (unsigned t = 0; t < s->layout.n_tables; t++)
                n += engram_layout_extents(&s->layout, t);
        if (!s->has_record || s->n_complete != n || s->n_extents != n)
                return error_set(s->err, -EUCLEAN,
                                 "%" PRIu64 " of %" PRIu64
                                 " extents are there, it was not finished",
                                 s->n_extents, n);
        return 0;
}

/* -------- mapping -------- */

static int lmdb_failed(struct engram_store *s, int code, const char *what) {
        return error_set(s->err, code > 0 ? -code : -EIO, "%s: %s", what, mdb_strerror(code));
}

/* LMDB must find each extent where the walk found it; that also ties the mapping to the file. */
static int resolve(struct engram_store *s, MDB_dbi extents) {
        const uint8_t *map = NULL;
        for (unsigned t = 0; t < s->layout.n_tables; t++)
                for (uint64_t i = 0; i < engram_layout_extents(&s->layout, t); i++) {
                        struct extent *e = &s->extent[t][i];
                        uint64_t key = engram_extent_key(t, i);
                        MDB_val k = { sizeof(key), &key }, v;
                        int r = mdb_get(s->txn, extents, &k, &v);
                        if (r != 0)
                                return lmdb_failed(s, r, "an extent is not found");
                        e->base = (const uint8_t *)v.mv_data - LMDB_PAGE_HEADER;
                        if (!map)
                                map = e->base - e->run * LMDB_PAGE_BYTES;
                        if (v.mv_size != engram_layout_value_bytes(&s->layout, t, i) ||
                            e->base != map + e->run * LMDB_PAGE_BYTES)
                                return error_set(
                                        s->err, -EUCLEAN,
                                        "LMDB finds an extent elsewhere than its pages say");
                }
        return 0;
}

static int map_file(struct engram_store *s) {
        MDB_dbi extents;
        int r = mdb_env_create(&s->env);
        if (r == 0)
                r = mdb_env_set_maxdbs(s->env, 3);
        if (r == 0)
                r = mdb_env_open(s->env, s->path,
                                 MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NORDAHEAD | MDB_NOTLS,
                                 0);
        if (r == 0)
                r = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &s->txn);
        if (r == 0)
                r = mdb_dbi_open(s->txn, ENGRAM_DB_EXTENTS, MDB_INTEGERKEY, &extents);
        return r == 0 ? resolve(s, extents) : lmdb_failed(s, r, "cannot be opened");
}

/* The same file once more, for direct reads, if such a read succeeds; else -1. */
static int open_direct(const struct engram_store *s) {
        CLEANUP_CLOSE int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
        CLEANUP_FREE uint8_t *page = aligned_alloc(LMDB_PAGE_BYTES, LMDB_PAGE_BYTES);
        struct stat ours, opened;
        bool same = fd >= 0 && fstat(s->fd, &ours) == 0 && fstat(fd, &opened) == 0 &&
                ours.st_dev == opened.st_dev && ours.st_ino == opened.st_ino;
        if (!same || !page || pread(fd, page, LMDB_PAGE_BYTES, 0) != LMDB_PAGE_BYTES)
                return -1;
        return TAKE_FD(fd);
}

static const char *remedy(int code) {
        switch (code) {
        case -EUCLEAN: return "; remove it and import again (seekd --import)";
        case -ESTALE: return "; remove it, or name another state folder";
        case -EPROTONOSUPPORT: return "; import again with this version, or use the later one";
        default: return "";
        }
}

int engram_store_open(const char *path, const struct engram_about *wanted,
                      struct engram_store **ret, struct error *err) {
        struct engram_store *s = calloc(1, sizeof(*s));
        struct error why = { 0 };
        if (!s)
                return error_set(err, -ENOMEM, "%s: no memory", path);
        s->err = &why;
        s->wanted = wanted;
        s->direct_fd = -1;
        s->fd = open(path, O_RDONLY | O_CLOEXEC);
        int r = s->fd < 0 ? error_set(&why, -errno, "%s", strerror(errno)) : 0;
        if ((size_t)snprintf(s->path, sizeof(s->path), "%s", path) >= sizeof(s->path))
                r = error_set(&why, -ENAMETOOLONG, "the path is too long");
        if (r == 0)
                r = read_index(s);
        if (r == 0)
                r = map_file(s);
        if (r < 0) {
                error_set(err, r, "%s: %s%s", path, why.text, remedy(r));
                engram_store_close(s);
                return r;
        }
        /* Rows are scattered: reading ahead would bring pages that nobody wants. */
        posix_fadvise(s->fd, 0, 0, POSIX_FADV_RANDOM);
        s->direct_fd = open_direct(s);
        s->err = NULL;
        s->wanted = NULL;
        *ret = s;
        return 0;
}

struct engram_store *engram_store_close(struct engram_store *store) {
        if (!store)
                return NULL;
        if (store->txn)
                mdb_txn_abort(store->txn);
        if (store->env)
                mdb_env_close(store->env);
        if (store->fd >= 0)
                close(store->fd);
        if (store->direct_fd >= 0)
                close(store->direct_fd);
        for (unsigned t = 0; t < ENGRAM_TABLES_MAX; t++)
                free(store->extent[t]);
        free(store);
        return NULL;
}

/* -------- using it -------- */

const struct engram_layout *engram_store_layout(const struct engram_store *store) {
        return &store->layout;
}

const char *engram_store_path(const struct engram_store *store) {
        return store->path;
}

uint64_t engram_store_bytes(const struct engram_store *store) {
        return store->bytes;
}

int engram_store_fd(const struct engram_store *store) {
        return store->fd;
}

int engram_store_direct_fd(const struct engram_store *store) {
        return store->direct_fd;
}

const uint8_t *engram_store_row(const struct engram_store *store, unsigned table, uint64_t row) {
        struct engram_place place = engram_locate(&store->layout, row);
        return store->extent[table][place.extent].base + (size_t)place.page * ENGRAM_PAGE_BYTES +
                place.in_page;
}

uint64_t engram_store_offset(const struct engram_store *store, unsigned table, uint64_t row) {
        struct engram_place place = engram_locate(&store->layout, row);
        return (store->extent[table][place.extent].run + place.page) * ENGRAM_PAGE_BYTES +
                place.in_page;
}

struct engram_extent engram_store_extent(const struct engram_store *store, unsigned table,
                                         uint64_t extent) {
        const struct extent *e = &store->extent[table][extent];
        return (struct engram_extent){
                .offset = e->run * LMDB_PAGE_BYTES,
                .bytes =
                        engram_layout_value_bytes(&store->layout, table, extent) + LMDB_PAGE_HEADER,
                .crc = e->crc,
        };
}
