/* The configuration file: defaults, every key, and refusals that name line, key and legal values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "base/error.h"
#include "daemon/config.h"

/* Writes `text` to a temporary file and reads it as configuration. */
static int read_text(const char *text, struct config *config, struct error *err) {
        char path[] = "/tmp/seekd-config-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
        assert_int_equal(config_init(config, err), 0);
        int r = config_read(config, path, err);
        unlink(path);
        return r;
}

static void an_empty_file_leaves_the_defaults(void **state) {
        (void)state;
        struct config config, defaults;
        struct error err = { 0 };
        assert_int_equal(config_init(&defaults, &err), 0);
        assert_int_equal(read_text("# nothing\n", &config, &err), 0);
        assert_memory_equal(&config, &defaults, sizeof(config));
        assert_int_equal(config.drain_timeout_s, 20);
        assert_true(config.model_dir[0] == '/');
}

static void every_key_is_read(void **state) {
        (void)state;
        struct config config;
        struct error err = { 0 };
        const char *text =
                "[model]\npath = /srv/model\n"
                "[engine]\nbackend = cpu\ncompute = f32\nthreads = 3\nrunning = 7\n"
                "prefill_budget_ms = 20\n"
                "[memory]\ndevice_kv = 3M\nhot_rows = 9\nuser_kv = 40\ndisk_writes_per_day = 2G\n"
                "[server]\nsocket = /tmp/s.sock\nstate = /tmp/state\nconnections_per_uid = 5\n"
                "drain_timeout_s = 9\nlog_level = debug\n";
        assert_int_equal(read_text(text, &config, &err), 0);
        assert_string_equal(config.model_dir, "/srv/model");
        assert_int_equal(config.backend, BACKEND_CPU);
        assert_int_equal(config.compute, COMPUTE_F32);
        assert_int_equal(config.n_threads, 3);
        assert_int_equal(config.n_running_max, 7);
        assert_int_equal(config.prefill_budget_ms, 20);
        assert_int_equal(config.device_kv, 3 << 20);
        assert_int_equal(config.hot_rows, 9);
        assert_int_equal(config.user_kv, 40);
        assert_int_equal(config.disk_writes_per_day, 2ULL << 30);
        assert_string_equal(config.socket_path, "/tmp/s.sock");
        assert_string_equal(config.state_dir, "/tmp/state");
        assert_int_equal(config.n_connections_per_uid_max, 5);
        assert_int_equal(config.drain_timeout_s, 9);
        assert_int_equal(config.log_level, LOG_DEBUG);
}

/* The example shows every key, commented out: with the comment signs removed it must be legal. */
static void the_installed_example_is_legal(void **state) {
        (void)state;
        FILE *file = fopen(EXAMPLE, "r");
        assert_non_null(file);
        char text[8192] = "", line[256];
        unsigned n_keys = 0;
        while (fgets(line, sizeof(line), file)) {
                bool is_key = line[0] == '#' && line[1] >= 'a' && line[1] <= 'z';
                n_keys += is_key;
                strncat(text, is_key ? line + 1 : line, sizeof(text) - strlen(text) - 1);
        }
        fclose(file);
        struct config config;
        struct error err = { 0 };
        assert_int_equal(read_text(text, &config, &err), 0);
        assert_int_equal(n_keys, 19);
        assert_int_equal(config.n_running_max, 32);
}

static void refuses(const char *text, const char *words) {
        struct config config;
        struct error err = { 0 };
        assert_int_equal(read_text(text, &config, &err), -EINVAL);
        if (!strstr(err.text, words))
                fail_msg("'%s' does not say '%s'", err.text, words);
}

static void mistakes_are_named_with_line_and_key(void **state) {
        (void)state;
        refuses("[engine]\n\nthread = 3\n", ":3: unknown key 'thread' in section [engine]");
        refuses("[engin]\nthreads = 3\n", ":2: unknown key 'threads' in section [engin]");
        refuses("[engine]\nthreads = -1\n", ":2: threads: '-1' is not a number from 0 to 1024");
        refuses("[engine]\nthreads = 3x\n", "threads: '3x'");
        refuses("[memory]\nuser_kv = 0\n", "user_kv: '0' is not a number from 1 to 100");
        refuses("[memory]\nhost_kv = 1X\n", "host_kv: '1X' is not a size such as 0, 512M or 16G");
        refuses("[engine]\nrunning = 0\n", "running: '0' is not a number from 1 to");
        refuses("[engine]\nprefill_budget_ms = 0\n",
                "prefill_budget_ms: '0' is not a number from 1 to 1000");
        refuses("[engine]\nbackend = fast\n",
                "backend: 'fast' is not one of: auto, cpu, reference");
        refuses("[engine]\nbackend = cuda\n", "built without CUDA");
        refuses("[server]\nlog_level = loud\n", "log_level: 'loud' is not one of");
        refuses("[engine]\nthreads\n", ":2: neither a [section] nor a key = value");
        char longer[400];
        snprintf(longer, sizeof(longer), "[model]\npath = /%0300d\n", 1);
        refuses(longer, ":2: longer than");
        refuses("[engine]\nthread = 1\nbackend = fast\n",
                ":2: unknown key"); /* the first mistake */
}

static void a_socket_path_longer_than_the_kernel_takes_is_refused(void **state) {
        (void)state;
        char text[256];
        snprintf(text, sizeof(text), "[server]\nsocket = /%0107d\n", 1);
        refuses(text, "socket: 108 bytes are too long, at most 107");
}

static void a_missing_file_is_told_apart(void **state) {
        (void)state;
        struct config config;
        struct error err = { 0 };
        assert_int_equal(config_init(&config, &err), 0);
        assert_int_equal(config_read(&config, "/nonexistent/seekd.conf", &err), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_empty_file_leaves_the_defaults),
                cmocka_unit_test(every_key_is_read),
                cmocka_unit_test(the_installed_example_is_legal),
                cmocka_unit_test(mistakes_are_named_with_line_and_key),
                cmocka_unit_test(a_socket_path_longer_than_the_kernel_takes_is_refused),
                cmocka_unit_test(a_missing_file_is_told_apart),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
