/* A ring of records from one side of a connection to the other.
 *
 * The ring's bytes lie in the producer's region. The producer owns head and space_at (its region),
 * the consumer owns tail and wake_at (its own region), and each only ever reads the other's. Both
 * keep their position in private memory and store copies for the peer; nothing that a peer can
 * change is ever read back as one's own.
 *
 *   struct ring_record   0        4      6       8        12      16
 *                        | len u32 | type | flags | stream  | seq   | payload, padded to 16 bytes
 *
 * Positions are bytes since the start, 64 bits, never wrapped. Records start at multiples of 16 and
 * do not cross the end of the ring: a record with flag PAD fills what is left. `len` counts payload
 * bytes only. `seq` counts the records of this ring, PAD included, from 0, modulo 2^32.
 *
 * A message larger than one record is cut: its first record has FIRST, its last LAST, a whole
 * message both. Records of one message carry the same stream and type; messages of different
 * streams may interleave, at most RING_OPEN_MESSAGES_MAX at a time. Each stream finishes one
 * message before it starts the next.
 *
 * The peer is hostile. What the reader and writer check, in order (proto/README.md has the numbered
 * list):
 *   head: not behind what was read, at most a ring ahead of it, a multiple of 16;
 *   record: no unknown flag, seq is the expected one, length within the limit, within head and
 *           within the ring's end;
 *   PAD: fills exactly to the end, type and stream 0, no other flag;
 *   tail: not behind the last one seen, not past what was published, a multiple of 16.
 *
 * The header is loaded once, with two 64-bit loads, into a local. The payload is copied into the
 * caller's private memory before anyone parses it. wake_at and space_at may hold anything: the
 * worst is a useless or a missing kick, and the sufferer is who wrote it. A violation gives -EPROTO
 * and a message that names it, now and on every later call: the connection is poisoned and must be
 * closed.
 *
 * Waking: whoever sleeps publishes the position at which it wants a kick (wake_at for records,
 * space_at for space) and looks once more; whoever moves a position kicks only when it crossed that
 * mark. The functions return whether a kick is due; sending it is the caller's business
 * (proto/channel.h does). Proof in proto/ring_impl.h.
 *
 * Threads: a ring_writer belongs to one thread at a time, a ring_reader likewise. The writer and
 * the reader of one connection are independent and may be used by two threads at once. */
#pragma once

#include "proto/region.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define RING_ALIGN        16u
#define RING_HEADER_BYTES 16u

/* Kept free by ordinary writes to region D, so that a stream can always be ended: room for the END
 * or ERROR records (under 128 bytes each) of all 32 slots. */
#define RING_URGENT_BYTES 4096u

/* Messages that may be half-sent at one time on one ring, each in its own stream: bounds the
 * receiver's buffers. */
#define RING_OPEN_MESSAGES_MAX 8u

enum ring_flag {
        RING_FIRST = 1u << 0, /* first record of a message */
        RING_LAST = 1u << 1,  /* last record of a message */
        RING_PAD = 1u << 2,   /* filler to the end of the ring; set by the ring itself */
        RING_MUST_UNDERSTAND =
                1u << 3, /* a receiver that does not know the type must close, not skip */
};
#define RING_WHOLE (RING_FIRST | RING_LAST)
#define RING_FLAGS (RING_FIRST | RING_LAST | RING_PAD | RING_MUST_UNDERSTAND)

struct ring_record {
        uint32_t len;    /* payload bytes */
        uint16_t type;   /* proto/message.h; 0 is PAD's */
        uint16_t flags;  /* enum ring_flag */
        uint32_t stream; /* the request it belongs to; 0: the connection */
        uint32_t seq;
};
_Static_assert(sizeof(struct ring_record) == RING_HEADER_BYTES,
               "the record header is a wire format");

/* Most payload bytes of one record: a quarter of the ring with its header, so that pad and record
 * always fit an empty ring. */
static inline uint32_t ring_payload_bytes_max(uint64_t data_bytes) {
        return (uint32_t)(data_bytes / 4 - RING_HEADER_BYTES);
}

struct ring_writer {
        uint8_t *data;
        uint64_t data_bytes;
        _Atomic uint64_t *head;            /* own region */
        _Atomic uint64_t *space_at;        /* own region */
        const _Atomic uint64_t *peer_tail; /* peer's region */
        const _Atomic uint64_t *peer_wake_at;
        uint64_t pos;          /* end of what is written, published or not */
        uint64_t published;    /* what head says */
        uint64_t tail;         /* last validated peer tail */
        uint64_t urgent_bytes; /* kept free by ordinary writes */
        uint32_t seq;
        bool poisoned;
};

struct ring_reader {
        const uint8_t *data;
        uint64_t data_bytes;
        _Atomic uint64_t *tail;            /* own region */
        _Atomic uint64_t *wake_at;         /* own region */
        const _Atomic uint64_t *peer_head; /* peer's region */
        const _Atomic uint64_t *peer_space_at;
        uint64_t pos;      /* next record */
        uint64_t head;     /* last validated peer head */
        uint64_t released; /* what tail says */
        uint32_t payload_bytes_max;
        uint32_t seq;
        uint32_t asleep_at; /* low half of the head that ring_reader_arm() saw */
        bool kick_due;      /* a release inside ring_reader_next() crossed the peer's space_at */
        bool poisoned;
};

/* `own` is the region this side writes, `peer` the other; both must stay mapped while the ring is
 * used. Positions start at 0: only for fresh regions. `urgent_bytes`: RING_URGENT_BYTES for the
 * daemon, 0 for the client. */
