#define RING_CHECKS   1
#define RING_FN(name) ring_##name
#include "proto/ring_impl.h"

#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Smallest piece of a cut message that is worth a record. */
#define PIECE_BYTES_MIN 1024u

void ring_writer_init(struct ring_writer *writer, const struct region *own,
                      const struct region *peer, uint64_t urgent_bytes) {
        *writer = (struct ring_writer){
                .data = own->map + own->data_off,
                .data_bytes = own->data_bytes,
                .head = region_word(own, own->head_off),
                .space_at = region_word(own, own->space_at_off),
                .peer_tail = region_word(peer, peer->tail_off),
                .peer_wake_at = region_word(peer, peer->wake_at_off),
                .urgent_bytes = urgent_bytes,
        };
        /* A mark that is never passed: no kicks for space before ring_writer_arm(). */
        atomic_store_explicit(writer->space_at, UINT64_MAX, memory_order_relaxed);
}

void ring_reader_init(struct ring_reader *reader, const struct region *own,
                      const struct region *peer) {
        *reader = (struct ring_reader){
                .data = peer->map + peer->data_off,
                .data_bytes = peer->data_bytes,
                .tail = region_word(own, own->tail_off),
                .wake_at = region_word(own, own->wake_at_off),
                .peer_head = region_word(peer, peer->head_off),
                .peer_space_at = region_word(peer, peer->space_at_off),
                .payload_bytes_max = ring_payload_bytes_max(peer->data_bytes),
        };
}

int ring_writer_send(struct ring_writer *writer, struct ring_outgoing *message, struct error *err) {
        uint32_t piece_max = ring_payload_bytes_max(writer->data_bytes);
        do {
                size_t left = message->n_bytes - message->n_sent;
                uint32_t piece = left < piece_max ? (uint32_t)left : piece_max;
                int r;
                for (;;) {
                        struct ring_item item = message->item;
                        item.len = piece;
                        item.flags = (uint16_t)(message->item.flags & ~RING_WHOLE);
                        if (message->n_sent == 0)
                                item.flags |= RING_FIRST;
                        if (piece == left)
                                item.flags |= RING_LAST;
                        r = ring_writer_write(writer, &item, message->bytes + message->n_sent, err);
                        if (r != -EAGAIN || left <= piece_max || piece / 2 < PIECE_BYTES_MIN)
                                break;
                        piece /= 2;
                }
                if (r < 0)
                        return r;
                message->n_sent += piece;
        } while (message->n_sent < message->n_bytes);
        return 0;
}

bool ring_writer_arm(struct ring_writer *writer, uint32_t bytes) {
        uint32_t max = ring_payload_bytes_max(writer->data_bytes);
        uint64_t record = ring_record_bytes(bytes < max ? bytes : max);
        uint64_t to_end = writer->data_bytes - (writer->pos & (writer->data_bytes - 1));
        uint64_t need = record + (record > to_end ? to_end : 0) + writer->urgent_bytes;
        if (writer->poisoned || writer->pos + need <= writer->data_bytes)
                return false;
        uint64_t wanted_tail = writer->pos + need - writer->data_bytes;
        atomic_store_explicit(writer->space_at, wanted_tail - 1, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        return ring_writer_refresh(writer, NULL) == 0 && writer->tail < wanted_tail;
}

bool ring_reader_arm(struct ring_reader *reader, uint64_t ahead_bytes, bool *ret_kick) {
        /* ring_reader_release() and the mark share one fence. */
        uint64_t released = reader->released;
        bool kick = reader->kick_due;
        reader->kick_due = false;
        if (reader->pos != released) {
                atomic_store_explicit(reader->tail, reader->pos, memory_order_release);
                reader->released = reader->pos;
        }
        /* Asking to sleep past a full ring would be asking never to wake. */
        uint64_t ahead_max = reader->data_bytes / 8;
        uint64_t mark = reader->pos + (ahead_bytes < ahead_max ? ahead_bytes : ahead_max);
        atomic_store_explicit(reader->wake_at, mark, memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
        if (reader->pos != released &&
            ring_passed(atomic_load_explicit(reader->peer_space_at, memory_order_relaxed),
                        reader->pos, released))
                kick = true;
        *ret_kick = kick;
        uint64_t head = atomic_load_explicit(reader->peer_head, memory_order_acquire);
        if (reader->poisoned || head - reader->pos > mark - reader->pos)
                return false;
        reader->asleep_at = (uint32_t)head;
        return true;
}

static uint32_t *futex_word(const _Atomic uint64_t *head) {
        /* The low half comes first: little-endian, asserted in region.c. */
        return (uint32_t *)(uintptr_t)head;
}

void ring_reader_futex_wait(const struct ring_reader *reader, int timeout_ms) {
        struct timespec timeout = {
                .tv_sec = timeout_ms / 1000,
                .tv_nsec = (long)(timeout_ms % 1000) * 1000000L,
        };
        syscall(SYS_futex, futex_word(reader->peer_head), FUTEX_WAIT, reader->asleep_at, &timeout,
                NULL, 0);
}

int ring_writer_futex_wake(const struct ring_writer *writer) {
        long n = syscall(SYS_futex, futex_word(writer->head), FUTEX_WAKE, 1, NULL, NULL, 0);
        return n > 0 ? (int)n : 0;
}
