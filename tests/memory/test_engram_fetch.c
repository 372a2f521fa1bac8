/* Bringing Engram rows: the right bytes from wherever they are, or a named failure. Also its parts:
 * the cache of rows and the reads in flight. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "memory/engram_fetch.h"
#include "memory/row_cache.h"
#include "tests/memory/engram_tables.h"

#define ROWS      20000
#define ROW_BYTES 264

static char folder[] = "/tmp/engram_fetch_XXXXXX";
static char path[PATH_MAX];
static struct made_up made_up;
static bool has_uring;

static uint64_t random_below(uint64_t *state, uint64_t n) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        return (*state >> 33) % n;
}

/* -------- the cache -------- */

static void the_cache_gives_back_what_was_put(void **state) {
        (void)state;
        struct row_cache *c;
        assert_int_equal(row_cache_new(1000, 3, &c), 0);
        assert_int_equal(row_cache_capacity(c), 1000);
        for (uint64_t key = 0; key < 5000; key++) {
                uint8_t row[3] = { (uint8_t)key, (uint8_t)(key >> 8), 7 };
                row_cache_put(c, key, row);
                assert_memory_equal(row_cache_find(c, key), row, 3);
        }
        unsigned n_found = 0;
        for (uint64_t key = 0; key < 5000; key++) {
                const uint8_t *row = row_cache_find(c, key);
                if (!row)
                        continue;
                assert_int_equal(row[0] + 256 * row[1], key);
                n_found++;
        }
        assert_int_equal(n_found, 1000); /* full, and not one row more */
        row_cache_put(c, 4999, (const uint8_t *)"new");
        assert_memory_equal(row_cache_find(c, 4999), "new", 3);
        row_cache_free(c);
}

static void the_cache_keeps_what_is_used(void **state) {
        (void)state;
        struct row_cache *c;
        assert_int_equal(row_cache_new(8, 1, &c), 0); /* one set */
        for (uint64_t key = 0; key < 8; key++)
                row_cache_put(c, key, (const uint8_t *)"x");
        for (uint64_t key = 100; key < 200;
             key++) { /* a scan, while row 3 is used again and again */
                assert_non_null(row_cache_find(c, 3));
                row_cache_put(c, key, (const uint8_t *)"x");
        }
        assert_non_null(row_cache_find(c, 3));
        assert_null(row_cache_find(c, 4));
        row_cache_free(c);
}

/* -------- reads in flight -------- */

static void reads_bring_what_the_file_has(void **state) {
        enum disk_reads_kind kind = **(enum disk_reads_kind **)state;
        if (kind == DISK_READS_URING && !has_uring)
                skip();
        char name[PATH_MAX];
        snprintf(name, sizeof(name), "%s/numbers", folder);
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        uint32_t numbers[1 << 16];
        for (uint32_t i = 0; i < 1 << 16; i++)
                numbers[i] = i;
        assert_int_equal(write(fd, numbers, sizeof(numbers)), sizeof(numbers));
        fsync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

        struct disk_reads *reads;
        unsigned depth = 20;
        assert_int_equal(disk_reads_new(fd, depth, kind, &reads), 0);
        uint32_t got[20][2], expected[20];
        struct disk_read done[20];
        uint64_t x = 1;
        unsigned n_done = 0, n_started = 0;
        for (unsigned i = 0; i < depth; i++, n_started++) {
                expected[i] = (uint32_t)random_below(&x, (1 << 16) - 1);
                disk_reads_start(reads, i, expected[i] * 4ULL, got[i], 8);
        }
        while (n_done < 3000) {
                unsigned n = disk_reads_await(reads, true, done, 7);
                assert_in_range(n, 1, 7);
                for (unsigned i = 0; i < n; i++, n_done++) {
                        unsigned number = done[i].number;
                        assert_int_equal(done[i].result, 0);
                        assert_int_equal(got[number][0], expected[number]);
                        assert_int_equal(got[number][1], expected[number] + 1);
                        expected[number] = (uint32_t)random_below(&x, (1 << 16) - 1);
                        disk_reads_start(reads, number, expected[number] * 4ULL, got[number], 8);
                }
        }
        while (disk_reads_await(reads, true, done, 20) > 0)
                continue;
        assert_int_equal(disk_reads_await(reads, false, done, 20), 0);

        disk_reads_start(reads, 3, sizeof(numbers) - 4, got[3], 8); /* half of it is there */
        assert_int_equal(disk_reads_await(reads, true, done, 20), 1);
        assert_int_equal(done[0].number, 3);
        assert_int_equal(done[0].result, -ENODATA);
        disk_reads_start(reads, 5, 0, got[5], 8); /* freed with a read under way */
        disk_reads_free(reads);
        close(fd);
        unlink(name);
}

