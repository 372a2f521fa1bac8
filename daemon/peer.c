#include "daemon/peer.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

static int read_credentials(int socket, struct ucred *ret) {
        socklen_t n = sizeof(*ret);
        return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, ret, &n) < 0 ? -errno : 0;
}

/* Before Linux 6.5 the pid may have been reused between connect and pidfd_open(). A socket that has
 * not hung up after the pidfd was opened still belongs to a living process, which then is the one
 * we opened. */
static int open_by_pid(int socket, pid_t pid) {
        CLEANUP_CLOSE int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd < 0)
                return -errno;
        struct pollfd poll_fd = { .fd = socket, .events = POLLRDHUP };
        if (poll(&poll_fd, 1, 0) < 0)
                return -errno;
        if (poll_fd.revents & (POLLHUP | POLLRDHUP | POLLERR))
                return -ESRCH;
        return TAKE_FD(fd);
}

static int open_pidfd(int socket, pid_t pid) {
        int fd = -1;
        socklen_t n = sizeof(fd);
        if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &n) == 0)
                return fd;
        if (errno != ENOPROTOOPT)
                return -errno;
        return open_by_pid(socket, pid);
}

int peer_open(int socket, struct peer *ret, struct error *err) {
        struct ucred cred;
        int r = read_credentials(socket, &cred);
        if (r < 0)
                return error_set(err, r, "cannot tell who connected");
        if (cred.uid == UID_NOBODY)
                return error_set(err, -EPERM,
                                 "uid %d (nobody) is refused: unmapped users would share it",
                                 UID_NOBODY);
        int fd = open_pidfd(socket, cred.pid);
        if (fd < 0)
                return error_set(err, fd, "process %d is gone", (int)cred.pid);
        *ret = (struct peer){ cred.uid, cred.gid, cred.pid, fd };
        return 0;
}

void peer_close(struct peer *peer) {
        if (peer->pidfd >= 0)
                close(peer->pidfd);
        peer->pidfd = -1;
}
