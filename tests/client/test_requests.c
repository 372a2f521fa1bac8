/* libseekd against a daemon that behaves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <math.h>

#include "client/seekd.h"
#include "fake_daemon.h"
#include "proto/slots.h"

static struct seekd_client *connect_to(struct fake_daemon *daemon) {
        struct seekd_client *client = NULL;
        char error[SEEKD_ERROR_BYTES];
        assert_int_equal(seekd_connect(daemon->path, &client, error, sizeof(error)), 0);
        assert_string_equal(error, "");
        return client;
}

struct collected {
        char text[256];
        unsigned n_pieces;
        unsigned stop_after;
};

static int collect(void *userdata, const struct seekd_piece *piece) {
        struct collected *collected = userdata;
        strncat(collected->text, piece->text, piece->text_bytes);
        return ++collected->n_pieces == collected->stop_after;
}

static void script_two_tokens(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_accepted(daemon, id, 3);
        fake_token(daemon, id, 100, "hel");
        fake_token(daemon, id, 101, "lo €");
        fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_EOS);
        fake_wait_hang_up(daemon);
}

static void a_completion_streams_its_pieces_and_reports_its_usage(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_two_tokens);
        struct seekd_client *client = connect_to(&daemon);
        assert_int_equal(seekd_load_permille(client), 1000);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "say hello";
        params.prompt_bytes = SEEKD_ZERO_TERMINATED;
        struct seekd_result result = SEEKD_RESULT_INIT;
        struct collected collected = { "", 0, 0 };
        assert_int_equal(seekd_complete(client, &params, collect, &collected, &result), 0);
        assert_string_equal(collected.text, "hello €");
        assert_int_equal(collected.n_pieces, 2);
        assert_int_equal(result.finish, SEEKD_FINISH_EOS);
        assert_int_equal(result.seed, 77);
        assert_int_equal(result.generated_tokens, 2);
        assert_true(result.first_token_ms == 12.5);
        assert_true(result.decode_ms == 0);
        assert_int_equal(result.cache_end, SEEKD_CACHE_END_DIFFERENT_PROMPT);
        assert_int_equal(result.n_cache_prompt_ids, 8);
        assert_int_equal(result.cache_prompt_ids[7], 8);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void script_check_parameters(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        unsigned type;
        uint32_t id;
        const Seekd__V1__Generate *generate =
                (const Seekd__V1__Generate *)fake_request(daemon, &type, &id);
        if (generate->request_id == id &&
            generate->prompt_case == SEEKD__V1__GENERATE__PROMPT_FIM &&
            generate->fim->prefix.len == 3 && generate->fim->suffix.len == 0 &&
            generate->sampling->n_stop == 2 && strcmp(generate->sampling->stop[1], "é") == 0 &&
            generate->sampling->top_k == 4 && generate->sampling->seed_given &&
            generate->sampling->seed == UINT64_MAX && generate->sampling->logprobs &&
            generate->class_ == SEEKD__V1__CLASS__CLASS_AGENT &&
            strcmp(generate->subject, "tenant") == 0 && generate->deadline_ms == 9)
                fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_LENGTH);
        else
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                           "not what was asked");
        fake_wait_hang_up(daemon);
}

static void parameters_arrive_as_given(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_check_parameters);
        struct seekd_client *client = connect_to(&daemon);
        const char *const stop[] = { "\n\n", "é" };
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prefix = "abc";
        params.prefix_bytes = SEEKD_ZERO_TERMINATED;
        params.stop = stop;
        params.n_stop = 2;
        params.top_k = 4;
        params.seed_given = 1;
        params.seed = UINT64_MAX;
        params.service = SEEKD_CLASS_AGENT;
        params.subject = "tenant";
        params.deadline_ms = 9;
        params.flags = SEEKD_LOGPROBS;
        struct seekd_result result = SEEKD_RESULT_INIT;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, &result), 0);
        assert_int_equal(result.finish, SEEKD_FINISH_LENGTH);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

#define LARGE_BYTES (1U << 20)

static void script_large(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        unsigned type;
        uint32_t id;
        const Seekd__V1__Generate *generate =
                (const Seekd__V1__Generate *)fake_request(daemon, &type, &id);
        bool same = daemon->bulk && generate->text.len == LARGE_BYTES;
        for (size_t i = 0; same && i < LARGE_BYTES; i++)
                same = generate->text.data[i] == 'a' + i % 23;
        if (same)
                fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_EOS);
        else
                fake_error(daemon, id, SEEKD__V1__ERROR_CODE__ERROR_CODE_INVALID,
                           "not what was sent");
        fake_wait_hang_up(daemon);
}

static void a_prompt_larger_than_a_record_travels_as_a_memory_file(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_large);
        struct seekd_client *client = connect_to(&daemon);
        char *prompt = malloc(LARGE_BYTES);
        for (size_t i = 0; i < LARGE_BYTES; i++)
                prompt[i] = (char)('a' + i % 23);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = prompt;
        params.prompt_bytes = LARGE_BYTES;
        assert_int_equal(seekd_complete(client, &params, NULL, NULL, NULL), 0);
        free(prompt);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void script_cancelled(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_accepted(daemon, id, 31);
        do
                fake_token(daemon, id, 1, "x");
        while (!slot_cancelled(&daemon->channel.peer, 31, id));
        fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_CANCELLED);
        fake_wait_hang_up(daemon);
}

static void a_callback_that_returns_nonzero_cancels(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_cancelled);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "x";
        params.prompt_bytes = 1;
        struct seekd_result result = SEEKD_RESULT_INIT;
        struct collected collected = { "", 0, 2 };
        assert_int_equal(seekd_complete(client, &params, collect, &collected, &result), 0);
        assert_int_equal(result.finish, SEEKD_FINISH_CANCELLED);
        assert_string_equal(collected.text, "xx");
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void script_wait_for_cancel(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t id = fake_generate(daemon);
        fake_accepted(daemon, id, 5);
        for (unsigned i = 0; i < 10000 && !slot_cancelled(&daemon->channel.peer, 5, id); i++)
                nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        if (slot_cancelled(&daemon->channel.peer, 5, id))
                fake_done(daemon, id, SEEKD__V1__FINISH_REASON__FINISH_REASON_CANCELLED);
        fake_hang_up(daemon);
}

static void keep_finish(void *userdata, struct seekd_request *request,
                        const struct seekd_result *result) {
        (void)request;
        *(int *)userdata = result->finish;
}

static void a_request_can_be_cancelled_before_the_daemon_has_seen_it(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_wait_for_cancel);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "x";
        params.prompt_bytes = 1;
        struct seekd_request *request;
        int finish = SEEKD_FINISH_NONE;
        assert_int_equal(seekd_submit(client, &params, NULL, keep_finish, &finish, &request), 0);
        seekd_cancel(request);
        while (!seekd_finished(request))
                seekd_dispatch(client, -1);
        assert_int_equal(finish, SEEKD_FINISH_CANCELLED);
        seekd_request_free(request);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void script_interleaved(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        uint32_t first = fake_generate(daemon);
        uint32_t second = fake_generate(daemon);
        struct slot_progress progress = {
                .request_id = first,
                .phase = SLOT_PREFILL,
                .tokens_done = 3,
                .tokens_total = 5,
                .estimate_ms = 40,
        };
        slot_store(&daemon->channel.own, 0, &progress);
        fake_accepted(daemon, second, 1);
        fake_accepted(daemon, first, 0);
        fake_token(daemon, first, 1, "a");
        fake_token(daemon, second, 2, "b");
        fake_token(daemon, first, 3, "c");
        fake_token(daemon, 12345, 4, "of nobody");
        fake_done(daemon, second, SEEKD__V1__FINISH_REASON__FINISH_REASON_EOS);
        fake_request(daemon, &(unsigned){ 0 }, &(uint32_t){ 0 }); /* the question of the test */
        fake_wait_hang_up(daemon);
}

