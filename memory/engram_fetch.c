#include "memory/engram_fetch.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "memory/engram_fetch_private.h"

/* Missing rows that the caller itself tries to copy from the kernel's memory: some 1.5 microseconds
 * each, together less than waking the thread and being woken by it. */
#define INLINE_MAX 64

/* Rows that are looked up together: each waits for memory, all of them at the same time. */
#define LOOKUPS 64

/* -------- at hand -------- */

/* Begins to bring a row that is about to be copied. */
static void expect_row(const uint8_t *row, uint32_t bytes) {
        for (uint32_t at = 0; at < bytes; at += 64) /* a cache line */
                __builtin_prefetch(row + at);
}

/* Copies rows that the cache has to their places in dest, if there is one; lists the others,
 * rows[i] as first + i. At most LOOKUPS. Returns how many are missing. Locked. */
static uint32_t look_up(struct engram_fetch *f, unsigned table, const uint64_t *rows, uint32_t n,
                        uint32_t first, uint8_t *dest, struct missing *missing) {
        const uint8_t *found[LOOKUPS];
        uint32_t row_bytes = f->layout->row_bytes, n_missing = 0;
        for (uint32_t i = 0; i < n; i++)
                row_cache_expect(f->cache, engram_fetch_key(table, rows[i]));
        for (uint32_t i = 0; i < n; i++) {
                found[i] = row_cache_find(f->cache, engram_fetch_key(table, rows[i]));
                if (found[i])
                        expect_row(found[i], row_bytes);
                else
                        missing[n_missing++] = (struct missing){ rows[i], first + i };
        }
        for (uint32_t i = 0; dest && i < n; i++)
                if (found[i])
                        memcpy(dest + (size_t)(first + i) * row_bytes, found[i], row_bytes);
        return n_missing;
}

static bool read_resident(const struct engram_fetch *f, unsigned table, uint64_t row,
                          uint8_t *bytes) {
        struct iovec part = { bytes, engram_stride(f->layout) };
        off_t offset = (off_t)engram_store_offset(f->store, table, row);
        return preadv2(engram_store_fd(f->store), &part, 1, offset, RWF_NOWAIT) ==
                (ssize_t)part.iov_len &&
                engram_row_intact(f->layout, table, row, bytes);
}

/* Copies what the kernel has in memory, up to the first row that it does not have: looking for one
 * that is not there costs more than four that are, because the kernel begins to read it, and the
 * others are hardly there either. Returns how many are left. */
static uint32_t take_resident(struct engram_fetch *f, unsigned table, struct missing *missing,
                              uint32_t n, uint8_t *dest) {
        uint8_t bytes[ENGRAM_PAGE_BYTES];
        uint32_t i = 0;
        if (f->direct)
                return n;
        for (; i < n && read_resident(f, table, missing[i].row, bytes); i++) {
                if (dest)
                        memcpy(dest + (size_t)missing[i].index * f->layout->row_bytes, bytes,
                               f->layout->row_bytes);
                pthread_mutex_lock(&f->lock);
                row_cache_put(f->cache, engram_fetch_key(table, missing[i].row), bytes);
                f->stats.n_resident++;
                pthread_mutex_unlock(&f->lock);
        }
        memmove(missing, missing + i, (n - i) * sizeof(*missing));
        return n - i;
}

/* -------- requests -------- */

static int by_row(const void *a, const void *b) {
        const struct missing *x = a, *y = b;
        return x->row < y->row ? -1 : x->row > y->row;
}

static uint32_t take_cached(struct engram_fetch *f, unsigned table, const uint64_t *rows,
                            uint32_t n, struct request *r) {
        uint32_t n_missing = 0;
        for (uint32_t at = 0; at < n; at += LOOKUPS) {
                uint32_t count = n - at < LOOKUPS ? n - at : LOOKUPS, before = n_missing;
                pthread_mutex_lock(&f->lock);
                n_missing +=
                        look_up(f, table, rows + at, count, at, r->dest, r->missing + n_missing);
                f->stats.n_requested += count;
                f->stats.n_cached += count - (n_missing - before);
                pthread_mutex_unlock(&f->lock);
        }
        return n_missing;
}

