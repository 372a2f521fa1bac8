#include "tests/memory/faulty_disk.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_ALLOCATOR 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OWN_ALLOCATOR 0
#endif
#endif
#ifndef OWN_ALLOCATOR
#define OWN_ALLOCATOR 1
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char recorded_path[256];
static struct disk_event *events;
static size_t n_events, events_capacity;

static struct {
        enum disk_call call;
        uint64_t countdown; /* 0 = nothing fails */
        int error;
        bool lasting, failed;
} plan;

/* -- failing -------------------------------------------------------------------------------------
 */

void disk_fail(enum disk_call call, uint64_t n, int error, bool lasting) {
        pthread_mutex_lock(&lock);
        plan.call = call;
        plan.error = error;
        plan.lasting = lasting;
        plan.failed = false;
        __atomic_store_n(&plan.countdown, n, __ATOMIC_RELEASE);
        pthread_mutex_unlock(&lock);
}

bool disk_failed(void) {
        pthread_mutex_lock(&lock);
        bool failed = plan.failed;
        pthread_mutex_unlock(&lock);
        return failed;
}

static bool must_fail(enum disk_call call, int *ret_error) {
        if (__atomic_load_n(&plan.countdown, __ATOMIC_ACQUIRE) == 0)
                return false;
        pthread_mutex_lock(&lock);
        bool fail = false;
        if (plan.call == call && plan.countdown > 0) {
                fail = plan.countdown == 1;
                if (!fail || !plan.lasting)
                        __atomic_store_n(&plan.countdown, plan.countdown - 1, __ATOMIC_RELEASE);
                plan.failed |= fail;
                *ret_error = plan.error;
        }
        pthread_mutex_unlock(&lock);
        return fail;
}

bool disk_fails_allocations(void) {
        return OWN_ALLOCATOR;
}

/* -- recording -----------------------------------------------------------------------------------
 */

static bool is_recorded(int fd) {
        struct stat a, b;
        pthread_mutex_lock(&lock);
        bool same = recorded_path[0] && fstat(fd, &a) == 0 && stat(recorded_path, &b) == 0 &&
                a.st_dev == b.st_dev && a.st_ino == b.st_ino;
        pthread_mutex_unlock(&lock);
        return same;
}

static void add_event(struct disk_event event, const void *data) {
        pthread_mutex_lock(&lock);
        if (n_events == events_capacity) {
                events_capacity = events_capacity ? 2 * events_capacity : 1024;
                events = reallocarray(events, events_capacity, sizeof(events[0]));
                if (!events)
                        abort();
        }
        if (event.bytes > 0) {
                event.data = malloc(event.bytes);
                if (!event.data)
                        abort();
                memcpy(event.data, data, event.bytes);
        }
        events[n_events++] = event;
        pthread_mutex_unlock(&lock);
}

void disk_record(const char *path) {
        pthread_mutex_lock(&lock);
        memset(recorded_path, 0, sizeof(recorded_path));
        if (path)
                strncpy(recorded_path, path, sizeof(recorded_path) - 1);
        pthread_mutex_unlock(&lock);
}

void disk_mark(uint64_t mark) {
        add_event((struct disk_event){ .kind = DISK_MARK, .mark = mark }, NULL);
}

const struct disk_event *disk_events(size_t *ret_n) {
        *ret_n = n_events;
        return events;
}

void disk_forget(void) {
        for (size_t i = 0; i < n_events; i++)
                free(events[i].data);
        free(events);
        events = NULL;
        n_events = events_capacity = 0;
}

static void note_write(int fd, const void *data, ssize_t bytes, off_t at) {
        if (bytes <= 0 || !is_recorded(fd))
                return;
        int flags = fcntl(fd, F_GETFL);
        add_event((struct disk_event){ .kind = flags & O_DSYNC ? DISK_WRITE_THROUGH : DISK_WRITE,
                                       .at = (uint64_t)at,
                                       .bytes = (size_t)bytes },
                  data);
}

/* -- in place of the C library's -----------------------------------------------------------------
 */

static struct {
        ssize_t (*pwrite)(int, const void *, size_t, off_t);
        ssize_t (*pread)(int, void *, size_t, off_t);
        ssize_t (*preadv)(int, const struct iovec *, int, off_t);
        ssize_t (*preadv2)(int, const struct iovec *, int, off_t, int);
        ssize_t (*writev)(int, const struct iovec *, int);
        int (*fsync)(int);
        int (*fdatasync)(int);
} real;

static void find_real(const char *name, void *ret) {
        void *symbol = dlsym(RTLD_NEXT, name);
        if (!symbol)
                abort();
        memcpy(ret, &symbol, sizeof(symbol));
}

__attribute__((constructor)) static void find_all_real(void) {
        find_real("pwrite", &real.pwrite);
        find_real("pread", &real.pread);
        find_real("preadv", &real.preadv);
        find_real("preadv2", &real.preadv2);
        find_real("writev", &real.writev);
        find_real("fsync", &real.fsync);
        find_real("fdatasync", &real.fdatasync);
}

