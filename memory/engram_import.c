#include "memory/engram_import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "memory/engram_pieces.h"
#include "memory/engram_store.h"
#include "memory/engram_verify.h"
#include "memory/lmdb_file.h"

#define EXTENTS_PER_COMMIT 8

/* Values from here on have pages of their own, and room for large ones. */
#define LARGE_BYTES (32ULL << 20)

/* A disk of 2 GB/s writes 10 MB meanwhile: a fraction of an extent. */
#define WRITE_BEHIND_US 5000

/* Room that LMDB's index and its two copies of changed pages may take: 4,096 extents are 30 leaf
 * pages, rewritten with each of 512 commits and reused. */
#define INDEX_BYTES (64ULL << 20)

struct import {
        const struct engram_source *source;
        const struct engram_import_options *options;
        struct error *err;
        char path[PATH_MAX]; /* of the growing file */
        int fd;              /* of it, locked */
        struct engram_layout layout;
        uint32_t extent_pages;
        uint64_t total, done, done_before; /* bytes of extents; done_before: by earlier imports */
        uint64_t started_ns;

        struct engram_cursor cursor; /* behind what is there */

        MDB_env *env;
        MDB_dbi extents, checksums, about;

        atomic_bool committed;
};

/* LMDB says EIO when a write comes back shorter than asked, which is how a disk becomes full. */
static bool disk_is_full(const struct import *im) {
        struct statvfs fs;
        return fstatvfs(im->fd, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < (1ULL << 20);
}

static int lmdb_failed(struct import *im, int code, const char *what) {
        if (code == EIO && disk_is_full(im))
                code = ENOSPC;
        if (code == ENOSPC || code == EDQUOT)
                return error_set(im->err, -code,
                                 "%s: %s after %.2f of %.2f GB; what is there stays, and the next "
                                 "import goes on from it",
                                 im->path, strerror(code), (double)im->done / 1e9,
                                 (double)im->total / 1e9);
        return error_set(im->err, code > 0 ? -code : -EIO, "%s: %s: %s", im->path, what,
                         mdb_strerror(code));
}

/* -------- the writer -------- */

static void report(const struct import *im) {
        struct engram_progress p = engram_progress_now("importing", im->done, im->total,
                                                       im->done_before, im->started_ns);
        if (im->options->progress)
                im->options->progress(im->options->userdata, &p);
}

/* LMDB keeps the value in memory of its own until the commit; that is new each time, and touched in
 * large pages. */
static void copy_value(const MDB_val *value, const struct engram_piece *piece) {
        uintptr_t page = (uintptr_t)value->mv_data & ~(uintptr_t)(LMDB_PAGE_BYTES - 1);
        if (piece->n >= LARGE_BYTES)
                madvise((void *)(page + LMDB_PAGE_BYTES), piece->n - LMDB_PAGE_BYTES,
                        MADV_HUGEPAGE);
        memcpy(value->mv_data, piece->bytes, piece->n);
}

static int put_piece(struct import *im, MDB_txn *txn, const struct engram_piece *piece) {
        uint64_t key = engram_extent_key(piece->of.table, piece->of.extent);
        MDB_val k = { sizeof(key), &key }, v = { piece->n, NULL };
        int r = mdb_put(txn, im->extents, &k, &v, MDB_APPEND | MDB_RESERVE);
        if (r == 0) {
                copy_value(&v, piece);
                uint32_t crc = piece->crc;
                v = (MDB_val){ sizeof(crc), &crc };
                r = mdb_put(txn, im->checksums, &k, &v, MDB_APPEND);
        }
        return r == 0 ? 0 : lmdb_failed(im, r, "an extent cannot be written");
}

/* LMDB gives the kernel all that a commit writes, and only then waits for the disk, which has been
 * idle until then. Meanwhile this thread has the kernel begin. The order of what must be on the
 * disk before what stays LMDB's. */
static void *write_behind(void *userdata) {
        struct import *im = userdata;
        while (!atomic_load(&im->committed)) {
                sync_file_range(im->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
                usleep(WRITE_BEHIND_US);
        }
        return NULL;
}

static int commit(struct import *im, MDB_txn *txn) {
        pthread_t thread;
        atomic_store(&im->committed, false);
        bool helped = pthread_create(&thread, NULL, write_behind, im) == 0;
        int r = mdb_txn_commit(txn);
        atomic_store(&im->committed, true);
        if (helped)
                pthread_join(thread, NULL);
        return r;
}

/* Up to a commit's worth of extents. 1: there may be more; 0: that was all. */
static int write_some(struct import *im, struct engram_pieces *pieces) {
        uint32_t n_max = im->options->extents_per_commit ? im->options->extents_per_commit
                                                         : EXTENTS_PER_COMMIT;
        MDB_txn *txn;
        int r = mdb_txn_begin(im->env, NULL, 0, &txn);
        if (r != 0)
                return lmdb_failed(im, r, "no transaction");
        uint64_t written = 0;
        int more = 1;
        for (uint32_t n = 0; r == 0 && n < n_max; n++) {
                const struct engram_piece *piece;
                more = engram_pieces_take(pieces, &piece, im->err);
                if (more != 1)
                        break;
                r = put_piece(im, txn, piece);
                written += piece->n;
                engram_pieces_release(pieces);
                if (r == 0 && im->options->cancelled &&
                    im->options->cancelled(im->options->userdata))
                        r = error_set(im->err, -ECANCELED,
                                      "%s: the import was stopped; the next "
                                      "one goes on from what is there",
                                      im->path);
        }
        /* A source that fails does not lose what came before. */
        if (r < 0 && r != -ECANCELED) {
                mdb_txn_abort(txn);
                return r;
        }
        int committed = commit(im, txn);
        if (committed != 0)
                return lmdb_failed(im, committed, "a commit failed");
        im->done += written;
        report(im);
        return r < 0 ? r : more;
}

static int write_all(struct import *im) {
        struct engram_pieces *pieces;
        int r = engram_pieces_start(im->source, &im->layout, im->cursor, &pieces, im->err);
        if (r < 0)
                return r;
        do
                r = write_some(im, pieces);
        while (r == 1);
        engram_pieces_free(pieces);
        return r;
}

/* -------- the file -------- */

/* What an earlier import left: its record must be ours, its extents the first ones, in order. */
struct found {
        struct import *im;
        uint64_t n, n_checksums;
        bool has_record;
};

static int visit(void *context, const struct lmdb_node *node) {
        struct found *found = context;
        struct import *im = found->im;
        if (node->database == ENGRAM_DB_INDEX_ABOUT) {
                struct engram_about about;
                uint32_t extent_pages;
                if (node->key_bytes != strlen(ENGRAM_KEY_TABLES) || !node->data ||
                    memcmp(node->key, ENGRAM_KEY_TABLES, node->key_bytes) != 0)
                        return 0;
                int r = engram_about_unpack(node->data, node->data_bytes, &about, &extent_pages,
                                            im->err);
                if (r == 0)
                        r = engram_about_compare(&about, &im->source->about, im->err);
                if (r == 0 && extent_pages != im->extent_pages)
                        r = error_set(im->err, -ESTALE, "made of extents of %u pages, not %u",
                                      extent_pages, im->extent_pages);
                found->has_record = true;
                return r;
        }
        if (node->database == ENGRAM_DB_INDEX_CHECKSUMS) {
                found->n_checksums++;
                return 0;
        }
        uint64_t key;
        struct engram_piece piece;
        memcpy(&key, node->key, sizeof(key));
        if (!engram_cursor_next(&im->cursor, &im->layout, &piece) ||
            key != engram_extent_key(piece.of.table, piece.of.extent) ||
            node->data_bytes != piece.n)
                return error_set(im->err, -EUCLEAN, "its extents are not those of the tables");
        found->n++;
        im->done += piece.n;
        return 0;
}

/* Looks through a file that is there, before LMDB trusts it. */
static int resume(struct import *im) {
        struct found found = { .im = im };
        struct stat st;
        if (fstat(im->fd, &st) < 0)
                return error_errno(im->err, "%s", im->path);
        /* Meta pages alone, whole or not: that import ended before its first commit. */
        if (st.st_size <= 2 * LMDB_PAGE_BYTES)
                return ftruncate(im->fd, 0) < 0 ? error_errno(im->err, "%s", im->path) : 0;
        int r = engram_store_walk(im->fd, visit, &found, im->err);
        if (r == 0 && !found.has_record && found.n == 0 && found.n_checksums == 0)
                return 0; /* it ended inside its first commit */
        if (r == 0 && !found.has_record)
                r = error_set(im->err, -EUCLEAN, "it does not say what it holds");
        if (r == 0 && found.n != found.n_checksums)
                r = error_set(im->err, -EUCLEAN, "an extent without a checksum");
        if (r < 0)
                return error_prefix(im->err, "%s (begun earlier; remove it to import anew)",
                                    im->path);
        im->done_before = im->done;
        return 0;
}

static int check_room(struct import *im) {
        struct statvfs fs;
        if (fstatvfs(im->fd, &fs) < 0)
                return error_errno(im->err, "%s", im->path);
        uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
        uint64_t needed = im->total - im->done + im->total / 256;
        if (room < needed)
                return error_set(im->err, -ENOSPC,
                                 "%s: %.2f GB are still needed, its file system has %.2f GB free",
                                 im->path, (double)needed / 1e9, (double)room / 1e9);
        return 0;
}

static int put_record(struct import *im, MDB_txn *txn) {
        CLEANUP_FREE uint8_t *record = NULL;
        size_t n;
        if (engram_about_pack(&im->source->about, im->extent_pages, &record, &n) < 0)
                return ENOMEM;
        MDB_val key = { strlen(ENGRAM_KEY_TABLES), ENGRAM_KEY_TABLES }, value = { n, record };
        int r = mdb_put(txn, im->about, &key, &value, MDB_NOOVERWRITE);
        return r == MDB_KEYEXIST ? 0 : r;
}

static int open_databases(struct import *im) {
        MDB_txn *txn;
        int r = mdb_txn_begin(im->env, NULL, 0, &txn);
        if (r != 0)
                return r;
        r = mdb_dbi_open(txn, ENGRAM_DB_EXTENTS, MDB_CREATE | MDB_INTEGERKEY, &im->extents);
        if (r == 0)
                r = mdb_dbi_open(txn, ENGRAM_DB_CHECKSUMS, MDB_CREATE | MDB_INTEGERKEY,
                                 &im->checksums);
        if (r == 0)
                r = mdb_dbi_open(txn, ENGRAM_DB_ABOUT, MDB_CREATE, &im->about);
        if (r == 0)
                r = put_record(im, txn);
        if (r == 0)
                return mdb_txn_commit(txn);
        mdb_txn_abort(txn);
        return r;
}

static int open_environment(struct import *im) {
        int r = mdb_env_create(&im->env);
        if (r == 0)
                r = mdb_env_set_maxdbs(im->env, 3);
        if (r == 0) /* each extent may begin a page further than its bytes say */
                r = mdb_env_set_mapsize(im->env, im->total + im->total / 256 + INDEX_BYTES);
        if (r == 0)
                r = mdb_env_open(im->env, im->path, MDB_NOSUBDIR | MDB_NOLOCK, 0600);
        if (r == 0)
                r = open_databases(im);
        return r == 0 ? 0 : lmdb_failed(im, r, "cannot be opened");
}

static int mark_complete(struct import *im) {
        uint64_t n = 0;
        for (unsigned t = 0; t < im->layout.n_tables; t++)
                n += engram_layout_extents(&im->layout, t);
        MDB_txn *txn;
        MDB_val key = { strlen(ENGRAM_KEY_COMPLETE), ENGRAM_KEY_COMPLETE },
                value = { sizeof(n), &n };
        int r = mdb_txn_begin(im->env, NULL, 0, &txn);
        if (r == 0 && (r = mdb_put(txn, im->about, &key, &value, 0)) != 0)
                mdb_txn_abort(txn);
        else if (r == 0)
                r = mdb_txn_commit(txn);
        return r == 0 ? 0 : lmdb_failed(im, r, "a commit failed");
}

/* From the disk, not from what is still in memory. */
static int read_back(struct import *im) {
        struct engram_verify_options how = { .progress = im->options->progress,
                                             .cancelled = im->options->cancelled,
                                             .userdata = im->options->userdata };
        struct engram_store *store;
        int r = engram_store_open(im->path, &im->source->about, &store, im->err);
        if (r < 0)
                return r;
        r = engram_store_verify(store, &how, im->err);
        engram_store_close(store);
        return r;
}

static int give_name(struct import *im) {
        char folder[PATH_MAX];
        snprintf(folder, sizeof(folder), "%s", im->options->path);
        char *slash = strrchr(folder, '/');
        if (slash)
                slash[1] = '\0';
        if (rename(im->path, im->options->path) < 0)
                return error_errno(im->err, "%s", im->options->path);
        CLEANUP_CLOSE int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return error_errno(im->err, "%s", slash ? folder : ".");
        return 0;
}

static int run(struct import *im) {
        int r = resume(im);
        if (r == 0)
                r = check_room(im);
        if (r == 0)
                r = open_environment(im);
        if (r == 0) {
                im->started_ns = clock_ns();
                report(im);
                r = write_all(im);
        }
        if (r == 0)
                r = mark_complete(im);
        if (im->env)
                mdb_env_close(im->env);
        if (r == 0)
                r = read_back(im);
        return r == 0 ? give_name(im) : r;
}

static int lock_file(struct import *im) {
        int n = snprintf(im->path, sizeof(im->path), "%s.import", im->options->path);
        if (n < 0 || (size_t)n >= sizeof(im->path))
                return error_set(im->err, -ENAMETOOLONG, "%s: too long", im->options->path);
        im->fd = open(im->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (im->fd < 0)
                return error_errno(im->err, "%s", im->path);
        if (flock(im->fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_set(im->err, -EBUSY, "%s: another import is running",
                                         im->path);
                return error_errno(im->err, "%s", im->path);
        }
        return 0;
}

/* 1: PATH is there and ours. 0: it is not there. */
static int already_there(const struct engram_source *source, const char *path, struct error *err) {
        if (access(path, F_OK) < 0)
                return 0;
        struct engram_store *store;
        int r = engram_store_open(path, &source->about, &store, err);
        if (r < 0)
                return r;
        engram_store_close(store);
        return 1;
}

int engram_import(const struct engram_source *source, const struct engram_import_options *options,
                  struct error *err) {
        CLEANUP_FREE struct import *im = calloc(1, sizeof(*im));
        if (!im)
                return error_set(err, -ENOMEM, "no memory for an import");
        im->source = source;
        im->options = options;
        im->err = err;
        im->fd = -1;
        im->extent_pages = options->extent_pages ? options->extent_pages : ENGRAM_EXTENT_PAGES;
        int r = engram_about_layout(&source->about, im->extent_pages, &im->layout, err);
        if (r < 0)
                return r;
        for (unsigned t = 0; t < im->layout.n_tables; t++)
                for (uint64_t e = 0; e < engram_layout_extents(&im->layout, t); e++)
                        im->total += engram_layout_value_bytes(&im->layout, t, e);
        r = already_there(source, options->path, err);
        if (r != 0)
                return r;
        r = lock_file(im);
        if (r == 0)
                r = run(im);
        if (im->fd >= 0)
                close(im->fd);
        return r;
}
