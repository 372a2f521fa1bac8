/* Each write, sync, read and allocation fails once, one after another, or all from some moment on:
 * the store says so or goes on, never crashes, never gives a wrong byte, keeps what was committed,
 * and the next start finds it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "tests/memory/faulty_disk.h"
#include "tests/memory/store_fixture.h"

static struct fixture f;
static struct chain kept, tried;

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        chain_make(&kept, &f.key, 1000, 1);
        chain_make(&tried, &f.key, 1001, 2);
        fixture_open(&f);
        for (uint32_t page = 0; page < 32; page += 8)
                assert_int_equal(chain_put(&f, &kept, page, 8, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, &kept, 3000, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, &kept, 3000, NULL, NULL), 0);
        fixture_close(&f);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        disk_fail(0, 0, 0, false);
        fixture_deinit(&f);
        return 0;
}

/* Uses the store in all ways; nothing is asserted but that bytes are right (by the fixture). */
static void do_everything(void) {
        struct error err = { 0 };
        struct outcomes outcomes = { 0 };
        if (fixture_try_open(&f, &err) < 0) {
                assert_int_not_equal(err.text[0], '\0'); /* says why */
                return;
        }
        unsigned accepted = 0;
        for (uint32_t page = 0; page < 8; page++)
                accepted += chain_put(&f, &tried, page, 1, count_outcome, &outcomes) == 0;
        accepted += chain_put_frontier(&f, &tried, 700, count_outcome, &outcomes) == 0;
        accepted += chain_put_session(&f, &tried, 300, count_outcome, &outcomes) == 0;
        kv_store_sync(f.store);
        accepted += chain_put(&f, &tried, 0, 8, count_outcome, &outcomes) == 0;
        accepted += chain_put_session(&f, &tried, 900, count_outcome, &outcomes) == 0;
        chain_read_session(&f, &kept);
        chain_read_session(&f, &tried);
        chain_read(&f, &kept, 0, 32);
        chain_read_frontier(&f, &kept, 3000);
        uint32_t tokens[PAGE_TOKENS];
        kv_store_read_tokens(f.store, &kept.id[3], tokens);
        struct kv_entry entry;
        if (kv_store_find(f.store, &tried.id[0], &entry))
                kv_store_delete(f.store, &entry.value, 1);
        kv_store_delete_session(f.store, chain_session_id(&tried));
        int purged = kv_store_purge(f.store, 1001, count_outcome, &outcomes);
        kv_store_sync(f.store);
        fixture_close(&f);
        /* Each accepted call has its answer. */
        assert_int_equal(outcomes.n, accepted + (purged == 0));
}

