#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "proto/handshake.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* WRITE makes the content final, SHRINK and GROW the size. */
#define BULK_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

int bulk_create(const void *bytes, size_t n_bytes, struct error *err) {
        CLEANUP_CLOSE int fd = fd_memory("seekd-bulk", 0);
        if (fd < 0)
                return error_set(err, fd, "bulk payload: create: %s", strerror(-fd));
        const uint8_t *from = bytes;
        for (size_t done = 0; done < n_bytes;) {
                ssize_t n = write(fd, from + done, n_bytes - done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, "bulk payload: write at %zu of %zu", done, n_bytes);
                done += (size_t)n;
        }
        int r = fd_seal(fd, BULK_SEALS);
        if (r < 0)
                return error_set(err, r, "bulk payload: seal: %s", strerror(-r));
        return TAKE_FD(fd);
}

int bulk_read(int fd, uint64_t bytes, uint64_t bytes_max, void *buffer, struct error *err) {
        if (bytes > bytes_max)
                return error_set(err, -EMSGSIZE, "bulk payload: %llu bytes, at most %llu are taken",
                                 (unsigned long long)bytes, (unsigned long long)bytes_max);
        /* Only memory files have seals: this also refuses pipes, devices and files of a file system
         * that could keep a read() waiting. */
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return error_set(err, -EPROTO, "bulk payload: not a sealable memory file");
        if ((seals & BULK_SEALS) != BULK_SEALS)
                return error_set(err, -EPROTO, "bulk payload: seals %#x, at least %#x needed",
                                 (unsigned)seals, (unsigned)BULK_SEALS);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "bulk payload: stat");
        if ((uint64_t)st.st_size != bytes)
                return error_set(err, -EPROTO,
                                 "bulk payload: file has %lld bytes, announced were %llu",
                                 (long long)st.st_size, (unsigned long long)bytes);
        uint8_t *to = buffer;
        for (uint64_t done = 0; done < bytes;) {
                ssize_t n = pread(fd, to + done, (size_t)(bytes - done), (off_t)done);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return error_errno(err, "bulk payload: read at %llu",
                                           (unsigned long long)done);
                if (n == 0)
                        return error_set(err, -EPROTO, "bulk payload: ends at %llu of %llu bytes",
                                         (unsigned long long)done, (unsigned long long)bytes);
                done += (uint64_t)n;
        }
        return 0;
}
