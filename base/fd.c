#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

int fd_memory(const char *name, uint64_t bytes) {
        unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
        CLEANUP_CLOSE int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
        if (fd < 0 && errno == EINVAL) /* a kernel before 6.3 */
                fd = memfd_create(name, flags);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)bytes) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int fd_seal(int fd, unsigned seals) {
        return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int file_map_open(const char *path, struct file_map *ret, struct error *err) {
        /* O_NONBLOCK: opening a pipe would wait for its other end; it is refused below. */
        CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return error_errno(err, "%s", path);

        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "%s", path);
        if (!S_ISREG(st.st_mode))
                return error_set(err, -EINVAL, "%s: not a regular file", path);

        struct file_map map = { NULL, (size_t)st.st_size };
        if (map.bytes > 0) {
                void *p = mmap(NULL, map.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
                if (p == MAP_FAILED)
                        return error_errno(err, "%s: mmap of %zu bytes", path, map.bytes);
                map.data = p;
        }
        *ret = map;
        return 0;
}

void file_map_close(struct file_map *map) {
        if (!map)
                return;
        if (map->data)
                munmap((void *)(uintptr_t)map->data, map->bytes);
        *map = (struct file_map){ NULL, 0 };
}
