/* Sessions without sockets: who sees them, what they may hold, who has them when, what the store is
 * told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "daemon/account.h"
#include "daemon/refusal.h"
#include "daemon/remembered.h"
#include "daemon/request.h"
#include "daemon/session_table.h"
#include "tests/memory/scratch.h"

#define ALICE   1000
#define BOB     1001
#define CONTEXT 100000

static struct account_table accounts;
static struct session_table table;
static struct refusal refusal;

static int setup(void **state) {
        (void)state;
        refusal = (struct refusal){ 0 };
        assert_int_equal(session_table_init(&table, &accounts), 0);
        table.context_tokens = CONTEXT;
        return 0;
}

static int teardown(void **state) {
        (void)state;
        session_table_deinit(&table);
        account_table_deinit(&accounts);
        accounts = (struct account_table){ 0 };
        return 0;
}

static struct session *open_one(uint32_t uid) {
        struct session *session = NULL;
        assert_int_equal(session_open(&table, uid, "", 50, &session, &refusal), 0);
        return session;
}

static void fill(struct session *session, size_t n) {
        struct token_list tokens = { 0 };
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(token_list_append(&tokens, &i, 1), 0);
        session_set_tokens(session, &tokens, 60);
        assert_null(tokens.ids);
}

static void assert_refused(int code, const char *text) {
        assert_int_equal(refusal.code, code);
        if (!strstr(refusal.text, text))
                fail_msg("'%s' is not in '%s'", text, refusal.text);
        refusal = (struct refusal){ 0 };
}

/* -------- whose -------- */

static void only_its_user_finds_it(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        assert_int_not_equal(session->id, 0);
        assert_ptr_equal(session_find(&table, ALICE, session->id), session);
        assert_null(session_find(&table, BOB, session->id));
        assert_null(session_find(&table, 0, session->id)); /* root lists, and does not use */
        assert_null(session_find(&table, ALICE, session->id + 1));
        assert_null(session_find(&table, ALICE, 0));
}

