#include "proto/region.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the protocol is little-endian and its words are used in place");
_Static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4,
               "shared words are plain words");

/* Each seal is needed: SHRINK keeps the reader from SIGBUS, GROW keeps the size what was validated,
 * SEAL keeps the set of seals. FUTURE_WRITE makes D read-only for everyone but the map that existed
 * before. */
#define SEALS_C (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define SEALS_D (SEALS_C | F_SEAL_FUTURE_WRITE)

static bool data_bytes_legal(uint64_t bytes) {
        return bytes >= REGION_DATA_BYTES_MIN && bytes <= REGION_DATA_BYTES_MAX &&
                (bytes & (bytes - 1)) == 0;
}

uint64_t region_data_bytes(enum region_side side, uint64_t wanted_bytes) {
        if (wanted_bytes == 0)
                return side == REGION_D ? REGION_D_DATA_BYTES : REGION_C_DATA_BYTES;
        uint64_t bytes = REGION_DATA_BYTES_MIN;
        while (bytes < wanted_bytes && bytes < REGION_DATA_BYTES_MAX)
                bytes *= 2;
        return bytes;
}

static struct region_header header_make(const struct region_options *options) {
        return (struct region_header){
                .magic = REGION_MAGIC,
                .abi_major = REGION_ABI_MAJOR,
                .abi_minor = REGION_ABI_MINOR,
                .header_bytes = sizeof(struct region_header),
                .data_off = REGION_DATA_OFF,
                .data_bytes = options->data_bytes,
                .session_id = options->session_id,
                .generation = options->generation,
                .caps = options->caps,
                .side = options->side,
                .slots_off = REGION_SLOTS_OFF,
                .n_slots = REGION_N_SLOTS,
                .slot_bytes = REGION_SLOT_BYTES,
                .head_off = 1 * REGION_WORD_BYTES,
                .tail_off = 2 * REGION_WORD_BYTES,
                .wake_at_off = 3 * REGION_WORD_BYTES,
                .space_at_off = 4 * REGION_WORD_BYTES,
                .state_off = 5 * REGION_WORD_BYTES,
        };
}

/* Takes over a header that is known to be good. */
static struct region region_from_header(const struct region_header *header) {
        return (struct region){
                .bytes = (size_t)(header->data_off + header->data_bytes),
                .side = (enum region_side)header->side,
                .data_off = header->data_off,
                .data_bytes = header->data_bytes,
                .session_id = header->session_id,
                .generation = header->generation,
                .caps = header->caps,
                .slots_off = header->slots_off,
                .n_slots = header->n_slots,
                .head_off = header->head_off,
                .tail_off = header->tail_off,
                .wake_at_off = header->wake_at_off,
                .space_at_off = header->space_at_off,
                .state_off = header->state_off,
        };
}

static int region_map(struct region *region, int fd, bool writable, struct error *err) {
        int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
        void *map = mmap(NULL, region->bytes, protection, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED)
                return error_errno(err, "region %c: map %zu bytes", (char)region->side,
                                   region->bytes);
        /* Prompts and answers pass through here; they do not belong in a core dump. */
        if (madvise(map, region->bytes, MADV_DONTDUMP) < 0) {
                int r = error_errno(err, "region %c: exclude from core dumps", (char)region->side);
                munmap(map, region->bytes);
                return r;
        }
        region->map = map;
        return 0;
}

