/* The ring's code, included by exactly one file per variant: proto/ring.c (RING_CHECKS 1, the
 * product) and bench/ipc_unchecked.c (RING_CHECKS 0, only to measure what the checks cost).
 * RING_FN(name) gives the symbol.
 *
 * Why no wake-up is lost
 * ----------------------
 * Producer, ring_writer_publish():      Consumer, ring_reader_arm():
 *   P1  head := new       (release)       C1  wake_at := mark
 *   P2  fence             (seq_cst)       C2  fence             (seq_cst)
 *   P3  w := wake_at                      C3  h := head         (acquire)
 *   P4  kick if old <= w < new            C4  sleep if h <= mark
 *
 * Claim: if the consumer sleeps at C4 and some publish makes head > mark, a kick is sent after C1.
 * Take the first publish with new > mark; then old <= mark. The two fences have an order in the
 * single total order of sequentially consistent operations (C11 7.17.3).
 *
 * If P2 comes before C2, C3 reads the value of P1 or a later one, so h >= new > mark, and the
 * consumer does not sleep.
 *
 * If C2 comes before P2, P3 reads the value of C1 or a later one; a later one is only stored after
 * the consumer was awake again. With w = mark, old <= w < new holds, and P4 kicks.
 *
 * Positions are 64 bits and never wrap in the life of a machine, so "first" and "<" mean what they
 * say.
 *
 * The kick itself is not lost either. As a frame it stays in the socket until read, and a full
 * socket means that it is readable, so its reader does not sleep. As FUTEX_WAKE: the kernel
 * compares head with the h of C3 under the lock that the wake also takes; if P1 came first the wait
 * returns at once, else the wake finds the sleeper. (The low 32 bits decide; head cannot advance by
 * 2^32 meanwhile, because the ring is at most 2^24 long and its consumer stands still.)
 *
 * Space works the same with the roles exchanged: tail for head, space_at for wake_at,
 * ring_reader_release() for publish, ring_writer_arm() for arm. Between two releases the consumer
 * may hold back up to an eighth of the ring; it releases before it sleeps, and whenever it finds
 * nothing to read while space_at asks for what it holds back. That last look needs no fence: a
 * consumer that does not sleep looks again.
 *
 * Why no byte is read before it is written: payload and header stores come before P1 (release), and
 * the reader's loads after its acquire load of head. And not overwritten before it is read: the
 * copy comes before the release store of tail, and the writer's stores after its acquire load of
 * tail. */
#include "base/error.h"
#include "proto/ring.h"

#include <errno.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
/* ThreadSanitizer does not model fences. It need not: they order atomics only, see above. */
#pragma GCC diagnostic ignored "-Wtsan"
#endif

/* virtio's rule: did going from `old` to `new` pass `mark`, that is old <= mark < new? Any mark is
 * safe. */
static inline bool ring_passed(uint64_t mark, uint64_t new, uint64_t old) {
        return new - mark - 1 < new - old;
}

static inline uint64_t ring_record_bytes(uint64_t payload_bytes) {
        return (RING_HEADER_BYTES + payload_bytes + RING_ALIGN - 1) & ~(uint64_t)(RING_ALIGN - 1);
}

/* The writer. */

/* Reloads the peer's tail. 0 or -EPROTO. */
static int RING_FN(writer_refresh)(struct ring_writer *writer, struct error *err) {
        uint64_t tail = atomic_load_explicit(writer->peer_tail, memory_order_acquire);
#if RING_CHECKS
        const char *problem = NULL;
        if (tail - writer->tail > writer->published - writer->tail)
                problem = "is outside what was consumed before and what is published";
        else if (tail % RING_ALIGN != 0)
                problem = "is not a multiple of 16";
        if (problem) {
                writer->poisoned = true;
                return error_set(err, -EPROTO, "ring: peer's tail %llu %s (%llu to %llu)",
                                 (unsigned long long)tail, problem,
                                 (unsigned long long)writer->tail,
                                 (unsigned long long)writer->published);
        }
#else
        (void)err;
#endif
        writer->tail = tail;
        return 0;
}

