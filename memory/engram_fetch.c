#include "memory/engram_fetch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "memory/row_cache.h"

/* Missing rows of a request that the caller itself tries to copy from the kernel's memory: half a
 * microsecond each, together less than waking the thread and being woken by it. */
#define INLINE_MAX 64

/* Rows that wait to be prefetched; a chunk of 128 tokens has 6,144 in the released model. A power
 * of two. */
#define PREFETCH_MAX 16384

struct prefetch {
        uint64_t row;
        unsigned table;
};

/* A row of a request that was not at hand. */
struct missing {
        uint64_t row;
        uint32_t index; /* of the request's rows, and of its destination */
};

struct request {
        uint8_t *dest;
        struct missing *missing; /* [capacity] */
        uint32_t capacity;
        uint32_t n_missing, n_begun, n_arrived;
        struct error error; /* the first */
};

/* A read under way. */
struct flight {
        uint64_t key;   /* 1 + cache_key(), 0 = none */
        int64_t index;  /* where its table's request wants it, -1 = not: it was announced */
        uint8_t *bytes; /* [stride] */
};

struct engram_fetch {
        const struct engram_store *store;
        const struct engram_layout *layout;
        struct engram_fetch_options options;
        pthread_t thread;

        pthread_mutex_t lock; /* guards this block */
        pthread_cond_t work, arrived;
        struct row_cache *cache;
        struct request request[ENGRAM_TABLES_MAX]; /* `missing` belongs to the thread while open */
        struct prefetch *announced;                /* [PREFETCH_MAX], free-running */
        unsigned n_announced, n_begun;
        struct engram_fetch_stats stats;
        bool stop;

        /* The thread's own: */
        struct disk_reads *reads;
        struct flight *flight; /* [depth] */
        unsigned *idle;        /* numbers of the flights that are not used */
        unsigned n_idle;
        uint8_t *buffers; /* [depth][stride] */
        bool told_damage;
};

static uint64_t cache_key(unsigned table, uint64_t row) {
        return (uint64_t)table << 40 | row;
}
#define KEY_TABLE(key) ((unsigned)((key) >> 40))
#define KEY_ROW(key)   ((key) & (ENGRAM_ROWS_MAX - 1))

/* -------- the thread: takes what is wanted, reads it, hands it out -------- */

static struct flight *find_flight(struct engram_fetch *f, uint64_t key) {
        for (unsigned i = 0; i < f->options.depth; i++)
                if (f->flight[i].key == key + 1)
                        return &f->flight[i];
        return NULL;
}

static void arrive(struct engram_fetch *f, struct request *r) {
        if (++r->n_arrived == r->n_missing)
                pthread_cond_signal(&f->arrived);
}

/* Takes a flight for a row that is neither cached nor under way; false: it is, or is not wanted. */
static bool board(struct engram_fetch *f, uint64_t key, int64_t index) {
        struct request *r = &f->request[KEY_TABLE(key)];
        const uint8_t *cached = row_cache_find(f->cache, key);
        if (cached && index >= 0) {
                memcpy(r->dest + (size_t)index * f->layout->row_bytes, cached,
                       f->layout->row_bytes);
                arrive(f, r);
        }
        if (cached)
                return false;
        struct flight *flight = find_flight(f, key);
        if (flight) {
                if (index >= 0)
                        flight->index = index; /* announced before: it arrives for the request */
                return false;
        }
        flight = &f->flight[f->idle[--f->n_idle]];
        flight->key = key + 1;
        flight->index = index;
        return true;
}

/* Fills the idle flights: requests in the order of their tables, which is that of the layers; then
 * what was announced, in half of the flights, so that a request finds some. The new ones are
 * f->idle[n_idle] ... of before: returns how many n_idle was. */
static unsigned board_all(struct engram_fetch *f) {
        unsigned before = f->n_idle;
        for (unsigned t = 0; t < f->layout->n_tables; t++) {
                struct request *r = &f->request[t];
                while (r->n_begun < r->n_missing && f->n_idle > 0) {
                        const struct missing *m = &r->missing[r->n_begun++];
                        board(f, cache_key(t, m->row), m->index);
                }
        }
        while (f->n_begun != f->n_announced && f->n_idle > f->options.depth / 2) {
                const struct prefetch *p = &f->announced[f->n_begun++ % PREFETCH_MAX];
                f->stats.n_prefetched += board(f, cache_key(p->table, p->row), -1);
        }
        return before;
}

static void start_reads(struct engram_fetch *f, unsigned n_idle_before) {
        for (unsigned i = f->n_idle; i < n_idle_before; i++) {
                unsigned number = f->idle[i];
                struct flight *flight = &f->flight[number];
                uint64_t key = flight->key - 1;
                disk_reads_start(f->reads, number,
                                 engram_store_offset(f->store, KEY_TABLE(key), KEY_ROW(key)),
                                 flight->bytes, engram_stride(f->layout));
        }
}

