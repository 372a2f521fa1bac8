/* Sessions in the KV store: records and token ids, what is rewritten, what damage costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "memory/kv_private.h"
#include "tests/memory/faulty_disk.h"
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

static int count(void *context, const struct lmdb_node *node) {
        unsigned *n = context;
        n[node->database]++;
        return 0;
}

/* Entries of the file's database; the store is closed meanwhile. */
static unsigned entries(enum kv_database database) {
        unsigned n[KV_DATABASES] = { 0 };
        struct error err = { 0 };
        fixture_close(&f);
        CLEANUP_CLOSE int fd = open(scratch_file(&f.folder, "kv.mdb"), O_RDONLY);
        assert_int_equal(
                lmdb_file_walk(fd, KV_ENV_FLAGS, kv_databases, KV_DATABASES, count, n, &err), 0);
        fixture_open(&f);
        return n[database];
}

static void ids_come_back_whatever_their_number(void **state) {
        (void)state;
        static const uint32_t sizes[] = { 0, 1, 127, 128, 129, 1000, CHAIN_PAGES * PAGE_TOKENS };
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                assert_int_equal(chain_put_session(&f, &a, sizes[i], NULL, NULL), 0);
                kv_store_sync(f.store);
                assert_int_equal(chain_read_session(&f, &a), sizes[i]);
                reopen();
                assert_int_equal(chain_read_session(&f, &a), sizes[i]);
                assert_int_equal(statistics().n_sessions, 1);
                assert_int_equal(statistics().dropped_entries, 0);
        }
}

static void a_record_comes_back_as_it_was_put_last(void **state) {
        (void)state;
        struct kv_session session = { .id = UINT64_MAX - 5,
                                      .owner = 1000,
                                      .flags = 7,
                                      .created_s = 5,
                                      .used_s = 6,
                                      .tied_to = 99,
                                      .subject = "tenant",
                                      .n_name = KV_SESSION_NAME_BYTES };
        struct kv_session found;
        for (unsigned i = 0; i < KV_SESSION_NAME_BYTES; i++)
                session.name[i] = (uint8_t)i;
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), 0);
        session.used_s = 77;
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), 0);
        kv_store_sync(f.store);
        for (int i = 0; i < 2; i++, reopen()) {
                memset(&found, 0xff, sizeof(found));
                assert_true(kv_store_find_session(f.store, session.id, &found));
                assert_int_equal(found.owner, 1000);
                assert_int_equal(found.flags, 7);
                assert_int_equal(found.created_s, 5);
                assert_int_equal(found.used_s, 77);
                assert_int_equal(found.tied_to, 99);
                assert_string_equal(found.subject, "tenant");
                assert_int_equal(found.n_name, KV_SESSION_NAME_BYTES);
                assert_memory_equal(found.name, session.name, KV_SESSION_NAME_BYTES);
        }
}

static void what_cannot_be_is_refused(void **state) {
        (void)state;
        struct kv_session session = { .id = 0 };
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), -EINVAL);
        session = (struct kv_session){ .id = 1, .n_tokens = KV_SESSION_TOKENS_MAX + 1 };
        assert_int_equal(kv_store_put_session(f.store, &session, a.tokens, NULL, NULL), -EINVAL);
        session = (struct kv_session){ .id = 1, .n_name = KV_SESSION_NAME_BYTES + 1 };
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), -EINVAL);
        session = (struct kv_session){ .id = 1 };
        memset(session.subject, 'x', sizeof(session.subject));
        assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), -EINVAL);
}

static void fewer_ids_leave_nothing_behind(void **state) {
        (void)state;
        assert_int_equal(chain_put_session(&f, &a, 1000, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, &b, 300, NULL, NULL), 0);
        assert_int_equal(entries(KV_TOKENS), 8 + 3);
        assert_int_equal(chain_put_session(&f, &a, 130, NULL, NULL), 0);
        assert_int_equal(entries(KV_TOKENS), 2 + 3);
        assert_int_equal(chain_read_session(&f, &a), 130);
        assert_int_equal(kv_store_delete_session(f.store, chain_session_id(&a)), 0);
        assert_int_equal(chain_read_session(&f, &a), -1);
        assert_int_equal(entries(KV_TOKENS), 3);
        assert_int_equal(entries(KV_SESSIONS), 1);
        assert_int_equal(kv_store_purge(f.store, 1001, NULL, NULL), 0);
        assert_int_equal(entries(KV_TOKENS), 0);
        assert_int_equal(entries(KV_SESSIONS), 0);
}

