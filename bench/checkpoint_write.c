#include "bench/checkpoint_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/error.h"

/* Large enough that a thread's turn costs nothing beside making the numbers, small enough for many
 * turns a second. */
#define PIECE_BYTES (4U << 20)
#define THREADS_MAX 64
#define TICK_NS     (500 * NS_PER_MS)

struct open_shard {
        const struct planned_shard *plan;
        int fd;
        uint64_t bytes;
        atomic_uint pieces_left;
};

struct writer {
        const struct checkpoint_write *order;
        char folder[PATH_MAX];
        int folder_fd;
        struct open_shard *shards;
        size_t n_shards;

        atomic_size_t next_piece; /* of all shards, counted through */
        size_t n_pieces;
        size_t *first_piece; /* [n_shards] */
        atomic_uint_fast64_t written;
        atomic_uint n_working;

        pthread_mutex_t lock; /* guards `err` */
        struct error err;
        atomic_int failed; /* the first error's code */
};

static atomic_bool interrupted; /* lock-free: set by a signal handler */

static void on_signal(int signal) {
        (void)signal;
        atomic_store(&interrupted, true);
}

static void watch_signals(bool on) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        struct sigaction action = { .sa_handler = on ? on_signal : SIG_DFL };
        for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
                sigaction(signals[i], &action, NULL);
}

__attribute__((format(printf, 3, 4))) static void fail(struct writer *w, int code,
                                                       const char *format, ...) {
        char text[400];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        pthread_mutex_lock(&w->lock);
        if (atomic_load(&w->failed) == 0) {
                error_set(&w->err, code, "%s", text);
                atomic_store(&w->failed, code);
        }
        pthread_mutex_unlock(&w->lock);
}

static bool stopped(struct writer *w) {
        if (atomic_load(&interrupted))
                fail(w, -EINTR, "interrupted; nothing was kept");
        return atomic_load(&w->failed) != 0;
}

/* -------- pieces -------- */

static void write_all(struct writer *w, int fd, const char *name, const uint8_t *bytes, size_t n,
                      uint64_t offset) {
        while (n > 0) {
                ssize_t k = pwrite(fd, bytes, n, (off_t)offset);
                if (k < 0 && errno == EINTR && !atomic_load(&interrupted))
                        continue;
                if (k <= 0) {
                        fail(w, k < 0 ? -errno : -EIO, "%s/%s: %s", w->folder, name,
                             k < 0 ? strerror(errno) : "nothing was written");
                        return;
                }
                bytes += k;
                offset += (uint64_t)k;
                n -= (size_t)k;
        }
}

/* The shard that a piece belongs to. */
static size_t shard_of(const struct writer *w, size_t piece) {
        size_t i = w->n_shards - 1;
        while (w->first_piece[i] > piece)
                i--;
        return i;
}

static void write_piece(struct writer *w, size_t piece, uint8_t *buffer) {
        size_t index = shard_of(w, piece);
        struct open_shard *shard = &w->shards[index];
        uint64_t offset = (uint64_t)(piece - w->first_piece[index]) * PIECE_BYTES;
        uint64_t left = shard->bytes - offset;
        size_t n = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        checkpoint_plan_fill(shard->plan, offset, n, buffer);
        write_all(w, shard->fd, shard->plan->name, buffer, n, offset);
        /* Begins the transfer now, so that waiting for the disk is spread over the run. */
        sync_file_range(shard->fd, (off_t)offset, (off_t)n, SYNC_FILE_RANGE_WRITE);
        atomic_fetch_add(&w->written, n);
        if (atomic_fetch_sub(&shard->pieces_left, 1) == 1 && fdatasync(shard->fd) < 0)
                fail(w, -errno, "%s/%s: %s", w->folder, shard->plan->name, strerror(errno));
}

