/* seek top: two readings to numbers, numbers to lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "client/seek/latency.h"
#include "client/seek/top_view.h"

/* A reading whose statistics are in place: it is not the library's to free. */
struct made {
        struct seekd_stats stats;
        struct seekd_kv_stats kv;
        struct seekd_request_stats requests[3];
        const struct seekd_request_stats *request_pointers[3];
        struct seekd_client_stats client;
        const struct seekd_client_stats *client_pointers[1];
        struct top_reading reading;
};

static void make(struct made *made, double uptime_ms) {
        *made = (struct made){
                .stats = { .version = "0.1.0",
                           .model = "nano",
                           .backend = "cpu",
                           .uptime_ms = uptime_ms,
                           .model_ready = 1,
                           .running = 3 },
                .kv = { .device_bytes = 512, .device_bytes_max = 1024, .suspended = "" },
                .client = { .connection = 7, .uid = 4000000000U },
        };
        static const int classes[] = { SEEKD_CLASS_BACKGROUND, SEEKD_CLASS_DEFAULT,
                                       SEEKD_CLASS_INTERACTIVE };
        for (uint32_t i = 0; i < 3; i++) {
                made->requests[i] = (struct seekd_request_stats){
                        .connection = 7 + i,
                        .request_id = 1,
                        .pid = 100 + i,
                        .phase = SEEKD_PHASE_DECODE,
                        .service = classes[i],
                        .prompt_tokens = 10,
                        .prompt_done = 10,
                        .age_ms = 1000.0 * (i + 1),
                };
                made->request_pointers[i] = &made->requests[i];
        }
        made->client_pointers[0] = &made->client;
        made->stats.requests = made->request_pointers;
        made->stats.n_requests = 3;
        made->stats.clients = made->client_pointers;
        made->stats.n_clients = 1;
        made->stats.kv = &made->kv;
        made->reading = (struct top_reading){ .stats = &made->stats, .load_permille = 1000 };
}

static void rates_are_differences_by_the_daemons_clock(void **state) {
        struct made a, b;
        struct top_rates rates;
        (void)state;
        make(&a, 10000);
        make(&b, 12000);
        a.stats.prompt_tokens = 100;
        b.stats.prompt_tokens = 1100;
        b.stats.generated_tokens = 30;
        b.stats.steps = 8;
        b.stats.requests_done = 1;
        top_rates(&a.stats, &b.stats, &rates);
        assert_true(rates.seconds == 2 && rates.prefill_tokens == 500);
        assert_true(rates.decode_tokens == 15 && rates.steps == 4 && rates.requests == 0.5);
}

static void assert_unknown(const struct seekd_stats *earlier, const struct seekd_stats *now) {
        struct top_rates rates;
        top_rates(earlier, now, &rates);
        assert_true(rates.seconds == RATE_UNKNOWN && rates.prefill_tokens == RATE_UNKNOWN);
        assert_true(rates.decode_tokens == RATE_UNKNOWN && rates.steps == RATE_UNKNOWN);
}

static void there_is_no_rate_without_an_earlier_reading_of_the_same_life(void **state) {
        struct made a, b;
        (void)state;
        make(&a, 10000);
        make(&b, 12000);
        assert_unknown(NULL, &b.stats);
        assert_unknown(&b.stats, &b.stats); /* no time between */
        assert_unknown(&b.stats, &a.stats); /* restarted */
        a.stats.steps = 1;                  /* restarted, and longer ago than the interval */
        assert_unknown(&a.stats, &b.stats);
}

static const double bounds_s[] = { 0.1, 0.2, 1 };

/* In the middle of the second bucket are half of them, in the third the last tenth. */
static const uint64_t counts[] = { 4, 2, 3, 1 };
static const struct seekd_histogram some = { bounds_s, 3, counts, 3 };
static const struct seekd_histogram none = { bounds_s, 3, (uint64_t[]){ 0, 0, 0, 0 }, 0 };

struct made_classes {
        struct seekd_class_stats stats[3];
        const struct seekd_class_stats *pointers[3];
        uint64_t finished[2];
};

static void make_classes(struct made *made, struct made_classes *classes) {
        *classes = (struct made_classes){ .finished = { 0, 1 } };
        for (size_t i = 0; i < 3; i++) {
                classes->stats[i] = (struct seekd_class_stats){
                        .service = SEEKD_CLASS_INTERACTIVE + (int)i,
                        .finished = classes->finished,
                        .n_finished = i == 2 ? 1 : 2, /* the last has done nothing */
                        .queue = &none,
                        .first_token = i == 0 ? &some : &none,
                        .token = &none,
                };
                classes->pointers[i] = &classes->stats[i];
        }
        made->stats.classes = classes->pointers;
        made->stats.n_classes = 3;
}