static void count_done(void *userdata, struct seekd_request *request,
                       const struct seekd_result *result) {
        assert_int_equal(result->code, 0);
        (*(unsigned *)userdata)++;
        seekd_request_free(request);
}

static void requests_run_side_by_side_and_show_progress(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_interleaved);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.prompt = "x";
        params.prompt_bytes = 1;
        struct collected collected = { "", 0, 0 };
        unsigned n_done = 0;
        struct seekd_request *first, *second;
        assert_int_equal(seekd_submit(client, &params, collect, NULL, &collected, &first), 0);
        assert_int_equal(seekd_submit(client, &params, NULL, count_done, &n_done, &second), 0);
        assert_int_equal(seekd_fd(client) >= 0, 1);
        while (n_done == 0)
                assert_true(seekd_dispatch(client, 1000) >= 0);
        assert_string_equal(collected.text, "ac");
        assert_false(seekd_finished(first));
        struct seekd_progress progress = SEEKD_PROGRESS_INIT;
        assert_int_equal(seekd_progress(first, &progress), 0);
        assert_int_equal(progress.phase, SEEKD_PHASE_PREFILL);
        assert_int_equal(progress.tokens_done, 3);
        assert_int_equal(progress.tokens_total, 5);
        assert_int_equal(progress.estimate_ms, 40);
        seekd_request_free(first);
        struct seekd_request *last;
        assert_int_equal(seekd_submit(client, &params, NULL, NULL, NULL, &last), 0);
        seekd_disconnect(client); /* frees it */
        fake_stop(&daemon);
}

