/* The disk tier of the KV cache: one LMDB file that outlives the process, kill -9 and power loss.
 *
 * Stored are *extents* (1, 2, 4 or 8 consecutive KV pages of one chain), *frontiers* (the state
 * needed to go on at one position) and *sessions* (a list of token ids and who owns it). An extent
 * or frontier is a *value*: opaque bytes, written once, never changed, named by a number that is
 * never used again. A session changes: it is put again as it is now.
 *
 * Writing is asynchronous: put functions copy into a bounded queue, one thread commits it in order,
 * so that what is on disk is at any time what some prefix of the calls gave (but calls that
 * reported failure). A value can be read once its completion was called with 0. Reading is
 * synchronous, in the caller's thread, by pread outside of LMDB, and verified: identity, token ids,
 * checksums. What fails verification is quarantined with everything that hangs on it: from then on
 * a miss.
 *
 * Nothing here is trusted because it is on disk. See memory/README.md.
 *
 * Threads: any, but for open and close. Callbacks run on the store's writer thread or, for reports
 * about a read, on the reader's; they must not call back into the store, nor block. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory/page_id.h"

struct error;
struct kv_store;

#define KV_EXTENT_PAGES_MAX 8

/* Sizes a store may be opened with. Pages: V3.2's are 6.2 MB, the largest of the supported
 * families; frontiers: 15.4 MB (V4-Flash at an arbitrary position). */
#define KV_PAGE_BYTES_MAX     (8U << 20)
#define KV_FRONTIER_BYTES_MAX (32U << 20)

enum kv_event {
        KV_EVENT_DAMAGED_STORE, /* the file could not be trusted; moved aside, started empty */
        KV_EVENT_DAMAGED_VALUE, /* a value or index entry failed verification; now a miss */
        KV_EVENT_FULL,          /* disk or map full: nothing is stored until space appears */
        KV_EVENT_FAILED,        /* writing failed in another way; reading goes on */
        KV_EVENT_RECOVERED,     /* storing again after FULL or FAILED */
        KV_EVENT_OTHER_MODEL,   /* the file was of another fingerprint; put aside, see open */
        KV_EVENT_SPENT,         /* write_bytes_per_day are written; once a day */
        KV_EVENT_SHARE,         /* a uid has reached owner_bytes_max; once for each since open */
};

struct kv_store_config {
        const char *folder;           /* state folder, exists; the store is kv.mdb in it */
        const struct page_key *key;   /* copied */
        struct page_id fingerprint;   /* of page_format_fingerprint() */
        uint32_t page_bytes;          /* of each KV page */
        uint32_t frontier_bytes_max;  /* every stored frontier takes this size on disk */
        uint64_t bytes_max;           /* disk budget, values alone */
        uint64_t owner_bytes_max;     /* of one uid; 0 = bytes_max */
        uint64_t write_bytes_per_day; /* spares the disk; 0 = no limit */
        size_t queue_bytes_max;       /* memory for what waits to be written; 0 = 64 MiB */
        void (*report)(void *context, enum kv_event event, const char *text); /* NULL = silent */
        void *context;
};

/* Opens the store, making it when missing, and rebuilds the index in memory.
 *   -EBUSY            another process has it open
 *   -EPROTONOSUPPORT  written in a newer format than this program knows
 *   -ESTALE           written for other sizes of pages or frontiers
 *   -ENOSPC, -EACCES, -EROFS, ...  the file system says so
 * A file that cannot be trusted is no error: it is renamed to kv.mdb.damaged (one is kept),
 * KV_EVENT_DAMAGED_STORE is reported and an empty store is made. So is one that was written for
 * another fingerprint: it is renamed to kv.mdb.other-FINGERPRINT (one is kept) and used again by
 * the next open for that; KV_EVENT_OTHER_MODEL is reported. */
int kv_store_open(const struct kv_store_config *config, struct kv_store **ret, struct error *err);

/* Commits what is queued, then closes. NULL-safe. Pins must have been returned. */
void kv_store_close(struct kv_store *store);

/* -- writing -------------------------------------------------------------------------------------
 */

/* Called once for each accepted call: 0 = on disk (or was there already); -ENOSPC disk or map full;
 * -ENOENT the parent is not stored; -EIO and others: not stored. */
typedef void kv_done(void *context, int status);