static void *work(void *userdata) {
        struct writer *w = userdata;
        CLEANUP_FREE uint8_t *buffer = malloc(PIECE_BYTES);
        if (!buffer)
                fail(w, -ENOMEM, "out of memory");
        size_t piece;
        while (!stopped(w) && (piece = atomic_fetch_add(&w->next_piece, 1)) < w->n_pieces)
                write_piece(w, piece, buffer);
        atomic_fetch_sub(&w->n_working, 1);
        return NULL;
}

/* -------- progress -------- */

static void print_progress(const struct writer *w, uint64_t start) {
        double total = (double)w->order->plan->file_bytes, done = (double)atomic_load(&w->written);
        double seconds = (double)(clock_ns() - start) / (double)NS_PER_S;
        double rate = seconds > 0 ? done / seconds : 0;
        fprintf(stderr, "\r%5.1f %% of %.1f GB, %.0f MB/s, %.0f s left    ", 100 * done / total,
                total / 1e9, rate / 1e6, rate > 0 ? (total - done) / rate : 0.0);
}

/* Until every worker has ended. */
static void watch(struct writer *w) {
        uint64_t start = clock_ns(), last = 0;
        while (atomic_load(&w->n_working) > 0) {
                struct timespec nap = { .tv_nsec = 20 * (long)NS_PER_MS };
                nanosleep(&nap, NULL);
                if (!w->order->progress || clock_ns() - last < TICK_NS)
                        continue;
                last = clock_ns();
                print_progress(w, start);
        }
        if (w->order->progress) {
                print_progress(w, start);
                fputc('\n', stderr);
        }
}

static void run_workers(struct writer *w) {
        pthread_t threads[THREADS_MAX];
        unsigned n = w->order->n_threads < THREADS_MAX ? w->order->n_threads : THREADS_MAX,
                 started = 0;
        atomic_store(&w->n_working, n);
        for (; started < n; started++) {
                int r = pthread_create(&threads[started], NULL, work, w);
                if (r != 0) {
                        fail(w, -r, "thread %u cannot be started: %s", started, strerror(r));
                        atomic_fetch_sub(&w->n_working, n - started);
                        break;
                }
        }
        watch(w);
        for (unsigned i = 0; i < started; i++)
                pthread_join(threads[i], NULL);
}

/* -------- folder -------- */

/* Asks the file system before it is full. */
static int check_room(const struct writer *w, struct error *err) {
        struct statvfs fs;
        uint64_t wanted = w->order->plan->file_bytes;
        if (statvfs(w->folder, &fs) < 0)
                return error_errno(err, "%s", w->folder);
        uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
        if (room < wanted)
                return error_set(err, -ENOSPC,
                                 "%s: %s: %" PRIu64 " bytes are needed, %" PRIu64 " are free",
                                 w->order->target, strerror(ENOSPC), wanted, room);
        return 0;
}

