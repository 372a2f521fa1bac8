/* Many small reads of one file at once: io_uring, or a pool of threads where that is refused (old
 * kernels, containers, seccomp). A disk serves tens of reads together in the time of one.
 *
 * Reads are numbered by their caller, 0 <= number < depth, each number in flight at most once. One
 * thread starts and awaits them; the descriptor and the buffers outlive them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct disk_reads;

enum disk_reads_kind {
        DISK_READS_AUTO, /* io_uring if this process may use it */
        DISK_READS_URING,
        DISK_READS_THREADS,
};

/* 1 <= depth <= DISK_READS_DEPTH_MAX. 0 or a negative errno. */
#define DISK_READS_DEPTH_MAX 256
int disk_reads_new(int fd, unsigned depth, enum disk_reads_kind kind, struct disk_reads **ret);

/* Waits for what is in flight. NULL-safe, returns NULL. */
struct disk_reads *disk_reads_free(struct disk_reads *reads);

const char *disk_reads_name(const struct disk_reads *reads); /* "io_uring" or "threads" */

/* Begins a read of n bytes at the latest when disk_reads_await() is called. */
void disk_reads_start(struct disk_reads *reads, unsigned number, uint64_t offset, void *to,
                      uint32_t n);

struct disk_read {
        unsigned number;
        int result; /* 0 or a negative errno; -ENODATA: the file ends before */
};

/* Reads that are done, at most `max`. With `wait`, and something in flight, at least one. */
unsigned disk_reads_await(struct disk_reads *reads, bool wait, struct disk_read *ret, unsigned max);
