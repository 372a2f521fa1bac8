/* LMDB's map: it grows when a commit does not fit, and where the address space has no room for
 * that, nothing more is stored and nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/memory/store_fixture.h"

/* Sessions count against no budget, so that they fill the map: 64 MiB beside that of the values. */
#define SESSION_TOKENS (1U << 20)
#define SESSIONS       20

static struct fixture f;
static struct chain chain;
static uint32_t *ids;
static size_t mmap_bytes_max = SIZE_MAX;

/* In place of the C library's, for LMDB as well. Named for the linker, since the headers send both
 * spellings to one. */
#define EXPORT __attribute__((visibility("default")))
EXPORT void *short_mmap(void *, size_t, int, int, int, off_t) __asm__("mmap");
EXPORT void *long_mmap(void *, size_t, int, int, int, off_t) __asm__("mmap64");

static void *do_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
        if (bytes > mmap_bytes_max && fd >= 0) {
                errno = ENOMEM;
                return MAP_FAILED;
        }
        return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

void *short_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
        return do_mmap(at, bytes, protection, flags, fd, offset);
}
void *long_mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
        return do_mmap(at, bytes, protection, flags, fd, offset);
}

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        f.config.bytes_max = 1 << 20;
        fixture_open(&f);
        chain_make(&chain, &f.key, 1000, 1);
        ids = malloc(SESSION_TOKENS * sizeof(*ids));
        for (uint32_t i = 0; i < SESSION_TOKENS; i++)
                ids[i] = i;
        assert_int_equal(chain_put(&f, &chain, 0, 8, NULL, NULL), 0);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        mmap_bytes_max = SIZE_MAX;
        fixture_deinit(&f);
        free(ids);
        return 0;
}

/* How many of the sessions are stored. */
static unsigned put_sessions(void) {
        struct outcomes outcomes = { 0 };
        for (uint64_t id = 1; id <= SESSIONS; id++) {
                struct kv_session session = { .id = id, .owner = 1000, .n_tokens = SESSION_TOKENS };
                if (kv_store_put_session(f.store, &session, ids, count_outcome, &outcomes) < 0)
                        break;
                kv_store_sync(f.store);
        }
        return outcomes.n_good;
}

static void check_sessions(unsigned n) {
        uint32_t *back = malloc(SESSION_TOKENS * sizeof(*back));
        for (uint64_t id = 1; id <= n; id++) {
                assert_int_equal(kv_store_read_session(f.store, id, back, SESSION_TOKENS), 0);
                assert_memory_equal(back, ids, SESSION_TOKENS * sizeof(*back));
        }
        free(back);
        assert_int_equal(chain_read(&f, &chain, 0, 8), 8);
}

static void it_grows(void **state) {
        (void)state;
        assert_int_equal(put_sessions(), SESSIONS);
        assert_int_equal(f.events[KV_EVENT_FULL], 0);
        check_sessions(SESSIONS);
}

static void where_it_cannot_grow_reading_goes_on(void **state) {
        (void)state;
        mmap_bytes_max = 70 << 20; /* as it is at first, and no more */
        unsigned n = put_sessions();
        assert_in_range(n, 1, SESSIONS - 1);
        assert_int_equal(f.events[KV_EVENT_FULL], 1);
        check_sessions(n);

        fixture_close(&f);
        mmap_bytes_max = SIZE_MAX;
        fixture_open(&f);
        check_sessions(n);
        assert_int_equal(put_sessions(), SESSIONS);
        check_sessions(SESSIONS);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(it_grows, setup, teardown),
                cmocka_unit_test_setup_teardown(where_it_cannot_grow_reading_goes_on, setup,
                                                teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
