/* The listening socket: handed over by systemd, or bound by us. Loop thread. */
#pragma once

#include <stdbool.h>

struct error;

struct listener {
        int fd;         /* SOCK_SEQPACKET, non-blocking, owned; -1 = closed */
        int lock_fd;    /* held while a socket that we bound exists, else -1 */
        bool activated; /* systemd owns the path: never unlinked */
        char path[108]; /* "" when activated */
};

/* Takes the one socket named "seekd" (or the only one) that systemd passed; without any, binds
 * `path` with mode 0660. A socket file left behind by a dead daemon is replaced; one that a living
 * daemon holds is -EADDRINUSE. Its folder is made (0755) when missing. */
int listener_open(const char *path, struct listener *ret, struct error *err);
void listener_close(struct listener *listener); /* unlinks what we bound; also on a closed one */
