/* libseekd against wrong parameters, and against daemons that refuse, die or send nonsense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "client/seekd.h"
#include "fake_daemon.h"

static struct seekd_client *connect_to(struct fake_daemon *daemon) {
        struct seekd_client *client = NULL;
        char error[SEEKD_ERROR_BYTES];
        assert_int_equal(seekd_connect(daemon->path, &client, error, sizeof(error)), 0);
        return client;
}

static struct seekd_params some_params(void) {
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "x";
        params.prompt_bytes = 1;
        return params;
}

static int count_piece(void *userdata, const struct seekd_piece *piece) {
        (void)piece;
        (*(unsigned *)userdata)++;
        return 0;
}

/* Completes against a script and expects this end. */
static void expect_end(fake_script script, int code, const char *text, unsigned n_pieces) {
        struct fake_daemon daemon;
        fake_start(&daemon, script);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_params params = some_params();
        struct seekd_result result = SEEKD_RESULT_INIT;
        unsigned n = 0;
        assert_int_equal(seekd_complete(client, &params, count_piece, &n, &result), code);
        assert_int_equal(result.code, code);
        assert_int_equal(result.finish, SEEKD_FINISH_ERROR);
        assert_non_null(strstr(result.error, text));
        assert_string_equal(result.error, seekd_last_error(client));
        assert_int_equal(n, n_pieces);
        if (code == SEEKD_E_LOST || code == SEEKD_E_PROTOCOL) {
                assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), code);
                assert_int_equal(
                        seekd_model_info(client, &(struct seekd_model_info)SEEKD_MODEL_INFO_INIT),
                        code);
        }
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void script_error(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_error(daemon, fake_generate(daemon), SEEKD__V1__ERROR_CODE__ERROR_CODE_TOO_LARGE,
                   "prompt: 9 tokens");
        fake_wait_hang_up(daemon);
}

static void an_error_of_the_daemon_is_the_result(void **state) {
        (void)state;
        expect_end(script_error, SEEKD_E_TOO_LARGE, "prompt: 9 tokens", 0);
}

static void script_error_in_done(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_accepted(daemon, id, 0);
        fake_token(daemon, id, 1, "a");
        fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_ERROR);
        fake_wait_hang_up(daemon);
}

static void a_failure_while_generating_is_the_result(void **state) {
        (void)state;
        expect_end(script_error_in_done, SEEKD_E_DAEMON, "does not say why", 1);
}

static void script_die(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_accepted(daemon, id, 0);
        fake_token(daemon, id, 1, "a");
        fake_token(daemon, id, 2, "b");
}

static void a_daemon_that_dies_ends_the_request_after_its_last_token(void **state) {
        (void)state;
        expect_end(script_die, SEEKD_E_LOST, "connection lost", 2);
}

static void script_die_asleep(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 },
                  NULL); /* the client most likely sleeps now */
        uint8_t payload[64];
        struct token_delta delta = { .id = 1, .text_bytes = 1 };
        struct ring_item item = { .type = RECORD_TOKENS, .flags = RING_WHOLE, .stream = id };
        item.len = (uint32_t)token_delta_put(payload, sizeof(payload), &delta, NULL, "a");
        ring_writer_write(&daemon->channel.writer, &item, payload, NULL);
        ring_writer_publish(
                &daemon->channel.writer); /* and no kick: the client hears of the hang-up only */
}

static void what_a_daemon_wrote_before_it_died_is_delivered(void **state) {
        (void)state;
        expect_end(script_die_asleep, SEEKD_E_LOST, "connection lost", 1);
}

static void script_goodbye(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_generate(daemon);
        frame_send_goodbye(daemon->socket, GOODBYE_STOPPING);
        fake_wait_hang_up(daemon);
}

static void a_daemon_that_says_goodbye_ends_the_request(void **state) {
        (void)state;
        expect_end(script_goodbye, SEEKD_E_LOST, "shutting down", 0);
}

static void script_error_frame(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_generate(daemon);
        frame_send_error(daemon->socket, -71, "record 3: too long");
        fake_wait_hang_up(daemon);
}

static void an_error_frame_is_reported(void **state) {
        (void)state;
        expect_end(script_error_frame, SEEKD_E_PROTOCOL, "record 3: too long", 0);
}