static bool make_room(struct request *r, uint32_t n) {
        if (n <= r->capacity)
                return true;
        free(r->missing);
        r->missing = malloc(n * sizeof(*r->missing));
        r->capacity = r->missing ? n : 0;
        return r->missing != NULL;
}

/* Until n_missing is set, the thread looks at nothing of the request. */
void engram_fetch_request(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                          uint32_t n, uint8_t *dest) {
        struct request *r = &fetch->request[table];
        assert(r->n_missing == 0);
        r->dest = dest;
        r->error = (struct error){ 0 };
        if (!make_room(r, n)) {
                error_set(&r->error, -EIO, "no memory for %u rows of table %u", n, table);
                return;
        }
        uint32_t n_missing = take_cached(fetch, table, rows, n, r);
        if (n_missing == 0)
                return;
        qsort(r->missing, n_missing, sizeof(*r->missing), by_row);
        if (n_missing <= INLINE_MAX)
                n_missing = take_resident(fetch, table, r->missing, n_missing, dest);
        if (n_missing == 0)
                return;
        pthread_mutex_lock(&fetch->lock);
        r->n_missing = n_missing;
        pthread_cond_signal(&fetch->work);
        pthread_mutex_unlock(&fetch->lock);
}

static void wait_for(struct engram_fetch *f, struct request *r) {
        pthread_mutex_lock(&f->lock);
        if (r->n_arrived != r->n_missing) {
                uint64_t start_ns = clock_ns();
                while (r->n_arrived != r->n_missing)
                        pthread_cond_wait(&f->arrived, &f->lock);
                f->stats.n_late++;
                f->stats.late_ns += clock_ns() - start_ns;
        }
        r->n_missing = r->n_begun = r->n_arrived = 0;
        pthread_mutex_unlock(&f->lock);
}

int engram_fetch_collect(struct engram_fetch *fetch, unsigned table, struct error *err) {
        struct request *r = &fetch->request[table];
        if (r->n_missing > 0)
                wait_for(fetch, r);
        return r->error.code == 0 ? 0 : error_set(err, r->error.code, "%s", r->error.text);
}

static void announce(struct engram_fetch *f, unsigned table, const struct missing *missing,
                     uint32_t n) {
        pthread_mutex_lock(&f->lock);
        for (uint32_t i = 0; i < n && f->n_announced - f->n_begun < PREFETCH_MAX; i++)
                f->announced[f->n_announced++ % PREFETCH_MAX] =
                        (struct prefetch){ missing[i].row, table };
        pthread_cond_signal(&f->work);
        pthread_mutex_unlock(&f->lock);
}

void engram_fetch_prefetch(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                           uint32_t n) {
        struct missing missing[LOOKUPS];
        for (uint32_t at = 0; at < n; at += LOOKUPS) {
                uint32_t count = n - at < LOOKUPS ? n - at : LOOKUPS;
                pthread_mutex_lock(&fetch->lock);
                uint32_t n_missing = look_up(fetch, table, rows + at, count, at, NULL, missing);
                pthread_mutex_unlock(&fetch->lock);
                if (n <= INLINE_MAX)
                        n_missing = take_resident(fetch, table, missing, n_missing, NULL);
                if (n_missing > 0)
                        announce(fetch, table, missing, n_missing);
        }
}

void engram_fetch_stats(struct engram_fetch *fetch, struct engram_fetch_stats *ret) {
        pthread_mutex_lock(&fetch->lock);
        *ret = fetch->stats;
        pthread_mutex_unlock(&fetch->lock);
}

const char *engram_fetch_reads_name(const struct engram_fetch *fetch) {
        bool uring = strcmp(disk_reads_name(fetch->reads), "io_uring") == 0;
        return fetch->direct ? (uring ? "io_uring, direct" : "threads, direct")
                             : disk_reads_name(fetch->reads);
}