static int make_folder(struct writer *w, struct error *err) {
        const char *target = w->order->target;
        struct stat st;
        if (stat(target, &st) == 0 && !S_ISDIR(st.st_mode))
                return error_set(err, -EEXIST, "%s: is there already", target);
        size_t length = strlen(target);
        while (length > 1 && target[length - 1] == '/')
                length--;
        int n = snprintf(w->folder, sizeof(w->folder), "%.*s.partial-XXXXXX", (int)length, target);
        if (n < 0 || (size_t)n >= sizeof(w->folder))
                return error_set(err, -ENAMETOOLONG, "%s: path too long", target);
        if (!mkdtemp(w->folder))
                return error_errno(err, "%s", w->folder);
        w->folder_fd = open(w->folder, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (w->folder_fd < 0 || fchmod(w->folder_fd, 0755) < 0)
                return error_errno(err, "%s", w->folder);
        return 0;
}

static int open_file(const struct writer *w, const char *name, struct error *err) {
        int fd = openat(w->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return fd < 0 ? error_errno(err, "%s/%s", w->folder, name) : fd;
}

static int open_shards(struct writer *w, struct error *err) {
        for (; w->n_shards < w->order->plan->n_shards; w->n_shards++) {
                struct open_shard *shard = &w->shards[w->n_shards];
                shard->plan = &w->order->plan->shards[w->n_shards];
                shard->bytes = shard->plan->header_bytes + shard->plan->data_bytes;
                int fd = open_file(w, shard->plan->name, err);
                if (fd < 0)
                        return fd;
                shard->fd = fd;
                /* Room in advance, where the file system can: a full disk is known now. */
                if (fallocate(fd, 0, 0, (off_t)shard->bytes) < 0 && errno != EOPNOTSUPP) {
                        int r = error_errno(err, "%s/%s: %" PRIu64 " bytes", w->folder,
                                            shard->plan->name, shard->bytes);
                        close(fd);
                        return r;
                }
                size_t n = (shard->bytes + PIECE_BYTES - 1) / PIECE_BYTES;
                w->first_piece[w->n_shards] = w->n_pieces;
                w->n_pieces += n;
                atomic_init(&shard->pieces_left, (unsigned)n);
        }
        return 0;
}

static int write_files(struct writer *w, struct error *err) {
        for (size_t i = 0; i < w->order->n_files && !stopped(w); i++) {
                const struct checkpoint_file *file = &w->order->files[i];
                CLEANUP_CLOSE int fd = open_file(w, file->name, err);
                if (fd < 0)
                        return fd;
                write_all(w, fd, file->name, (const uint8_t *)file->text, file->n, 0);
                if (fsync(fd) < 0)
                        return error_errno(err, "%s/%s", w->folder, file->name);
        }
        return 0;
}

/* The folder takes its name; both it and its parent reach the disk. */
static int finish(struct writer *w, struct error *err) {
        if (fsync(w->folder_fd) < 0 || rename(w->folder, w->order->target) < 0)
                return error_errno(err, "%s", w->order->target);
        CLEANUP_FREE char *parent = NULL;
        if (asprintf(&parent, "%s/..", w->order->target) < 0)
                return error_set(err, -ENOMEM, "out of memory");
        CLEANUP_CLOSE int fd = open(parent, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return error_errno(err, "%s", parent);
        return 0;
}

static void remove_folder(struct writer *w) {
        for (size_t i = 0; i < w->order->plan->n_shards; i++)
                unlinkat(w->folder_fd, w->order->plan->shards[i].name, 0);
        for (size_t i = 0; i < w->order->n_files; i++)
                unlinkat(w->folder_fd, w->order->files[i].name, 0);
        rmdir(w->folder);
}

static int write_everything(struct writer *w, struct error *err) {
        int r = check_room(w, err);
        if (r == 0)
                r = open_shards(w, err);
        if (r < 0)
                return r;
        run_workers(w);
        if (!stopped(w))
                r = write_files(w, err);
        if (r == 0 && stopped(w)) {
                r = atomic_load(&w->failed);
                if (err)
                        *err = w->err;
        }
        return r == 0 ? finish(w, err) : r;
}

int checkpoint_write(const struct checkpoint_write *write, struct error *err) {
        struct writer w = { .order = write, .folder_fd = -1 };
        size_t n = write->plan->n_shards;
        w.shards = calloc(n, sizeof(*w.shards));
        w.first_piece = calloc(n, sizeof(*w.first_piece));
        pthread_mutex_init(&w.lock, NULL);
        atomic_store(&interrupted, false);
        watch_signals(true);
        int r = w.shards && w.first_piece ? make_folder(&w, err)
                                          : error_set(err, -ENOMEM, "out of memory");
        if (r == 0)
                r = write_everything(&w, err);
        if (r < 0 && w.folder_fd >= 0)
                remove_folder(&w);
        watch_signals(false);
        for (size_t i = 0; i < w.n_shards; i++)
                close(w.shards[i].fd);
        if (w.folder_fd >= 0)
                close(w.folder_fd);
        pthread_mutex_destroy(&w.lock);
        free(w.shards);
        free(w.first_piece);
        return r;
}