static void script_malformed_done(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_send_bytes(daemon, RECORD_DONE, id, "\x12\xFF", 2);
        fake_wait_hang_up(daemon);
}

static void a_malformed_message_ends_the_connection(void **state) {
        (void)state;
        expect_end(script_malformed_done, SEEKD_E_PROTOCOL, "malformed", 0);
}

static void script_malformed_tokens(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_token(daemon, id, 1, "\xC3");
        fake_wait_hang_up(daemon);
}

static void tokens_that_are_not_utf8_end_the_connection(void **state) {
        (void)state;
        expect_end(script_malformed_tokens, SEEKD_E_PROTOCOL, "malformed tokens at byte 0", 0);
}

static void script_wrong_slot(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_accepted(daemon, fake_generate(daemon), 32);
        fake_wait_hang_up(daemon);
}

static void a_slot_that_does_not_exist_ends_the_connection(void **state) {
        (void)state;
        expect_end(script_wrong_slot, SEEKD_E_PROTOCOL, "slot 32 of 32", 0);
}

static void script_wrong_answer(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        Seekd__V1__TokenizeResult answer = SEEKD__V1__TOKENIZE_RESULT__INIT;
        fake_send(daemon, RECORD_TOKENIZE_RESULT, fake_generate(daemon), &answer.base);
        fake_wait_hang_up(daemon);
}

static void an_answer_to_another_question_ends_the_connection(void **state) {
        (void)state;
        expect_end(script_wrong_answer, SEEKD_E_PROTOCOL, "is no answer to it", 0);
}

static void script_lying_head(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_generate(daemon);
        atomic_store(daemon->channel.writer.head, 1ULL << 40);
        frame_send_kick(daemon->socket);
        fake_wait_hang_up(daemon);
}

static void a_lying_ring_ends_the_connection(void **state) {
        (void)state;
        expect_end(script_lying_head, SEEKD_E_PROTOCOL, "malformed", 0);
}

static void no_daemon_is_named_with_its_path(void **state) {
        (void)state;
        struct seekd_client *client = NULL;
        char error[SEEKD_ERROR_BYTES];
        assert_int_equal(seekd_connect("/nonexistent/sock", &client, error, sizeof(error)),
                         SEEKD_E_NO_DAEMON);
        assert_null(client);
        assert_string_equal(error, "no daemon: /nonexistent/sock: No such file or directory");
        unsetenv("SEEKD_SOCKET");
        setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
        if (seekd_connect(NULL, &client, error, sizeof(error)) == SEEKD_E_NO_DAEMON) {
                assert_non_null(strstr(error, "/nonexistent/seekd/seekd.sock"));
                assert_non_null(strstr(error, "/run/seekd/seekd.sock"));
        } else {
                seekd_disconnect(client); /* this machine has one */
        }
        setenv("SEEKD_SOCKET", "/nonexistent/other", 1);
        assert_int_equal(seekd_connect(NULL, &client, error, sizeof(error)), SEEKD_E_NO_DAEMON);
        assert_string_equal(error, "no daemon: /nonexistent/other: No such file or directory");
        char path[200];
        memset(path, 'a', sizeof(path) - 1);
        path[199] = 0;
        assert_int_equal(seekd_connect(path, &client, NULL, 0), SEEKD_E_INVALID);
}

static void script_refuse_version(struct fake_daemon *daemon) {
        struct frame hello;
        fake_accept(daemon, &hello);
        frame_send_refuse(daemon->socket, REFUSE_VERSION, 0, "too old");
}

static void script_refuse_quota(struct fake_daemon *daemon) {
        struct frame hello;
        fake_accept(daemon, &hello);
        frame_send_refuse(daemon->socket, REFUSE_QUOTA, 300, "too many connections");
}

static void script_close_at_once(struct fake_daemon *daemon) {
        struct frame hello;
        fake_accept(daemon, &hello);
}

static void script_nonsense(struct fake_daemon *daemon) {
        struct frame hello;
        fake_accept(daemon, &hello);
        assert_int_equal(send(daemon->socket, "nonsense", 8, MSG_NOSIGNAL), 8);
}

static void expect_no_connection(fake_script script, int code, const char *text) {
        struct fake_daemon daemon;
        fake_start(&daemon, script);
        struct seekd_client *client = NULL;
        char error[SEEKD_ERROR_BYTES];
        assert_int_equal(seekd_connect(daemon.path, &client, error, sizeof(error)), code);
        assert_null(client);
        assert_non_null(strstr(error, text));
        fake_stop(&daemon);
}

