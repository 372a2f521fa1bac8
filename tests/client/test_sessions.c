/* Sessions and remembered tokens: what libseekd asks, and what it makes of the answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/seekd.h"
#include "fake_daemon.h"

static struct fake_daemon fake;
static struct seekd_client *client;

static void begin(fake_script script) {
        char error[SEEKD_ERROR_BYTES];
        fake_start(&fake, script);
        assert_int_equal(seekd_connect(fake.path, &client, error, sizeof(error)), 0);
}

static void end(void) {
        seekd_disconnect(client);
        fake_stop(&fake);
}

/* The next request, which must be of this type: anything else is answered with an error. */
static const void *expect(struct fake_daemon *daemon, unsigned type, uint32_t *ret_id) {
        unsigned found;
        const ProtobufCMessage *message = fake_request(daemon, &found, ret_id);
        if (message && found == type)
                return message;
        fake_error(daemon, *ret_id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, "another request");
        return NULL;
}

static void answer(struct fake_daemon *daemon, uint32_t id, bool right, uint64_t session,
                   uint64_t position) {
        Seekd__V1__SessionResult result = SEEKD__V1__SESSION_RESULT__INIT;
        result.request_id = id;
        result.session = session;
        result.position = position;
        if (right)
                fake_send(daemon, RECORD_SESSION_RESULT, id, &result.base);
        else
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                           "not as expected");
}

/* -------- one session -------- */

static void script_life(struct fake_daemon *daemon) {
        uint32_t id;
        fake_welcome(daemon);
        const Seekd__V1__SessionOpen *open = expect(daemon, RECORD_SESSION_OPEN, &id);
        answer(daemon, id, open && strcmp(open->subject, "tenant") == 0, UINT64_MAX, 0);
        const Seekd__V1__Append *append = expect(daemon, RECORD_APPEND, &id);
        answer(daemon, id,
               append && append->session == UINT64_MAX && append->parse_special &&
                       append->what_case == SEEKD__V1__APPEND__WHAT_TEXT && append->text.len == 4,
               UINT64_MAX, 3);
        append = expect(daemon, RECORD_APPEND, &id);
        answer(daemon, id,
               append && append->what_case == SEEKD__V1__APPEND__WHAT_TOKENS &&
                       append->tokens->n_ids == 2 && append->tokens->ids[1] == 8,
               UINT64_MAX, 5);
        const Seekd__V1__SessionFork *fork = expect(daemon, RECORD_SESSION_FORK, &id);
        answer(daemon, id, fork && fork->session == UINT64_MAX && fork->position == 4, 12, 4);
        const Seekd__V1__SessionRewind *rewind = expect(daemon, RECORD_SESSION_REWIND, &id);
        answer(daemon, id, rewind && rewind->session == 12 && rewind->position == 1, 12, 1);
        const Seekd__V1__SessionPin *pin = expect(daemon, RECORD_SESSION_PIN, &id);
        answer(daemon, id, pin && pin->session == 12 && pin->pinned, 12, 1);
        const Seekd__V1__SessionAttach *attach = expect(daemon, RECORD_SESSION_ATTACH, &id);
        answer(daemon, id, attach && attach->session == 12, 12, 1);
        const Seekd__V1__SessionClose *close = expect(daemon, RECORD_SESSION_CLOSE, &id);
        answer(daemon, id, close && close->session == 12 && close->forget, 12, 1);
        fake_wait_hang_up(daemon);
}

static void each_question_says_what_the_program_said(void **state) {
        (void)state;
        uint64_t session = 0, fork = 0, tokens = 0;
        const uint32_t ids[] = { 7, 8 };
        begin(script_life);
        assert_int_equal(seekd_session_open(client, "tenant", &session), 0);
        assert_true(session == UINT64_MAX);
        assert_int_equal(seekd_session_append(client, session, "text", SEEKD_ZERO_TERMINATED,
                                              SEEKD_PARSE_SPECIAL, &tokens),
                         0);
        assert_int_equal(tokens, 3);
        assert_int_equal(seekd_session_append_tokens(client, session, ids, 2, NULL), 0);
        assert_int_equal(seekd_session_fork(client, session, 4, &fork), 0);
        assert_int_equal(fork, 12);
        assert_int_equal(seekd_session_rewind(client, fork, 1), 0);
        assert_int_equal(seekd_session_pin(client, fork, 5), 0);
        assert_int_equal(seekd_session_attach(client, fork, &tokens), 0);
        assert_int_equal(tokens, 1);
        assert_int_equal(seekd_session_close(client, fork, 1), 0);
        end();
}

static void script_not_found(struct fake_daemon *daemon) {
        unsigned type;
        uint32_t id;
        fake_welcome(daemon);
        while (fake_request(daemon, &type, &id))
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_NOT_FOUND, "no such one");
}

static void what_is_not_there_is_not_found(void **state) {
        (void)state;
        uint64_t tokens = 77;
        uint32_t *ids = NULL;
        size_t n = 77;
        begin(script_not_found);
        assert_int_equal(seekd_session_attach(client, 5, &tokens), SEEKD_E_NOT_FOUND);
        assert_string_equal(seekd_last_error(client), "no such one");
        assert_int_equal(tokens, 77);
        assert_int_equal(seekd_recall(client, NULL, "key", 3, &ids, &n), SEEKD_E_NOT_FOUND);
        assert_null(ids);
        assert_int_equal(n, 77);
        end();
}

static void a_subject_is_text(void **state) {
        (void)state;
        uint64_t session;
        begin(script_not_found);
        assert_int_equal(seekd_session_open(client, "\xff", &session), SEEKD_E_INVALID);
        assert_non_null(strstr(seekd_last_error(client), "subject: invalid UTF-8"));
        assert_int_equal(seekd_session_append(client, 5, "\xff", 1, 0, NULL), SEEKD_E_INVALID);
        end();
}

