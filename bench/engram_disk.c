/* seekd-bench engram, the part that needs a large table: import, warm and cold reads, each beside
 * what the disk or a flat file gives in the same run. The table is made up as it is imported. */
#include "bench/engram.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "memory/engram_fetch.h"
#include "memory/engram_import.h"

#define CODE_BYTES  256 /* of the released model */
#define SCALE_BYTES 8
#define ROW_BYTES   (CODE_BYTES + SCALE_BYTES)
#define WRITE_BYTES (4ULL << 20)
#define FLAT_BYTES  (4ULL << 30) /* the warm range */
#define WARM_ROWS   2000000
#define DEPTH       128
/* Rows of one table in a step of 512 tokens. */
#define BATCH 12288
/* Batches of a cold run: enough for a second of a fast disk. */
#define COLD_BATCHES 4

static uint64_t next(uint64_t *state) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        return *state >> 20;
}

static double seconds_since(uint64_t start_ns) {
        return (double)(clock_ns() - start_ns) / (double)NS_PER_S;
}

/* -------- import -------- */

struct made_up {
        uint8_t *noise; /* 1 MiB and a row; rows are windows of it, with their number in front */
        uint64_t import_ns;
        double rate;
};

static int read_made_up(void *context, unsigned table, uint64_t first, uint64_t n, uint8_t *dest,
                        size_t stride, struct error *err) {
        (void)err, (void)table;
        const struct made_up *m = context;
        for (uint64_t i = 0; i < n; i++, dest += stride) {
                uint64_t row = first + i;
                memcpy(dest, m->noise + (row * 7919 & ((1U << 20) - 1)), ROW_BYTES);
                memcpy(dest, &row, sizeof(row));
        }
        return 0;
}

static void watch(void *userdata, const struct engram_progress *p) {
        struct made_up *m = userdata;
        if (strcmp(p->what, "importing") == 0)
                m->rate = p->bytes_per_s;
        fprintf(stderr, "\r%s: %.1f of %.1f GB, %.0f MB/s  ", p->what, (double)p->done / 1e9,
                (double)p->total / 1e9, p->bytes_per_s / 1e6);
}

/* MB/s of plain 4 MiB writes and one fdatasync. */
static int write_rate(const struct engram_bench *b, uint64_t bytes, double *ret,
                      struct error *err) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/plain", b->folder);
        CLEANUP_FREE uint8_t *buffer = malloc(WRITE_BYTES);
        CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (!buffer || fd < 0)
                return error_errno(err, "%s", path);
        for (uint64_t i = 0, x = 1; i < WRITE_BYTES / sizeof(x); i++, next(&x))
                memcpy(buffer + i * sizeof(x), &x, sizeof(x));
        uint64_t start = clock_ns();
        int r = 0;
        for (uint64_t done = 0; r == 0 && done < bytes; done += WRITE_BYTES)
                if (write(fd, buffer, WRITE_BYTES) != (ssize_t)WRITE_BYTES)
                        r = error_errno(err, "%s", path);
        if (r == 0 && fdatasync(fd) < 0)
                r = error_errno(err, "%s", path);
        *ret = (double)bytes / seconds_since(start) / 1e6;
        unlink(path);
        return r;
}

static int measure_import(struct engram_bench *b, struct error *err) {
        CLEANUP_FREE struct engram_source *source = calloc(1, sizeof(*source));
        struct made_up m = { .noise = malloc((1U << 20) + ROW_BYTES) };
        double plain = 0;
        int r = source && m.noise ? 0 : error_set(err, -ENOMEM, "no memory");
        for (uint64_t i = 0, x = 3; r == 0 && i < (1U << 20) + ROW_BYTES; i++)
                m.noise[i] = (uint8_t)(next(&x) % 255);
        if (r == 0)
                r = write_rate(b, 4ULL << 30, &plain, err);
        if (r == 0) {
                source->about.n_tables = 1;
                source->about.code_bytes = CODE_BYTES;
                source->about.scale_bytes = SCALE_BYTES;
                source->about.n_rows[0] = b->table_bytes / ROW_BYTES;
                source->read = read_made_up;
                source->context = &m;
                struct engram_import_options options = { .path = b->path,
                                                         .progress = watch,
                                                         .userdata = &m };
                r = engram_import(source, &options, err);
                fputc('\n', stderr);
        }
        if (r == 0) {
                series_add(&b->import, m.rate / 1e6);
                series_add(&b->plain_write, plain);
        }
        free(m.noise);
        return r;
}

