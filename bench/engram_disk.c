/* seekd-bench engram, the part that needs a large table: its import, beside what the disk gives in
 * the same run. The table is made up as it is imported. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "bench/engram.h"
#include "memory/engram_import.h"

#define NOISE_BYTES (1U << 20)
#define WRITE_BYTES (4ULL << 20)
#define PLAIN_BYTES (4ULL << 30)

struct made_up {
        uint8_t *noise; /* [NOISE_BYTES + a row]; rows are windows of it, with their number in front
                         */
        double rate;
};

static int read_made_up(void *context, unsigned table, uint64_t first, uint64_t n, uint8_t *dest,
                        size_t stride, struct error *err) {
        (void)err, (void)table;
        const struct made_up *m = context;
        for (uint64_t i = 0; i < n; i++, dest += stride) {
                uint64_t row = first + i;
                memcpy(dest, m->noise + (row * 7919 & (NOISE_BYTES - 1)), ENGRAM_BENCH_ROW_BYTES);
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
static int write_rate(const struct engram_bench *b, double *ret, struct error *err) {
        char path[PATH_MAX];
        snprintf(path, sizeof(path), "%s/plain", b->folder);
        CLEANUP_FREE uint8_t *buffer = malloc(WRITE_BYTES);
        CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (!buffer || fd < 0)
                return error_errno(err, "%s", path);
        for (uint64_t i = 0, x = 1; i < WRITE_BYTES / sizeof(x); i++, engram_bench_next(&x))
                memcpy(buffer + i * sizeof(x), &x, sizeof(x));
        uint64_t start = clock_ns();
        int r = 0;
        for (uint64_t done = 0; r == 0 && done < PLAIN_BYTES; done += WRITE_BYTES)
                if (write(fd, buffer, WRITE_BYTES) != (ssize_t)WRITE_BYTES)
                        r = error_errno(err, "%s", path);
        if (r == 0 && fdatasync(fd) < 0)
                r = error_errno(err, "%s", path);
        *ret = (double)PLAIN_BYTES / engram_bench_seconds_since(start) / 1e6;
        unlink(path);
        return r;
}

/* 1: the table was there. Plain writes before and after, because a disk's rate changes. */
static int measure_import(struct engram_bench *b, struct error *err) {
        CLEANUP_FREE struct engram_source *source = calloc(1, sizeof(*source));
        CLEANUP_FREE uint8_t *noise = malloc(NOISE_BYTES + ENGRAM_BENCH_ROW_BYTES);
        struct made_up m = { .noise = noise };
        double plain = 0;
        if (!source || !noise)
                return error_set(err, -ENOMEM, "no memory");
        for (uint64_t i = 0, x = 3; i < NOISE_BYTES + ENGRAM_BENCH_ROW_BYTES; i++)
                noise[i] = (uint8_t)(engram_bench_next(&x) % 255);
        source->about.n_tables = 1;
        source->about.code_bytes = ENGRAM_BENCH_CODE_BYTES;
        source->about.scale_bytes = ENGRAM_BENCH_SCALE_BYTES;
        source->about.n_rows[0] = b->table_bytes / ENGRAM_BENCH_ROW_BYTES;
        source->read = read_made_up;
        source->context = &m;
        struct engram_import_options options = { .path = b->path,
                                                 .progress = watch,
                                                 .userdata = &m };
        int r = access(b->path, F_OK) < 0 ? write_rate(b, &plain, err) : 0;
        if (r == 0)
                r = engram_import(source, &options, err);
        if (r != 0)
                return r;
        fputc('\n', stderr);
        series_add(&b->import, m.rate / 1e6);
        series_add(&b->plain_write, plain);
        r = write_rate(b, &plain, err);
        if (r == 0)
                series_add(&b->plain_write, plain);
        return r;
}

int engram_bench_disk(struct engram_bench *b, struct error *err) {
        int imported = measure_import(b, err);
        int r = imported < 0 ? imported : engram_bench_warm(b, err);
        if (r == 0)
                r = engram_bench_cold(b, err);
        if (imported == 0)
                unlink(b->path);
        return r;
}
