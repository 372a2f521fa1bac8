/* A shared region: memory that exactly one of the two sides writes.
 *
 * A connection has two. Region D is written by the daemon and read by the client; region C is
 * written by the client and read by the daemon. Both are created by the daemon as memfds and passed
 * with the welcome. Each holds a ring of records to the other side, the writer's four shared words,
 * and 32 slots (D: request progress, C: cancel words).
 *
 *   offset   content (little-endian)
 *   0        struct region_header, written by the daemon before the descriptor is passed
 *   128      u64 head      bytes ever produced into this region's ring
 *   256      u64 tail      bytes ever consumed from the other region's ring
 *   384      u64 wake_at   "kick me when your head passes this"
 *   512      u64 space_at  "kick me when your tail passes this"
 *   640      u32 state     enum region_state of the writer
 *   4096     32 slots of 128 bytes (proto/slots.h)
 *   8192     ring data, a power of two of bytes
 *
 * Each word sits alone in 128 bytes: two cache lines, because processors fetch lines in pairs.
 * These offsets are what this version creates; the reader of a region takes them from the header,
 * once, validates them, and keeps its copy.
 *
 * Why nobody can hurt the other: D is sealed SHRINK|GROW|FUTURE_WRITE|SEAL after the daemon mapped
 * it writable, so no map, mprotect, pwrite or hole punch by the client can change it. C is sealed
 * SHRINK|GROW|SEAL, so that it can not be truncated under the daemon's read-only map (no SIGBUS).
 * Both maps are excluded from core dumps.
 *
 * Threads: creation and release by one thread; the words are atomics, see proto/ring.h for who may
 * touch which. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

#define REGION_MAGIC     0x676572646b656573ULL /* "seekdreg" read as little-endian */
#define REGION_ABI_MAJOR 1 /* other majors cannot talk; see proto/handshake.h for minors */
#define REGION_ABI_MINOR 0

#define REGION_WORD_BYTES 128u  /* distance between shared words: a pair of cache lines */
#define REGION_SLOTS_OFF  4096u /* one page for header and words */
#define REGION_N_SLOTS    32u   /* concurrent requests a connection can show and cancel */
#define REGION_SLOT_BYTES 128u
#define REGION_DATA_OFF   (REGION_SLOTS_OFF + REGION_N_SLOTS * REGION_SLOT_BYTES)

/* Ring data. At least 64 KiB: a quarter of it (the largest record) still holds a typical prompt. At
 * most 16 MiB: rings are unswappable in practice and charged to the connection's owner. Tokens flow
 * D to the reader, so it gets the larger default: 256 KiB is about 3000 token records, half a
 * minute of decoding. */
#define REGION_DATA_BYTES_MIN (64u << 10)
#define REGION_DATA_BYTES_MAX (16u << 20)
#define REGION_D_DATA_BYTES   (256u << 10)
#define REGION_C_DATA_BYTES   (64u << 10)

enum region_side {
        REGION_D = 'D', /* written by the daemon */
        REGION_C = 'C', /* written by the client */
};

enum region_state {
        REGION_OPEN = 0,
        REGION_DRAIN = 1,  /* the writer takes no new requests, but finishes those it has */
        REGION_CLOSED = 2, /* the writer is gone; nothing more will come */
};

struct region_header {
        uint64_t magic;
        uint16_t abi_major;
        uint16_t abi_minor;
        uint32_t header_bytes; /* sizeof(struct region_header) of the creator; later minors may
                                  append */
        uint64_t data_off;
        uint64_t data_bytes;
        uint64_t session_id;
        uint64_t generation; /* of the regions of this session: 1, then +1 each time they are
                                replaced */
        uint64_t caps;       /* negotiated capability bits */
        uint32_t side;       /* enum region_side */
        uint32_t slots_off;
        uint32_t n_slots;
        uint32_t slot_bytes;
        uint32_t head_off;
        uint32_t tail_off;
        uint32_t wake_at_off;
        uint32_t space_at_off;
        uint32_t state_off;
        uint32_t reserved[5]; /* zero */
};
_Static_assert(sizeof(struct region_header) == 112, "the region header is a wire format");

/* One mapped region. Every field is private memory, validated; nothing here is read from the map
 * again. */
struct region {
        uint8_t *map; /* PROT_READ|PROT_WRITE in the writer, PROT_READ in the reader */
        size_t bytes;
        enum region_side side;
        uint64_t data_off;
        uint64_t data_bytes; /* power of two */
        uint64_t session_id;
        uint64_t generation;
        uint64_t caps;
        uint32_t slots_off;
        uint32_t n_slots;
        uint32_t head_off;
        uint32_t tail_off;
        uint32_t wake_at_off;
        uint32_t space_at_off;
        uint32_t state_off;
};

/* What the daemon decides when it creates a region. */
struct region_options {
        enum region_side side;
        uint64_t data_bytes; /* from region_data_bytes() */
        uint64_t session_id;
        uint64_t generation;
        uint64_t caps;
};

/* The ring size for a wish in bytes: 0 gives the side's default; else the next power of two within
 * the limits. */
uint64_t region_data_bytes(enum region_side side, uint64_t wanted_bytes);

/* Daemon: creates, fills the header, maps (D writable, C read-only) and seals a region. On success
 * `ret` owns the map and `*ret_fd` the descriptor to pass to the client. 0, -EINVAL (data_bytes not
 * a legal size), or the kernel's refusal with a message. */
int region_create(const struct region_options *options, struct region *ret, int *ret_fd,
                  struct error *err);

/* Client: validates seals, size and header of a received descriptor and maps it (D read-only, C
 * writable). The caller keeps the descriptor and may close it afterwards. 0, -EPROTO naming what is
 * wrong, or -errno. */
int region_attach(int fd, enum region_side side, struct region *ret, struct error *err);

/* Unmaps; NULL-safe, also on a zeroed struct; leaves it zeroed. */
void region_deinit(struct region *region);

/* The word at an offset kept in `region`. Storing through it is only legal for the region's writer.
 */
static inline _Atomic uint64_t *region_word(const struct region *region, uint32_t off) {
        return (_Atomic uint64_t *)(void *)(region->map + off);
}

/* The writer's state. Store: its writer only. Load: anyone; an unknown value reads as
 * REGION_CLOSED. */
void region_state_store(const struct region *region, enum region_state state);
enum region_state region_state_load(const struct region *region);