/* A row that the store does not have as it should: taken from elsewhere, or described in *err. */
static int repair(struct engram_fetch *f, const struct flight *flight, int result,
                  struct error *err) {
        unsigned table = KEY_TABLE(flight->key - 1);
        uint64_t row = KEY_ROW(flight->key - 1);
        error_set(err, result < 0 ? result : -EUCLEAN,
                  "%s: row %" PRIu64 " of table %u, at byte %" PRIu64 ": %s",
                  engram_store_path(f->store), row, table,
                  engram_store_offset(f->store, table, row),
                  result < 0 ? strerror(-result) : "damaged");
        bool repaired = f->options.repair &&
                f->options.repair(f->options.userdata, table, row, flight->bytes) == 0;
        if (!f->told_damage)
                log_error("%s%s", err->text,
                          repaired ? "; taken from the checkpoint (import anew: seekd --import)"
                                   : "; remove it and import again (seekd --import)");
        f->told_damage = true;
        return repaired ? 0 : -EIO;
}

static void land(struct engram_fetch *f, const struct disk_read *done) {
        struct flight *flight = &f->flight[done->number];
        uint64_t key = flight->key - 1;
        struct request *r = &f->request[KEY_TABLE(key)];
        struct error why = { 0 };
        int result = done->result;
        bool intact = result == 0 &&
                engram_row_intact(f->layout, KEY_TABLE(key), KEY_ROW(key), flight->bytes);
        int good = intact ? 0 : repair(f, flight, result, &why);
        if (good == 0 && flight->index >= 0)
                memcpy(r->dest + (size_t)flight->index * f->layout->row_bytes, flight->bytes,
                       f->layout->row_bytes);

        pthread_mutex_lock(&f->lock);
        f->stats.n_damaged += !intact;
        if (good == 0)
                row_cache_put(f->cache, key, flight->bytes);
        if (flight->index >= 0) {
                f->stats.n_read++;
                if (good < 0 && r->error.code == 0)
                        error_set(&r->error, -EIO, "%s", why.text);
                arrive(f, r);
        }
        pthread_mutex_unlock(&f->lock);
        flight->key = 0;
        f->idle[f->n_idle++] = done->number;
}

static bool is_wanted(const struct engram_fetch *f) {
        bool wanted = f->n_begun != f->n_announced;
        for (unsigned t = 0; t < f->layout->n_tables; t++)
                wanted |= f->request[t].n_begun < f->request[t].n_missing;
        return wanted;
}

static void *thread_main(void *userdata) {
        struct engram_fetch *f = userdata;
        struct disk_read done[DISK_READS_DEPTH_MAX];
        pthread_mutex_lock(&f->lock);
        for (;;) {
                while (!f->stop && f->n_idle == f->options.depth && !is_wanted(f))
                        pthread_cond_wait(&f->work, &f->lock);
                if (f->stop)
                        break;
                unsigned before = board_all(f);
                pthread_mutex_unlock(&f->lock);
                start_reads(f, before);
                unsigned n = disk_reads_await(f->reads, true, done, DISK_READS_DEPTH_MAX);
                for (unsigned i = 0; i < n; i++)
                        land(f, &done[i]);
                pthread_mutex_lock(&f->lock);
        }
        pthread_mutex_unlock(&f->lock);
        return NULL;
}

/* -------- the caller's side -------- */

static int by_row(const void *a, const void *b) {
        const struct missing *x = a, *y = b;
        return x->row < y->row ? -1 : x->row > y->row;
}