static void latencies_are_read_from_buckets(void **state) {
        char text[LATENCY_TEXT];
        (void)state;
        assert_int_equal(latency_count(&some), 10);
        assert_true(fabs(latency_quantile(&some, 0.2) - 0.05) < 1e-9);
        assert_true(fabs(latency_quantile(&some, 0.5) - 0.15) < 1e-9);
        assert_true(fabs(latency_quantile(&some, 0.9) - 1) < 1e-9);
        assert_true(latency_quantile(&some, 0.95) == 1); /* above all bounds */
        assert_true(latency_quantile(&none, 0.5) == LATENCY_UNKNOWN);
        static const struct {
                double s;
                const char *text;
        } cases[] = { { -1, "-" },        { 0, "0.0ms" },       { 0.0099, "9.9ms" },
                      { 0.01, "10ms" },   { 0.99949, "999ms" }, { 0.99951, "1.0s" },
                      { 99.94, "99.9s" }, { 99.96, "100s" },    { 599, "599s" },
                      { 600, "10m" },     { 1e12, "9999m" } };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_string_equal(latency_text(cases[i].s, text), cases[i].text);
}

static void classes_have_shares_of_the_time_between_readings(void **state) {
        struct made a, b;
        struct made_classes before, now;
        struct top_model model = { 0 };
        (void)state;
        make(&a, 10000);
        make(&b, 12000);
        make_classes(&a, &before);
        make_classes(&b, &now);
        before.stats[0].engine_ms = now.stats[0].engine_ms = 5000;
        now.stats[1].engine_ms = 500;
        now.stats[2].engine_ms = 1500;
        now.stats[1].generated_tokens = 30;
        assert_int_equal(top_model_update(&model, &a.reading, &b.reading), 0);
        assert_int_equal(model.n_classes, 3);
        assert_true(model.classes[0].share == 0 && model.classes[1].share == 0.25);
        assert_true(model.classes[2].share == 0.75 && model.classes[1].decode_tokens == 15);
        assert_true(model.classes[1].used && !model.classes[2].used);
        /* The engine has done nothing, or there is nothing to compare with. */
        assert_int_equal(top_model_update(&model, &a.reading, &a.reading), 0);
        assert_true(model.classes[1].share == RATE_UNKNOWN);
        make(&a, 10000);
        assert_int_equal(top_model_update(&model, &a.reading, &b.reading), 0);
        assert_true(model.classes[1].share == RATE_UNKNOWN);
        top_model_deinit(&model);
}

static const struct top_row *row_of(const struct top_model *model, uint32_t pid) {
        for (size_t i = 0; i < model->n_rows; i++)
                if (model->rows[i].pid == pid)
                        return &model->rows[i];
        fail_msg("no row of process %u", pid);
        return NULL;
}

static void requests_have_rates_users_and_classes(void **state) {
        struct made a, b;
        struct top_model model = { 0 };
        (void)state;
        make(&a, 10000);
        make(&b, 12000);
        a.requests[0].prompt_done = 4;
        b.requests[0].generated_tokens = 14; /* with 6 of the prompt: 20 in 2 s */
        a.requests[1].phase = SEEKD_PHASE_QUEUED;
        a.requests[1].prompt_done = 0; /* what was found kept is no speed */
        a.requests[2].request_id = 2;  /* another one */
        assert_int_equal(top_model_update(&model, &a.reading, &b.reading), 0);
        assert_true(row_of(&model, 100)->tokens_per_second == 10);
        assert_true(row_of(&model, 101)->tokens_per_second == RATE_UNKNOWN);
        assert_true(row_of(&model, 102)->tokens_per_second == RATE_UNKNOWN);
        assert_true(row_of(&model, 100)->uid_known);
        assert_int_equal(row_of(&model, 100)->uid, 4000000000U);
        assert_false(row_of(&model, 101)->uid_known);
        assert_int_equal(row_of(&model, 101)->service, SEEKD_CLASS_TURN);
        struct top_class class;
        top_model_class(&model, SEEKD_CLASS_BACKGROUND, &class);
        assert_true(class.n == 1 && class.tokens_per_second == 10);
        /* A number that was used again for a shorter request. */
        a.requests[0].generated_tokens = 100;
        assert_int_equal(top_model_update(&model, &a.reading, &b.reading), 0);
        assert_true(row_of(&model, 100)->tokens_per_second == RATE_UNKNOWN);
        top_model_deinit(&model);
}