static inline void ring_put_header(uint8_t *at, const struct ring_record *record) {
        memcpy(at, record, sizeof(*record));
}

int RING_FN(writer_reserve)(struct ring_writer *writer, const struct ring_item *item,
                            void **ret_payload, struct error *err) {
#if RING_CHECKS
        if (writer->poisoned)
                return error_set(err, -EPROTO, "ring: closed after an earlier violation");
        if (item->type == 0 || (item->flags & ~(RING_WHOLE | RING_MUST_UNDERSTAND)))
                return error_set(err, -EINVAL, "ring: cannot write type %u with flags %#x",
                                 item->type, item->flags);
        if (item->len > ring_payload_bytes_max(writer->data_bytes))
                return error_set(err, -EMSGSIZE, "ring: record of %u bytes, at most %u fit",
                                 item->len, ring_payload_bytes_max(writer->data_bytes));
#endif
        uint64_t bytes = ring_record_bytes(item->len);
        uint64_t off = writer->pos & (writer->data_bytes - 1);
        uint64_t to_end = writer->data_bytes - off;
        uint64_t pad = bytes > to_end ? to_end : 0;
        uint64_t need = pad + bytes + (item->urgent ? 0 : writer->urgent_bytes);
        if (need > writer->data_bytes - (writer->pos - writer->tail)) {
                int r = RING_FN(writer_refresh)(writer, err);
                if (r < 0)
                        return r;
                if (need > writer->data_bytes - (writer->pos - writer->tail))
                        return -EAGAIN;
        }
        if (pad) {
                struct ring_record filler = {
                        .len = (uint32_t)(pad - RING_HEADER_BYTES),
                        .flags = RING_PAD,
                        .seq = writer->seq++,
                };
                ring_put_header(writer->data + off, &filler);
                writer->pos += pad;
                off = 0;
        }
        struct ring_record record = {
                .len = item->len,
                .type = item->type,
                .flags = item->flags,
                .stream = item->stream,
                .seq = writer->seq++,
        };
        ring_put_header(writer->data + off, &record);
        writer->pos += bytes;
        *ret_payload = writer->data + off + RING_HEADER_BYTES;
        return 0;
}

int RING_FN(writer_write)(struct ring_writer *writer, const struct ring_item *item,
                          const void *payload, struct error *err) {
        void *to;
        int r = RING_FN(writer_reserve)(writer, item, &to, err);
        if (r < 0)
                return r;
        if (item->len)
                memcpy(to, payload, item->len);
        return 0;
}

bool RING_FN(writer_publish)(struct ring_writer *writer) {
        uint64_t old = writer->published;
        uint64_t new = writer->pos;
        if (new == old)
                return false;
        atomic_store_explicit(writer->head, new, memory_order_release);
        writer->published = new;
        atomic_thread_fence(memory_order_seq_cst);
        return ring_passed(atomic_load_explicit(writer->peer_wake_at, memory_order_relaxed), new,
                           old);
}

/* The reader. */

bool RING_FN(reader_release)(struct ring_reader *reader) {
        bool due = reader->kick_due;
        uint64_t old = reader->released;
        uint64_t new = reader->pos;
        reader->kick_due = false;
        if (new == old)
                return due;
        atomic_store_explicit(reader->tail, new, memory_order_release);
        reader->released = new;
        atomic_thread_fence(memory_order_seq_cst);
        return ring_passed(atomic_load_explicit(reader->peer_space_at, memory_order_relaxed), new,
                           old) ||
                due;
}

#if RING_CHECKS
static __attribute__((cold, noinline)) int RING_FN(reader_poison)(struct ring_reader *reader,
                                                                  const char *problem,
                                                                  uint64_t value,
                                                                  struct error *err) {
        reader->poisoned = true;
        return error_set(err, -EPROTO, "ring: record at %llu: %s (%llu)",
                         (unsigned long long)reader->pos, problem, (unsigned long long)value);
}

