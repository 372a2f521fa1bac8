#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

/* A burst of editors and agents at login; the kernel caps it at net.core.somaxconn. */
#define BACKLOG 128

static void free_names(char ***names) {
        for (char **p = *names; p && *p; p++)
                free(*p);
        free(*names);
}

/* -1 in *ret_fd: nothing was passed. */
static int take_activated(int *ret_fd, struct error *err) {
        CLEANUP(free_names) char **names = NULL;
        int n = sd_listen_fds_with_names(1, &names);
        if (n < 0)
                return error_set(err, n,
                                 "socket activation: the passed descriptors cannot be read");
        int fd = -1;
        for (int i = 0; i < n; i++) {
                int candidate = SD_LISTEN_FDS_START + i;
                if (fd < 0 && (n == 1 || strcmp(names[i], "seekd") == 0))
                        fd = candidate;
                else
                        close(candidate);
        }
        if (n > 0 && fd < 0)
                return error_set(err, -EINVAL,
                                 "socket activation: none of %d sockets is named 'seekd'", n);
        if (fd >= 0 && sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
                close(fd);
                return error_set(err, -EINVAL,
                                 "socket activation: the socket must be ListenSequentialPacket=");
        }
        if (fd >= 0 && fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0) {
                error_errno(err, "socket activation");
                close(fd);
                return err ? err->code : -EIO;
        }
        *ret_fd = fd;
        return 0;
}

static int make_folder(const char *socket_path, struct error *err) {
        char folder[108];
        snprintf(folder, sizeof(folder), "%s", socket_path);
        char *slash = strrchr(folder, '/');
        if (!slash || slash == folder)
                return 0;
        *slash = '\0';
        if (mkdir(folder, 0755) < 0 && errno != EEXIST)
                return error_errno(err, "%s", folder);
        return 0;
}

/* The lock, not the socket file, says whether a daemon lives: checking the file and then replacing
 * it would let two starting daemons each unlink the other's socket. */
static int take_lock(const char *socket_path, struct error *err) {
        char path[128];
        snprintf(path, sizeof(path), "%s.lock", socket_path);
        CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
                return error_errno(err, "%s", path);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno == EWOULDBLOCK)
                        return error_set(err, -EADDRINUSE, "%s: another seekd serves it",
                                         socket_path);
                return error_errno(err, "%s", path);
        }
        return TAKE_FD(fd);
}

static int remove_stale(const char *path, struct error *err) {
        struct stat st;
        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : error_errno(err, "%s", path);
        if (!S_ISSOCK(st.st_mode))
                return error_set(err, -EEXIST, "%s: exists and is not a socket", path);
        if (unlink(path) < 0)
                return error_errno(err, "%s", path);
        return 0;
}

static int bind_path(const char *path, struct error *err) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        size_t n = strlen(path);
        if (n == 0 || n >= sizeof(address.sun_path))
                return error_set(err, -EINVAL, "socket path of %zu bytes: 1 to %zu are possible", n,
                                 sizeof(address.sun_path) - 1);
        memcpy(address.sun_path, path, n + 1);

        CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return error_errno(err, "socket");
        /* The file never exists with more rights than it ends up with. No other thread runs yet. */
        mode_t old = umask(0117);
        int r = bind(fd, (const struct sockaddr *)&address, sizeof(address));
        int code = errno;
        umask(old);
        errno = code;
        if (r < 0)
                return error_errno(err, "%s", path);
        if (listen(fd, BACKLOG) < 0)
                return error_errno(err, "%s", path);
        return TAKE_FD(fd);
}

int listener_open(const char *path, struct listener *ret, struct error *err) {
        struct listener listener = { .fd = -1, .lock_fd = -1 };
        int r = take_activated(&listener.fd, err);
        if (r < 0)
                return r;
        if (listener.fd >= 0) {
                listener.activated = true;
                *ret = listener;
                return 0;
        }

        r = make_folder(path, err);
        if (r < 0)
                return r;
        CLEANUP_CLOSE int lock = take_lock(path, err);
        if (lock < 0)
                return lock;
        r = remove_stale(path, err);
        if (r < 0)
                return r;
        listener.fd = bind_path(path, err);
        if (listener.fd < 0)
                return listener.fd;
        listener.lock_fd = TAKE_FD(lock);
        snprintf(listener.path, sizeof(listener.path), "%s", path);
        *ret = listener;
        return 0;
}

void listener_close(struct listener *listener) {
        if (listener->path[0] != '\0')
                unlink(listener->path);
        listener->path[0] = '\0';
        if (listener->fd >= 0)
                close(listener->fd);
        listener->fd = -1;
        if (listener->lock_fd >= 0)
                close(listener->lock_fd); /* the lock file stays: removing it would race with the
                                             next holder */
        listener->lock_fd = -1;
}