static void assert_all_is_well(bool reads_failed) {
        struct kv_store_statistics s;
        fixture_open(&f);
        kv_store_statistics(f.store, &s);
        assert_false(s.moved_aside);
        assert_int_equal(s.dropped_entries, 0);
        assert_int_equal(chain_read_session(&f, &kept), 3000);
        /* A read error counts as damage: then its value is gone, and may be stored again. */
        if (!reads_failed) {
                assert_int_equal(chain_read(&f, &kept, 0, 32), 32);
                assert_true(chain_read_frontier(&f, &kept, 3000));
        }
        for (uint32_t page = 0; page < 32; page += 8)
                assert_int_equal(chain_put(&f, &kept, page, 8, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, &kept, 3000, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(chain_read(&f, &kept, 0, 32), 32);
        assert_true(chain_read_frontier(&f, &kept, 3000));
        fixture_close(&f);
}

/* Every nth call fails in turn, until a run has no nth call. */
static unsigned fail_each(enum disk_call call, int error, bool lasting, unsigned step) {
        unsigned n = 1, tries = 0;
        for (bool failed = true; failed; n += step, tries++) {
                disk_fail(call, n, error, lasting);
                do_everything();
                failed = disk_failed();
                disk_fail(call, 0, 0, false);
                assert_all_is_well(call == DISK_CALL_READ);
        }
        print_message("%u places failed\n", tries - 1);
        assert_true(tries > 3);
        return tries;
}

static void any_write_may_fail(void **state) {
        (void)state;
        fail_each(DISK_CALL_WRITE, ENOSPC, false, 1);
        fail_each(DISK_CALL_WRITE, EIO, true, 2);
}

static void any_write_may_be_cut_short(void **state) {
        (void)state;
        fail_each(DISK_CALL_WRITE, 0, false, 1);
}

static void any_sync_may_fail(void **state) {
        (void)state;
        fail_each(DISK_CALL_SYNC, EIO, false, 1);
        fail_each(DISK_CALL_SYNC, ENOSPC, true, 1);
}

/* The walk at open trusts no page that it cannot read: the file is moved aside, and the store is
 * empty, never half of it. A sector that fails again when LMDB reads it is a refusal by name, which
 * the next start does not meet: there it fails in the walk. */
static void any_read_at_open_may_fail(void **state) {
        (void)state;
        unsigned tries = 0, refused = 0;
        for (bool failed = true; failed; tries++) {
                struct kv_store_statistics s;
                struct error err = { 0 };
                disk_fail(DISK_CALL_READ, tries + 1, EIO, false);
                int r = fixture_try_open(&f, &err);
                failed = disk_failed();
                disk_fail(DISK_CALL_READ, 0, 0, false);
                if (r < 0) {
                        assert_int_equal(r, -EIO);
                        assert_non_null(strstr(err.text, "kv.mdb: Input/output error"));
                        refused++;
                        fixture_open(&f);
                }
                bool whole = r < 0 || !failed;
                kv_store_statistics(f.store, &s);
                assert_int_equal(s.moved_aside, !whole);
                assert_int_equal(chain_read(&f, &kept, 0, 32), whole ? 32 : 0);
                assert_int_equal(chain_put_session(&f, &kept, 3000, NULL, NULL), 0);
                fixture_close(&f);
                assert_all_is_well(true);
        }
        print_message("%u places failed\n", tries - 1);
        assert_true(tries > 5);
        assert_in_range(refused, 1, 3);
}

static void any_read_of_a_value_may_fail(void **state) {
        (void)state;
        for (uint64_t n = 1; n <= 6; n++) {
                fixture_open(&f);
                unsigned before = f.events[KV_EVENT_DAMAGED_VALUE];
                disk_fail(DISK_CALL_READ, n, EIO, false);
                size_t good = chain_read(&f, &kept, 0, 32) + chain_read_frontier(&f, &kept, 3000);
                bool failed = disk_failed();
                disk_fail(DISK_CALL_READ, 0, 0, false);
                assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], before + failed);
                assert_true(failed ? good < 33 : good == 33);
                fixture_close(&f);
                assert_all_is_well(true);
        }
}

static void any_allocation_may_fail(void **state) {
        (void)state;
        if (!disk_fails_allocations())
                skip();
        fail_each(DISK_CALL_ALLOCATE, 0, false, 1);
}

static void a_full_disk_is_named_and_forgiven(void **state) {
        (void)state;
        struct outcomes outcomes = { 0 };
        struct kv_store_statistics s;
        fixture_open(&f);
        disk_fail(DISK_CALL_WRITE, 1, ENOSPC, true);
        for (uint32_t page = 0; page < 16; page += 8)
                assert_int_equal(chain_put(&f, &tried, page, 8, count_outcome, &outcomes), 0);
        kv_store_sync(f.store);
        assert_int_equal(outcomes.n, 2);
        assert_int_equal(outcomes.last, -ENOSPC);
        assert_int_equal(f.events[KV_EVENT_FULL], 1);
        assert_non_null(strstr(f.last_text, "kv.mdb: no space; nothing is stored"));
        kv_store_statistics(f.store, &s);
        assert_true(s.suspended);
        assert_int_equal(s.value_bytes, 4 * 16368 + 8176);
        assert_int_equal(chain_put(&f, &tried, 0, 8, NULL, NULL), -ENOSPC);
        assert_int_equal(chain_read(&f, &kept, 0, 32), 32); /* goes on serving */
        kv_store_sync(f.store);
        assert_int_equal(f.events[KV_EVENT_FULL], 1); /* said once */

        disk_fail(DISK_CALL_WRITE, 0, 0, false);
        struct kv_entry entry;
        assert_true(kv_store_find(f.store, &kept.id[31], &entry));
        kv_store_delete(f.store, &entry.value, 1);
        kv_store_sync(f.store);
        assert_int_equal(f.events[KV_EVENT_RECOVERED], 1);
        assert_int_equal(chain_put(&f, &tried, 0, 8, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(chain_read(&f, &tried, 0, 8), 8);
        fixture_close(&f);
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                with_store(any_read_at_open_may_fail),         with_store(any_write_may_fail),
                with_store(any_write_may_be_cut_short),        with_store(any_sync_may_fail),
                with_store(any_read_of_a_value_may_fail),      with_store(any_allocation_may_fail),
                with_store(a_full_disk_is_named_and_forgiven),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