/* From here on io_uring_setup() is refused to this process. */
static bool refuse_uring(void) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
                prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void threads_read_where_uring_is_refused(void **state) {
        (void)state;
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                struct disk_reads *reads;
                int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
                if (!refuse_uring())
                        _exit(77);
                if (disk_reads_new(fd, 4, DISK_READS_URING, &reads) != -EPERM)
                        _exit(1);
                if (disk_reads_new(fd, 4, DISK_READS_AUTO, &reads) != 0)
                        _exit(2);
                _exit(strcmp(disk_reads_name(reads), "threads") == 0 ? 0 : 3);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                skip();
        assert_int_equal(WEXITSTATUS(status), 0);
}

/* -------- rows -------- */

struct world {
        struct engram_store *store;
        struct engram_fetch *fetch;
        unsigned n_repaired;
        uint8_t *dest[2];
        uint64_t *rows[2];
};

static int repair(void *userdata, unsigned table, uint64_t row, uint8_t *dest) {
        struct world *w = userdata;
        made_up_row(made_up.seed, table, row, dest, ROW_BYTES);
        w->n_repaired++;
        return 0;
}

/* How rows are read. */
struct way {
        enum disk_reads_kind kind;
        enum engram_fetch_path path;
};
static const struct way any = { DISK_READS_AUTO, ENGRAM_FETCH_AUTO };

static bool is_possible(const struct way *way) {
        return way->kind != DISK_READS_URING || has_uring;
}

static void open_world(struct world *w, uint64_t cache_rows, const struct way *way,
                       bool with_repair) {
        struct error err = { 0 };
        *w = (struct world){ 0 };
        if (engram_store_open(path, &made_up.source.about, &w->store, &err) < 0)
                fail_msg("%s", err.text);
        posix_fadvise(engram_store_fd(w->store), 0, 0, POSIX_FADV_DONTNEED);
        struct engram_fetch_options options = {
                .cache_rows = cache_rows,
                .depth = 16,
                .reads = way->kind,
                .path = way->path,
                .userdata = w,
        };
        options.repair = with_repair ? repair : NULL;
        if (engram_fetch_new(w->store, &options, &w->fetch, &err) < 0)
                fail_msg("%s", err.text);
        for (unsigned t = 0; t < 2; t++) {
                w->dest[t] = malloc((size_t)ROWS * ROW_BYTES);
                w->rows[t] = malloc(ROWS * sizeof(uint64_t));
        }
}

static void close_world(struct world *w) {
        engram_fetch_free(w->fetch);
        engram_store_close(w->store);
        for (unsigned t = 0; t < 2; t++)
                free(w->dest[t]), free(w->rows[t]);
}

/* n different rows, ascending from a random start with random steps, then shuffled. */
static void choose(struct world *w, unsigned table, uint32_t n, uint64_t *x) {
        uint64_t limit = made_up.source.about.n_rows[table], step = limit / n;
        for (uint32_t i = 0; i < n; i++)
                w->rows[table][i] = i * step + random_below(x, step);
        for (uint32_t i = n; i > 1; i--) {
                uint64_t j = random_below(x, i), kept = w->rows[table][i - 1];
                w->rows[table][i - 1] = w->rows[table][j];
                w->rows[table][j] = kept;
        }
}

static void must_be_right(const struct world *w, unsigned table, uint32_t n) {
        uint8_t expected[ROW_BYTES];
        for (uint32_t i = 0; i < n; i++) {
                made_up_row(made_up.seed, table, w->rows[table][i], expected, ROW_BYTES);
                assert_memory_equal(w->dest[table] + (size_t)i * ROW_BYTES, expected, ROW_BYTES);
        }
}

static void rows_arrive(void **state) {
        const struct way *way = *state;
        if (!is_possible(way))
                skip();
        static const uint32_t sizes[] = { 1, 48, 64, 65, 700, 3000 };
        uint64_t x = 2;
        struct world w;
        open_world(&w, 2000, way, false); /* a tenth of the rows */
        for (unsigned round = 0; round < 60; round++) {
                uint32_t n = sizes[round % 6];
                for (unsigned t = 0; t < 2; t++) {
                        choose(&w, t, n, &x);
                        if (round % 3 == 0)
                                engram_fetch_prefetch(w.fetch, t, w.rows[t], n / 2 + 1);
                }
                if (round % 7 == 6)
                        posix_fadvise(engram_store_fd(w.store), 0, 0, POSIX_FADV_DONTNEED);
                for (unsigned t = 0; t < 2; t++) {
                        memset(w.dest[t], 0x55, n * ROW_BYTES);
                        engram_fetch_request(w.fetch, t, w.rows[t], n, w.dest[t]);
                }
                for (unsigned i = 0; i < 2; i++) { /* in either order */
                        unsigned t = round % 2 ? 1 - i : i;
                        assert_int_equal(engram_fetch_collect(w.fetch, t, NULL), 0);
                        must_be_right(&w, t, n);
                }
        }
        struct engram_fetch_stats stats;
        engram_fetch_stats(w.fetch, &stats);
        assert_int_equal(stats.n_requested, 2 * 10 * (1 + 48 + 64 + 65 + 700 + 3000));
        assert_true(stats.n_cached > 0 && stats.n_read > 0 && stats.n_prefetched > 0);
        assert_true(stats.n_cached + stats.n_read <= stats.n_requested);
        bool direct = way->path == ENGRAM_FETCH_DIRECT && engram_store_direct_fd(w.store) >= 0;
        assert_true(!direct || stats.n_resident == 0);
        assert_true(direct == (strstr(engram_fetch_reads_name(w.fetch), ", direct") != NULL));
        assert_int_equal(stats.n_damaged, 0);
        close_world(&w);
}

