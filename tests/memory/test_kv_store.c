/* The KV store: what it keeps, what it forgets, what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "memory/kv_record.h"
#include "tests/memory/store_fixture.h"

static struct fixture f;
static struct chain a, b;

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        fixture_open(&f);
        chain_make(&a, &f.key, 1000, 1);
        chain_make(&b, &f.key, 1001, 2);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        fixture_deinit(&f);
        return 0;
}

static struct kv_store_statistics statistics(void) {
        struct kv_store_statistics s;
        kv_store_statistics(f.store, &s);
        return s;
}

static void reopen(void) {
        fixture_close(&f);
        fixture_open(&f);
}

/* 15 pages in extents of all sizes, two frontiers. */
static void put_some(const struct chain *chain) {
        assert_int_equal(chain_put(&f, chain, 0, 8, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, chain, 8, 4, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, chain, 12, 2, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, chain, 14, 1, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, chain, 37, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, chain, 15 * PAGE_TOKENS + 5, NULL, NULL), 0);
        kv_store_sync(f.store);
}

static void assert_some(const struct chain *chain) {
        assert_int_equal(chain_read(&f, chain, 0, 15), 15);
        for (uint32_t page = 0; page < 15; page++)
                assert_int_equal(chain_read(&f, chain, page, 1), 1);
        assert_int_equal(chain_read(&f, chain, 3, 10), 10);
        assert_true(chain_read_frontier(&f, chain, 37));
        assert_true(chain_read_frontier(&f, chain, 15 * PAGE_TOKENS + 5));
        assert_false(chain_read_frontier(&f, chain, 15 * PAGE_TOKENS));
}

/* -- keeping -------------------------------------------------------------------------------------
 */

static void what_was_stored_comes_back_also_after_a_restart(void **state) {
        (void)state;
        put_some(&a);
        put_some(&b);
        assert_some(&a);
        assert_some(&b);
        reopen();
        assert_some(&a);
        assert_some(&b);
        struct kv_store_statistics s = statistics();
        assert_int_equal(s.n_pages, 30);
        assert_int_equal(s.n_frontiers, 4);
        assert_int_equal(s.n_values, 12);
        assert_int_equal(s.dropped_entries, 0);
        assert_false(s.moved_aside);
        assert_int_equal(chain_read(&f, &a, 0, 20), 15);
        assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 0);
}

