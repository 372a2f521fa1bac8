/* Request slots: progress that a client reads with plain loads, and cancellation it requests with a
 * store.
 *
 * Slot i of region D (written by the daemon) tells how the request in it is doing; cancel word i of
 * region C (written by the client) holds the id of the request to cancel, or 0. An id and not a
 * flag, because slots are reused: a cancel that arrives late names a request that is no longer
 * there and does nothing.
 *
 *   slot     0             8           12      16     20      24       28
 *            | request_id  | sequence  | phase | done | total | cached | queue place |
 *            32            36          40             48
 *            | estimate ms | zero u32  | heartbeat ns | zero to 128
 *   cancel   0             8
 *            | request_id  | zero to 128
 *
 * Reading: `sequence` is odd while the daemon writes. A reader takes all words, then checks that
 * sequence was even and did not change, and that the id is the one it asked about; it tries a
 * bounded number of times, so that a daemon that died in the middle cannot hang it. Every word is
 * loaded and stored atomically (relaxed), fences order them against `sequence`.
 *
 * Threads: one writer per slot at a time (the daemon hands a slot from its loop thread to its
 * engine thread through a queue, which orders the two); any number of readers. */
#pragma once

#include "proto/region.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum slot_phase {
        SLOT_FREE = 0,      /* request_id is 0 */
        SLOT_QUEUED = 1,    /* queue_place counts down */
        SLOT_PREFILL = 2,   /* tokens_done of tokens_total prompt tokens are computed, or as much of
                               more of them */
        SLOT_DECODE = 3,    /* tokens_done of at most tokens_total are generated */
        SLOT_PAUSED = 4,    /* the client does not read: the ring is full */
        SLOT_DONE = 5,      /* the final record is in the ring */
        SLOT_CANCELLED = 6, /* stopped as asked; the final record is in the ring */
        SLOT_FAILED = 7,    /* the error record is in the ring */
        SLOT_WORKING = 8,   /* no generation: tokens_done of tokens_total MiB are done */
};

/* The slot's content as a reader gets it, and as the daemon gives it. */
struct slot_progress {
        uint64_t request_id; /* 0: free */
        uint32_t phase;      /* enum slot_phase; a reader must expect values it does not know */
        uint32_t tokens_done;
        uint32_t tokens_total;
        uint32_t tokens_cached; /* prompt tokens that did not have to be computed */
        uint32_t queue_place;  /* 1: goes next; 0: runs, or has no place yet (tokens are made of its
                                  text, the model loads) */
        uint32_t estimate_ms;  /* UINT32_MAX: unknown. Milliseconds until it starts (QUEUED), until
                                  its first token (PREFILL), until tokens_total (DECODE) */
        uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the last update: how old this is */
};

#define SLOT_ESTIMATE_UNKNOWN UINT32_MAX

/* The slot as it lies in region D. */
struct slot_shared {
        _Atomic uint64_t request_id;
        _Atomic uint32_t sequence;
        _Atomic uint32_t phase;
        _Atomic uint32_t tokens_done;
        _Atomic uint32_t tokens_total;
        _Atomic uint32_t tokens_cached;
        _Atomic uint32_t queue_place;
        _Atomic uint32_t estimate_ms;
        uint32_t reserved0;
        _Atomic uint64_t heartbeat_ns;
        uint64_t reserved[10];
};
_Static_assert(sizeof(struct slot_shared) == REGION_SLOT_BYTES, "the slot is a wire format");

static inline struct slot_shared *slot_shared(const struct region *region_d, uint32_t slot) {
        return (struct slot_shared *)(void *)(region_d->map + region_d->slots_off +
                                              (size_t)slot * REGION_SLOT_BYTES);
}

static inline _Atomic uint64_t *slot_cancel_word(const struct region *region_c, uint32_t slot) {
        return region_word(region_c, region_c->slots_off + slot * REGION_SLOT_BYTES);
}