#define MANY_IDS 300000U

static void script_questions(struct fake_daemon *daemon) {
        fake_welcome(daemon);
        unsigned type;
        uint32_t id;
        fake_request(daemon, &type, &id);
        uint32_t *ids = malloc(MANY_IDS * sizeof(*ids));
        for (uint32_t i = 0; i < MANY_IDS; i++)
                ids[i] = i;
        Seekd__V1__TokenizeResult tokens = SEEKD__V1__TOKENIZE_RESULT__INIT;
        tokens.n_ids = MANY_IDS;
        tokens.ids = ids;
        fake_send(daemon, RECORD_TOKENIZE_RESULT, id, &tokens.base);
        free(ids);

        const Seekd__V1__Detokenize *detokenize =
                (const Seekd__V1__Detokenize *)fake_request(daemon, &type, &id);
        Seekd__V1__DetokenizeResult text = SEEKD__V1__DETOKENIZE_RESULT__INIT;
        text.text = (ProtobufCBinaryData){ detokenize->n_ids, (uint8_t *)"a\0\xFF" };
        fake_send(daemon, RECORD_DETOKENIZE_RESULT, id, &text.base);

        fake_request(daemon, &type, &id);
        Seekd__V1__ModelInfoResult info = SEEKD__V1__MODEL_INFO_RESULT__INIT;
        info.name = (char *)"seed";
        info.context_tokens = 4096;
        info.fim = true;
        fake_send(daemon, RECORD_MODEL_INFO_RESULT, id, &info.base);

        fake_request(daemon, &type, &id);
        Seekd__V1__ClientStats client = SEEKD__V1__CLIENT_STATS__INIT;
        client.pid = 42;
        Seekd__V1__RequestStats request = SEEKD__V1__REQUEST_STATS__INIT;
        request.phase = SEEKD__V1__PHASE__PHASE_DECODE;
        request.generated_tokens = 7;
        Seekd__V1__StatsResult stats = SEEKD__V1__STATS_RESULT__INIT;
        stats.version = (char *)"0.1.0";
        stats.n_clients = 2;
        stats.clients = (Seekd__V1__ClientStats *[]){ &client, &client };
        stats.n_requests = 1;
        stats.requests = (Seekd__V1__RequestStats *[]){ &request };
        Seekd__V1__KvStats kv = SEEKD__V1__KV_STATS__INIT;
        kv.suspended = (char *)"No space left on device";
        kv.failed_reads = 3;
        stats.kv = &kv;
        fake_send(daemon, RECORD_STATS_RESULT, id, &stats.base);
        fake_wait_hang_up(daemon);
}

/* Statistics with a class; then the same with each of the histograms that there cannot be. */
static void script_histograms(struct fake_daemon *daemon) {
        double bounds[][2] = { { 0.5, 2 }, { 0.5, 2 },   { 2, 2 },
                               { 0, 2 },   { 0.5, NAN }, { 0.5, INFINITY } };
        uint64_t counts[] = { 1, 0, 7 }, finished[] = { 0, 3 };
        uint64_t refused[] = { 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 4 };
        fake_welcome(daemon);
        for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
                unsigned type;
                uint32_t id;
                fake_request(daemon, &type, &id);
                Seekd__V1__Histogram token = SEEKD__V1__HISTOGRAM__INIT;
                token.bounds_s = bounds[i];
                token.n_bounds_s = 2;
                token.counts = counts;
                token.n_counts = i == 1 ? 2 : 3;
                token.sum_s = 9.5;
                Seekd__V1__ClassStats class = SEEKD__V1__CLASS_STATS__INIT;
                class.class_ = SEEKD__V1__CLASS__CLASS_AGENT;
                class.queued = 5;
                class.finished = finished;
                class.n_finished = 2;
                class.token = &token;
                Seekd__V1__StatsResult stats = SEEKD__V1__STATS_RESULT__INIT;
                stats.n_classes = 1;
                stats.classes = (Seekd__V1__ClassStats *[]){ &class };
                stats.refused = refused;
                stats.n_refused = sizeof(refused) / sizeof(refused[0]);
                fake_send(daemon, RECORD_STATS_RESULT, id, &stats.base);
        }
        fake_wait_hang_up(daemon);
}