static void a_failed_reading_keeps_the_numbers(void **state) {
        struct made a;
        struct top_model model = { 0 };
        struct top_reading lost = { .code = SEEKD_E_LOST, .error = "gone" };
        (void)state;
        assert_int_equal(top_model_update(&model, NULL, &lost), 0);
        assert_false(model.known);
        make(&a, 10000);
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        assert_string_equal(model.error, "");
        assert_int_equal(top_model_update(&model, &a.reading, &lost), 0);
        assert_string_equal(model.error, "gone");
        assert_int_equal(model.n_rows, 3);
        top_model_deinit(&model);
}

static void assert_order(const struct top_model *model, uint32_t a, uint32_t b, uint32_t c) {
        assert_int_equal(model->rows[0].pid, a);
        assert_int_equal(model->rows[1].pid, b);
        assert_int_equal(model->rows[2].pid, c);
}

static void rows_are_sorted_and_grouped(void **state) {
        struct made a;
        struct top_model model = { 0 };
        (void)state;
        make(&a, 10000);
        a.requests[1].generated_tokens = 5;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        top_model_sort(&model, TOP_ORDER_AGE, false);
        assert_order(&model, 102, 101, 100);
        top_model_sort(&model, TOP_ORDER_PID, false);
        assert_order(&model, 100, 101, 102);
        top_model_sort(&model, TOP_ORDER_GENERATED, false); /* equal ones by connection */
        assert_order(&model, 101, 100, 102);
        top_model_sort(&model, TOP_ORDER_PID, true);
        assert_order(&model, 102, 101, 100);
        top_model_deinit(&model);
}

/* -------- lines -------- */

#define SHOWN_LINES 64

struct shown {
        char lines[SHOWN_LINES][TOP_COLUMNS_MAX + 1];
        int n;
        int columns;
};

static void keep(void *userdata, int line, const char *text, enum top_style style) {
        struct shown *shown = userdata;
        (void)style;
        assert_in_range(line, 0, SHOWN_LINES - 1);
        assert_true(strlen(text) <= (size_t)shown->columns);
        for (const char *c = text; *c; c++)
                assert_in_range(*c, ' ', '~');
        strcpy(shown->lines[line], text);
        shown->n = line + 1;
}

static bool shows(const struct shown *shown, const char *text) {
        for (int i = 0; i < shown->n; i++)
                if (strstr(shown->lines[i], text))
                        return true;
        return false;
}

static void every_size_is_drawn_within_its_bounds(void **state) {
        struct made a;
        struct made_classes classes;
        struct top_model model = { 0 };
        (void)state;
        make(&a, 10000);
        a.stats.model = "n\x1b[2Jm\xc3\xa4"; /* no control sequence reaches the terminal */
        a.requests[0].age_ms = 1e15;
        a.requests[0].generated_tokens = a.requests[0].prompt_tokens = UINT32_MAX;
        a.kv.device_bytes = UINT64_MAX; /* fuller than full */
        make_classes(&a, &classes);
        classes.stats[0].running = UINT32_MAX;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        for (int columns = 1; columns <= TOP_COLUMNS_MAX; columns += columns < 100 ? 1 : 50)
                for (int lines = 1; lines <= 24; lines++)
                        for (int choice = 0; choice < 8; choice++) {
                                struct shown shown = { .columns = columns };
                                struct top_view view = {
                                        .columns = columns,
                                        .lines = lines,
                                        .grouped = choice & 1,
                                        .help = choice & 2,
                                        .keys = choice & 4,
                                        .interval_s = 1,
                                };
                                top_draw(&view, &model, keep, &shown);
                                assert_in_range(shown.n, 1, lines);
                        }
        top_model_deinit(&model);
}

static void eighty_columns_have_all_and_narrow_ones_the_most_useful(void **state) {
        struct made a;
        struct top_model model = { 0 };
        struct shown wide = { .columns = 80 }, narrow = { .columns = 40 };
        struct top_view view = { .columns = 80, .lines = 24 };
        (void)state;
        make(&a, 10000);
        a.requests[0].prompt_done = 5;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        top_draw(&view, &model, keep, &wide);
        assert_true(shows(&wide,
                          "    100 40000000 background  decode  [###---]          5/10      0 "
                          "     -   1.0s"));
        view.columns = 40;
        top_draw(&view, &model, keep, &narrow);
        assert_true(shows(&narrow, "    100 decode           5/10      0"));
        top_model_deinit(&model);
}

