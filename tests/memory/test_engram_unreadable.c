/* Sectors of engram.mdb that cannot be read: the request that needs them fails by name or gets its
 * row from the checkpoint, and all others go on. The reads pass through faulty_disk.h, which
 * io_uring would go around. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/error.h"
#include "memory/engram_fetch.h"
#include "memory/engram_store.h"
#include "tests/memory/engram_tables.h"
#include "tests/memory/faulty_disk.h"
#include "tests/memory/scratch.h"
#include "tests/splitmix64.h"

#define ROWS      20000
#define ROW_BYTES 264
#define N         300 /* more than are read at once by the caller itself */

static struct scratch folder;
static struct made_up made_up;
static struct engram_store *store;
static struct engram_fetch *fetch;
static unsigned n_repaired;
static uint64_t rows[N];
static uint8_t got[N][ROW_BYTES];

static int repair(void *userdata, unsigned table, uint64_t row, uint8_t *dest) {
        (void)userdata;
        made_up_row(made_up.seed, table, row, dest, ROW_BYTES);
        n_repaired++;
        return 0;
}

static void open_fetch(bool with_repair) {
        struct engram_fetch_options options = {
                .depth = 16,
                .reads = DISK_READS_THREADS,
                .path = ENGRAM_FETCH_BUFFERED,
                .repair = with_repair ? repair : NULL,
        };
        struct error err = { 0 };
        if (engram_fetch_new(store, &options, &fetch, &err) < 0)
                fail_msg("%s", err.text);
}

/* N rows, of which the nth read fails. */
static int fetch_rows(uint64_t nth, bool lasting, struct error *err) {
        uint64_t random = nth;
        for (uint32_t i = 0; i < N; i++)
                rows[i] = i * (ROWS / N) + next_random(&random) % (ROWS / N);
        memset(got, 0x55, sizeof(got));
        disk_fail(DISK_CALL_READ, nth, EIO, lasting);
        engram_fetch_request(fetch, 0, rows, N, got[0]);
        int r = engram_fetch_collect(fetch, 0, err);
        assert_true(disk_failed());
        disk_fail(DISK_CALL_READ, 0, 0, false);
        return r;
}

static void must_be_right(void) {
        uint8_t expected[ROW_BYTES];
        for (uint32_t i = 0; i < N; i++) {
                made_up_row(made_up.seed, 0, rows[i], expected, ROW_BYTES);
                assert_memory_equal(got[i], expected, ROW_BYTES);
        }
}

static void it_fails_by_name_and_the_next_request_goes_on(void **state) {
        (void)state;
        open_fetch(false);
        for (uint64_t nth = 1; nth < 100; nth += 13) {
                struct error err = { 0 };
                assert_int_equal(fetch_rows(nth, false, &err), -EIO);
                assert_non_null(strstr(err.text, "engram.mdb: row "));
                assert_non_null(strstr(err.text, strerror(EIO)));
                engram_fetch_request(fetch, 0, rows, N, got[0]);
                assert_int_equal(engram_fetch_collect(fetch, 0, NULL), 0);
                must_be_right();
        }
        struct error err = { 0 };
        assert_int_equal(fetch_rows(1, true, &err), -EIO); /* the whole disk */
        fetch = engram_fetch_free(fetch);
}

static void the_checkpoint_has_the_row(void **state) {
        (void)state;
        open_fetch(true);
        for (uint64_t nth = 1; nth < 100; nth += 13) {
                n_repaired = 0;
                assert_int_equal(fetch_rows(nth, false, NULL), 0);
                assert_true(n_repaired > 0);
                must_be_right();
        }
        assert_int_equal(fetch_rows(1, true, NULL), 0);
        must_be_right();
        fetch = engram_fetch_free(fetch);
}

static int make_store(void **state) {
        (void)state;
        scratch_make(&folder);
        const char *path = scratch_file(&folder, "engram.mdb");
        made_up_init(&made_up, 20, ROWS, ROW_BYTES - 8, 8);
        struct engram_import_options options = { .path = path, .extent_pages = 64 };
        return engram_import(&made_up.source, &options, NULL) < 0 ||
                engram_store_open(path, &made_up.source.about, &store, NULL) < 0;
}

static int remove_store(void **state) {
        (void)state;
        engram_store_close(store);
        scratch_remove(&folder);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_fails_by_name_and_the_next_request_goes_on),
                cmocka_unit_test(the_checkpoint_has_the_row),
        };
        return cmocka_run_group_tests(tests, make_store, remove_store);
}