#if defined(__GNUC__) && !defined(__clang__)
/* ThreadSanitizer does not model fences. It need not: they order atomics only. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* Daemon: replaces the slot's content. `slot` < n_slots. */
static inline void slot_store(const struct region *region_d, uint32_t slot,
                              const struct slot_progress *progress) {
        struct slot_shared *shared = slot_shared(region_d, slot);
        uint32_t sequence = atomic_load_explicit(&shared->sequence, memory_order_relaxed);
        atomic_store_explicit(&shared->sequence, sequence | 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_release); /* odd is seen before any new word */
        atomic_store_explicit(&shared->request_id, progress->request_id, memory_order_relaxed);
        atomic_store_explicit(&shared->phase, progress->phase, memory_order_relaxed);
        atomic_store_explicit(&shared->tokens_done, progress->tokens_done, memory_order_relaxed);
        atomic_store_explicit(&shared->tokens_total, progress->tokens_total, memory_order_relaxed);
        atomic_store_explicit(&shared->tokens_cached, progress->tokens_cached,
                              memory_order_relaxed);
        atomic_store_explicit(&shared->queue_place, progress->queue_place, memory_order_relaxed);
        atomic_store_explicit(&shared->estimate_ms, progress->estimate_ms, memory_order_relaxed);
        atomic_store_explicit(&shared->heartbeat_ns, progress->heartbeat_ns, memory_order_relaxed);
        /* Even is seen after all new words. */
        atomic_store_explicit(&shared->sequence, (sequence | 1) + 1, memory_order_release);
}

/* Anyone: a consistent copy of the slot. 0, -ENOENT (out of range, free, or another request's;
 * request_id 0 takes any occupied slot) or -EAGAIN (being written each of 64 times: try later). */
static inline int slot_load(const struct region *region_d, uint32_t slot, uint64_t request_id,
                            struct slot_progress *ret) {
        if (slot >= region_d->n_slots)
                return -ENOENT;
        struct slot_shared *shared = slot_shared(region_d, slot);
        for (int attempt = 0; attempt < 64; attempt++) {
                uint32_t before = atomic_load_explicit(&shared->sequence, memory_order_acquire);
                struct slot_progress p = {
                        .request_id =
                                atomic_load_explicit(&shared->request_id, memory_order_relaxed),
                        .phase = atomic_load_explicit(&shared->phase, memory_order_relaxed),
                        .tokens_done =
                                atomic_load_explicit(&shared->tokens_done, memory_order_relaxed),
                        .tokens_total =
                                atomic_load_explicit(&shared->tokens_total, memory_order_relaxed),
                        .tokens_cached =
                                atomic_load_explicit(&shared->tokens_cached, memory_order_relaxed),
                        .queue_place =
                                atomic_load_explicit(&shared->queue_place, memory_order_relaxed),
                        .estimate_ms =
                                atomic_load_explicit(&shared->estimate_ms, memory_order_relaxed),
                        .heartbeat_ns =
                                atomic_load_explicit(&shared->heartbeat_ns, memory_order_relaxed),
                };
                atomic_thread_fence(memory_order_acquire);
                if ((before & 1) ||
                    before != atomic_load_explicit(&shared->sequence, memory_order_relaxed))
                        continue;
                if (p.request_id == 0 || (request_id != 0 && p.request_id != request_id))
                        return -ENOENT;
                *ret = p;
                return 0;
        }
        return -EAGAIN;
}

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

/* Anyone: the slot that shows this request, or -ENOENT. */
static inline int slot_find(const struct region *region_d, uint64_t request_id) {
        for (uint32_t slot = 0; slot < region_d->n_slots; slot++) {
                struct slot_progress progress;
                if (request_id != 0 && slot_load(region_d, slot, request_id, &progress) == 0)
                        return (int)slot;
        }
        return -ENOENT;
}

/* Client: asks the daemon to stop the request, seen before its next chunk of work. `slot` <
 * n_slots. */
static inline void slot_cancel(const struct region *region_c, uint32_t slot, uint64_t request_id) {
        atomic_store_explicit(slot_cancel_word(region_c, slot), request_id, memory_order_release);
}

/* Daemon: whether the request that it put into this slot is to be cancelled. Any value in the word
 * is harmless. */
static inline bool slot_cancelled(const struct region *region_c, uint32_t slot,
                                  uint64_t request_id) {
        return atomic_load_explicit(slot_cancel_word(region_c, slot), memory_order_acquire) ==
                request_id;
}