static void only_its_owner_may_use_the_files(void **state) {
        (void)state;
        struct stat st;
        assert_int_equal(stat(scratch_file(&f.folder, "kv.mdb"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat(scratch_file(&f.folder, "kv.lock"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
}

static void completions_come_after_the_commit(void **state) {
        (void)state;
        struct outcomes outcomes = { 0 };
        assert_int_equal(chain_put(&f, &a, 0, 8, count_outcome, &outcomes), 0);
        assert_int_equal(chain_put_frontier(&f, &a, 1024, count_outcome, &outcomes), 0);
        kv_store_sync(f.store);
        assert_int_equal(outcomes.n, 2);
        assert_int_equal(outcomes.n_good, 2);
        assert_int_equal(chain_read(&f, &a, 0, 8), 8);
}

static void closing_commits_what_waits(void **state) {
        (void)state;
        assert_int_equal(chain_put(&f, &a, 0, 4, NULL, NULL), 0);
        reopen();
        assert_int_equal(chain_read(&f, &a, 0, 4), 4);
}

static void without_its_parent_nothing_is_stored(void **state) {
        (void)state;
        struct outcomes outcomes = { 0 };
        assert_int_equal(chain_put(&f, &a, 4, 4, count_outcome, &outcomes), 0);
        assert_int_equal(chain_put_frontier(&f, &a, 600, count_outcome, &outcomes), 0);
        kv_store_sync(f.store);
        assert_int_equal(outcomes.n, 2);
        assert_int_equal(outcomes.n_good, 0);
        assert_int_equal(outcomes.last, -ENOENT);
        assert_int_equal(statistics().value_bytes, 0);
}

static void storing_twice_is_storing_once(void **state) {
        (void)state;
        put_some(&a);
        uint64_t bytes = statistics().value_bytes;
        struct outcomes outcomes = { 0 };
        assert_int_equal(chain_put(&f, &a, 0, 8, count_outcome, &outcomes), 0);
        assert_int_equal(chain_put(&f, &a, 2, 4, count_outcome, &outcomes), 0);
        assert_int_equal(chain_put_frontier(&f, &a, 37, count_outcome, &outcomes), 0);
        kv_store_sync(f.store);
        assert_int_equal(outcomes.n_good, 3);
        assert_int_equal(statistics().value_bytes, bytes);
        assert_int_equal(statistics().n_values, 6);
        assert_some(&a);
}

static void a_larger_extent_replaces_smaller_ones(void **state) {
        (void)state;
        for (uint32_t page = 0; page < 8; page++)
                assert_int_equal(chain_put(&f, &a, page, 1, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, &a, 5 * PAGE_TOKENS + 1, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, &a, 8, 2, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(statistics().n_values, 10);
        assert_int_equal(chain_put(&f, &a, 0, 8, NULL, NULL), 0);
        kv_store_sync(f.store);
        kv_store_sync(f.store);
        assert_int_equal(statistics().n_values, 3);
        assert_int_equal(statistics().n_pages, 10);
        assert_int_equal(chain_read(&f, &a, 0, 10), 10);
        assert_true(chain_read_frontier(&f, &a, 5 * PAGE_TOKENS + 1));
        reopen();
        assert_int_equal(statistics().n_values, 3);
        assert_int_equal(statistics().dropped_entries, 0);
        assert_int_equal(chain_read(&f, &a, 0, 10), 10);
        assert_true(chain_read_frontier(&f, &a, 5 * PAGE_TOKENS + 1));
}

static void forks_share_what_they_have_in_common(void **state) {
        (void)state;
        struct chain fork;
        chain_fork(&fork, &f.key, &a, 6, 77);
        put_some(&a);
        assert_int_equal(chain_put(&f, &fork, 0, 8, NULL, NULL), 0); /* 6 of its pages are a's */
        kv_store_sync(f.store);
        for (int i = 0; i < 2; i++, reopen()) {
                assert_some(&a);
                assert_int_equal(chain_read(&f, &fork, 0, 15), 8);
                assert_int_equal(statistics().n_pages, 17);
                assert_int_equal(statistics().dropped_entries, 0);
        }
        /* The fork's last pages hang on page 5. */
        struct kv_entry entry;
        assert_true(kv_store_find(f.store, &a.id[5], &entry));
        kv_store_delete(f.store, &entry.value, 1);
        kv_store_sync(f.store);
        assert_int_equal(chain_read(&f, &fork, 6, 2), 0);
        assert_int_equal(statistics().n_pages, 0);
}

static void other_tokens_than_asked_for_are_a_miss(void **state) {
        (void)state;
        put_some(&a);
        struct chain wrong = a;
        wrong.tokens[2 * PAGE_TOKENS + 127]++;
        assert_int_equal(chain_read(&f, &wrong, 0, 15), 2);
        wrong.tokens[15 * PAGE_TOKENS]++;
        struct page_id id;
        uint8_t data[FRONTIER_BYTES];
        uint32_t bytes;
        chain_frontier_id(&a, &f.key, 15 * PAGE_TOKENS + 5, &id);
        assert_int_equal(kv_store_read_frontier(f.store, &id, wrong.tokens + 15 * PAGE_TOKENS, 5,
                                                data, sizeof(data), &bytes),
                         -ENOENT);
        assert_int_equal(kv_store_read_frontier(f.store, &id, a.tokens + 15 * PAGE_TOKENS, 5, data,
                                                10, &bytes),
                         -ENOBUFS);
        assert_some(&a); /* it was the question that was wrong */
        assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 0);
}

static void tokens_can_be_read_back_to_the_start(void **state) {
        (void)state;
        put_some(&a);
        reopen();
        struct page_id id = a.id[14];
        uint32_t tokens[PAGE_TOKENS];
        for (uint32_t page = 15; page-- > 0;) {
                struct kv_entry entry;
                assert_true(kv_store_find(f.store, &id, &entry));
                assert_int_equal(entry.position, page * PAGE_TOKENS);
                assert_int_equal(kv_store_read_tokens(f.store, &id, tokens), PAGE_TOKENS);
                assert_memory_equal(tokens, a.tokens + page * PAGE_TOKENS, sizeof(tokens));
                id = entry.parent;
        }
        assert_true(page_id_equal(&id, &a.root));
        chain_frontier_id(&a, &f.key, 37, &id);
        assert_int_equal(kv_store_read_tokens(f.store, &id, tokens), 37);
        assert_memory_equal(tokens, a.tokens, 37 * sizeof(uint32_t));
}

static void what_is_announced_reads_the_same(void **state) {
        (void)state;
        struct page_id frontier, nothing = { { 9 } };
        struct kv_page_read pages[16];
        put_some(&a);
        reopen();
        for (unsigned i = 0; i < 16; i++)
                pages[i].id = i < 15 ? a.id[i] : nothing; /* the last page is not there */
        chain_frontier_id(&a, &f.key, 37, &frontier);
        kv_store_expect(f.store, pages, 16, &frontier);
        kv_store_expect(f.store, pages, 0, &nothing);
        kv_store_expect(f.store, pages + 7, 1, NULL);
        assert_int_equal(chain_read(&f, &a, 0, 15), 15);
        assert_true(chain_read_frontier(&f, &a, 37));
}

/* -- forgetting ----------------------------------------------------------------------------------
 */

static void deleting_takes_along_what_hangs_on_it(void **state) {
        (void)state;
        put_some(&a);
        put_some(&b);
        struct kv_entry entry;
        assert_true(kv_store_find(f.store, &a.id[9], &entry));
        kv_store_delete(f.store, &entry.value, 1);
        assert_int_equal(chain_read(&f, &a, 0, 15), 8); /* at once */
        assert_false(chain_read_frontier(&f, &a, 15 * PAGE_TOKENS + 5));
        kv_store_sync(f.store);
        reopen();
        assert_int_equal(chain_read(&f, &a, 0, 15), 8);
        assert_int_equal(chain_read(&f, &a, 8, 7), 0);
        assert_true(chain_read_frontier(&f, &a, 37));
        assert_some(&b);
        assert_int_equal(statistics().dropped_entries, 0);
}

static void a_pinned_value_outlasts_its_deletion(void **state) {
        (void)state;
        put_some(&a);
        uint64_t value = kv_store_pin(f.store, &a.id[0]);
        assert_int_not_equal(value, 0);
        assert_int_equal(kv_store_pin(f.store, &b.id[0]), 0);
        kv_store_delete(f.store, &value, 1);
        kv_store_sync(f.store);
        assert_int_equal(chain_read(&f, &a, 0, 1), 0);
        assert_int_equal(statistics().n_values, 2); /* that one, and a frontier of the first page */
        kv_store_unpin(f.store, value);
        kv_store_sync(f.store);
        assert_int_equal(statistics().n_values, 1);
}

static void a_purge_takes_all_of_one_uid(void **state) {
        (void)state;
        struct outcomes puts = { 0 }, purges = { 0 };
        struct kv_session session = { .id = 1, .owner = 1000 }, other = { .id = 2, .owner = 1001 };
        put_some(&a);
        put_some(&b);
        kv_store_put_session(f.store, &session, NULL, NULL, NULL);
        kv_store_put_session(f.store, &other, NULL, NULL, NULL);
        kv_store_sync(f.store);
        assert_int_equal(chain_put(&f, &a, 15, 1, count_outcome, &puts), 0);
        assert_int_equal(kv_store_purge(f.store, 1000, count_outcome, &purges), 0);
        assert_int_equal(chain_read(&f, &a, 0, 15), 0);
        kv_store_sync(f.store);
        kv_store_sync(f.store);
        assert_int_equal(puts.n, 1);
        assert_int_equal(purges.n_good, 1);
        for (int i = 0; i < 2; i++, reopen()) {
                assert_int_equal(chain_read(&f, &a, 0, 16), 0);
                assert_false(chain_read_frontier(&f, &a, 37));
                assert_false(kv_store_find_session(f.store, session.id, &session));
                assert_some(&b);
                assert_true(kv_store_find_session(f.store, other.id, &other));
                assert_int_equal(kv_store_owner_bytes(f.store, 1000), 0);
                assert_int_equal(statistics().dropped_entries, 0);
        }
        /* A purge of nobody is done, too. */
        assert_int_equal(kv_store_purge(f.store, 4, count_outcome, &purges), 0);
        fixture_close(&f);
        assert_int_equal(purges.n_good, 2);
        fixture_open(&f);
}

static void space_is_used_again(void **state) {
        (void)state;
        uint64_t settled = 0;
        for (uint32_t round = 0; round < 60; round++) {
                struct chain chain;
                chain_make(&chain, &f.key, 1000, round);
                put_some(&chain);
                struct kv_entry entry;
                assert_true(kv_store_find(f.store, &chain.id[0], &entry));
                kv_store_delete(f.store, &entry.value, 1);
                chain_frontier_id(&chain, &f.key, 37, &entry.id);
                assert_true(kv_store_find(f.store, &entry.id, &entry));
                kv_store_delete(f.store, &entry.value, 1);
                kv_store_sync(f.store);
                if (round == 20)
                        settled = statistics().file_bytes;
        }
        assert_true(statistics().file_bytes <= settled + settled / 4);
        assert_int_equal(statistics().n_values, 0);
        assert_int_equal(statistics().value_bytes, 0);
}

/* -- limits --------------------------------------------------------------------------------------
 */

static void what_breaks_the_rules_is_refused(void **state) {
        (void)state;
        assert_int_equal(chain_put(&f, &a, 0, 0, NULL, NULL), -EINVAL);
        assert_int_equal(chain_put(&f, &a, 0, 3, NULL, NULL), -EINVAL);
        assert_int_equal(chain_put(&f, &a, 0, 16, NULL, NULL), -EINVAL);
        uint8_t byte = 0;
        struct kv_frontier frontier = { .position = 0, .data = &byte, .bytes = 0 };
        assert_int_equal(kv_store_put_frontier(f.store, &frontier, NULL, NULL), -EINVAL);
        frontier.bytes = FRONTIER_BYTES + 1;
        assert_int_equal(kv_store_put_frontier(f.store, &frontier, NULL, NULL), -EINVAL);
}

static void budgets_hold(void **state) {
        (void)state;
        fixture_close(&f);
        f.config.bytes_max = 100000;
        f.config.owner_bytes_max = 60000;
        fixture_open(&f);
        for (uint32_t i = 0; i < 2; i++)
                assert_int_equal(chain_put(&f, &a, 8 * i, 8, NULL, NULL), 0);
        kv_store_sync(f.store);
        uint64_t each = kv_store_owner_bytes(f.store, 1000) / 2;
        uint32_t n = 2;
        while (chain_put(&f, &a, 8 * n, 8, NULL, NULL) == 0)
                n++;
        assert_int_equal(n, 60000 / each);
        assert_int_equal(chain_put(&f, &a, 8 * n, 8, NULL, NULL), -EDQUOT);
        assert_int_equal(f.events[KV_EVENT_SHARE], 1);
        assert_non_null(strstr(f.last_text, "user 1000 has the 60000 bytes"));
        uint32_t others = 0;
        while (chain_put(&f, &b, 8 * others, 8, NULL, NULL) == 0)
                others++;
        assert_int_equal(n + others, 100000 / each);

        kv_store_sync(f.store);
        struct kv_entry entry;
        assert_true(kv_store_find(f.store, &a.id[8 * (n - 1)], &entry));
        kv_store_delete(f.store, &entry.value, 1);
        assert_int_equal(chain_put(&f, &a, 8 * (n - 1), 8, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, &a, 8 * n, 8, NULL, NULL), -EDQUOT);
        assert_int_equal(f.events[KV_EVENT_SHARE], 2); /* b as well */
}

static void the_daily_budget_outlasts_a_restart(void **state) {
        (void)state;
        fixture_close(&f);
        f.config.write_bytes_per_day = 40000; /* of 16368 each */
        fixture_open(&f);
        assert_int_equal(chain_put(&f, &a, 0, 8, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, &a, 8, 8, NULL, NULL), 0);
        assert_int_equal(chain_put(&f, &a, 16, 8, NULL, NULL), -EDQUOT);
        assert_int_equal(chain_put(&f, &a, 16, 8, NULL, NULL), -EDQUOT);
        assert_int_equal(f.events[KV_EVENT_SPENT], 1);
        assert_non_null(strstr(f.last_text, "the 40000 bytes"));
        reopen();
        assert_int_equal(chain_put(&f, &a, 16, 8, NULL, NULL), -EDQUOT);
        assert_int_equal(chain_read(&f, &a, 0, 16), 16);
        assert_true(statistics().day_bytes > 30000);
}

static void a_full_queue_says_so(void **state) {
        (void)state;
        fixture_close(&f);
        f.config.queue_bytes_max = 40000;
        fixture_open(&f);
        int r = 0;
        uint32_t n = 0;
        for (; n < 5 && (r = chain_put(&f, &a, 8 * n, 8, NULL, NULL)) == 0; n++)
                ;
        assert_int_equal(r, -EAGAIN);
        kv_store_sync(f.store);
        assert_int_equal(chain_put(&f, &a, 8 * n, 8, NULL, NULL), 0);
}

/* -- refusing to open ----------------------------------------------------------------------------
 */

static void a_second_user_is_refused(void **state) {
        (void)state;
        struct fixture second = f;
        struct error err = { 0 };
        assert_int_equal(fixture_try_open(&second, &err), -EBUSY);
        assert_non_null(strstr(err.text, "kv.mdb: another process uses this store"));
}

static void as_model(uint8_t model) {
        fixture_close(&f);
        f.config.fingerprint.bytes[0] = model;
        fixture_open(&f);
}

static void another_models_store_is_put_aside_and_found_again(void **state) {
        (void)state;
        const uint8_t ours = f.config.fingerprint.bytes[0];
        assert_int_equal(chain_put(&f, &a, 0, 8, NULL, NULL), 0);
        as_model(7);
        assert_int_equal(f.events[KV_EVENT_OTHER_MODEL], 1);
        assert_true(statistics().other_model);
        assert_int_equal(statistics().n_pages, 0);
        as_model(7);
        assert_false(statistics().other_model);
        as_model(ours);
        assert_true(statistics().other_model);
        assert_int_equal(chain_read(&f, &a, 0, 8), 8);
        as_model(7);
        as_model(8); /* a third: only the last one before is kept */
        as_model(ours);
        assert_int_equal(statistics().n_pages, 0);
        kv_store_drop_aside(f.store);
        as_model(8);
        assert_int_equal(f.events[KV_EVENT_OTHER_MODEL], 6);
        as_model(ours);
}

static void a_start_cut_off_between_two_names_goes_on(void **state) {
        (void)state;
        const uint8_t ours = f.config.fingerprint.bytes[0];
        char from[PATH_MAX];
        assert_int_equal(chain_put(&f, &a, 0, 8, NULL, NULL), 0);
        as_model(7);
        fixture_close(&f);
        snprintf(from, sizeof(from), "%s", scratch_file(&f.folder, "kv.mdb"));
        assert_int_equal(rename(from, scratch_file(&f.folder, "kv.mdb.other-0702030400000000")), 0);
        f.config.fingerprint.bytes[0] = ours;
        fixture_open(&f);
        assert_int_equal(chain_read(&f, &a, 0, 8), 8);
}

static void other_sizes_are_refused_and_kept(void **state) {
        (void)state;
        struct error err = { 0 };
        assert_int_equal(chain_put(&f, &a, 0, 8, NULL, NULL), 0);
        fixture_close(&f);
        f.config.page_bytes++;
        assert_int_equal(fixture_try_open(&f, &err), -ESTALE);
        assert_non_null(strstr(err.text, "name another state folder"));
        f.config.page_bytes--;
        fixture_open(&f);
        assert_int_equal(chain_read(&f, &a, 0, 8), 8);
}

static void make_newer(const char *path) {
        MDB_env *env;
        MDB_txn *txn;
        MDB_dbi dbi;
        uint8_t record[KV_META_BYTES];
        kv_meta_encode(&(struct kv_meta){ .version = KV_META_VERSION + 1 }, record);
        MDB_val key = { strlen(KV_META_KEY), KV_META_KEY }, data = { sizeof(record), record };
        assert_int_equal(mdb_env_create(&env), 0);
        assert_int_equal(mdb_env_set_maxdbs(env, 7), 0);
        assert_int_equal(mdb_env_open(env, path, MDB_NOSUBDIR, 0600), 0);
        assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
        assert_int_equal(mdb_dbi_open(txn, "a later idea", MDB_CREATE, &dbi), 0);
        assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
        assert_int_equal(mdb_put(txn, dbi, &key, &data, 0), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
        mdb_env_close(env);
}

static void a_newer_format_is_refused_and_kept(void **state) {
        (void)state;
        fixture_close(&f);
        make_newer(scratch_file(&f.folder, "kv.mdb"));
        struct error err = { 0 };
        assert_int_equal(fixture_try_open(&f, &err), -EPROTONOSUPPORT);
        assert_non_null(
                strstr(err.text, "written in format 3; this program knows formats up to 2"));
        assert_int_equal(access(scratch_file(&f.folder, "kv.mdb"), F_OK), 0);
        assert_int_equal(access(scratch_file(&f.folder, "kv.mdb.damaged"), F_OK), -1);
}

static void a_missing_folder_is_named(void **state) {
        (void)state;
        fixture_close(&f);
        struct error err = { 0 };
        f.config.folder = "/nonexistent/state";
        assert_int_equal(fixture_try_open(&f, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/state"));
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                with_store(what_was_stored_comes_back_also_after_a_restart),
                with_store(only_its_owner_may_use_the_files),
                with_store(completions_come_after_the_commit),
                with_store(closing_commits_what_waits),
                with_store(without_its_parent_nothing_is_stored),
                with_store(storing_twice_is_storing_once),
                with_store(a_larger_extent_replaces_smaller_ones),
                with_store(forks_share_what_they_have_in_common),
                with_store(other_tokens_than_asked_for_are_a_miss),
                with_store(tokens_can_be_read_back_to_the_start),
                with_store(what_is_announced_reads_the_same),
                with_store(deleting_takes_along_what_hangs_on_it),
                with_store(a_pinned_value_outlasts_its_deletion),
                with_store(a_purge_takes_all_of_one_uid),
                with_store(space_is_used_again),
                with_store(what_breaks_the_rules_is_refused),
                with_store(budgets_hold),
                with_store(the_daily_budget_outlasts_a_restart),
                with_store(a_full_queue_says_so),
                with_store(a_second_user_is_refused),
                with_store(another_models_store_is_put_aside_and_found_again),
                with_store(a_start_cut_off_between_two_names_goes_on),
                with_store(other_sizes_are_refused_and_kept),
                with_store(a_newer_format_is_refused_and_kept),
                with_store(a_missing_folder_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
