/* What each uid holds and has done wrong. Loop thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct request;
struct session;

struct account {
        uid_t uid;
        unsigned n_connections;                             /* that said hello */
        unsigned n_half_open;                               /* that did not yet */
        unsigned n_requests;                                /* queued or running */
        uint64_t request_bytes;                             /* of those requests' messages */
        unsigned n_preparing;                               /* of them, on pool threads */
        struct request *unprepared_first, *unprepared_last; /* that wait for that, by `next` */
        uint64_t region_bytes;
        unsigned n_sessions;
        uint64_t session_tokens; /* of all its sessions */
        unsigned n_remembered;   /* keys */
        uint64_t remembered_tokens;
        struct session *remembered_latest, *remembered_earliest; /* by time of last use */
        uint64_t n_violations;                                   /* since the daemon started */

        /* Rate limit of log lines about what its clients do wrong. */
        uint64_t logged_at_ns; /* 0 = never */
        uint64_t n_unlogged;

        struct account *next;
};

/* Accounts stay until the table is freed, so that a mark outlives its connection; a host's own
 * users are few, and even all 65,536 ids of a user namespace are 5 MiB. */
#define ACCOUNT_BUCKETS 64

struct account_table {
        struct account *buckets[ACCOUNT_BUCKETS];
};

/* Found or made; NULL when out of memory. Owned by the table. */
struct account *account_get(struct account_table *table, uid_t uid);
void account_table_deinit(struct account_table *table);

/* True: a line about one of its clients may be logged now; *ret_unlogged is then how many were not
 * since the last. */
bool account_may_log(struct account *account, uint64_t now_ns, uint64_t *ret_unlogged);