static void a_subject_has_a_limit(void **state) {
        (void)state;
        char subject[SUBJECT_BYTES_MAX + 2] = { 0 };
        struct session *session;
        memset(subject, 's', SUBJECT_BYTES_MAX);
        assert_int_equal(session_open(&table, ALICE, subject, 0, &session, &refusal), 0);
        assert_string_equal(session->subject, subject);
        subject[SUBJECT_BYTES_MAX] = 's';
        assert_int_equal(session_open(&table, ALICE, subject, 0, &session, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                       "subject: 129 bytes, at most 128");
}

/* -------- limits -------- */

static void a_user_has_so_many_sessions_and_not_more(void **state) {
        (void)state;
        struct session *first = open_one(ALICE), *session;
        for (unsigned i = 1; i < SESSIONS_PER_UID_MAX; i++)
                open_one(ALICE);
        assert_int_equal(session_open(&table, ALICE, "", 0, &session, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_BUSY, "has 1024 sessions, the limit");
        assert_int_equal(session_fork(first, 0, 0, &session, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_BUSY, "has 1024 sessions, the limit");
        open_one(BOB);
        session_forget(first);
        open_one(ALICE);
}

static void a_session_has_the_context_and_not_more(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        fill(session, 70);
        assert_int_equal(session_check_room(session, CONTEXT, &refusal), 0);
        assert_int_equal(session_check_room(session, CONTEXT + 1, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE,
                       "70 tokens and 99931 more do not fit the context of 100000");
}

static void a_users_tokens_are_counted_over_all_sessions(void **state) {
        (void)state;
        const struct account *account = account_get(&accounts, ALICE);
        table.context_tokens = SESSION_TOKENS_PER_UID_MAX;
        struct session *a = open_one(ALICE), *b = open_one(ALICE), *fork;
        fill(a, 1000);
        fill(b, 500);
        assert_int_equal(account->session_tokens, 1500);
        assert_int_equal(session_check_room(b, SESSION_TOKENS_PER_UID_MAX - 1000, &refusal), 0);
        assert_int_equal(session_check_room(b, SESSION_TOKENS_PER_UID_MAX - 999, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_BUSY,
                       "have 1500 tokens, 16775717 more would pass the limit of 16777216");
        assert_int_equal(session_fork(a, 200, 0, &fork, &refusal), 0);
        assert_int_equal(account->session_tokens, 1700);
        assert_int_equal(session_rewind(a, 10, 0, &refusal), 0);
        assert_int_equal(account->session_tokens, 710);
        session_forget(b);
        assert_int_equal(account->session_tokens, 210);
        /* Answers under way may pass the limit; nothing comes after them. */
        const struct kv_session kept = { .id = 5,
                                         .owner = ALICE,
                                         .n_tokens = KV_SESSION_TOKENS_MAX };
        assert_true(session_restore(&table, &kept));
        assert_int_equal(session_check_room(a, 11, &refusal), -1);
        assert_int_equal(session_check_room(a, 10, &refusal), 0);
}

/* -------- tokens -------- */

static void a_fork_is_a_copy(void **state) {
        (void)state;
        struct session *session = open_one(ALICE), *fork;
        fill(session, 300);
        session_set_pinned(session, true);
        assert_int_equal(session_fork(session, 200, 70, &fork, &refusal), 0);
        assert_int_not_equal(fork->id, session->id);
        assert_int_equal(fork->owner, ALICE);
        assert_int_equal(fork->n_tokens, 200);
        assert_memory_equal(fork->tokens.ids, session->tokens.ids, 200 * sizeof(uint32_t));
        assert_false(fork->pinned);
        assert_int_equal(fork->created_s, 70);
        assert_int_equal(session_rewind(session, 1, 80, &refusal), 0);
        assert_int_equal(fork->n_tokens, 200);
        assert_int_equal(session_fork(session, 0, 70, &fork, &refusal), 0);
        assert_int_equal(fork->n_tokens, 1);
        assert_int_equal(session_fork(session, 2, 70, &fork, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                       "position: is 2, the session has 1 tokens");
}

static void the_first_token_stays(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        assert_int_equal(session_rewind(session, 1, 0, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID, "the session has 0 tokens");
        fill(session, 5);
        assert_int_equal(session_rewind(session, 0, 0, &refusal), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID, "at least the first token");
        assert_int_equal(session_rewind(session, 5, 0, &refusal), 0);
        assert_int_equal(session_rewind(session, 1, 90, &refusal), 0);
        assert_int_equal(session->tokens.n, 1);
        assert_int_equal(session->used_s, 90);
}

/* -------- turns -------- */

static void requests_have_it_one_after_another(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        struct request a = { 0 }, b = { 0 }, c = { 0 };
        assert_true(session_enter(session, &a));
        assert_false(session_enter(session, &b));
        assert_false(session_enter(session, &c));
        assert_ptr_equal(session_leave(&a), &b);
        assert_null(a.session);
        assert_ptr_equal(session_leave(&b), &c);
        assert_false(session_enter(session, &a));
        assert_ptr_equal(session_leave(&c), &a);
        assert_null(session_leave(&a));
        assert_true(session_enter(session, &b));
        assert_null(session_leave(&b));
}

static void a_forgotten_one_lives_until_the_last_that_waits_has_left(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        struct request a = { 0 }, b = { 0 };
        fill(session, 10);
        session_enter(session, &a);
        session_enter(session, &b);
        uint64_t id = session->id;
        session_forget(session);
        assert_null(session_find(&table, ALICE, id));
        assert_int_equal(account_get(&accounts, ALICE)->n_sessions, 0);
        assert_int_equal(account_get(&accounts, ALICE)->session_tokens, 0);
        assert_ptr_equal(session_leave(&a), &b);
        assert_true(session->gone);
        assert_null(session_leave(&b)); /* the sanitizer sees that it is freed */
}

/* -------- the store -------- */

static struct kv_store *open_store(const char *folder, size_t queue_bytes_max) {
        static const struct page_key key = { { 1 } };
        const struct kv_store_config config = { .folder = folder,
                                                .key = &key,
                                                .page_bytes = 1000,
                                                .frontier_bytes_max = 1000,
                                                .bytes_max = 1 << 20,
                                                .queue_bytes_max = queue_bytes_max };
        struct kv_store *store;
        struct error err = { 0 };
        if (kv_store_open(&config, &store, &err) < 0)
                fail_msg("%s", err.text);
        return store;
}

static void begin_again(struct kv_store **store, const char *folder) {
        kv_store_close(*store);
        teardown(NULL);
        setup(NULL);
        *store = open_store(folder, 0);
        session_store_attach(&table, *store);
}

static void what_is_kept_comes_back_when_it_is_used(void **state) {
        (void)state;
        struct scratch scratch;
        scratch_make(&scratch);
        const char *folder = scratch.path;
        struct kv_store *store = open_store(folder, 0);
        session_store_attach(&table, store);
        struct session *session = open_one(ALICE), *other = open_one(BOB);
        fill(session, 1000);
        session_set_pinned(session, true);
        session_save(session);
        session_save(other);
        assert_false(session_is_durable(session));
        kv_store_sync(store);
        session_store_settle(&table);
        assert_true(session_is_durable(session));
        session_save(session); /* and again */
        assert_false(session_is_durable(session));
        session_unsave(other);
        uint64_t id = session->id, other_id = other->id;
        begin_again(&store, folder);

        assert_null(session_find(&table, BOB, other_id));
        session = session_find(&table, ALICE, id);
        assert_non_null(session);
        assert_true(session->pinned);
        assert_true(session_is_durable(session));
        assert_int_equal(session->n_tokens, 1000);
        assert_int_equal(account_get(&accounts, ALICE)->session_tokens, 1000);
        assert_false(session->loaded);
        assert_int_equal(session_load(session, &refusal), 0);
        for (uint32_t i = 0; i < 1000; i++)
                assert_int_equal(session->tokens.ids[i], i);

        /* Without its ids it cannot be used. */
        begin_again(&store, folder);
        assert_int_equal(kv_store_delete_session(store, id), 0);
        kv_store_sync(store);
        session = session_find(&table, ALICE, id);
        assert_int_equal(session_load(session, &refusal), -1);
        assert_true(session->damaged);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "its tokens cannot be read");
        kv_store_close(store);
        scratch_remove(&scratch);
}

/* A store that takes one put at a time. */
static void what_the_store_refused_is_put_again(void **state) {
        (void)state;
        struct scratch scratch;
        scratch_make(&scratch);
        struct kv_store *store = open_store(scratch.path, 1);
        session_store_attach(&table, store);
        struct session *sessions[50];
        for (unsigned i = 0; i < 50; i++) {
                sessions[i] = open_one(ALICE);
                fill(sessions[i], 5000);
        }
        unsigned n_unsaved = 0;
        for (unsigned i = 0; i < 50; i++) {
                session_save(sessions[i]);
                n_unsaved += sessions[i]->saving.unsaved;
        }
        assert_true(n_unsaved > 0);
        assert_true(table.store.behind);
        for (unsigned i = 0; i < 50 || table.store.behind; i++) {
                kv_store_sync(store);
                session_store_settle(&table);
        }
        kv_store_sync(store);
        session_store_settle(&table);
        for (unsigned i = 0; i < 50; i++)
                assert_true(session_is_durable(sessions[i]));
        kv_store_close(store);
        scratch_remove(&scratch);
}

static void in_memory_nothing_is_durable(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        session_store_attach(&table, NULL);
        session_save(session);
        session_store_settle(&table);
        assert_false(session_is_durable(session));
        session_unsave(session);
}

static void records_that_cannot_be_ours_are_left_out(void **state) {
        (void)state;
        struct kv_session kept = { .id = 9, .owner = ALICE, .n_tokens = 3 };
        assert_true(session_restore(&table, &kept));
        assert_false(session_restore(&table, &kept)); /* there already */
        kept.id = 0;
        assert_false(session_restore(&table, &kept));
        kept.id = 10;
        memset(kept.subject, 's', SUBJECT_BYTES_MAX + 1);
        assert_false(session_restore(&table, &kept));
}

/* -------- remembered -------- */

static struct remembered_key key_of(uint32_t uid, const char *text) {
        return (struct remembered_key){ uid, "", (const uint8_t *)text, strlen(text) };
}

static int try_remember(uint32_t uid, const char *text, size_t n, uint64_t tied_to,
                        uint64_t now_s) {
        const struct remembered_key key = key_of(uid, text);
        struct token_list tokens = { 0 };
        tokens.ids = calloc(n, sizeof(uint32_t));
        tokens.n = tokens.capacity = n;
        int r = remember(&table, &key, &tokens, tied_to, now_s, &refusal);
        token_list_deinit(&tokens);
        return r;
}

static struct session *recalled(uint32_t uid, const char *text, uint64_t now_s) {
        const struct remembered_key key = key_of(uid, text);
        return remembered_find(&table, &key, now_s);
}

static void only_its_user_recalls_it(void **state) {
        (void)state;
        assert_int_equal(try_remember(ALICE, "key", 3, 0, 1), 0);
        struct session *entry = recalled(ALICE, "key", 2);
        assert_non_null(entry);
        assert_int_equal(entry->n_tokens, 3);
        assert_null(recalled(BOB, "key", 2));
        assert_null(recalled(ALICE, "ke", 2));
        assert_null(session_find(&table, ALICE, entry->id)); /* is no session */
        assert_int_equal(account_get(&accounts, ALICE)->n_sessions, 0);
        const struct remembered_key other = { ALICE, "subject", (const uint8_t *)"key", 3 };
        assert_null(remembered_find(&table, &other, 2));
        assert_int_equal(try_remember(ALICE, "key", 5, 0, 3), 0);
        assert_int_equal(recalled(ALICE, "key", 4)->n_tokens, 5);
        assert_int_equal(account_get(&accounts, ALICE)->n_remembered, 1);
        assert_int_equal(account_get(&accounts, ALICE)->remembered_tokens, 5);
}

static void the_least_recently_used_make_room(void **state) {
        (void)state;
        char key[16];
        uint64_t now_s = 10;
        for (unsigned i = 0; i < REMEMBERED_PER_UID_MAX; i++, now_s++) {
                snprintf(key, sizeof(key), "%u", i);
                assert_int_equal(try_remember(ALICE, key, 1, 0, now_s), 0);
        }
        assert_non_null(recalled(ALICE, "0", now_s));
        assert_int_equal(try_remember(ALICE, "one more", 1, 0, now_s), 0);
        assert_non_null(recalled(ALICE, "0", now_s));
        assert_null(recalled(ALICE, "1", now_s));
        assert_non_null(recalled(ALICE, "2", now_s));
        /* All but the last two go for one that needs nearly all ids. */
        assert_int_equal(try_remember(ALICE, "large", REMEMBERED_TOKENS_PER_UID_MAX - 2, 0, now_s),
                         0);
        assert_int_equal(account_get(&accounts, ALICE)->n_remembered, 3);
        assert_non_null(recalled(ALICE, "2", now_s));
        assert_non_null(recalled(ALICE, "0", 0)); /* also when the clock goes back */
        assert_null(recalled(ALICE, "one more", now_s));
        assert_int_equal(try_remember(ALICE, "larger", REMEMBERED_TOKENS_PER_UID_MAX + 1, 0, now_s),
                         -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE,
                       "4194305 token ids, at most 4194304");
}

static void tied_to_a_session_it_lives_as_long(void **state) {
        (void)state;
        struct session *session = open_one(ALICE);
        assert_int_equal(
                try_remember(ALICE, "tied", REMEMBERED_TOKENS_PER_UID_MAX - 5, session->id, 1), 0);
        assert_int_equal(try_remember(ALICE, "free", 5, 0, 2), 0);
        assert_int_equal(try_remember(ALICE, "more", 4, 0, 3), 0);
        assert_null(recalled(ALICE, "free", 4));
        assert_non_null(recalled(ALICE, "tied", 4));
        assert_int_equal(try_remember(ALICE, "too much", 6, 0, 5), -1);
        assert_refused(SEEKD__V1__ERROR_CODE__ERROR_CODE_BUSY, "at most 1024 keys with 4194304");
        session_forget(session);
        assert_null(recalled(ALICE, "tied", 6));
        assert_int_equal(try_remember(ALICE, "too much", 6, 0, 5), 0);
        assert_int_equal(account_get(&accounts, ALICE)->remembered_tokens, 6);
}

static void one_that_is_being_recalled_outlives_its_key(void **state) {
        (void)state;
        struct request request = { 0 };
        assert_int_equal(try_remember(ALICE, "key", 3, 0, 1), 0);
        struct session *entry = recalled(ALICE, "key", 2);
        assert_true(session_enter(entry, &request));
        assert_int_equal(try_remember(ALICE, "key", 4, 0, 3), 0);
        assert_int_equal(entry->tokens.n, 3);
        assert_true(entry->gone);
        assert_int_equal(recalled(ALICE, "key", 4)->tokens.n, 4);
        assert_null(session_leave(&request));
}

static void keys_without_their_session_are_not_restored(void **state) {
        (void)state;
        struct kv_session kept = {
                .id = 20, .owner = ALICE, .n_tokens = 2, .tied_to = 300, .n_name = 3, .name = "key"
        };
        const struct kv_session session = { .id = 300, .owner = ALICE, .n_tokens = 2 };
        assert_true(remembered_restore(&table, &kept));
        assert_true(session_restore(&table, &session));
        kept.id = 21;
        kept.name[0] = 'K';
        kept.tied_to = 301;
        assert_true(remembered_restore(&table, &kept));
        remembered_restored(&table);
        assert_non_null(recalled(ALICE, "key", 0));
        assert_null(recalled(ALICE, "Key", 0));
        assert_int_equal(account_get(&accounts, ALICE)->n_remembered, 1);
        assert_int_equal(account_get(&accounts, ALICE)->remembered_tokens, 2);
}

#define with_table(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                with_table(only_its_user_finds_it),
                with_table(a_subject_has_a_limit),
                with_table(a_user_has_so_many_sessions_and_not_more),
                with_table(a_session_has_the_context_and_not_more),
                with_table(a_users_tokens_are_counted_over_all_sessions),
                with_table(a_fork_is_a_copy),
                with_table(the_first_token_stays),
                with_table(requests_have_it_one_after_another),
                with_table(a_forgotten_one_lives_until_the_last_that_waits_has_left),
                with_table(what_is_kept_comes_back_when_it_is_used),
                with_table(what_the_store_refused_is_put_again),
                with_table(in_memory_nothing_is_durable),
                with_table(records_that_cannot_be_ours_are_left_out),
                with_table(only_its_user_recalls_it),
                with_table(the_least_recently_used_make_room),
                with_table(tied_to_a_session_it_lives_as_long),
                with_table(one_that_is_being_recalled_outlives_its_key),
                with_table(keys_without_their_session_are_not_restored),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
