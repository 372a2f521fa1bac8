#include "base/error.h"
#include "base/fd.h"
#include "proto/region.h"
#include "proto/slots.h"
#include "tests/proto/region_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void sizes_are_powers_of_two_within_limits(void **state) {
        (void)state;
        const struct {
                uint64_t wanted, bytes;
        } cases[] = {
                { 1, 64 << 10 },        { 64 << 10, 64 << 10 },       { (64 << 10) + 1, 128 << 10 },
                { 16 << 20, 16 << 20 }, { (16 << 20) + 1, 16 << 20 }, { UINT64_MAX, 16 << 20 },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_int_equal(region_data_bytes(REGION_D, cases[i].wanted), cases[i].bytes);
        assert_int_equal(region_data_bytes(REGION_D, 0), 256 << 10);
        assert_int_equal(region_data_bytes(REGION_C, 0), 64 << 10);

        struct region region;
        struct error err;
        int fd;
        const uint64_t illegal[] = { 0, 32 << 10, 100000, 32 << 20 };
        for (size_t i = 0; i < sizeof(illegal) / sizeof(illegal[0]); i++) {
                struct region_options options = { .side = REGION_C, .data_bytes = illegal[i] };
                assert_int_equal(region_create(&options, &region, &fd, &err), -EINVAL);
        }
}

static void what_the_writer_stores_the_reader_sees(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 128 << 10, 64 << 10);
        forge_word(&pair.d, pair.d.head_off, 4711);
        assert_int_equal(atomic_load(region_word(&pair.d_client, pair.d_client.head_off)), 4711);
        forge_word(&pair.c_client, pair.c_client.tail_off, 815);
        assert_int_equal(atomic_load(region_word(&pair.c, pair.c.tail_off)), 815);
        assert_int_equal(pair.d_client.session_id, 7);
        assert_int_equal(pair.d_client.data_bytes, 128 << 10);

        assert_int_equal(region_state_load(&pair.d_client), REGION_OPEN);
        region_state_store(&pair.d, REGION_DRAIN);
        assert_int_equal(region_state_load(&pair.d_client), REGION_DRAIN);
        region_state_store(&pair.d, (enum region_state)99);
        assert_int_equal(region_state_load(&pair.d_client), REGION_CLOSED);
        region_pair_deinit(&pair);
}

static void a_client_cannot_change_region_d(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        size_t bytes = pair.d.bytes;
        assert_int_equal(ftruncate(pair.fd_d, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(pair.fd_d, (off_t)bytes + 4096), -1);
        assert_int_equal(errno, EPERM);
        assert_ptr_equal(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, pair.fd_d, 0),
                         MAP_FAILED);
        assert_int_equal(errno, EPERM);
        assert_int_equal(mprotect(pair.d_client.map, bytes, PROT_READ | PROT_WRITE), -1);
        assert_int_equal(errno, EACCES);
        assert_int_equal(pwrite(pair.fd_d, "x", 1, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(
                fallocate(pair.fd_d, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)bytes),
                -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fd_seal(pair.fd_d, F_SEAL_WRITE), -EPERM);
        /* Nor by opening it anew. */
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", pair.fd_d);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
                assert_ptr_equal(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
                                 MAP_FAILED);
                close(fd);
        }
        /* The daemon still can. */
        forge_word(&pair.d, pair.d.head_off, 16);
        region_pair_deinit(&pair);
}