struct kv_extent {
        uint32_t owner;                        /* uid */
        uint32_t position;                     /* of its first token; a multiple of PAGE_TOKENS */
        uint32_t n_pages;                      /* 1, 2, 4 or 8 */
        struct page_id parent;                 /* page before it, or root when position is 0 */
        const uint32_t *tokens;                /* [n_pages][PAGE_TOKENS] */
        const void *page[KV_EXTENT_PAGES_MAX]; /* page_bytes each */
};

struct kv_frontier {
        uint32_t owner;
        uint32_t position;    /* tokens before it */
        struct page_id chain; /* last full page before it, or root */
        const uint32_t *tail; /* position % PAGE_TOKENS ids after that page */
        const void *data;
        uint32_t bytes; /* at most frontier_bytes_max */
};

#define KV_SUBJECT_BYTES      256 /* with its NUL */
#define KV_SESSION_NAME_BYTES 256

/* Far beyond any context; bounds what a damaged count can ask for. */
#define KV_SESSION_TOKENS_MAX (1U << 24)

/* 600 bytes of memory each, 38 MiB: hundreds for each of a hundred users. */
#define KV_SESSIONS_MAX 65536

struct kv_session {
        uint64_t id; /* not 0 */
        uint32_t owner;
        uint32_t flags;     /* the caller's: pinned, ... */
        uint64_t created_s; /* seconds since 1970 */
        uint64_t used_s;
        uint64_t n_tokens; /* at most KV_SESSION_TOKENS_MAX */
        uint64_t tied_to;  /* the caller's: a session that it ends with; 0 = none */
        char subject[KV_SUBJECT_BYTES];
        uint32_t n_name; /* at most KV_SESSION_NAME_BYTES; 0 = has none */
        uint8_t name[KV_SESSION_NAME_BYTES];
};

/* All copy what they are given. `done` may be NULL. 0 = accepted. Refused at once:
 *   -EAGAIN  the queue is full: try again later    -EDQUOT  the disk budget, the owner's share or
 * the day's bytes are used up                        -EINVAL  against the rules above -ENOSPC  too
 * many sessions, or storing is suspended (full disk) Putting pages that are stored already does
 * nothing; a larger extent replaces the smaller ones that it covers. */
int kv_store_put_extent(struct kv_store *store, const struct kv_extent *extent, kv_done *done,
                        void *context);
int kv_store_put_frontier(struct kv_store *store, const struct kv_frontier *frontier, kv_done *done,
                          void *context);
/* A session as it is now, in place of what was put before: its record and ids [n_tokens], of which
 * only those are written that are not on disk already. */
int kv_store_put_session(struct kv_store *store, const struct kv_session *session,
                         const uint32_t *ids, kv_done *done, void *context);

/* Asks for a commit now (the end of a turn); otherwise within a quarter of a second or at 8 MiB. */
void kv_store_flush(struct kv_store *store);

/* Flushes and waits until all that was accepted before is decided. */
void kv_store_sync(struct kv_store *store);

/* -- reading -------------------------------------------------------------------------------------
 */

enum kv_kind { KV_EXTENT = 1, KV_FRONTIER = 2 };

struct kv_entry {
        uint64_t value; /* number of the value that holds it; grows with time of writing */
        enum kv_kind kind;
        uint32_t owner;
        uint32_t position;     /* page: of its first token; frontier: tokens before it */
        uint32_t n_tokens;     /* page: PAGE_TOKENS; frontier: of its tail */
        struct page_id id;     /* of the page or frontier */
        struct page_id parent; /* page before it, or root */
        uint32_t value_bytes;  /* on disk, shared by the value's pages */
};

/* What is known of a page or frontier without reading it. False = a miss. */
bool kv_store_find(struct kv_store *store, const struct page_id *id, struct kv_entry *ret);

/* Calls `visit` for each page and frontier, no order promised but that of a value's pages. Holds
 * the store's lock: `visit` must not call the store. */
void kv_store_each(struct kv_store *store,
                   void (*visit)(void *context, const struct kv_entry *entry), void *context);

struct kv_page_read {
        struct page_id id;
        const uint32_t *tokens; /* [PAGE_TOKENS], compared with the stored ones */
        void *data;             /* page_bytes */
};

/* Pages and a frontier (NULL = none) that are going to be read: the disk begins with all of them at
 * once, instead of with one value after the other. Changes no result, and waits for nothing but the
 * disk's queue. */
