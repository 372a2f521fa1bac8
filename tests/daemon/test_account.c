/* Accounts of uids, and the rate limit of log lines about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include "base/clock.h"
#include "daemon/account.h"

static void a_uid_keeps_its_account(void **state) {
        (void)state;
        struct account_table table = { 0 };
        struct account *a = account_get(&table, 1000);
        struct account *b = account_get(&table, 1000 + ACCOUNT_BUCKETS); /* same bucket */
        assert_non_null(a);
        assert_ptr_not_equal(a, b);
        assert_ptr_equal(account_get(&table, 1000), a);
        assert_ptr_equal(account_get(&table, 1000 + ACCOUNT_BUCKETS), b);
        account_table_deinit(&table);
}

static void lines_about_a_uid_come_once_a_second_and_say_how_many_did_not(void **state) {
        (void)state;
        struct account account = { .uid = 1000 };
        uint64_t now = 5 * NS_PER_S, unlogged = 99;
        assert_true(account_may_log(&account, now, &unlogged));
        assert_int_equal(unlogged, 0);
        for (unsigned i = 0; i < 10; i++)
                assert_false(account_may_log(&account, now + i * NS_PER_MS, &unlogged));
        assert_true(account_may_log(&account, now + NS_PER_S, &unlogged));
        assert_int_equal(unlogged, 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_uid_keeps_its_account),
                cmocka_unit_test(lines_about_a_uid_come_once_a_second_and_say_how_many_did_not),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