static void a_refused_connection_says_why(void **state) {
        (void)state;
        expect_no_connection(script_refuse_version, SEEKD_E_PROTOCOL, "the daemon speaks protocol");
        expect_no_connection(script_refuse_quota, SEEKD_E_REFUSED,
                             "too many connections (try again in 300 ms)");
        expect_no_connection(script_close_at_once, SEEKD_E_LOST, "before its welcome");
        expect_no_connection(script_nonsense, SEEKD_E_PROTOCOL, "");
}

static void script_idle(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        fake_wait_hang_up(daemon);
}

static void wrong_parameters_are_refused_by_name(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_idle);
        struct seekd_client *client = connect_to(&daemon);

        struct seekd_params params = SEEKD_PARAMS_INIT;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_non_null(strstr(seekd_last_error(client), "exactly one of"));
        params = some_params();
        params.suffix = "also";
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);

        params = some_params();
        params.prompt = "0123456789abcdefg\xFF";
        params.prompt_bytes = SEEKD_ZERO_TERMINATED;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_string_equal(seekd_last_error(client), "prompt: invalid UTF-8 at byte 17");

        params = some_params();
        const char *const stop[17] = { "a", "" };
        params.stop = stop;
        params.n_stop = 2;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_string_equal(seekd_last_error(client),
                            "stop: string 2 has 0 bytes, 1 to 256 are allowed");
        params.n_stop = 17;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);

        params = some_params();
        params.size = 8;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);

        params = some_params();
        char *large = calloc(1, (4U << 20) + 1);
        params.prompt = large;
        params.prompt_bytes = (4U << 20) + 1;
        struct seekd_result result = SEEKD_RESULT_INIT;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, &result), SEEKD_E_TOO_LARGE);
        assert_non_null(strstr(result.error, "4194304"));
        free(large);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

struct future_params {
        struct seekd_params known;
        uint64_t unknown;
};

static void a_later_program_may_only_use_what_this_library_knows(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_error);
        struct seekd_client *client = connect_to(&daemon);
        struct future_params params = { some_params(), 1 };
        params.known.size = sizeof(params);
        assert_int_equal(seekd_complete(client, &params.known, NULL, NULL, NULL), SEEKD_E_INVALID);
        params.unknown = 0;
        assert_int_equal(seekd_complete(client, &params.known, NULL, NULL, NULL),
                         SEEKD_E_TOO_LARGE);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static int call_back_in(void *userdata, const struct seekd_piece *piece) {
        (void)piece;
        struct seekd_client *client = userdata;
        struct seekd_params params = some_params();
        assert_int_equal(seekd_dispatch(client, 0), SEEKD_E_INVALID);
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), SEEKD_E_INVALID);
        assert_ptr_equal(seekd_disconnect(client), client);
        return 0;
}

static void a_callback_can_not_dispatch_or_disconnect(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_die);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_params params = some_params();
        assert_int_equal(seekd_complete(client, &params, call_back_in, client, NULL), SEEKD_E_LOST);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_error_of_the_daemon_is_the_result),
                cmocka_unit_test(a_failure_while_generating_is_the_result),
                cmocka_unit_test(a_daemon_that_dies_ends_the_request_after_its_last_token),
                cmocka_unit_test(what_a_daemon_wrote_before_it_died_is_delivered),
                cmocka_unit_test(a_daemon_that_says_goodbye_ends_the_request),
                cmocka_unit_test(an_error_frame_is_reported),
                cmocka_unit_test(a_malformed_message_ends_the_connection),
                cmocka_unit_test(tokens_that_are_not_utf8_end_the_connection),
                cmocka_unit_test(a_slot_that_does_not_exist_ends_the_connection),
                cmocka_unit_test(an_answer_to_another_question_ends_the_connection),
                cmocka_unit_test(a_lying_ring_ends_the_connection),
                cmocka_unit_test(no_daemon_is_named_with_its_path),
                cmocka_unit_test(a_refused_connection_says_why),
                cmocka_unit_test(wrong_parameters_are_refused_by_name),
                cmocka_unit_test(a_later_program_may_only_use_what_this_library_knows),
                cmocka_unit_test(a_callback_can_not_dispatch_or_disconnect),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
