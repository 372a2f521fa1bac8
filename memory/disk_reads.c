#include "memory/disk_reads.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

/* Reads that are waited for together when twice as many are in flight: at 50,000 a second the first
 * of them waits 80 microseconds longer, about as long as a read takes. */
#define TOGETHER 4

/* A disk queue is rarely served better by more, and idle threads only cost their stacks. */
#define THREADS_MAX 32

struct job {
        uint64_t offset;
        void *to;
        uint32_t n;
        int result;
};

struct disk_reads {
        int fd;
        bool direct; /* what is asked of it is never in memory */
        unsigned depth, n_flying;
        struct job *job; /* [depth], by number */

        bool uring;
        struct io_uring ring;

        pthread_t thread[THREADS_MAX];
        unsigned n_threads;
        pthread_mutex_t lock; /* guards the rest */
        pthread_cond_t started, done;
        /* Numbers, in rings with free-running positions: a power of two outlives their overflow. */
        uint8_t waiting[DISK_READS_DEPTH_MAX], finished[DISK_READS_DEPTH_MAX];
        unsigned n_started, n_begun, n_finished, n_taken;
        bool stop;
};

/* -------- the pool of threads -------- */

/* RWF_NOWAIT: only from memory, else -EAGAIN. */
static int read_whole(int fd, const struct job *job, int flags) {
        for (uint32_t done = 0; done < job->n;) {
                struct iovec part = { (uint8_t *)job->to + done, job->n - done };
                ssize_t n = preadv2(fd, &part, 1, (off_t)(job->offset + done), flags);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -ENODATA;
                done += (uint32_t)n;
        }
        return 0;
}

static void *thread_main(void *userdata) {
        struct disk_reads *r = userdata;
        pthread_mutex_lock(&r->lock);
        for (;;) {
                while (r->n_begun == r->n_started && !r->stop)
                        pthread_cond_wait(&r->started, &r->lock);
                if (r->n_begun == r->n_started)
                        break;
                unsigned number = r->waiting[r->n_begun++ % DISK_READS_DEPTH_MAX];
                pthread_mutex_unlock(&r->lock);
                int result = read_whole(r->fd, &r->job[number], 0);
                pthread_mutex_lock(&r->lock);
                r->job[number].result = result;
                r->finished[r->n_finished++ % DISK_READS_DEPTH_MAX] = (uint8_t)number;
                pthread_cond_signal(&r->done);
        }
        pthread_mutex_unlock(&r->lock);
        return NULL;
}

static void stop_threads(struct disk_reads *r) {
        pthread_mutex_lock(&r->lock);
        r->stop = true;
        pthread_cond_broadcast(&r->started);
        pthread_mutex_unlock(&r->lock);
        for (unsigned i = 0; i < r->n_threads; i++)
                pthread_join(r->thread[i], NULL);
        pthread_cond_destroy(&r->started);
        pthread_cond_destroy(&r->done);
        pthread_mutex_destroy(&r->lock);
}

static int start_threads(struct disk_reads *r) {
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->started, NULL);
        pthread_cond_init(&r->done, NULL);
        unsigned n = r->depth < THREADS_MAX ? r->depth : THREADS_MAX;
        int failed = 0;
        while (r->n_threads < n && failed == 0) {
                failed = pthread_create(&r->thread[r->n_threads], NULL, thread_main, r);
                r->n_threads += failed == 0;
        }
        if (r->n_threads > 0)
                return 0;
        stop_threads(r);
        return -failed;
}

/* -------- both -------- */

/* The thread is not interrupted for each read that ends; it asks anyhow. Linux 5.19 or later. */
static int start_ring(struct disk_reads *r) {
        int failed = io_uring_queue_init(r->depth, &r->ring, IORING_SETUP_COOP_TASKRUN);
        return failed == -EINVAL ? io_uring_queue_init(r->depth, &r->ring, 0) : failed;
}

int disk_reads_new(int fd, unsigned depth, enum disk_reads_kind kind, struct disk_reads **ret) {
        assert(depth >= 1 && depth <= DISK_READS_DEPTH_MAX);
        struct disk_reads *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->fd = fd;
        r->direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
        r->depth = depth;
        r->job = calloc(depth, sizeof(*r->job));
        int failed = r->job ? 0 : -ENOMEM;
        if (failed == 0 && kind != DISK_READS_THREADS) {
                failed = start_ring(r);
                r->uring = failed == 0;
                if (failed < 0 && kind == DISK_READS_AUTO)
                        failed = 0;
        }
        if (failed == 0 && !r->uring)
                failed = start_threads(r);
        if (failed < 0) {
                free(r->job);
                free(r);
                return failed;
        }
        *ret = r;
        return 0;
}

