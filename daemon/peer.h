/* Who is at the other end of a socket, as the kernel knows it. Nothing that the peer sends counts.
 */
#pragma once

#include <sys/types.h>

struct error;

/* What containers and user namespaces show for every uid that they do not map: strangers would
 * share an identity. */
#define UID_NOBODY 65534

struct peer {
        uid_t uid;
        gid_t gid;
        pid_t pid;
        int pidfd; /* owned; readable when the process has ended */
};

/* Credentials and pidfd of a connected socket. -EPERM for uid 65534, -ESRCH when the process is
 * already gone. */
int peer_open(int socket, struct peer *ret, struct error *err);
void peer_close(struct peer *peer); /* also on a peer closed before */
