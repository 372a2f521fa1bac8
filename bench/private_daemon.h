/* A daemon of the benchmark's own: its socket, configuration, log and state in one folder.
 *
 * It ends with the benchmark, however that ends. One thread: the one that starts it must outlive
 * it. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct error;
struct seekd_client;

struct private_daemon {
        const char *binary, *model;
        const char *folder; /* state and all else; what is in it is found again by the next */
        unsigned n_threads; /* 0 = one per CPU */
        const char *memory; /* lines of the section [memory] */
        pid_t pid;          /* 0: not running */
        struct seekd_client *client;
};

/* Starts it and connects, and waits until its model answers. 0 or a negative errno; what its log
 * says last is in the message. */
int private_daemon_start(struct private_daemon *daemon, struct error *err);

/* SIGTERM; waits until it is gone. Safe when it does not run. */
void private_daemon_stop(struct private_daemon *daemon);

/* Bytes that it has read from disks so far, as the kernel counts them. */
int private_daemon_read_bytes(const struct private_daemon *daemon, uint64_t *ret,
                              struct error *err);
