/* Engram tables in the state folder: the same logits as with those of the checkpoint, bit for bit,
 * and what happens when the file is not what it should be. Nano model. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "daemon/engram.h"
#include "engine/engine.h"

#define N_TOKENS 200
#define CHUNK    8

static char folder[] = "/tmp/engram_join_XXXXXX";
static char path[PATH_MAX];
static float *expected;
static size_t logits_bytes;

static int try_open(enum engram_import import, uint64_t cache_rows, struct engram **ret_engram,
                    struct engine **ret, struct error *err) {
        struct engram_options options = { .state_dir = folder, .import = import };
        options.cache_rows = cache_rows;
        assert_int_equal(engram_new(&options, ret_engram), 0);
        struct engram_rows rows = engram_rows(*ret_engram);
        struct engine_options engine_options = { .model_dir = MODEL_DIR,
                                                 .n_threads = 1,
                                                 .engram_rows = &rows };
        int r = engine_open(&engine_options, ret, err);
        if (r < 0)
                engram_free(*ret_engram);
        return r;
}

/* Chunks are announced as the daemon does. */
static float *run(struct engine *engine) {
        uint32_t v = engine_config(engine)->vocab_size, ids[N_TOKENS];
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        struct sequence *s;
        for (uint32_t i = 0; i < N_TOKENS; i++)
                ids[i] = i == 0 ? 0 : i * 2654435761U % 300;
        assert_int_equal(sequence_new(engine, &s), 0);
        for (uint32_t at = 0; at < N_TOKENS; at += CHUNK) {
                struct batch_part part = { s, ids + at, CHUNK, CHUNK, logits + (size_t)at * v };
                if (at + CHUNK < N_TOKENS)
                        engine_prefetch(s, ids + at, CHUNK, 2 * CHUNK);
                struct error err = { 0 };
                if (engine_step(engine, &part, 1, &err) < 0)
                        fail_msg("%s", err.text);
        }
        sequence_free(s);
        return logits;
}

static void must_compute_the_same(enum engram_import import, uint64_t cache_rows) {
        struct engram *engram;
        struct engine *engine;
        struct error err = { 0 };
        if (try_open(import, cache_rows, &engram, &engine, &err) < 0)
                fail_msg("%s", err.text);
        float *logits = run(engine);
        assert_memory_equal(logits, expected, logits_bytes);
        free(logits);
        engine_close(engine);
        engram_free(engram);
}

static int clean(void **state) {
        (void)state;
        unlink(path);
        return 0;
}

static void small_tables_are_imported_at_the_first_start(void **state) {
        (void)state;
        must_compute_the_same(ENGRAM_IMPORT_AUTO, 1000);
        assert_int_equal(access(path, F_OK), 0);
        must_compute_the_same(ENGRAM_IMPORT_NEVER, 0); /* hardly a cache at all */
        must_compute_the_same(ENGRAM_IMPORT_NOW, 1000);
}

static void nothing_is_imported_unasked(void **state) {
        (void)state;
        must_compute_the_same(ENGRAM_IMPORT_NEVER, 1000);
        assert_int_equal(access(path, F_OK), -1);
}

static void flip(off_t at) {
        uint8_t byte;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
        close(fd);
}

/* Wherever a byte is wrong: the store is refused or its row replaced, and the logits are right. */
static void damage_changes_no_bit(void **state) {
        (void)state;
        must_compute_the_same(ENGRAM_IMPORT_AUTO, 1000);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        for (off_t at = 37; at < st.st_size; at += 331) {
                flip(at);
                must_compute_the_same(ENGRAM_IMPORT_NEVER, 0);
                flip(at);
        }
}

static void an_import_that_was_asked_for_says_what_is_wrong(void **state) {
        (void)state;
        must_compute_the_same(ENGRAM_IMPORT_AUTO, 1000);
        assert_int_equal(truncate(path, 5000), 0);
        struct engram *engram;
        struct engine *engine;
        struct error err = { 0 };
        assert_int_equal(try_open(ENGRAM_IMPORT_NOW, 0, &engram, &engine, &err), -EUCLEAN);
        assert_non_null(strstr(err.text, "engram.mdb"));
        must_compute_the_same(ENGRAM_IMPORT_AUTO, 1000); /* left alone; the checkpoint serves */
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, 5000);
}

#define FOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, clean, clean)

int main(void) {
        const struct CMUnitTest tests[] = {
                FOLDER_TEST(small_tables_are_imported_at_the_first_start),
                FOLDER_TEST(nothing_is_imported_unasked),
                FOLDER_TEST(damage_changes_no_bit),
                FOLDER_TEST(an_import_that_was_asked_for_says_what_is_wrong),
        };
        struct engine_options options = { .model_dir = MODEL_DIR, .n_threads = 1 };
        struct engine *engine;
        if (!mkdtemp(folder) || engine_open(&options, &engine, NULL) < 0)
                return 1;
        snprintf(path, sizeof(path), "%s/engram.mdb", folder);
        logits_bytes = (size_t)N_TOKENS * engine_config(engine)->vocab_size * sizeof(float);
        expected = run(engine);
        engine_close(engine);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        free(expected);
        rmdir(folder);
        return failed;
}
