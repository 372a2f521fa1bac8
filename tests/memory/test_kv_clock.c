/* A clock that jumps: the budget of a day begins anew, and nothing else in the store changes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <time.h>

#include "tests/memory/store_fixture.h"

#define DAY  (24 * 3600)
#define YEAR (365L * DAY)

/* 2026-01-01, where the clock of these tests starts. */
#define START 1767225600L

static struct fixture f;
static struct chain chain;
static time_t now;

/* In place of the C library's. */
__attribute__((visibility("default"))) time_t any_time(time_t *) __asm__("time");
time_t any_time(time_t *ret) {
        if (ret)
                *ret = now;
        return now;
}

static int setup(void **state) {
        (void)state;
        now = START;
        fixture_init(&f);
        f.config.write_bytes_per_day = 20000; /* an extent of eight pages takes 16368 */
        fixture_open(&f);
        chain_make(&chain, &f.key, 1000, 1);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        fixture_deinit(&f);
        return 0;
}

/* The day has room for one extent: the first is stored, the second refused, and all before are
 * there. */
static void spend_a_day(uint32_t page) {
        assert_int_equal(chain_put(&f, &chain, page, 8, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, &chain, page + 8, 8, NULL, NULL), -EDQUOT);
        kv_store_sync(f.store);
        assert_int_equal(chain_read(&f, &chain, 0, CHAIN_PAGES), page + 8);
}

static void a_jump_is_another_day(void **state) {
        (void)state;
        spend_a_day(0);
        now = START + 30 * YEAR;
        spend_a_day(8);
        now = START - 50 * YEAR; /* 1976 */
        spend_a_day(16);
        now = -YEAR; /* before 1970: a machine without a battery, and a wrong zone */
        spend_a_day(24);
        now += 3600; /* the same day */
        assert_int_equal(chain_put(&f, &chain, 32, 8, NULL, NULL), -EDQUOT);
}

static void so_is_one_while_the_daemon_is_down(void **state) {
        static const time_t years[] = { 30, -50, 1000 };
        (void)state;
        spend_a_day(0);
        for (uint32_t i = 0; i < 3; i++) {
                fixture_close(&f);
                now = START + years[i] * YEAR + DAY;
                fixture_open(&f);
                spend_a_day(8 + 8 * i);
        }
}

static void a_session_of_the_future_is_kept(void **state) {
        struct kv_session found;
        (void)state;
        const struct kv_session session = { .id = 7,
                                            .owner = 1000,
                                            .created_s = (uint64_t)(START + 30 * YEAR),
                                            .used_s = (uint64_t)(-YEAR) };
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), 0);
        fixture_close(&f);
        now = START - 10 * YEAR;
        fixture_open(&f);
        assert_true(kv_store_find_session(f.store, 7, &found));
        assert_true(found.created_s == session.created_s && found.used_s == session.used_s);
        assert_int_equal(f.events[KV_EVENT_DAMAGED_STORE] + f.events[KV_EVENT_DAMAGED_VALUE], 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_jump_is_another_day, setup, teardown),
                cmocka_unit_test_setup_teardown(so_is_one_while_the_daemon_is_down, setup,
                                                teardown),
                cmocka_unit_test_setup_teardown(a_session_of_the_future_is_kept, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