/* What is wrong with a record that claims `bytes` of ring, or NULL. */
static inline const char *RING_FN(record_problem)(const struct ring_reader *reader,
                                                  const struct ring_record *record, uint64_t bytes,
                                                  uint64_t to_end) {
        if (record->flags & ~RING_FLAGS)
                return "unknown flags";
        if (record->seq != reader->seq)
                return "sequence number is not the expected one";
        if (record->flags & RING_PAD) {
                if (record->flags != RING_PAD || record->type != 0 || record->stream != 0)
                        return "pad with type, stream or other flags";
                if (bytes != to_end || record->len != to_end - RING_HEADER_BYTES)
                        return "pad does not end with the ring";
        } else {
                if (record->type == 0)
                        return "type 0";
                if (record->len > reader->payload_bytes_max)
                        return "length is over the limit";
                if (bytes > to_end)
                        return "length crosses the end of the ring";
        }
        if (bytes > reader->head - reader->pos)
                return "length passes head";
        return NULL;
}
#endif

/* Loads head. 1: there is something; 0: nothing; -EPROTO. */
static inline int RING_FN(reader_refresh)(struct ring_reader *reader, struct error *err) {
        uint64_t head = atomic_load_explicit(reader->peer_head, memory_order_acquire);
        /* While polling, the next record's lines travel together with head's instead of after it: a
         * third off the latency. Only a hint; nothing is loaded. */
        const uint8_t *next = reader->data + (reader->pos & (reader->data_bytes - 1));
        __builtin_prefetch(next);
        __builtin_prefetch(next + 64);
        if (head == reader->pos) {
                /* Somebody waits for what is held back here; see the proof, last look. */
                if (reader->released != reader->pos &&
                    ring_passed(atomic_load_explicit(reader->peer_space_at, memory_order_relaxed),
                                reader->pos, reader->released))
                        reader->kick_due = RING_FN(reader_release)(reader);
                return 0;
        }
#if RING_CHECKS
        if (head - reader->pos > reader->data_bytes)
                return RING_FN(reader_poison)(
                        reader, "head is behind it or more than the ring ahead", head, err);
        if (head % RING_ALIGN != 0)
                return RING_FN(reader_poison)(reader, "head is not a multiple of 16", head, err);
#else
        (void)err;
#endif
        reader->head = head;
        return 1;
}

int RING_FN(reader_next)(struct ring_reader *reader, struct ring_record *ret_record, void *buffer,
                         size_t buffer_bytes, struct error *err) {
#if RING_CHECKS
        if (reader->poisoned)
                return error_set(err, -EPROTO, "ring: closed after an earlier violation");
#endif
        for (;;) {
                if (reader->pos == reader->head) {
                        int r = RING_FN(reader_refresh)(reader, err);
                        if (r <= 0)
                                return r;
                }
                uint64_t off = reader->pos & (reader->data_bytes - 1);
                const uint8_t *at = reader->data + off;
                /* Once, into a local: the peer may change it at any time. */
                const _Atomic uint64_t *words = (const _Atomic uint64_t *)(const void *)at;
                uint64_t local[2] = {
                        atomic_load_explicit(&words[0], memory_order_relaxed),
                        atomic_load_explicit(&words[1], memory_order_relaxed),
                };
                struct ring_record record;
                memcpy(&record, local, sizeof(record));
                uint64_t bytes = ring_record_bytes(record.len);
#if RING_CHECKS
                const char *problem =
                        RING_FN(record_problem)(reader, &record, bytes, reader->data_bytes - off);
                if (problem)
                        return RING_FN(reader_poison)(reader, problem, record.len, err);
#endif
                bool pad = record.flags & RING_PAD;
                if (!pad) {
                        if (record.len > buffer_bytes) {
                                *ret_record = record;
                                return -ENOBUFS;
                        }
                        memcpy(buffer, at + RING_HEADER_BYTES, record.len);
                        /* What is parsed from now on is the copy: no load may be taken from the
                         * ring again. */
                        __asm__ volatile("" ::: "memory");
                        *ret_record = record;
                }
                reader->pos += bytes;
                reader->seq++;
                if (reader->pos - reader->released >= reader->data_bytes / 8)
                        reader->kick_due = RING_FN(reader_release)(reader);
                if (!pad)
                        return 1;
        }
}