static ssize_t do_pwrite(int fd, const void *data, size_t bytes, off_t at) {
        int error;
        if (must_fail(DISK_CALL_WRITE, &error)) {
                if (error != 0) {
                        errno = error;
                        return -1;
                }
                bytes /= 2;
        }
        ssize_t n = real.pwrite(fd, data, bytes, at);
        note_write(fd, data, n, at);
        return n;
}

static ssize_t do_preadv(int fd, const struct iovec *to, int count, off_t at) {
        int error;
        if (must_fail(DISK_CALL_READ, &error)) {
                errno = error;
                return -1;
        }
        return real.preadv(fd, to, count, at);
}

/* One that may not wait asks the kernel's memory, not the disk. */
static ssize_t do_preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) {
        int error;
        if (!(flags & RWF_NOWAIT) && must_fail(DISK_CALL_READ, &error)) {
                errno = error;
                return -1;
        }
        return real.preadv2(fd, to, count, at, flags);
}

static ssize_t do_pread(int fd, void *data, size_t bytes, off_t at) {
        int error;
        if (must_fail(DISK_CALL_READ, &error)) {
                errno = error;
                return -1;
        }
        return real.pread(fd, data, bytes, at);
}

static ssize_t do_writev(int fd, const struct iovec *from, int count) {
        int error;
        if (must_fail(DISK_CALL_WRITE, &error)) {
                errno = error ? error : EIO;
                return -1;
        }
        off_t at = is_recorded(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
        ssize_t n = real.writev(fd, from, count);
        for (ssize_t left = n; left > 0; from++) {
                ssize_t bytes = left < (ssize_t)from->iov_len ? left : (ssize_t)from->iov_len;
                note_write(fd, from->iov_base, bytes, at);
                at += bytes;
                left -= bytes;
        }
        return n;
}

static int do_sync(int fd, int (*sync)(int)) {
        int error;
        if (must_fail(DISK_CALL_SYNC, &error)) {
                errno = error;
                return -1;
        }
        int r = sync(fd);
        if (r == 0 && is_recorded(fd))
                add_event((struct disk_event){ .kind = DISK_SYNC }, NULL);
        return r;
}

/* Named for the linker, since the headers send both spellings to one. */
EXPORT ssize_t short_pwrite(int, const void *, size_t, off_t) __asm__("pwrite");
EXPORT ssize_t long_pwrite(int, const void *, size_t, off_t) __asm__("pwrite64");
EXPORT ssize_t short_pread(int, void *, size_t, off_t) __asm__("pread");
EXPORT ssize_t long_pread(int, void *, size_t, off_t) __asm__("pread64");
EXPORT ssize_t long_preadv(int, const struct iovec *, int, off_t) __asm__("preadv64");
EXPORT ssize_t long_preadv2(int, const struct iovec *, int, off_t, int) __asm__("preadv64v2");
EXPORT ssize_t any_writev(int, const struct iovec *, int) __asm__("writev");
EXPORT int any_fsync(int) __asm__("fsync");
EXPORT int any_fdatasync(int) __asm__("fdatasync");

ssize_t short_pwrite(int fd, const void *data, size_t bytes, off_t at) {
        return do_pwrite(fd, data, bytes, at);
}
ssize_t long_pwrite(int fd, const void *data, size_t bytes, off_t at) {
        return do_pwrite(fd, data, bytes, at);
}
ssize_t short_pread(int fd, void *data, size_t bytes, off_t at) {
        return do_pread(fd, data, bytes, at);
}
ssize_t long_pread(int fd, void *data, size_t bytes, off_t at) {
        return do_pread(fd, data, bytes, at);
}
ssize_t long_preadv(int fd, const struct iovec *to, int count, off_t at) {
        return do_preadv(fd, to, count, at);
}
ssize_t long_preadv2(int fd, const struct iovec *to, int count, off_t at, int flags) {
        return do_preadv2(fd, to, count, at, flags);
}
ssize_t any_writev(int fd, const struct iovec *from, int count) {
        return do_writev(fd, from, count);
}
int any_fsync(int fd) {
        return do_sync(fd, real.fsync);
}
int any_fdatasync(int fd) {
        return do_sync(fd, real.fdatasync);
}

#if OWN_ALLOCATOR
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

EXPORT void *any_malloc(size_t) __asm__("malloc");
EXPORT void *any_calloc(size_t, size_t) __asm__("calloc");
EXPORT void *any_realloc(void *, size_t) __asm__("realloc");

static bool no_memory(void) {
        int error;
        if (!must_fail(DISK_CALL_ALLOCATE, &error))
                return false;
        errno = ENOMEM;
        return true;
}

void *any_malloc(size_t bytes) {
        return no_memory() ? NULL : __libc_malloc(bytes);
}
void *any_calloc(size_t n, size_t bytes) {
        return no_memory() ? NULL : __libc_calloc(n, bytes);
}
void *any_realloc(void *old, size_t bytes) {
        return no_memory() ? NULL : __libc_realloc(old, bytes);
}
#endif