int region_create(const struct region_options *options, struct region *ret, int *ret_fd,
                  struct error *err) {
        char side = (char)options->side;
        if (!data_bytes_legal(options->data_bytes))
                return error_set(err, -EINVAL,
                                 "region %c: %llu bytes of ring data is not a legal size", side,
                                 (unsigned long long)options->data_bytes);
        struct region_header header = header_make(options);
        struct region region = region_from_header(&header);

        CLEANUP_CLOSE int fd =
                fd_memory(side == REGION_D ? "seekd-ring-d" : "seekd-ring-c", region.bytes);
        if (fd < 0)
                return error_set(err, fd, "region %c: create %zu bytes: %s", side, region.bytes,
                                 strerror(-fd));
        /* Through the descriptor, because the daemon never maps C writable. */
        ssize_t n = pwrite(fd, &header, sizeof(header), 0);
        if (n < 0)
                return error_errno(err, "region %c: write the header", side);
        if (n != (ssize_t)sizeof(header))
                return error_set(err, -EIO, "region %c: write the header: short write", side);
        int r = region_map(&region, fd, side == REGION_D, err);
        if (r < 0)
                return r;
        r = fd_seal(fd, side == REGION_D ? SEALS_D : SEALS_C);
        if (r < 0) {
                region_deinit(&region);
                return error_set(err, r, "region %c: seal: %s", side, strerror(-r));
        }
        *ret = region;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* A shared word lies between the header and the slots, alone in its 128 bytes. */
static bool word_off_legal(const struct region_header *header, uint32_t off) {
        return off >= REGION_WORD_BYTES && off % REGION_WORD_BYTES == 0 &&
                (uint64_t)off + REGION_WORD_BYTES <= header->slots_off;
}

static const char *header_layout_problem(const struct region_header *header) {
        if (header->slots_off > REGION_DATA_BYTES_MAX || header->slots_off % REGION_WORD_BYTES != 0)
                return "slots offset";
        const uint32_t words[] = { header->head_off, header->tail_off, header->wake_at_off,
                                   header->space_at_off, header->state_off };
        size_t n_words = sizeof(words) / sizeof(words[0]);
        for (size_t i = 0; i < n_words; i++) {
                if (!word_off_legal(header, words[i]))
                        return "offset of a shared word";
                for (size_t k = 0; k < i; k++)
                        if (words[k] == words[i])
                                return "offsets of two shared words are equal";
        }
        if (header->n_slots < 1 || header->n_slots > 1024)
                return "number of slots";
        if (header->slot_bytes != REGION_SLOT_BYTES)
                return "size of a slot";
        if (!data_bytes_legal(header->data_bytes))
                return "size of the ring data";
        if (header->data_off % REGION_WORD_BYTES != 0 || header->data_off > REGION_DATA_BYTES_MAX ||
            header->data_off < header->slots_off + (uint64_t)header->n_slots * REGION_SLOT_BYTES)
                return "offset of the ring data";
        for (size_t i = 0; i < sizeof(header->reserved) / sizeof(header->reserved[0]); i++)
                if (header->reserved[i] != 0)
                        return "reserved field";
        return NULL;
}

static int header_check(const struct region_header *header, enum region_side side,
                        uint64_t file_bytes, struct error *err) {
        if (header->magic != REGION_MAGIC)
                return error_set(err, -EPROTO, "region %c: magic is %#llx, not a region",
                                 (char)side, (unsigned long long)header->magic);
        if (header->abi_major != REGION_ABI_MAJOR)
                return error_set(err, -EPROTO, "region %c: layout version %u, this side knows %d",
                                 (char)side, header->abi_major, REGION_ABI_MAJOR);
        if (header->header_bytes < sizeof(*header))
                return error_set(err, -EPROTO, "region %c: header of %u bytes, at least %zu needed",
                                 (char)side, header->header_bytes, sizeof(*header));
        if (header->side != (uint32_t)side)
                return error_set(err, -EPROTO, "region %c: header says it is region %#x",
                                 (char)side, header->side);
        const char *problem = header_layout_problem(header);
        if (problem)
                return error_set(err, -EPROTO, "region %c: header: bad %s", (char)side, problem);
        if (header->data_off + header->data_bytes != file_bytes)
                return error_set(err, -EPROTO, "region %c: file has %llu bytes, header says %llu",
                                 (char)side, (unsigned long long)file_bytes,
                                 (unsigned long long)(header->data_off + header->data_bytes));
        return 0;
}

int region_attach(int fd, enum region_side side, struct region *ret, struct error *err) {
        int wanted = side == REGION_D ? SEALS_D : SEALS_C;
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0)
                return error_set(err, -EPROTO, "region %c: not a sealable memory file", (char)side);
        if ((seals & wanted) != wanted)
                return error_set(err, -EPROTO, "region %c: seals %#x, at least %#x needed",
                                 (char)side, (unsigned)seals, (unsigned)wanted);
        struct stat st;
        if (fstat(fd, &st) < 0)
                return error_errno(err, "region %c: stat", (char)side);
        struct region_header header;
        ssize_t n = pread(fd, &header, sizeof(header), 0);
        if (n < 0)
                return error_errno(err, "region %c: read the header", (char)side);
        if (n != (ssize_t)sizeof(header))
                return error_set(err, -EPROTO, "region %c: file of %lld bytes has no header",
                                 (char)side, (long long)st.st_size);
        int r = header_check(&header, side, (uint64_t)st.st_size, err);
        if (r < 0)
                return r;
        struct region region = region_from_header(&header);
        r = region_map(&region, fd, side == REGION_C, err);
        if (r < 0)
                return r;
        *ret = region;
        return 0;
}

void region_deinit(struct region *region) {
        if (!region || !region->map)
                return;
        munmap(region->map, region->bytes);
        *region = (struct region){ 0 };
}

static _Atomic uint32_t *state_word(const struct region *region) {
        return (_Atomic uint32_t *)(void *)(region->map + region->state_off);
}

void region_state_store(const struct region *region, enum region_state state) {
        atomic_store_explicit(state_word(region), (uint32_t)state, memory_order_release);
}

enum region_state region_state_load(const struct region *region) {
        uint32_t state = atomic_load_explicit(state_word(region), memory_order_acquire);
        return state <= REGION_CLOSED ? (enum region_state)state : REGION_CLOSED;
}