static void classes_that_did_something_are_shown_where_there_is_room(void **state) {
        struct made a;
        struct made_classes classes;
        struct top_model model = { 0 };
        struct shown wide = { .columns = 80 }, narrow = { .columns = 40 }, low = { .columns = 80 };
        struct top_view view = { .columns = 80, .lines = 24 };
        (void)state;
        make(&a, 10000);
        make_classes(&a, &classes);
        classes.stats[1].running = 3;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        top_draw(&view, &model, keep, &wide);
        assert_true(shows(&wide,
                          "class       running queued  share  tok/s first 50% first 95% "
                          "token 50% token 95%"));
        assert_true(shows(&wide,
                          "interactive       0      0      -      -     150ms      1.0s "
                          "        -         -"));
        assert_true(shows(&wide,
                          "turn              3      0      -      -         -         - "
                          "        -         -"));
        assert_false(shows(&wide, "agent "));
        view.columns = 40;
        top_draw(&view, &model, keep, &narrow);
        assert_true(shows(&narrow, "interactive       0      -      1.0s"));
        view = (struct top_view){ .columns = 80, .lines = 19 };
        top_draw(&view, &model, keep, &low);
        assert_false(shows(&low, "first 50%"));
        top_model_deinit(&model);
}

static void the_device_has_a_limit_or_only_a_peak(void **state) {
        struct made a;
        struct top_model model = { 0 };
        struct shown with = { .columns = 80 }, without = { .columns = 80 };
        struct top_view view = { .columns = 80, .lines = 24 };
        (void)state;
        make(&a, 10000);
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        top_draw(&view, &model, keep, &without);
        assert_true(
                shows(&without, "device [##########-----------] 512 B, peak 1.0 KiB, 0 parked"));
        a.kv.device_bytes_limit = 2048;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        top_draw(&view, &model, keep, &with);
        assert_true(shows(&with,
                          "device [#####----------------] 512 B of 2.0 KiB, peak 1.0 KiB, "
                          "0 parked"));
        top_model_deinit(&model);
}

static void scrolling_stays_in_the_table(void **state) {
        struct made a;
        struct top_model model = { 0 };
        struct shown shown = { .columns = 80 };
        (void)state;
        make(&a, 10000);
        a.stats.kv = NULL;
        assert_int_equal(top_model_update(&model, NULL, &a.reading), 0);
        /* Title, two of rates, an empty one, headings; then two of the table. */
        struct top_view view = { .columns = 80, .lines = 7, .first = 1000 };
        top_draw(&view, &model, keep, &shown);
        assert_int_equal(view.page, 2);
        assert_int_equal(view.first, 1);
        assert_false(shows(&shown, "    100 "));
        assert_true(shows(&shown, "    102 "));
        view.first = -5;
        top_draw(&view, &model, keep, &shown);
        assert_int_equal(view.first, 0);
        assert_true(shows(&shown, "    100 "));
        /* Each class has a line of its own, which scrolls, too. */
        view.grouped = true;
        view.first = 1000;
        top_model_sort(&model, TOP_ORDER_AGE, true);
        top_draw(&view, &model, keep, &shown);
        assert_int_equal(view.first, 4);
        assert_string_equal(shown.lines[5], "background: 1 request, 0.0 tokens/s");
        assert_true(strstr(shown.lines[6], "    100 ") != NULL);
        top_model_deinit(&model);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rates_are_differences_by_the_daemons_clock),
                cmocka_unit_test(there_is_no_rate_without_an_earlier_reading_of_the_same_life),
                cmocka_unit_test(requests_have_rates_users_and_classes),
                cmocka_unit_test(a_failed_reading_keeps_the_numbers),
                cmocka_unit_test(rows_are_sorted_and_grouped),
                cmocka_unit_test(every_size_is_drawn_within_its_bounds),
                cmocka_unit_test(eighty_columns_have_all_and_narrow_ones_the_most_useful),
                cmocka_unit_test(latencies_are_read_from_buckets),
                cmocka_unit_test(classes_have_shares_of_the_time_between_readings),
                cmocka_unit_test(classes_that_did_something_are_shown_where_there_is_room),
                cmocka_unit_test(the_device_has_a_limit_or_only_a_peak),
                cmocka_unit_test(scrolling_stays_in_the_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