/* -------- life -------- */

static void destroy(struct engram_fetch *f) {
        disk_reads_free(f->reads); /* what is in flight is written to f->buffers */
        row_cache_free(f->cache);
        for (unsigned t = 0; t < ENGRAM_TABLES_MAX; t++)
                free(f->request[t].missing);
        free(f->announced);
        free(f->flight);
        free(f->flying);
        free(f->idle);
        free(f->buffers);
        pthread_cond_destroy(&f->work);
        pthread_cond_destroy(&f->arrived);
        pthread_mutex_destroy(&f->lock);
        free(f);
}

/* Whether to go past the kernel's memory, which holds no more than the machine has, beside the
 * model's other weights. */
static bool goes_direct(const struct engram_fetch *f) {
        double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
        if (engram_store_direct_fd(f->store) < 0 || f->options.path == ENGRAM_FETCH_BUFFERED)
                return false;
        return f->options.path == ENGRAM_FETCH_DIRECT ||
                (double)engram_store_bytes(f->store) > memory / 2;
}

static int allocate(struct engram_fetch *f) {
        unsigned depth = f->options.depth;
        f->direct = goes_direct(f);
        uint64_t n_rows = 0;
        for (unsigned t = 0; t < f->layout->n_tables; t++)
                n_rows += f->layout->n_rows[t];
        if (f->options.cache_rows < n_rows)
                n_rows = f->options.cache_rows;
        f->announced = calloc(PREFETCH_MAX, sizeof(*f->announced));
        f->flight = calloc(depth, sizeof(*f->flight));
        f->idle = calloc(depth, sizeof(*f->idle));
        f->flying = calloc(depth, sizeof(*f->flying));
        f->buffers = aligned_alloc(ENGRAM_PAGE_BYTES, depth * (size_t)ENGRAM_PAGE_BYTES);
        if (!f->announced || !f->flight || !f->idle || !f->flying || !f->buffers)
                return -ENOMEM;
        for (unsigned i = 0; i < depth; i++) {
                f->flight[i].buffer = f->buffers + i * (size_t)ENGRAM_PAGE_BYTES;
                f->idle[f->n_idle++] = i;
        }
        int r = row_cache_new(n_rows, f->layout->row_bytes, &f->cache);
        if (r == 0)
                r = disk_reads_new(f->direct ? engram_store_direct_fd(f->store)
                                             : engram_store_fd(f->store),
                                   depth, f->options.reads, &f->reads);
        return r;
}

int engram_fetch_new(const struct engram_store *store, const struct engram_fetch_options *options,
                     struct engram_fetch **ret, struct error *err) {
        struct engram_fetch *f = calloc(1, sizeof(*f));
        if (!f)
                return error_set(err, -ENOMEM, "no memory for reading Engram rows");
        f->store = store;
        f->layout = engram_store_layout(store);
        f->options = *options;
        if (f->options.depth == 0)
                f->options.depth = ENGRAM_FETCH_DEPTH_DEFAULT;
        pthread_mutex_init(&f->lock, NULL);
        pthread_cond_init(&f->work, NULL);
        pthread_cond_init(&f->arrived, NULL);
        int r = allocate(f);
        if (r == 0)
                r = -pthread_create(&f->thread, NULL, engram_fetch_read, f);
        if (r < 0) {
                destroy(f);
                return error_set(err, r, "Engram rows of %s cannot be read: %s",
                                 engram_store_path(store), strerror(-r));
        }
        *ret = f;
        return 0;
}

struct engram_fetch *engram_fetch_free(struct engram_fetch *fetch) {
        if (!fetch)
                return NULL;
        pthread_mutex_lock(&fetch->lock);
        fetch->stop = true;
        pthread_cond_signal(&fetch->work);
        pthread_mutex_unlock(&fetch->lock);
        pthread_join(fetch->thread, NULL);
        destroy(fetch);
        return NULL;
}