static void what_was_prefetched_is_cached(void **state) {
        (void)state;
        uint64_t x = 3;
        struct world w;
        struct engram_fetch_stats stats;
        open_world(&w, ROWS, &any, false);
        choose(&w, 0, 500, &x);
        engram_fetch_prefetch(w.fetch, 0, w.rows[0], 500);
        do {
                usleep(1000);
                engram_fetch_prefetch(w.fetch, 0, w.rows[0],
                                      500); /* what is cached is not queued */
                engram_fetch_stats(w.fetch, &stats);
        } while (stats.n_prefetched < 500);
        engram_fetch_request(w.fetch, 0, w.rows[0], 500, w.dest[0]);
        assert_int_equal(engram_fetch_collect(w.fetch, 0, NULL), 0);
        must_be_right(&w, 0, 500);
        choose(&w, 1, 5000, &x);
        engram_fetch_prefetch(w.fetch, 1, w.rows[1], 5000); /* freed while they are under way */
        close_world(&w);
}

static void rows_in_memory_need_no_thread(void **state) {
        (void)state;
        uint64_t x = 6;
        struct world w;
        struct engram_fetch_stats stats;
        struct way way = { DISK_READS_AUTO, ENGRAM_FETCH_BUFFERED };
        open_world(&w, ROWS, &way, false);
        choose(&w, 0, 48, &x);
        choose(&w, 1, 48, &x);
        uint8_t bytes[ROW_BYTES];
        for (unsigned t = 0; t < 2; t++)
                for (unsigned i = 0; i < 48; i++)
                        assert_int_equal(
                                pread(engram_store_fd(w.store), bytes, sizeof(bytes),
                                      (off_t)engram_store_offset(w.store, t, w.rows[t][i])),
                                sizeof(bytes));
        struct iovec part = { bytes, sizeof(bytes) };
        off_t place = (off_t)engram_store_offset(w.store, 1, w.rows[1][47]);
        if (preadv2(engram_store_fd(w.store), &part, 1, place, RWF_NOWAIT) < 0) {
                close_world(&w);
                skip(); /* a file system that cannot say what is in memory */
        }
        engram_fetch_prefetch(w.fetch, 0, w.rows[0], 48); /* one table announced, one not */
        for (unsigned round = 0; round < 2; round++) {
                for (unsigned t = 0; t < 2; t++) {
                        memset(w.dest[t], 0x55, 48 * (size_t)ROW_BYTES);
                        engram_fetch_request(w.fetch, t, w.rows[t], 48, w.dest[t]);
                        must_be_right(&w, t, 48); /* before it is collected */
                        assert_int_equal(engram_fetch_collect(w.fetch, t, NULL), 0);
                }
                engram_fetch_stats(w.fetch, &stats);
                assert_int_equal(stats.n_requested, 96 * (round + 1));
                assert_int_equal(stats.n_cached, 48 + 96 * round);
                assert_int_equal(stats.n_resident, 96);
                assert_int_equal(stats.n_read + stats.n_prefetched, 0);
                assert_int_equal(stats.n_late, 0);
                assert_int_equal(stats.late_ns, 0);
        }
        close_world(&w);
}

/* Flips one bit of a row in the file. */
static void damage(unsigned table, uint64_t row) {
        struct engram_store *store;
        assert_int_equal(engram_store_open(path, NULL, &store, NULL), 0);
        off_t offset = (off_t)engram_store_offset(store, table, row) + 100;
        engram_store_close(store);
        uint8_t byte;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 4;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        fsync(fd);
        close(fd);
}