struct disk_reads *disk_reads_free(struct disk_reads *reads) {
        if (!reads)
                return NULL;
        struct disk_read done;
        while (disk_reads_await(reads, true, &done, 1) > 0)
                continue;
        if (reads->uring)
                io_uring_queue_exit(&reads->ring);
        else
                stop_threads(reads);
        free(reads->job);
        free(reads);
        return NULL;
}

const char *disk_reads_name(const struct disk_reads *reads) {
        return reads->uring ? "io_uring" : "threads";
}

static void prepare(struct disk_reads *r, unsigned number) {
        const struct job *job = &r->job[number];
        struct io_uring_sqe *sqe = io_uring_get_sqe(&r->ring);
        if (!sqe) { /* full of reads that are prepared but not submitted */
                io_uring_submit(&r->ring);
                sqe = io_uring_get_sqe(&r->ring);
        }
        io_uring_prep_read(sqe, r->fd, job->to, job->n, job->offset);
        io_uring_sqe_set_data64(sqe, number);
}

void disk_reads_start(struct disk_reads *reads, unsigned number, uint64_t offset, void *to,
                      uint32_t n) {
        assert(number < reads->depth && reads->n_flying < reads->depth);
        reads->n_flying++;
        reads->job[number] = (struct job){ offset, to, n, 0 };
        if (reads->uring) {
                prepare(reads, number);
                return;
        }
        /* What is in memory needs no thread. */
        int now = reads->direct ? -EAGAIN : read_whole(reads->fd, &reads->job[number], RWF_NOWAIT);
        pthread_mutex_lock(&reads->lock);
        if (now == 0) {
                reads->finished[reads->n_finished++ % DISK_READS_DEPTH_MAX] = (uint8_t)number;
        } else {
                reads->waiting[reads->n_started++ % DISK_READS_DEPTH_MAX] = (uint8_t)number;
                pthread_cond_signal(&reads->started);
        }
        pthread_mutex_unlock(&reads->lock);
}

/* A read that came back short goes on; false then. */
static bool is_done(struct disk_reads *r, const struct io_uring_cqe *cqe, struct disk_read *ret) {
        unsigned number = (unsigned)io_uring_cqe_get_data64(cqe);
        struct job *job = &r->job[number];
        if (cqe->res == -EINTR || cqe->res == -EAGAIN ||
            (cqe->res > 0 && (uint32_t)cqe->res < job->n)) {
                uint32_t got = cqe->res > 0 ? (uint32_t)cqe->res : 0;
                job->offset += got;
                job->to = (uint8_t *)job->to + got;
                job->n -= got;
                prepare(r, number);
                return false;
        }
        *ret = (struct disk_read){ number, cqe->res > 0 ? 0 : cqe->res == 0 ? -ENODATA : cqe->res };
        return true;
}

/* Of many reads, some are waited for together: a system call for each would cost more than it. */
static unsigned few(const struct disk_reads *r) {
        return r->n_flying < 2 * TOGETHER ? 1 : TOGETHER;
}

static unsigned await_uring(struct disk_reads *r, bool wait, struct disk_read *ret, unsigned max) {
        unsigned n = 0;
        do {
                struct io_uring_cqe *cqe;
                io_uring_submit_and_wait(&r->ring, wait ? few(r) : 0);
                while (n < max && io_uring_peek_cqe(&r->ring, &cqe) == 0) {
                        n += is_done(r, cqe, &ret[n]);
                        io_uring_cqe_seen(&r->ring, cqe);
                }
        } while (wait && n == 0);
        return n;
}

static unsigned await_threads(struct disk_reads *r, bool wait, struct disk_read *ret,
                              unsigned max) {
        unsigned n = 0;
        pthread_mutex_lock(&r->lock);
        while (wait && r->n_finished == r->n_taken)
                pthread_cond_wait(&r->done, &r->lock);
        for (; n < max && r->n_finished != r->n_taken; n++) {
                unsigned number = r->finished[r->n_taken++ % DISK_READS_DEPTH_MAX];
                ret[n] = (struct disk_read){ number, r->job[number].result };
        }
        pthread_mutex_unlock(&r->lock);
        return n;
}

unsigned disk_reads_await(struct disk_reads *reads, bool wait, struct disk_read *ret,
                          unsigned max) {
        if (reads->n_flying == 0)
                return 0;
        unsigned n = reads->uring ? await_uring(reads, wait, ret, max)
                                  : await_threads(reads, wait, ret, max);
        reads->n_flying -= n;
        return n;
}