/* -------- warm: all rows of the range in memory and mapped -------- */

static double look_up(const struct engram_store *store, const uint8_t *flat, uint64_t n_rows,
                      uint64_t seed, uint64_t *ret_wrong) {
        uint8_t row[ROW_BYTES];
        uint64_t wrong = 0, start = clock_ns();
        for (unsigned i = 0; i < WARM_ROWS; i++) {
                uint64_t number = next(&seed) % n_rows, found;
                if (flat) {
                        memcpy(row, flat + number * ROW_BYTES, ROW_BYTES);
                } else {
                        const uint8_t *at = engram_store_row(store, 0, number);
                        wrong += !engram_row_intact(engram_store_layout(store), 0, number, at);
                        memcpy(row, at, ROW_BYTES);
                }
                memcpy(&found, row, sizeof(found));
                wrong += found != number;
                __asm__ volatile("" : : "r"(row) : "memory"); /* the whole copy is wanted */
        }
        *ret_wrong += wrong;
        return WARM_ROWS / seconds_since(start);
}

static int write_flat(const struct engram_store *store, const char *path, uint64_t n_rows,
                      struct error *err) {
        FILE *file = fopen(path, "we");
        if (!file)
                return error_errno(err, "%s", path);
        for (uint64_t row = 0; row < n_rows; row++)
                if (fwrite(engram_store_row(store, 0, row), ROW_BYTES, 1, file) != 1) {
                        int r = error_errno(err, "%s", path);
                        fclose(file);
                        return r;
                }
        return fclose(file) == 0 ? 0 : error_errno(err, "%s", path);
}

/* Brings the pages of the first rows into memory and into the mapping. */
static void make_warm(const struct engram_store *store, uint64_t n_rows) {
        const struct engram_layout *l = engram_store_layout(store);
        for (uint64_t row = 0; row < n_rows; row += l->rows_per_page) {
                off_t at = (off_t)(engram_store_offset(store, 0, row) / WRITE_BYTES * WRITE_BYTES);
                if (row % (1024 * (uint64_t)l->rows_per_page) == 0) /* 4 MiB of pages */
                        posix_fadvise(engram_store_fd(store), at, 2 * (off_t)WRITE_BYTES,
                                      POSIX_FADV_WILLNEED);
                (void)*(const volatile uint8_t *)engram_store_row(store, 0, row);
        }
}

static int measure_warm(struct engram_bench *b, struct error *err) {
        struct engram_store *store;
        struct file_map flat = { NULL, 0 };
        char path[PATH_MAX];
        uint64_t n_rows = FLAT_BYTES / ROW_BYTES, wrong = 0;
        if (n_rows > b->table_bytes / ROW_BYTES)
                n_rows = b->table_bytes / ROW_BYTES;
        snprintf(path, sizeof(path), "%s/flat", b->folder);
        int r = engram_store_open(b->path, NULL, &store, err);
        if (r < 0)
                return r;
        make_warm(store, n_rows);
        r = write_flat(store, path, n_rows, err);
        if (r == 0)
                r = file_map_open(path, &flat, err);
        for (uint64_t at = 0; at < flat.bytes; at += ENGRAM_PAGE_BYTES)
                (void)*(const volatile uint8_t *)(flat.data + at);
        for (unsigned i = 0; r == 0 && i < b->n_runs; i++) {
                series_add(&b->warm, look_up(store, NULL, n_rows, i, &wrong));
                series_add(&b->flat, look_up(store, flat.data, n_rows, i, &wrong));
        }
        if (r == 0 && wrong > 0)
                r = error_set(err, -EIO, "%llu rows were wrong", (unsigned long long)wrong);
        file_map_close(&flat);
        unlink(path);
        engram_store_close(store);
        return r;
}

/* Row i of a batch: all different, all over the table, ascending as the store reads them. */
static uint64_t scattered(uint64_t i, uint64_t n_rows, uint64_t *seed) {
        uint64_t step = n_rows / BATCH;
        return i % BATCH * step + next(seed) % step;
}

/* -------- cold: nothing in memory -------- */