/* Copies what the cache has; lists the others in the order of the file. Returns how many. */
static uint32_t take_cached(struct engram_fetch *f, unsigned table, const uint64_t *rows,
                            uint32_t n) {
        struct request *r = &f->request[table];
        uint32_t row_bytes = f->layout->row_bytes, n_missing = 0;
        pthread_mutex_lock(&f->lock);
        for (uint32_t i = 0; i < n; i++) {
                const uint8_t *cached = row_cache_find(f->cache, cache_key(table, rows[i]));
                if (cached)
                        memcpy(r->dest + (size_t)i * row_bytes, cached, row_bytes);
                else
                        r->missing[n_missing++] = (struct missing){ rows[i], i };
        }
        f->stats.n_requested += n;
        f->stats.n_cached += n - n_missing;
        pthread_mutex_unlock(&f->lock);
        qsort(r->missing, n_missing, sizeof(*r->missing), by_row);
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

/* A few rows: copies what the kernel has in memory. */
static uint32_t take_resident(struct engram_fetch *f, unsigned table, uint32_t n_missing) {
        struct request *r = &f->request[table];
        uint8_t bytes[ENGRAM_PAGE_BYTES];
        uint32_t n_left = 0;
        for (uint32_t i = 0; i < n_missing; i++) {
                struct missing m = r->missing[i];
                if (!read_resident(f, table, m.row, bytes)) {
                        r->missing[n_left++] = m;
                        continue;
                }
                memcpy(r->dest + (size_t)m.index * f->layout->row_bytes, bytes,
                       f->layout->row_bytes);
                pthread_mutex_lock(&f->lock);
                row_cache_put(f->cache, cache_key(table, m.row), bytes);
                f->stats.n_resident++;
                pthread_mutex_unlock(&f->lock);
        }
        return n_left;
}

static bool make_room(struct request *r, uint32_t n) {
        if (n <= r->capacity)
                return true;
        free(r->missing);
        r->missing = malloc(n * sizeof(*r->missing));
        r->capacity = r->missing ? n : 0;
        return r->missing != NULL;
}

/* The thread looks at `missing` only between n_begun and n_missing, which are equal until the end:
 * until then the list is the caller's. */
void engram_fetch_request(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                          uint32_t n, uint8_t *dest) {
        struct request *r = &fetch->request[table];
        assert(r->n_arrived == r->n_missing);
        r->dest = dest;
        r->error = (struct error){ 0 };
        if (!make_room(r, n)) {
                error_set(&r->error, -EIO, "no memory for %u rows of table %u", n, table);
                return;
        }
        uint32_t n_missing = take_cached(fetch, table, rows, n);
        if (n_missing <= INLINE_MAX)
                n_missing = take_resident(fetch, table, n_missing);
        if (n_missing == 0)
                return;
        pthread_mutex_lock(&fetch->lock);
        r->n_missing = n_missing;
        r->n_begun = r->n_arrived = 0;
        pthread_cond_signal(&fetch->work);
        pthread_mutex_unlock(&fetch->lock);
}

int engram_fetch_collect(struct engram_fetch *fetch, unsigned table, struct error *err) {
        struct request *r = &fetch->request[table];
        pthread_mutex_lock(&fetch->lock);
        if (r->n_arrived != r->n_missing) {
                uint64_t start_ns = clock_ns();
                while (r->n_arrived != r->n_missing)
                        pthread_cond_wait(&fetch->arrived, &fetch->lock);
                fetch->stats.n_late++;
                fetch->stats.late_ns += clock_ns() - start_ns;
        }
        pthread_mutex_unlock(&fetch->lock);
        return r->error.code == 0 ? 0 : error_set(err, r->error.code, "%s", r->error.text);
}

void engram_fetch_prefetch(struct engram_fetch *fetch, unsigned table, const uint64_t *rows,
                           uint32_t n) {
        pthread_mutex_lock(&fetch->lock);
        unsigned before = fetch->n_announced;
        for (uint32_t i = 0; i < n && fetch->n_announced - fetch->n_begun < PREFETCH_MAX; i++)
                if (!row_cache_find(fetch->cache, cache_key(table, rows[i])))
                        fetch->announced[fetch->n_announced++ % PREFETCH_MAX] =
                                (struct prefetch){ rows[i], table };
        if (fetch->n_announced != before)
                pthread_cond_signal(&fetch->work);
        pthread_mutex_unlock(&fetch->lock);
}

void engram_fetch_stats(struct engram_fetch *fetch, struct engram_fetch_stats *ret) {
        pthread_mutex_lock(&fetch->lock);
        *ret = fetch->stats;
        pthread_mutex_unlock(&fetch->lock);
}

const char *engram_fetch_reads_name(const struct engram_fetch *fetch) {
        return disk_reads_name(fetch->reads);
}

/* -------- life -------- */

static void destroy(struct engram_fetch *f) {
        disk_reads_free(f->reads); /* what is in flight is written to f->buffers */
        row_cache_free(f->cache);
        for (unsigned t = 0; t < ENGRAM_TABLES_MAX; t++)
                free(f->request[t].missing);
        free(f->announced);
        free(f->flight);
        free(f->idle);
        free(f->buffers);
        pthread_cond_destroy(&f->work);
        pthread_cond_destroy(&f->arrived);
        pthread_mutex_destroy(&f->lock);
        free(f);
}

static int allocate(struct engram_fetch *f) {
        unsigned depth = f->options.depth;
        uint64_t n_rows = 0;
        for (unsigned t = 0; t < f->layout->n_tables; t++)
                n_rows += f->layout->n_rows[t];
        if (f->options.cache_rows < n_rows)
                n_rows = f->options.cache_rows;
        f->announced = calloc(PREFETCH_MAX, sizeof(*f->announced));
        f->flight = calloc(depth, sizeof(*f->flight));
        f->idle = calloc(depth, sizeof(*f->idle));
        f->buffers = calloc(depth, engram_stride(f->layout));
        if (!f->announced || !f->flight || !f->idle || !f->buffers)
                return -ENOMEM;
        for (unsigned i = 0; i < depth; i++) {
                f->flight[i].bytes = f->buffers + (size_t)i * engram_stride(f->layout);
                f->idle[f->n_idle++] = i;
        }
        int r = row_cache_new(n_rows, f->layout->row_bytes, &f->cache);
        if (r == 0)
                r = disk_reads_new(engram_store_fd(f->store), depth, f->options.reads, &f->reads);
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
                r = -pthread_create(&f->thread, NULL, thread_main, f);
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