void ring_writer_init(struct ring_writer *writer, const struct region *own,
                      const struct region *peer, uint64_t urgent_bytes);
void ring_reader_init(struct ring_reader *reader, const struct region *own,
                      const struct region *peer);

/* What a record to be written looks like. */
struct ring_item {
        uint16_t type;  /* not 0 */
        uint16_t flags; /* RING_FIRST, RING_LAST, RING_MUST_UNDERSTAND */
        uint32_t stream;
        uint32_t len;
        bool urgent; /* may use the space kept free (END, ERROR) */
};

/* Reserves a record and writes its header; the caller fills the payload before
 * ring_writer_publish(). Nothing is visible to the peer until then. 0; -EAGAIN: no room now;
 * -EMSGSIZE: longer than ring_payload_bytes_max(); -EINVAL: type 0 or unknown flags; -EPROTO: the
 * peer's tail is a lie. */
int ring_writer_reserve(struct ring_writer *writer, const struct ring_item *item,
                        void **ret_payload, struct error *err);

/* ring_writer_reserve() and a copy of `payload` (item->len bytes). */
int ring_writer_write(struct ring_writer *writer, const struct ring_item *item, const void *payload,
                      struct error *err);

/* Shows the peer everything written so far; one call may publish many records. True: a kick is due.
 */
bool ring_writer_publish(struct ring_writer *writer);

/* A message on its way out, of any length; zero the struct, then fill in the first group. */
struct ring_outgoing {
        struct ring_item item; /* flags: only RING_MUST_UNDERSTAND matters; len is ignored */
        const uint8_t *bytes;
        size_t n_bytes;
        size_t n_sent; /* progress, owned by ring_writer_send() */
};

/* Writes as many records of the message as fit. 0: all written; -EAGAIN: call again when there is
 * space (what fitted is written, see n_sent; publish it); other errors as ring_writer_reserve().
 * Pieces of an unfinished message are at least 1 KiB, so that a nearly full ring is not filled with
 * headers. */
int ring_writer_send(struct ring_writer *writer, struct ring_outgoing *message, struct error *err);

/* Before waiting for room: asks for a kick as soon as `bytes` of payload (clamped to half the ring)
 * would fit, and looks once more. Publish first. True: it does not fit yet, a kick will come.
 * False: try again now; or the peer's tail is a lie, which the next write reports. */
bool ring_writer_arm(struct ring_writer *writer, uint32_t bytes);

/* Copies the next record's payload to `buffer` and its header to `ret_record`. PADs are skipped. 1:
 * a record; 0: none; -ENOBUFS: `buffer_bytes` is less than the record's len, which is in
 * `ret_record` (nothing is consumed); -EPROTO: a violation. A buffer of ring_payload_bytes_max()
 * always suffices. */
int ring_reader_next(struct ring_reader *reader, struct ring_record *ret_record, void *buffer,
                     size_t buffer_bytes, struct error *err);

/* Tells the writer what has been consumed (ring_reader_next() does it by itself every eighth of the
 * ring). True: a kick is due, from this or an earlier release. */
bool ring_reader_release(struct ring_reader *reader);

/* Before sleeping: releases, asks for a kick once more than `ahead_bytes` are waiting (0: at the
 * next record; more gathers several), and looks once more. True: sleep, a kick will come. False:
 * there is something to read now, or the peer's head is a lie, which ring_reader_next() reports.
 * `*ret_kick` as ring_reader_release(). */
bool ring_reader_arm(struct ring_reader *reader, uint64_t ahead_bytes, bool *ret_kick);

/* Waits, with FUTEX_WAIT, until the peer's head differs from what ring_reader_arm() saw, or
 * `timeout_ms` passes, or a signal comes. Works on the read-only map. Only when FUTEX is
 * negotiated; a hang-up of the socket does not end it, so wake up now and then to look. */
void ring_reader_futex_wait(const struct ring_reader *reader, int timeout_ms);

/* FUTEX_WAKE on the own head: the number of sleepers woken (0 or 1). Never blocks. */
int ring_writer_futex_wake(const struct ring_writer *writer);

/* Puts fragments together: the memory is private, at most `bytes_max` in all, at most
 * RING_OPEN_MESSAGES_MAX messages at a time. One thread at a time. */
struct ring_assembly_part {
        uint32_t stream;
        uint16_t type;
        uint16_t flags;
        bool open;
        uint8_t *bytes;
        size_t n_bytes;
        size_t capacity;
};

struct ring_assembly {
        struct ring_assembly_part parts[RING_OPEN_MESSAGES_MAX];
        size_t n_bytes;   /* held by all open parts */
        size_t bytes_max; /* of one message and of all together */
        uint8_t *done;    /* the last message handed out, freed by the next call */
};

void ring_assembly_init(struct ring_assembly *assembly, size_t bytes_max);
void ring_assembly_deinit(struct ring_assembly *assembly); /* NULL-safe, also on a zeroed struct */

/* Adds one record with its payload. 1: `*ret_bytes` is a whole message of `*ret_n_bytes` (whole
 * records: the payload itself; else memory valid until the next call), `record->flags` of the first
 * record in `*ret_flags`; 0: more must come; -EPROTO: the fragment does not continue what is open,
 * or a limit is passed; -ENOMEM. */
int ring_assembly_add(struct ring_assembly *assembly, const struct ring_record *record,
                      const void *payload, const uint8_t **ret_bytes, size_t *ret_n_bytes,
                      uint16_t *ret_flags, struct error *err);