static void a_damaged_row_fails_by_name_or_is_repaired(void **state) {
        const struct way *way = *state;
        if (!is_possible(way))
                skip();
        for (unsigned with_repair = 0; with_repair < 2; with_repair++) {
                uint64_t x = 4;
                struct world w;
                struct error err = { 0 };
                damage(1, 777);
                open_world(&w, ROWS, way, with_repair);
                for (unsigned n = 48; n <= 480;
                     n += 432) { /* few, and many: both ways of reading */
                        choose(&w, 0, n, &x);
                        choose(&w, 1, n, &x);
                        w.rows[1][n / 2] = 777;
                        engram_fetch_prefetch(w.fetch, 1, w.rows[1], n);
                        for (unsigned t = 0; t < 2; t++)
                                engram_fetch_request(w.fetch, t, w.rows[t], n, w.dest[t]);
                        int r = engram_fetch_collect(w.fetch, 1, &err);
                        assert_int_equal(engram_fetch_collect(w.fetch, 0, NULL), 0);
                        must_be_right(&w, 0, n);
                        if (with_repair) {
                                assert_int_equal(r, 0);
                                must_be_right(&w, 1, n);
                                continue;
                        }
                        assert_int_equal(r, -EIO);
                        assert_non_null(
                                strstr(err.text, "engram.mdb: row 777 of table 1, at byte"));
                        assert_non_null(strstr(err.text, "damaged"));
                }
                assert_true(with_repair ? w.n_repaired >= 1 : w.n_repaired == 0);
                struct engram_fetch_stats stats;
                engram_fetch_stats(w.fetch, &stats);
                assert_true(stats.n_damaged >= 1);
                close_world(&w);
                damage(1, 777); /* back */
        }
}

static void a_file_that_shrinks_is_an_error_not_a_crash(void **state) {
        (void)state;
        uint64_t x = 5;
        struct world w;
        struct stat st;
        struct error err = { 0 };
        open_world(&w, ROWS, &any, false);
        assert_int_equal(stat(path, &st), 0);
        choose(&w, 1, 300, &x); /* the second table lies behind the first */
        char copy[PATH_MAX], command[3 * PATH_MAX];
        snprintf(copy, sizeof(copy), "%s/copy", folder);
        snprintf(command, sizeof(command), "cp '%s' '%s'", path, copy);
        assert_int_equal(system(command), 0);
        assert_int_equal(truncate(path, st.st_size / 2), 0);
        engram_fetch_request(w.fetch, 1, w.rows[1], 300, w.dest[1]);
        assert_int_equal(engram_fetch_collect(w.fetch, 1, &err), -EIO);
        assert_non_null(strstr(err.text, "No data available"));
        close_world(&w);
        assert_int_equal(rename(copy, path), 0);
}

int main(void) {
        static enum disk_reads_kind uring = DISK_READS_URING, threads = DISK_READS_THREADS;
        static struct way ways[] = { { DISK_READS_URING, ENGRAM_FETCH_BUFFERED },
                                     { DISK_READS_URING, ENGRAM_FETCH_DIRECT },
                                     { DISK_READS_THREADS, ENGRAM_FETCH_BUFFERED },
                                     { DISK_READS_THREADS, ENGRAM_FETCH_DIRECT } };
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_cache_gives_back_what_was_put),
                cmocka_unit_test(the_cache_keeps_what_is_used),
                cmocka_unit_test_prestate(reads_bring_what_the_file_has, &uring),
                cmocka_unit_test_prestate(reads_bring_what_the_file_has, &threads),
                cmocka_unit_test(threads_read_where_uring_is_refused),
                cmocka_unit_test_prestate(rows_arrive, &ways[0]),
                cmocka_unit_test_prestate(rows_arrive, &ways[1]),
                cmocka_unit_test_prestate(rows_arrive, &ways[2]),
                cmocka_unit_test_prestate(rows_arrive, &ways[3]),
                cmocka_unit_test(rows_in_memory_need_no_thread),
                cmocka_unit_test(what_was_prefetched_is_cached),
                cmocka_unit_test_prestate(a_damaged_row_fails_by_name_or_is_repaired, &ways[0]),
                cmocka_unit_test_prestate(a_damaged_row_fails_by_name_or_is_repaired, &ways[1]),
                cmocka_unit_test_prestate(a_damaged_row_fails_by_name_or_is_repaired, &ways[2]),
                cmocka_unit_test_prestate(a_damaged_row_fails_by_name_or_is_repaired, &ways[3]),
                cmocka_unit_test(a_file_that_shrinks_is_an_error_not_a_crash),
        };
        struct disk_reads *reads;
        has_uring = disk_reads_new(0, 1, DISK_READS_URING, &reads) == 0;
        if (has_uring)
                disk_reads_free(reads);
        if (!mkdtemp(folder))
                return 1;
        snprintf(path, sizeof(path), "%s/engram.mdb", folder);
        made_up_init(&made_up, 20, ROWS, ROW_BYTES - 8, 8);
        struct engram_import_options options = { .path = path, .extent_pages = 64 };
        if (engram_import(&made_up.source, &options, NULL) != 0)
                return 1;
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        unlink(path);
        rmdir(folder);
        return failed;
}
