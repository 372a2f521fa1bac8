/* Statistics as text for Prometheus: names from elsewhere, locales, buckets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <locale.h>
#include <string.h>

#include "client/seekd.h"

static const double bounds_s[] = { 0.0001, 0.5, 1000 };
static const uint64_t counts[] = { 2, 0, 3, 4 };
static const uint64_t finished[] = { 0, 5, 0, 0, 0, 7 };
static const uint64_t refused[] = { 0, 9 };

static const struct seekd_histogram histogram = { bounds_s, 3, counts, 12.25 };
static const struct seekd_class_stats turn = {
        .service = SEEKD_CLASS_TURN,
        .running = 1,
        .finished = finished,
        .n_finished = 6,
        .engine_ms = 1500,
        .queue = &histogram,
        .first_token = &histogram,
        .token = &histogram,
};
static const struct seekd_class_stats *const classes[] = { &turn };

static struct seekd_stats made(void) {
        return (struct seekd_stats){
                .size = sizeof(struct seekd_stats),
                .version = "0.1.0",
                .model = "a\"b\\c\nd",
                .backend = "",
                .uptime_ms = 1,
                .classes = classes,
                .n_classes = 1,
                .refused = refused,
                .n_refused = 2,
        };
}

static void assert_line(const char *text, const char *line) {
        size_t n = strlen(line);
        for (const char *at = text; (at = strstr(at, line)); at++)
                if ((at == text || at[-1] == '\n') && at[n] == '\n')
                        return;
        fail_msg("no line '%s' in\n%s", line, text);
}

static void names_from_elsewhere_are_quoted(void **state) {
        (void)state;
        struct seekd_stats stats = made();
        char *text;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_line(text, "seekd_info{version=\"0.1.0\",model=\"a\\\"b\\\\c\\nd\",backend=\"\"} 1");
        seekd_free(text);
}

static void buckets_count_from_zero(void **state) {
        (void)state;
        struct seekd_stats stats = made();
        char *text;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_line(text, "# TYPE seekd_token_seconds histogram");
        assert_line(text, "seekd_token_seconds_bucket{class=\"turn\",le=\"0.0001\"} 2");
        assert_line(text, "seekd_token_seconds_bucket{class=\"turn\",le=\"0.5\"} 2");
        assert_line(text, "seekd_token_seconds_bucket{class=\"turn\",le=\"1000.0\"} 5");
        assert_line(text, "seekd_token_seconds_bucket{class=\"turn\",le=\"+Inf\"} 9");
        assert_line(text, "seekd_token_seconds_sum{class=\"turn\"} 12.25");
        assert_line(text, "seekd_token_seconds_count{class=\"turn\"} 9");
        seekd_free(text);
}

static void what_a_daemon_does_not_say_is_left_out(void **state) {
        (void)state;
        struct seekd_stats stats = made();
        char *text;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_line(text, "seekd_requests_finished_total{class=\"turn\",reason=\"cancelled\"} 7");
        assert_null(strstr(text, "reason=\"deadline\"")); /* of ends and refusals */
        assert_line(text, "seekd_requests_refused_total{reason=\"invalid\"} 9");
        assert_null(strstr(text, "seekd_kv_"));
        assert_null(strstr(text, "seekd_engram_"));
        seekd_free(text);
        stats.n_classes = 0;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_null(strstr(text, "class"));
        seekd_free(text);
        assert_int_equal(seekd_metrics(NULL, &text), 0);
        assert_string_equal(text,
                            "# HELP seekd_up 1 when the daemon answered.\n"
                            "# TYPE seekd_up gauge\nseekd_up 0\n");
        seekd_free(text);
}

static void limits_that_there_are_not_are_left_out(void **state) {
        (void)state;
        struct seekd_stats stats = made();
        struct seekd_kv_stats kv = { .suspended = "", .host_bytes_max = 5, .on_disk = 1 };
        char *text;
        stats.kv = &kv;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_line(text, "seekd_kv_limit_bytes{tier=\"host\"} 5");
        assert_null(strstr(text, "seekd_kv_limit_bytes{tier=\"device\"}"));
        assert_null(strstr(text, "seekd_kv_disk_today_limit_bytes"));
        assert_line(text, "seekd_kv_disk_suspended 0");
        seekd_free(text);
        kv.suspended = "No space left on device";
        kv.device_bytes_limit = kv.day_bytes_max = 7;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        assert_line(text, "seekd_kv_limit_bytes{tier=\"device\"} 7");
        assert_line(text, "seekd_kv_disk_today_limit_bytes 7");
        assert_line(text, "seekd_kv_disk_suspended 1");
        seekd_free(text);
}

static void numbers_know_no_locale(void **state) {
        (void)state;
        static const char *const with_comma[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR" };
        const char *set = NULL;
        for (size_t i = 0; i < 4 && !set; i++)
                set = setlocale(LC_ALL, with_comma[i]);
        if (!set)
                skip();
        struct seekd_stats stats = made();
        char *text;
        assert_int_equal(seekd_metrics(&stats, &text), 0);
        setlocale(LC_ALL, "C");
        assert_line(text, "seekd_engine_seconds_total{class=\"turn\"} 1.5");
        assert_line(text, "seekd_uptime_seconds 0.001");
        seekd_free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_from_elsewhere_are_quoted),
                cmocka_unit_test(buckets_count_from_zero),
                cmocka_unit_test(what_a_daemon_does_not_say_is_left_out),
                cmocka_unit_test(limits_that_there_are_not_are_left_out),
                cmocka_unit_test(numbers_know_no_locale),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
