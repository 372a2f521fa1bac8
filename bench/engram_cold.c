/* seekd-bench engram, rows that are nowhere in memory: asked for in batches, beside direct reads of
 * as many pages. */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bench/engram.h"
#include "memory/engram_fetch.h"

#define DEPTH ENGRAM_FETCH_DEPTH_DEFAULT

/* Rows of one table in a step of 512 tokens. */
#define BATCH 12288

/* Batches of a run: enough for a second of a fast disk. */
#define BATCHES 8

/* Full after two runs, so that each row that comes replaces another, as in a daemon that has run
 * for a while; and so small that hardly any row comes twice. */
#define CACHE_ROWS (1U << 17)

/* Row i of a run: in a batch all are different, all over the table, ascending as a disk is read. */
static uint64_t scattered(const struct engram_store *store, uint64_t i, uint64_t *seed) {
        uint64_t step = engram_store_layout(store)->n_rows[0] / BATCH;
        return i % BATCH * step + engram_bench_next(seed) % step;
}

static int drop(const struct engram_store *store) {
        return -posix_fadvise(engram_store_fd(store), 0, 0, POSIX_FADV_DONTNEED);
}

static int ask(const struct engram_store *store, struct engram_fetch *fetch, uint64_t seed,
               double *ret, struct error *err) {
        CLEANUP_FREE uint64_t *rows = malloc(BATCH * sizeof(*rows));
        CLEANUP_FREE uint8_t *dest = malloc((size_t)BATCH * ENGRAM_BENCH_ROW_BYTES);
        if (!rows || !dest)
                return error_set(err, -ENOMEM, "no memory");
        drop(store);
        uint64_t start = clock_ns();
        for (unsigned batch = 0; batch < BATCHES; batch++) {
                for (unsigned i = 0; i < BATCH; i++)
                        rows[i] = scattered(store, i, &seed);
                engram_fetch_request(fetch, 0, rows, BATCH, dest);
                int r = engram_fetch_collect(fetch, 0, err);
                for (unsigned i = 0; r == 0 && i < BATCH; i++)
                        if (memcmp(dest + (size_t)i * ENGRAM_BENCH_ROW_BYTES, &rows[i],
                                   sizeof(*rows)) != 0)
                                r = error_set(err, -EIO, "a row is wrong");
                if (r < 0)
                        return r;
        }
        *ret = BATCH * BATCHES / engram_bench_seconds_since(start);
        return 0;
}

/* One batch of pages; all have been read when it returns. */
static int read_pages(const struct engram_store *store, struct io_uring *ring, int fd,
                      uint8_t *buffers, uint64_t *seed, struct error *err) {
        unsigned idle[DEPTH], n_idle = DEPTH, n_started = 0, n_done = 0;
        for (unsigned i = 0; i < DEPTH; i++)
                idle[i] = i;
        while (n_done < BATCH) {
                for (; n_started < BATCH && n_idle > 0; n_started++) {
                        uint64_t row = scattered(store, n_started, seed),
                                 page = engram_store_offset(store, 0, row) / ENGRAM_PAGE_BYTES;
                        unsigned number = idle[--n_idle];
                        struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
                        io_uring_prep_read(sqe, fd, buffers + (size_t)number * ENGRAM_PAGE_BYTES,
                                           ENGRAM_PAGE_BYTES, page * ENGRAM_PAGE_BYTES);
                        io_uring_sqe_set_data64(sqe, number);
                }
                struct io_uring_cqe *cqe;
                io_uring_submit_and_wait(ring, 1);
                for (; io_uring_peek_cqe(ring, &cqe) == 0; n_done++) {
                        if (cqe->res != (int)ENGRAM_PAGE_BYTES)
                                return error_set(err, -EIO, "a read gave %d", cqe->res);
                        idle[n_idle++] = (unsigned)io_uring_cqe_get_data64(cqe);
                        io_uring_cqe_seen(ring, cqe);
                }
        }
        return 0;
}

/* As many pages, chosen in the same way, in the same batches, by nothing but io_uring. */
static int read_raw(const struct engram_bench *b, const struct engram_store *store, uint64_t seed,
                    double *ret, struct error *err) {
        CLEANUP_FREE uint8_t *buffers =
                aligned_alloc(ENGRAM_PAGE_BYTES, DEPTH * (size_t)ENGRAM_PAGE_BYTES);
        CLEANUP_CLOSE int fd = open(b->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        struct io_uring ring;
        if (!buffers || fd < 0)
                return error_errno(err, "%s", b->path);
        int r = io_uring_queue_init(DEPTH, &ring, 0);
        if (r < 0)
                return error_set(err, r, "io_uring: %s", strerror(-r));
        uint64_t start = clock_ns();
        for (unsigned batch = 0; r == 0 && batch < BATCHES; batch++)
                r = read_pages(store, &ring, fd, buffers, &seed, err);
        *ret = BATCH * BATCHES / engram_bench_seconds_since(start);
        io_uring_queue_exit(&ring);
        return r;
}

/* In turn, each order as often. The first two fill the cache. */
static int measure(struct engram_bench *b, const struct engram_store *store,
                   struct engram_fetch *fetch, struct error *err) {
        int r = 0;
        for (unsigned i = 0; r == 0 && i < b->n_runs + 2; i++) {
                double ours = 0, raw = 0;
                if (i % 2 == 0)
                        r = ask(store, fetch, 100 + i, &ours, err);
                if (r == 0)
                        r = read_raw(b, store, 10000 + i, &raw, err);
                if (r == 0 && i % 2 == 1)
                        r = ask(store, fetch, 100 + i, &ours, err);
                if (r < 0 || i < 2)
                        continue;
                series_add(&b->cold, ours);
                series_add(&b->raw, raw);
        }
        return r;
}

int engram_bench_cold(struct engram_bench *b, struct error *err) {
        struct engram_store *store;
        int r = engram_store_open(b->path, NULL, &store, err);
        if (r < 0)
                return r;
        struct engram_fetch_options options = { .cache_rows = CACHE_ROWS, .depth = DEPTH };
        struct engram_fetch *fetch;
        r = engram_fetch_new(store, &options, &fetch, err);
        if (r == 0) {
                r = measure(b, store, fetch, err);
                engram_fetch_free(fetch);
        }
        engram_store_close(store);
        return r;
}