static int drop(const char *path) {
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int cold_store(struct engram_bench *b, uint64_t seed, struct error *err) {
        struct engram_store *store;
        struct engram_fetch *fetch = NULL;
        struct engram_fetch_options options = { .cache_rows = 1U << 20, .depth = DEPTH };
        CLEANUP_FREE uint64_t *rows = malloc(BATCH * sizeof(*rows));
        CLEANUP_FREE uint8_t *dest = malloc((size_t)BATCH * ROW_BYTES);
        if (!rows || !dest)
                return error_set(err, -ENOMEM, "no memory");
        int r = engram_store_open(b->path, NULL, &store, err);
        if (r < 0)
                return r;
        r = engram_fetch_new(store, &options, &fetch, err);
        uint64_t start = clock_ns();
        for (unsigned batch = 0; r == 0 && batch < COLD_BATCHES; batch++) {
                for (unsigned i = 0; i < BATCH; i++)
                        rows[i] = scattered(i, engram_store_layout(store)->n_rows[0], &seed);
                engram_fetch_request(fetch, 0, rows, BATCH, dest);
                r = engram_fetch_collect(fetch, 0, err);
                for (unsigned i = 0; r == 0 && i < BATCH; i++)
                        if (memcmp(dest + (size_t)i * ROW_BYTES, &rows[i], sizeof(*rows)) != 0)
                                r = error_set(err, -EIO, "a row is wrong");
        }
        if (r == 0)
                series_add(&b->cold, BATCH * COLD_BATCHES / seconds_since(start));
        engram_fetch_free(fetch);
        engram_store_close(store);
        return r;
}

/* The pages of as many rows, chosen in the same way, read directly; no batches to wait for. */
static int cold_raw(struct engram_bench *b, uint64_t seed, struct error *err) {
        struct engram_store *store;
        struct io_uring ring;
        uint8_t *buffers = aligned_alloc(ENGRAM_PAGE_BYTES, DEPTH * (size_t)ENGRAM_PAGE_BYTES);
        int fd = open(b->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        int r = engram_store_open(b->path, NULL, &store, err);
        if (r == 0 && (!buffers || fd < 0))
                r = error_errno(err, "%s", b->path);
        if (r == 0 && (r = io_uring_queue_init(DEPTH, &ring, 0)) < 0)
                error_set(err, r, "io_uring: %s", strerror(-r));
        if (r < 0)
                return r;
        unsigned n_started = 0, n_done = 0, n = BATCH * COLD_BATCHES;
        uint64_t start = clock_ns();
        unsigned free_slot[DEPTH], n_free = DEPTH;
        for (unsigned i = 0; i < DEPTH; i++)
                free_slot[i] = i;
        while (r == 0 && n_done < n) {
                for (; n_started < n && n_free > 0; n_started++) {
                        uint64_t row =
                                scattered(n_started, engram_store_layout(store)->n_rows[0], &seed);
                        uint64_t page = engram_store_offset(store, 0, row) / ENGRAM_PAGE_BYTES;
                        unsigned slot = free_slot[--n_free];
                        struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
                        io_uring_prep_read(sqe, fd, buffers + (size_t)slot * ENGRAM_PAGE_BYTES,
                                           ENGRAM_PAGE_BYTES, page * ENGRAM_PAGE_BYTES);
                        io_uring_sqe_set_data64(sqe, slot);
                }
                struct io_uring_cqe *cqe;
                io_uring_submit_and_wait(&ring, 1);
                while (io_uring_peek_cqe(&ring, &cqe) == 0) {
                        if (cqe->res != (int)ENGRAM_PAGE_BYTES)
                                r = error_set(err, -EIO, "a read gave %d", cqe->res);
                        free_slot[n_free++] = (unsigned)io_uring_cqe_get_data64(cqe);
                        io_uring_cqe_seen(&ring, cqe);
                        n_done++;
                }
        }
        if (r == 0)
                series_add(&b->raw, n / seconds_since(start));
        io_uring_queue_exit(&ring);
        close(fd);
        free(buffers);
        engram_store_close(store);
        return r;
}

int engram_bench_disk(struct engram_bench *b, struct error *err) {
        int r = measure_import(b, err);
        if (r == 0)
                r = measure_warm(b, err);
        for (unsigned i = 0; r == 0 && i < b->n_runs; i++) {
                drop(b->path);
                r = cold_store(b, 100 + i, err);
                drop(b->path);
                if (r == 0)
                        r = cold_raw(b, 200 + i, err);
        }
        unlink(b->path);
        return r;
}