/* -------- generating -------- */

static void script_turn(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id;
        const Seekd__V1__Generate *generate = expect(daemon, RECORD_GENERATE, &id);
        if (generate && generate->session == 99 &&
            generate->prompt_case == SEEKD__V1__GENERATE__PROMPT__NOT_SET) {
                fake_accepted(daemon, id, 3);
                fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_EOS);
        } else {
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                           "not as expected");
        }
        fake_wait_hang_up(daemon);
}

static void a_session_needs_no_prompt_and_takes_one_at_most(void **state) {
        (void)state;
        struct seekd_params params = SEEKD_PARAMS_INIT;
        const uint32_t ids[] = { 1 };
        begin(script_turn);
        params.session = 99;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), 0);
        params.prompt = "text";
        params.prompt_bytes = 4;
        params.tokens = ids;
        params.n_tokens = 1;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);
        end();
}

/* -------- the list -------- */

static void script_list(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id;
        const Seekd__V1__SessionList *list = expect(daemon, RECORD_SESSION_LIST, &id);
        Seekd__V1__SessionEntry a = SEEKD__V1__SESSION_ENTRY__INIT, b = a, c = a;
        a.session = 5, a.subject = (char *)"first", a.used = 10, a.tokens = 3, a.durable = true;
        b.session = UINT64_MAX - 1, b.subject = (char *)"second", b.used = 30, b.pinned = true;
        c.session = UINT64_MAX, c.used = 20, c.uid = 7, c.running = true, c.created = 9;
        Seekd__V1__SessionListResult result = SEEKD__V1__SESSION_LIST_RESULT__INIT;
        result.request_id = id;
        result.n_sessions = 2;
        result.sessions = (Seekd__V1__SessionEntry *[]){ &a, &b };
        result.more = list && list->after == 0 && list->all;
        fake_send(daemon, RECORD_SESSION_LIST_RESULT, id, &result.base);
        list = expect(daemon, RECORD_SESSION_LIST, &id);
        result.request_id = id;
        result.n_sessions = list && list->after == UINT64_MAX - 1 && list->all;
        result.sessions = (Seekd__V1__SessionEntry *[]){ &c };
        result.more = false;
        fake_send(daemon, RECORD_SESSION_LIST_RESULT, id, &result.base);
        fake_wait_hang_up(daemon);
}

static void a_list_comes_in_parts_the_latest_first(void **state) {
        (void)state;
        struct seekd_session_list *list = NULL;
        begin(script_list);
        assert_int_equal(seekd_session_list(client, 1, &list), 0);
        assert_int_equal(list->n_sessions, 3);
        assert_string_equal(list->sessions[0]->subject, "second");
        assert_true(list->sessions[0]->pinned && !list->sessions[0]->durable);
        assert_true(list->sessions[1]->id == UINT64_MAX && list->sessions[1]->running);
        assert_string_equal(list->sessions[1]->subject, "");
        assert_int_equal(list->sessions[1]->uid, 7);
        assert_int_equal(list->sessions[1]->created_s, 9);
        assert_int_equal(list->sessions[2]->tokens, 3);
        assert_true(list->sessions[2]->durable);
        seekd_free(list);
        end();
}

/* -------- remembering -------- */

static void script_remember(struct fake_daemon *daemon) {
        uint32_t id;
        fake_welcome(daemon);
        const Seekd__V1__Remember *remember = expect(daemon, RECORD_REMEMBER, &id);
        Seekd__V1__Acknowledged done = SEEKD__V1__ACKNOWLEDGED__INIT;
        done.request_id = id;
        if (remember && remember->key.len == 4 && memcmp(remember->key.data, "k\0ey", 4) == 0 &&
            remember->session == 9 && remember->tokens->n_ids == 2 &&
            strcmp(remember->subject, "tenant") == 0)
                fake_send(daemon, RECORD_ACKNOWLEDGED, id, &done.base);
        const Seekd__V1__Recall *recall = expect(daemon, RECORD_RECALL, &id);
        Seekd__V1__TokenIds tokens = SEEKD__V1__TOKEN_IDS__INIT;
        Seekd__V1__RecallResult result = SEEKD__V1__RECALL_RESULT__INIT;
        tokens.n_ids = recall && recall->key.len == 4 ? 2 : 0;
        tokens.ids = (uint32_t[]){ 7, UINT32_MAX };
        result.request_id = id;
        result.tokens = &tokens;
        fake_send(daemon, RECORD_RECALL_RESULT, id, &result.base);
        fake_wait_hang_up(daemon);
}

static void what_is_remembered_is_recalled(void **state) {
        (void)state;
        const uint32_t ids[] = { 7, UINT32_MAX };
        uint32_t *recalled = NULL;
        size_t n = 0;
        begin(script_remember);
        assert_int_equal(seekd_remember(client, "tenant", "k\0ey", 4, ids, 2, 9), 0);
        assert_int_equal(seekd_recall(client, "tenant", "k\0ey", 4, &recalled, &n), 0);
        assert_int_equal(n, 2);
        assert_memory_equal(recalled, ids, sizeof(ids));
        seekd_free(recalled);
        end();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_question_says_what_the_program_said),
                cmocka_unit_test(what_is_not_there_is_not_found),
                cmocka_unit_test(a_subject_is_text),
                cmocka_unit_test(a_session_needs_no_prompt_and_takes_one_at_most),
                cmocka_unit_test(a_list_comes_in_parts_the_latest_first),
                cmocka_unit_test(what_is_remembered_is_recalled),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
