/* seekd-bench engram, rows that are in memory: asked for as a step asks, beside the same rows
 * packed in a mapped file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "bench/engram.h"
#include "memory/engram_fetch.h"

#define RANGE_BYTES (4ULL << 30)
#define AHEAD_BYTES (4ULL << 20)

/* Rows of one table for a token, and for a chunk of 128 tokens. */
#define TOKEN 24
#define CHUNK (128 * TOKEN)

/* Rows of a measured run. */
#define WARM_ROWS (512 * CHUNK)

struct warm {
        const struct engram_store *store;
        const uint8_t *flat;
        uint64_t n_rows; /* of the range */
        uint64_t rows[CHUNK];
        uint8_t dest[CHUNK * ENGRAM_BENCH_ROW_BYTES];
};

/* n different rows, in no order: one of each n-th of the range. 1,021 shares no factor with n. */
static void choose(struct warm *w, unsigned n, uint64_t *seed) {
        uint64_t step = w->n_rows / n;
        for (unsigned i = 0; i < n; i++)
                w->rows[i] = i * 1021ULL % n * step + engram_bench_next(seed) % step;
}

static int check(const struct warm *w, unsigned n, struct error *err) {
        for (unsigned i = 0; i < n; i++)
                if (memcmp(w->dest + (size_t)i * ENGRAM_BENCH_ROW_BYTES, &w->rows[i],
                           sizeof(w->rows[i])) != 0)
                        return error_set(err, -EIO, "a row is wrong");
        return 0;
}

/* Rows/s of requests of n rows each. */
static int ask(struct warm *w, struct engram_fetch *fetch, unsigned n, uint64_t seed,
               struct series *ret, struct error *err) {
        uint64_t ns = 0;
        for (unsigned done = 0; done < WARM_ROWS; done += n) {
                choose(w, n, &seed);
                uint64_t start = clock_ns();
                engram_fetch_request(fetch, 0, w->rows, n, w->dest);
                int r = engram_fetch_collect(fetch, 0, err);
                ns += clock_ns() - start;
                if (r == 0)
                        r = check(w, n, err);
                if (r < 0)
                        return r;
        }
        series_add(ret, WARM_ROWS / ((double)ns / (double)NS_PER_S));
        return 0;
}

/* The same from the mapped file. Its pages are in memory and mapped, whatever came before. */
static int copy_flat(struct warm *w, unsigned n, uint64_t seed, struct series *ret,
                     struct error *err) {
        uint64_t ns = 0;
        for (uint64_t at = 0; at < w->n_rows * ENGRAM_BENCH_ROW_BYTES; at += ENGRAM_PAGE_BYTES)
                (void)*(const volatile uint8_t *)(w->flat + at);
        for (unsigned done = 0; done < WARM_ROWS; done += n) {
                choose(w, n, &seed);
                uint64_t start = clock_ns();
                for (unsigned i = 0; i < n; i++)
                        memcpy(w->dest + (size_t)i * ENGRAM_BENCH_ROW_BYTES,
                               w->flat + w->rows[i] * ENGRAM_BENCH_ROW_BYTES,
                               ENGRAM_BENCH_ROW_BYTES);
                ns += clock_ns() - start;
                int r = check(w, n, err);
                if (r < 0)
                        return r;
        }
        series_add(ret, WARM_ROWS / ((double)ns / (double)NS_PER_S));
        return 0;
}

static int measure(struct warm *w, struct engram_fetch *fetch, unsigned n, unsigned n_runs,
                   struct series *ret, struct series *ret_flat, struct error *err) {
        int r = 0;
        for (unsigned i = 0; r == 0 && i < n_runs; i++) {
                r = ask(w, fetch, n, i, ret, err);
                if (r == 0)
                        r = copy_flat(w, n, i, ret_flat, err);
        }
        return r;
}

/* -------- getting warm -------- */