static void a_client_cannot_make_region_c_fault(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        assert_int_equal(ftruncate(pair.fd_c, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fd_seal(pair.fd_c, F_SEAL_WRITE), -EPERM);
        /* The daemon keeps its own copy of the layout, and a hole reads as zeros. */
        memset(pair.c_client.map, 0xff, 4096);
        assert_int_equal(madvise(pair.c_client.map, pair.c_client.bytes, MADV_REMOVE), 0);
        uint64_t sum = 0;
        for (size_t i = 0; i < pair.c.bytes; i++)
                sum += pair.c.map[i];
        assert_int_equal(sum, 0);
        assert_int_equal(pair.c.data_bytes, 64 << 10);
        region_pair_deinit(&pair);
}

/* A region made by hand: `header` in a file of `bytes` with `seals`. */
static int forge_region(const struct region_header *header, uint64_t bytes, unsigned seals) {
        int fd = fd_memory("forged", bytes);
        assert_true(fd >= 0);
        size_t n = bytes < sizeof(*header) ? (size_t)bytes : sizeof(*header);
        assert_int_equal(pwrite(fd, header, n, 0), (ssize_t)n);
        assert_int_equal(fd_seal(fd, seals), 0);
        return fd;
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_FUTURE_WRITE)

static struct region_header good_header(void) {
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        struct region_header header;
        memcpy(&header, pair.d.map, sizeof(header));
        region_pair_deinit(&pair);
        return header;
}

static void expect_attach(const struct region_header *header, uint64_t bytes, unsigned seals,
                          int result, const char *words) {
        int fd = forge_region(header, bytes, seals);
        struct region region = { 0 };
        struct error err = { 0 };
        int r = region_attach(fd, REGION_D, &region, &err);
        if (r != result || (r < 0 && !strstr(err.text, words)))
                print_error("wanted \"%s\", got %d \"%s\"\n", words, r, err.text);
        assert_int_equal(r, result);
        if (r < 0)
                assert_non_null(strstr(err.text, words));
        region_deinit(&region);
        close(fd);
}

static void attach_wants_all_seals(void **state) {
        (void)state;
        struct region_header header = good_header();
        uint64_t bytes = header.data_off + header.data_bytes;
        expect_attach(&header, bytes, ALL_SEALS, 0, "");
        const unsigned each[] = { F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_FUTURE_WRITE };
        for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
                expect_attach(&header, bytes, ALL_SEALS & ~each[i], -EPROTO, "seals");

        struct region region;
        struct error err;
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        assert_int_equal(region_attach(pipes[0], REGION_D, &region, &err), -EPROTO);
        close(pipes[0]);
        close(pipes[1]);
}

static void attach_wants_a_consistent_header(void **state) {
        (void)state;
        const struct region_header good = good_header();
        uint64_t bytes = good.data_off + good.data_bytes;
        struct region_header h;
#define BAD(field, value, words)                                                                   \
        do {                                                                                       \
                h = good;                                                                          \
                h.field = value;                                                                   \
                expect_attach(&h, bytes, ALL_SEALS, -EPROTO, words);                               \
        } while (0)
        BAD(magic, 1, "magic");
        BAD(abi_major, 2, "layout version");
        BAD(header_bytes, sizeof(h) - 1, "header of");
        BAD(side, REGION_C, "says it is region");
        BAD(slots_off, good.slots_off + 8, "slots offset");
        BAD(slots_off, UINT32_MAX - 127, "slots offset");
        BAD(head_off, 0, "shared word");
        BAD(head_off, 130, "shared word");
        BAD(head_off, good.slots_off, "shared word");
        BAD(state_off, UINT32_MAX - 127, "shared word");
        BAD(tail_off, good.head_off, "equal");
        BAD(n_slots, 0, "number of slots");
        BAD(n_slots, 1025, "number of slots");
        BAD(n_slots, 33, "offset of the ring data");
        BAD(slot_bytes, 64, "size of a slot");
        BAD(data_bytes, good.data_bytes - 1, "size of the ring data");
        BAD(data_bytes, good.data_bytes / 2, "size of the ring data");
        BAD(data_bytes, good.data_bytes * 2, "file has");
        BAD(data_off, good.data_off + 8, "offset of the ring data");
        BAD(data_off, good.data_off + 128, "file has");
        BAD(data_off, UINT64_MAX - 127, "offset of the ring data");
        BAD(reserved[4], 1, "reserved");
#undef BAD
        expect_attach(&good, bytes - 1, ALL_SEALS, -EPROTO, "file has");
        expect_attach(&good, bytes + 4096, ALL_SEALS, -EPROTO, "file has");
        expect_attach(&good, sizeof(good) - 1, ALL_SEALS, -EPROTO, "no header");
        expect_attach(&good, 0, ALL_SEALS, -EPROTO, "no header");
        /* A later minor may have a longer header. */
        h = good;
        h.abi_minor = 1;
        h.header_bytes = 128;
        expect_attach(&h, bytes, ALL_SEALS, 0, "");
}

static void a_slot_belongs_to_the_request_it_names(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        struct slot_progress progress = {
                .request_id = 77,
                .phase = SLOT_DECODE,
                .tokens_done = 5,
                .tokens_total = 100,
                .tokens_cached = 64,
                .queue_place = 1,
                .estimate_ms = 1500,
                .heartbeat_ns = 99,
        };
        struct slot_progress got;
        assert_int_equal(slot_load(&pair.d_client, 31, 0, &got), -ENOENT);
        slot_store(&pair.d, 31, &progress);
        assert_int_equal(slot_load(&pair.d_client, 31, 77, &got), 0);
        assert_memory_equal(&got, &progress, sizeof(got));
        assert_int_equal(slot_load(&pair.d_client, 31, 0, &got), 0);
        assert_int_equal(slot_load(&pair.d_client, 31, 78, &got), -ENOENT);
        assert_int_equal(slot_load(&pair.d_client, 30, 77, &got), -ENOENT);
        assert_int_equal(slot_load(&pair.d_client, 32, 77, &got), -ENOENT);
        assert_int_equal(slot_find(&pair.d_client, 77), 31);
        assert_int_equal(slot_find(&pair.d_client, 78), -ENOENT);
        assert_int_equal(slot_find(&pair.d_client, 0), -ENOENT);
        /* A writer that died in the middle does not hang a reader. */
        atomic_store(&slot_shared(&pair.d, 31)->sequence, 3);
        assert_int_equal(slot_load(&pair.d_client, 31, 77, &got), -EAGAIN);
        region_pair_deinit(&pair);
}

static void cancel_names_a_request(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        assert_false(slot_cancelled(&pair.c, 3, 77));
        slot_cancel(&pair.c_client, 3, 77);
        assert_true(slot_cancelled(&pair.c, 3, 77));
        assert_false(slot_cancelled(&pair.c, 3, 78));
        assert_false(slot_cancelled(&pair.c, 2, 77));
        region_pair_deinit(&pair);
}

#define SLOT_ROUNDS 200000u

static void *slot_writer(void *p) {
        const struct region *d = p;
        for (uint32_t n = 1; n <= SLOT_ROUNDS; n++) {
                struct slot_progress progress = {
                        .request_id = n,
                        .phase = n,
                        .tokens_done = n,
                        .tokens_total = n,
                        .tokens_cached = n,
                        .queue_place = n,
                        .estimate_ms = n,
                        .heartbeat_ns = n,
                };
                slot_store(d, 0, &progress);
        }
        return NULL;
}

static void slots_are_never_torn(void **state) {
        (void)state;
        struct region_pair pair;
        region_pair_init(&pair, 64 << 10, 64 << 10);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, slot_writer, &pair.d), 0);
        uint64_t last = 0;
        while (last < SLOT_ROUNDS) {
                struct slot_progress got;
                if (slot_load(&pair.d_client, 0, 0, &got) < 0)
                        continue;
                uint64_t n = got.request_id;
                assert_true(n >= last);
                assert_true(got.phase == n && got.tokens_done == n && got.tokens_total == n &&
                            got.tokens_cached == n && got.queue_place == n &&
                            got.estimate_ms == n && got.heartbeat_ns == n);
                last = n;
        }
        pthread_join(thread, NULL);
        region_pair_deinit(&pair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_are_powers_of_two_within_limits),
                cmocka_unit_test(what_the_writer_stores_the_reader_sees),
                cmocka_unit_test(a_client_cannot_change_region_d),
                cmocka_unit_test(a_client_cannot_make_region_c_fault),
                cmocka_unit_test(attach_wants_all_seals),
                cmocka_unit_test(attach_wants_a_consistent_header),
                cmocka_unit_test(a_slot_belongs_to_the_request_it_names),
                cmocka_unit_test(cancel_names_a_request),
                cmocka_unit_test(slots_are_never_torn),
        };
        return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