static void histograms_are_checked(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_histograms);
        struct seekd_client *client = connect_to(&daemon);
        struct seekd_stats *stats = NULL;
        assert_int_equal(seekd_stats(client, &stats), 0);
        assert_int_equal(stats->n_classes, 1);
        const struct seekd_class_stats *class = stats->classes[0];
        assert_int_equal(class->service, SEEKD_CLASS_AGENT);
        assert_int_equal(class->queued, 5);
        assert_int_equal(class->finished[SEEKD_FINISH_EOS], 3);
        assert_int_equal(class->token->counts[2], 7);
        assert_true(class->token->bounds_s[1] == 2 && class->token->sum_s == 9.5);
        assert_int_equal(class->queue->n_bounds, 0); /* a daemon that does not count it */
        assert_int_equal(class->queue->counts[0], 0);
        assert_int_equal(stats->refused[-SEEKD_E_INVALID], 2);
        assert_int_equal(stats->refused[-SEEKD_E_DAEMON], 5); /* DUPLICATE, too */
        assert_int_equal(stats->refused[-SEEKD_E_BUSY], 0);
        seekd_free(stats);
        for (int i = 0; i < 5; i++) {
                stats = NULL;
                assert_int_equal(seekd_stats(client, &stats), SEEKD_E_PROTOCOL);
                assert_non_null(strstr(seekd_last_error(client), "histogram"));
                assert_null(stats);
        }
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void questions_are_answered(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_questions);
        struct seekd_client *client = connect_to(&daemon);
        uint32_t *ids = NULL;
        size_t n = 0;
        assert_int_equal(seekd_tokenize(client, "text", SEEKD_ZERO_TERMINATED, 0, &ids, &n), 0);
        assert_int_equal(n, MANY_IDS); /* larger than the ring: in pieces */
        assert_int_equal(ids[MANY_IDS - 1], MANY_IDS - 1);
        char *text = NULL;
        assert_int_equal(seekd_detokenize(client, ids, 3, 0, &text, &n), 0);
        assert_int_equal(n, 3);
        assert_memory_equal(text, "a\0\xFF", 4);
        seekd_free(text);
        seekd_free(ids);
        struct seekd_model_info info = SEEKD_MODEL_INFO_INIT;
        assert_int_equal(seekd_model_info(client, &info), 0);
        assert_string_equal(info.name, "seed");
        assert_int_equal(info.context_tokens, 4096);
        assert_int_equal(info.fim, 1);
        struct seekd_stats *stats = NULL;
        assert_int_equal(seekd_stats(client, &stats), 0);
        assert_string_equal(stats->version, "0.1.0");
        assert_int_equal(stats->n_clients, 2);
        assert_int_equal(stats->clients[1]->pid, 42);
        assert_int_equal(stats->requests[0]->phase, SEEKD_PHASE_DECODE);
        assert_int_equal(stats->requests[0]->generated_tokens, 7);
        assert_string_equal(stats->kv->suspended, "No space left on device");
        assert_int_equal(stats->kv->failed_reads, 3);
        assert_null(stats->engram);
        seekd_free(stats);
        seekd_disconnect(client);
        fake_stop(&daemon);
}

static void spinning_changes_nothing_else(void **state) {
        (void)state;
        struct fake_daemon daemon;
        fake_start(&daemon, script_two_tokens);
        struct seekd_client *client = connect_to(&daemon);
        assert_int_equal(seekd_set_spin_ns(client, 50001), SEEKD_E_INVALID);
        assert_int_equal(seekd_set_spin_ns(client, 50000), 0);
        struct seekd_params params = SEEKD_PARAMS_INIT;
        params.tokens = (const uint32_t[]){ 0, 1 };
        params.n_tokens = 2;
        struct collected collected = { "", 0, 0 };
        assert_int_equal(seekd_complete(client, &params, collect, &collected, NULL), 0);
        assert_string_equal(collected.text, "hello €");
        seekd_disconnect(client);
        fake_stop(&daemon);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_completion_streams_its_pieces_and_reports_its_usage),
                cmocka_unit_test(parameters_arrive_as_given),
                cmocka_unit_test(a_prompt_larger_than_a_record_travels_as_a_memory_file),
                cmocka_unit_test(a_callback_that_returns_nonzero_cancels),
                cmocka_unit_test(a_request_can_be_cancelled_before_the_daemon_has_seen_it),
                cmocka_unit_test(requests_run_side_by_side_and_show_progress),
                cmocka_unit_test(questions_are_answered),
                cmocka_unit_test(histograms_are_checked),
                cmocka_unit_test(spinning_changes_nothing_else),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
