#include "bench/direct_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"
#include "memory/disk_reads.h"

/* A disk is at its full rate with a few reads of this size at once. */
#define READ_BYTES (1U << 20)
#define DEPTH      8
#define ALIGNMENT  4096 /* of places, sizes and memory: no disk asks for more */

struct reading {
        struct disk_reads *reads;
        uint8_t *buffers; /* [DEPTH][READ_BYTES] */
        uint64_t started, done, bytes;
};

static uint32_t start_next(struct reading *r, unsigned number) {
        uint64_t left = r->bytes - r->started;
        uint32_t n = left < READ_BYTES ? (uint32_t)left : READ_BYTES;
        if (n > 0)
                disk_reads_start(r->reads, number, r->started,
                                 r->buffers + (size_t)number * READ_BYTES, n);
        r->started += n;
        return n;
}

static int read_all(struct reading *r, struct error *err) {
        struct disk_read done[DEPTH];
        uint32_t size[DEPTH];
        for (unsigned i = 0; i < DEPTH; i++)
                size[i] = start_next(r, i);
        while (r->done < r->bytes) {
                unsigned n = disk_reads_await(r->reads, true, done, DEPTH);
                for (unsigned i = 0; i < n; i++) {
                        unsigned number = done[i].number;
                        if (done[i].result < 0)
                                return error_set(err, done[i].result, "direct read: %s",
                                                 strerror(-done[i].result));
                        r->done += size[number];
                        size[number] = start_next(r, number);
                }
        }
        return 0;
}

int direct_read_rate(const char *path, uint64_t bytes, double *ret, struct error *err) {
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        CLEANUP_FREE uint8_t *buffers = aligned_alloc(ALIGNMENT, (size_t)DEPTH * READ_BYTES);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0)
                return error_errno(err, "%s", path);
        uint64_t size = (uint64_t)st.st_size;
        struct reading reading = { .buffers = buffers,
                                   .bytes = (bytes < size ? bytes : size) / ALIGNMENT * ALIGNMENT };
        if (reading.bytes == 0)
                return error_set(err, -ENODATA, "%s: nothing to measure the disk with", path);
        int r = buffers ? disk_reads_new(fd, DEPTH, DISK_READS_AUTO, &reading.reads) : -ENOMEM;
        if (r < 0)
                return error_set(err, r, "%s: %s", path, strerror(-r));
        uint64_t start = clock_ns();
        r = read_all(&reading, err);
        *ret = (double)reading.bytes / ((double)(clock_ns() - start) / (double)NS_PER_S);
        disk_reads_free(reading.reads);
        return r;
}
