/* Stands between the program (LMDB included) and the kernel: records what is written to one file
 * and when it was synced, and lets chosen calls fail. Linking it is enough; it does nothing until
 * told. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -- recording -----------------------------------------------------------------------------------
 */

enum disk_event_kind {
        DISK_WRITE,         /* durable from the next DISK_SYNC on */
        DISK_WRITE_THROUGH, /* durable on return (O_DSYNC) */
        DISK_SYNC,
        DISK_MARK, /* the test's own */
};

struct disk_event {
        enum disk_event_kind kind;
        uint64_t at;
        size_t bytes;
        uint8_t *data;
        uint64_t mark;
};

void disk_record(const char *path); /* the file need not exist yet; NULL = stop */
void disk_mark(uint64_t mark);
const struct disk_event *disk_events(size_t *ret_n);
void disk_forget(void);

/* -- failing -------------------------------------------------------------------------------------
 */

enum disk_call { DISK_CALL_WRITE, DISK_CALL_SYNC, DISK_CALL_READ, DISK_CALL_ALLOCATE, DISK_CALLS };

/* The nth call of this kind from here on fails (n = 1: the next), and when `lasting` all after it.
 * Writes with error 0 are cut in half instead. n = 0: none fails. */
void disk_fail(enum disk_call call, uint64_t n, int error, bool lasting);
bool disk_failed(void); /* whether it came to that since disk_fail() */

/* False under sanitizers, which have an allocator of their own. */
bool disk_fails_allocations(void);
