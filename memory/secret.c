#include "memory/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

static const char secret_name[] = "secret";
static const char secret_unfinished_name[] = "secret.new";

static int secret_read(int folder_fd, const char *folder, struct page_key *ret, struct error *err) {
        CLEANUP_CLOSE int fd = openat(folder_fd, secret_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return errno == ENOENT ? -ENOENT : error_errno(err, "%s/%s", folder, secret_name);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "%s/%s", folder, secret_name);
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
                return error_set(err, -EPERM, "%s/%s: not a regular file of this user", folder,
                                 secret_name);
        if (st.st_mode & 077)
                return error_set(err, -EPERM, "%s/%s: others may use it (mode %03o, not 600)",
                                 folder, secret_name, (unsigned)(st.st_mode & 0777));
        struct page_key key;
        ssize_t n = pread(fd, key.bytes, sizeof(key.bytes), 0);
        if (n < 0)
                return error_errno(err, "%s/%s", folder, secret_name);
        if (st.st_size != (off_t)sizeof(key.bytes) || n != (ssize_t)sizeof(key.bytes))
                return error_set(err, -EINVAL, "%s/%s: %lld bytes, not %zu", folder, secret_name,
                                 (long long)st.st_size, sizeof(key.bytes));
        *ret = key;
        return 0;
}

/* A crash leaves either no secret or a whole one: the name is given after the bytes are synced. */
static int secret_make(int folder_fd, const char *folder, struct error *err) {
        struct page_key key;
        if (getrandom(key.bytes, sizeof(key.bytes), 0) != (ssize_t)sizeof(key.bytes))
                return error_errno(err, "%s/%s: no random bytes", folder, secret_name);
        if (unlinkat(folder_fd, secret_unfinished_name, 0) < 0 && errno != ENOENT)
                return error_errno(err, "%s/%s", folder, secret_unfinished_name);
        CLEANUP_CLOSE int fd = openat(folder_fd, secret_unfinished_name,
                                      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, "%s/%s", folder, secret_unfinished_name);
        ssize_t n = write(fd, key.bytes, sizeof(key.bytes));
        explicit_bzero(&key, sizeof(key));
        if (n >= 0 && n != (ssize_t)sizeof(key.bytes))
                return error_set(err, -ENOSPC, "%s/%s: cut short while writing", folder,
                                 secret_unfinished_name);
        if (n < 0 || fsync(fd) < 0)
                return error_errno(err, "%s/%s", folder, secret_unfinished_name);
        if (renameat2(folder_fd, secret_unfinished_name, folder_fd, secret_name, RENAME_NOREPLACE) <
                    0 &&
            errno != EEXIST)
                return error_errno(err, "%s/%s", folder, secret_name);
        if (fsync(folder_fd) < 0)
                return error_errno(err, "%s", folder);
        return 0;
}

int secret_open(const char *folder, struct page_key *ret, struct error *err) {
        CLEANUP_CLOSE int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder_fd < 0)
                return error_errno(err, "%s", folder);
        int r = secret_read(folder_fd, folder, ret, err);
        if (r != -ENOENT)
                return r;
        r = secret_make(folder_fd, folder, err);
        if (r < 0)
                return r;
        r = secret_read(folder_fd, folder, ret, err);
        return r == -ENOENT ? error_set(err, -EIO, "%s/%s: vanished", folder, secret_name) : r;
}