static void other_ids_replace_those_that_were_there(void **state) {
        (void)state;
        struct chain fork;
        chain_fork(&fork, &f.key, &a, 2, 7); /* shares two chunks, and a's session id */
        assert_int_equal(chain_put_session(&f, &a, 700, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(chain_put_session(&f, &fork, 600, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(chain_session_id(&a), chain_session_id(&fork));
        assert_int_equal(chain_read_session(&f, &fork), 600);
}

static void more_than_there_is_is_a_miss(void **state) {
        (void)state;
        uint32_t ids[1000];
        assert_int_equal(chain_put_session(&f, &a, 700, NULL, NULL), 0);
        kv_store_sync(f.store);
        uint64_t id = chain_session_id(&a);
        assert_int_equal(kv_store_read_session(f.store, id, ids, 700), 0);
        assert_int_equal(kv_store_read_session(f.store, id, ids, 10), 0);
        assert_int_equal(kv_store_read_session(f.store, id, ids, 701), -ENOENT);
        assert_int_equal(kv_store_read_session(f.store, id, ids, 1000), -ENOENT);
        assert_int_equal(kv_store_read_session(f.store, id + 1, ids, 1), -ENOENT);
}

static void many_sessions_in_one_commit_find_room(void **state) {
        (void)state;
        struct kv_session session = { .owner = 1000 };
        for (uint64_t i = 0; i < 500; i++) {
                session.id = 1000 - i;
                assert_int_equal(kv_store_put_session(f.store, &session, NULL, NULL, NULL), 0);
        }
        kv_store_sync(f.store);
        reopen();
        assert_int_equal(statistics().n_sessions, 500);
}

/* On a full disk nothing can be deleted either. It is in the end, and no purge is done before. */
static void what_is_forgotten_on_a_full_disk_does_not_come_back(void **state) {
        (void)state;
        struct outcomes purges = { 0 };
        assert_int_equal(chain_put_session(&f, &a, 1000, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, &b, 1000, NULL, NULL), 0);
        kv_store_sync(f.store);
        disk_fail(DISK_CALL_WRITE, 1, ENOSPC, true);
        assert_int_equal(kv_store_delete_session(f.store, chain_session_id(&a)), 0);
        assert_int_equal(kv_store_purge(f.store, b.owner, count_outcome, &purges), 0);
        kv_store_sync(f.store);
        assert_true(statistics().suspended);
        assert_int_equal(purges.n, 0);
        kv_store_sync(f.store);
        disk_fail(DISK_CALL_WRITE, 0, 0, false);
        assert_int_equal(chain_read_session(&f, &a), -1);
        kv_store_sync(f.store);
        assert_false(statistics().suspended);
        assert_int_equal(purges.n_good, 1);
        reopen();
        assert_int_equal(statistics().n_sessions, 0);
        assert_int_equal(entries(KV_TOKENS), 0);
}

/* -- damage --------------------------------------------------------------------------------------
 */

/* Flips a bit where the file says these bytes. */
static void flip(const void *bytes, size_t n, size_t at) {
        CLEANUP_CLOSE int fd = open(scratch_file(&f.folder, "kv.mdb"), O_RDWR);
        off_t size = lseek(fd, 0, SEEK_END);
        CLEANUP_FREE uint8_t *file = malloc((size_t)size);
        assert_int_equal(pread(fd, file, (size_t)size, 0), size);
        unsigned found = 0;
        for (uint8_t *p = file; (p = memmem(p, (size_t)(file + size - p), bytes, n)); p++) {
                uint8_t byte = p[at] ^ 4;
                assert_int_equal(pwrite(fd, &byte, 1, p - file + (off_t)at), 1);
                found++;
        }
        assert_true(found > 0); /* older copies of a page may still lie about */
}

static void a_damaged_chunk_costs_its_session_alone(void **state) {
        (void)state;
        assert_int_equal(chain_put_session(&f, &a, 1000, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, &b, 1000, NULL, NULL), 0);
        fixture_close(&f);
        flip(a.tokens + 3 * KV_CHUNK_TOKENS, 64, 17);
        fixture_open(&f);
        assert_int_equal(chain_read_session(&f, &a), -1);
        assert_int_equal(chain_read_session(&f, &b), 1000);
        assert_int_equal(statistics().dropped_entries, 1 + 8);
        assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 1); /* one line */
        assert_false(statistics().moved_aside);
        kv_store_sync(f.store);
        assert_int_equal(entries(KV_TOKENS), 8);
        assert_int_equal(statistics().dropped_entries, 0);
        assert_int_equal(chain_put_session(&f, &a, 900, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(chain_read_session(&f, &a), 900);
}

static void a_damaged_record_costs_its_session_alone(void **state) {
        (void)state;
        struct kv_session session = {
                .id = 77, .owner = 1000, .n_tokens = 300, .subject = "s3cr3t"
        };
        assert_int_equal(kv_store_put_session(f.store, &session, a.tokens, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, &b, 1000, NULL, NULL), 0);
        fixture_close(&f);
        flip("s3cr3t", 6, 2);
        fixture_open(&f);
        assert_false(kv_store_find_session(f.store, 77, &session));
        assert_int_equal(chain_read_session(&f, &b), 1000);
        assert_int_equal(statistics().dropped_entries, 1 + 3);
        kv_store_sync(f.store);
        assert_int_equal(entries(KV_TOKENS), 8);
}

static MDB_env *raw_env(MDB_txn **txn) {
        MDB_env *env;
        assert_int_equal(mdb_env_create(&env), 0);
        assert_int_equal(mdb_env_set_maxdbs(env, KV_DATABASES), 0);
        assert_int_equal(mdb_env_open(env, scratch_file(&f.folder, "kv.mdb"), MDB_NOSUBDIR, 0600),
                         0);
        assert_int_equal(mdb_txn_begin(env, NULL, 0, txn), 0);
        return env;
}

static void a_missing_chunk_is_noticed_when_it_is_read(void **state) {
        (void)state;
        MDB_txn *txn;
        MDB_dbi dbi;
        uint32_t ids[1000];
        assert_int_equal(chain_put_session(&f, &a, 1000, NULL, NULL), 0);
        fixture_close(&f);
        MDB_env *env = raw_env(&txn);
        struct kv_chunk_key key = kv_chunk_key(chain_session_id(&a), 2);
        MDB_val k = { sizeof(key.bytes), key.bytes };
        assert_int_equal(mdb_dbi_open(txn, "tokens", 0, &dbi), 0);
        assert_int_equal(mdb_del(txn, dbi, &k, NULL), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
        mdb_env_close(env);
        fixture_open(&f);
        assert_int_equal(kv_store_read_session(f.store, chain_session_id(&a), ids, 256), 0);
        assert_int_equal(chain_read_session(&f, &a), -1);
}

/* A store of format 1 had pages, and no sessions' ids. */
static void the_format_before_is_taken_over(void **state) {
        (void)state;
        MDB_txn *txn;
        MDB_dbi dbi;
        uint8_t record[KV_META_BYTES];
        struct kv_meta meta;
        assert_int_equal(chain_put(&f, &a, 0, 4, NULL, NULL), 0);
        fixture_close(&f);
        MDB_env *env = raw_env(&txn);
        MDB_val key = { strlen(KV_META_KEY), KV_META_KEY }, data;
        assert_int_equal(mdb_dbi_open(txn, "tokens", 0, &dbi), 0);
        assert_int_equal(mdb_drop(txn, dbi, 1), 0);
        assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
        assert_int_equal(mdb_get(txn, dbi, &key, &data), 0);
        assert_true(kv_meta_decode(data.mv_data, data.mv_size, &meta));
        meta.version = 1;
        kv_meta_encode(&meta, record);
        data = (MDB_val){ sizeof(record), record };
        assert_int_equal(mdb_put(txn, dbi, &key, &data, 0), 0);
        assert_int_equal(mdb_txn_commit(txn), 0);
        mdb_env_close(env);
        fixture_open(&f);
        assert_false(statistics().moved_aside);
        assert_int_equal(chain_read(&f, &a, 0, 4), 4);
        assert_int_equal(chain_put_session(&f, &a, 500, NULL, NULL), 0);
        reopen();
        assert_int_equal(chain_read_session(&f, &a), 500);
        assert_int_equal(chain_read(&f, &a, 0, 4), 4);
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                with_store(ids_come_back_whatever_their_number),
                with_store(a_record_comes_back_as_it_was_put_last),
                with_store(what_cannot_be_is_refused),
                with_store(fewer_ids_leave_nothing_behind),
                with_store(other_ids_replace_those_that_were_there),
                with_store(more_than_there_is_is_a_miss),
                with_store(many_sessions_in_one_commit_find_room),
                with_store(what_is_forgotten_on_a_full_disk_does_not_come_back),
                with_store(a_damaged_chunk_costs_its_session_alone),
                with_store(a_damaged_record_costs_its_session_alone),
                with_store(a_missing_chunk_is_noticed_when_it_is_read),
                with_store(the_format_before_is_taken_over),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