/* Brings the range's pages into the kernel's memory. */
static void read_range(const struct warm *w) {
        uint64_t from = engram_store_offset(w->store, 0, 0),
                 to = engram_store_offset(w->store, 0, w->n_rows - 1);
        CLEANUP_FREE uint8_t *buffer = malloc(AHEAD_BYTES);
        for (uint64_t at = from; buffer && at < to; at += AHEAD_BYTES) {
                posix_fadvise(engram_store_fd(w->store), (off_t)(at + AHEAD_BYTES),
                              (off_t)AHEAD_BYTES, POSIX_FADV_WILLNEED);
                if (pread(engram_store_fd(w->store), buffer, AHEAD_BYTES, (off_t)at) <= 0)
                        break;
        }
}

/* Has the cache take all rows of the range, few at a time, which needs no thread. */
static int fill(struct warm *w, struct engram_fetch *fetch, struct error *err) {
        int r = 0;
        for (uint64_t row = 0; r == 0 && row < w->n_rows;) {
                unsigned n = 0;
                for (; n < 60 && row < w->n_rows; n++, row++)
                        w->rows[n] = row;
                engram_fetch_request(fetch, 0, w->rows, n, w->dest);
                r = engram_fetch_collect(fetch, 0, err);
        }
        return r;
}

static int write_flat(const struct warm *w, const char *path, struct error *err) {
        FILE *file = fopen(path, "we");
        if (!file)
                return error_errno(err, "%s", path);
        for (uint64_t row = 0; row < w->n_rows; row++)
                if (fwrite(engram_store_row(w->store, 0, row), ENGRAM_BENCH_ROW_BYTES, 1, file) !=
                    1) {
                        int r = error_errno(err, "%s", path);
                        fclose(file);
                        return r;
                }
        return fclose(file) == 0 ? 0 : error_errno(err, "%s", path);
}

static int measure_all(struct engram_bench *b, struct warm *w, struct error *err) {
        struct engram_fetch_options options = { .cache_rows = w->n_rows + w->n_rows / 8,
                                                .path = ENGRAM_FETCH_BUFFERED };
        struct engram_fetch *fetch;
        int r = engram_fetch_new(w->store, &options, &fetch, err);
        if (r < 0)
                return r;
        r = fill(w, fetch, err);
        if (r == 0)
                r = measure(w, fetch, CHUNK, b->n_runs, &b->warm, &b->flat, err);
        if (r == 0)
                r = measure(w, fetch, TOKEN, b->n_runs, &b->warm_token, &b->flat_token, err);
        engram_fetch_free(fetch);
        options.cache_rows = CHUNK; /* next to nothing of the range */
        if (r == 0 && (r = engram_fetch_new(w->store, &options, &fetch, err)) == 0) {
                r = measure(w, fetch, TOKEN, b->n_runs, &b->warm_file, &b->flat_file, err);
                engram_fetch_free(fetch);
        }
        return r;
}

int engram_bench_warm(struct engram_bench *b, struct error *err) {
        CLEANUP_FREE struct warm *w = calloc(1, sizeof(*w));
        struct engram_store *store;
        struct file_map flat = { NULL, 0 };
        char path[PATH_MAX];
        if (!w)
                return error_set(err, -ENOMEM, "no memory");
        snprintf(path, sizeof(path), "%s/flat", b->folder);
        int r = engram_store_open(b->path, NULL, &store, err);
        if (r < 0)
                return r;
        w->store = store;
        w->n_rows = RANGE_BYTES / ENGRAM_BENCH_ROW_BYTES;
        if (w->n_rows > engram_store_layout(store)->n_rows[0])
                w->n_rows = engram_store_layout(store)->n_rows[0];
        read_range(w);
        r = write_flat(w, path, err);
        if (r == 0)
                r = file_map_open(path, &flat, err);
        w->flat = flat.data;
        if (r == 0)
                r = measure_all(b, w, err);
        file_map_close(&flat);
        unlink(path);
        engram_store_close(store);
        return r;
}