void kv_store_expect(struct kv_store *store, const struct kv_page_read *pages, size_t n,
                     const struct page_id *frontier);

/* Reads pages, consecutive ones of a chain in as few system calls as they are stored in. Returns
 * how many of them from the front were read and verified; the contents of the rest are undefined.
 */
size_t kv_store_read_pages(struct kv_store *store, const struct kv_page_read *pages, size_t n);

/* Reads a frontier. -ENOENT = a miss (also when it was damaged), -ENOBUFS = larger than capacity.
 */
int kv_store_read_frontier(struct kv_store *store, const struct page_id *id, const uint32_t *tail,
                           uint32_t n_tail, void *data, size_t capacity, uint32_t *ret_bytes);

/* The token ids of a page (PAGE_TOKENS) or a frontier's tail, verified against its identity. `ret`
 * has room for PAGE_TOKENS; returns their number or -ENOENT. */
int kv_store_read_tokens(struct kv_store *store, const struct page_id *id,
                         uint32_t ret[PAGE_TOKENS]);

/* As of the last commit, like everything that is read. */
bool kv_store_find_session(struct kv_store *store, uint64_t id, struct kv_session *ret);
void kv_store_each_session(struct kv_store *store,
                           void (*visit)(void *context, const struct kv_session *session),
                           void *context);

/* The first n token ids of a session, as of the last commit. -ENOENT = they are not all there, or
 * damaged; -EIO, -ENOMEM. Blocks while the store's map grows. */
int kv_store_read_session(struct kv_store *store, uint64_t id, uint32_t *ids, size_t n);

/* -- keeping and forgetting ----------------------------------------------------------------------
 */

/* A pinned value is not deleted. Returns the value's number, 0 = a miss. Each pin is returned once.
 */
uint64_t kv_store_pin(struct kv_store *store, const struct page_id *id);
void kv_store_unpin(struct kv_store *store, uint64_t value);

/* Forget: from the return on a miss; from disk soon, once no longer pinned. A page takes what hangs
 * on it along (a page without its predecessors is of no use). Unknown names are ignored. */
void kv_store_delete(struct kv_store *store, const uint64_t *values, size_t n);
int kv_store_delete_session(struct kv_store *store, uint64_t id); /* 0 or -ENOMEM */

/* Forgets all that a uid owns: values, queued writes, sessions. `done` (may be NULL) is called when
 * it is gone from the index on disk; unlinked bytes stay in the file until they are reused. */
int kv_store_purge(struct kv_store *store, uint32_t owner, kv_done *done, void *context);

/* Deletes what lies beside the store: a damaged one, that of another fingerprint. They hold what
 * users wanted forgotten as well. */
void kv_store_drop_aside(struct kv_store *store);

/* -- what is going on ----------------------------------------------------------------------------
 */

struct kv_store_statistics {
        uint64_t n_values, n_pages, n_frontiers, n_sessions;
        uint64_t value_bytes, file_bytes, bytes_max, owner_bytes_max;
        uint64_t queued_bytes;
        uint64_t written_bytes, read_bytes;      /* of values, since open */
        uint64_t day_bytes, write_bytes_per_day; /* 0 = no limit */
        uint64_t commits, failed_commits;
        uint64_t quarantined_values; /* since open, found damaged */
        uint64_t dropped_entries;    /* index entries dropped at open */
        uint64_t load_ns;            /* checking the file and rebuilding the index */
        bool moved_aside;            /* open found a damaged file */
        bool other_model;            /* open found a file of another fingerprint */
        bool suspended;              /* not storing: see KV_EVENT_FULL, KV_EVENT_FAILED */
        int suspended_by;            /* then: a negative errno */
};

void kv_store_statistics(struct kv_store *store, struct kv_store_statistics *ret);

/* What one uid has on disk. */
struct kv_owner_statistics {
        uint32_t owner;
        uint64_t n_pages, n_frontiers;
        uint64_t bytes; /* of values, those too that wait to be written */
};

/* Calls `visit` for each uid that has something. Holds the store's lock, for a time that grows with
 * the number of users: `visit` must not call the store. */
void kv_store_each_owner(struct kv_store *store,
                         void (*visit)(void *context, const struct kv_owner_statistics *owner),
                         void *context);
uint64_t kv_store_owner_bytes(struct kv_store *store, uint32_t owner);
