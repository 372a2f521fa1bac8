/* engram.mdb: made of a source, whole or not at all, and never wrong without saying so. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "memory/engram_import.h"
#include "memory/engram_store.h"
#include "memory/engram_verify.h"
#include "tests/memory/engram_tables.h"

#define ROWS         3000
#define EXTENT_PAGES 4 /* small, so that a small table has many: 25 + 17 with rows of 264 bytes */

static char folder[] = "/tmp/engram_store_XXXXXX";
static char path[PATH_MAX], growing[PATH_MAX];

static struct engram_import_options options(void) {
        return (struct engram_import_options){ .path = path,
                                               .extent_pages = EXTENT_PAGES,
                                               .extents_per_commit = 2 };
}

static int import(struct made_up *m, struct error *err) {
        struct engram_import_options o = options();
        return engram_import(&m->source, &o, err);
}

static void must_import(struct made_up *m) {
        struct error err = { 0 };
        if (import(m, &err) != 0)
                fail_msg("%s", err.text);
}

static int clean(void **state) {
        (void)state;
        unlink(path);
        unlink(growing);
        return 0;
}

/* Rows that say they are intact and are not what the source has. */
static unsigned wrong_rows(const struct engram_store *s, const struct made_up *m,
                           unsigned *ret_damaged) {
        const struct engram_layout *l = engram_store_layout(s);
        unsigned n_wrong = 0, n_damaged = 0;
        uint8_t expected[ENGRAM_ROW_BYTES_MAX];
        for (unsigned t = 0; t < l->n_tables; t++)
                for (uint64_t row = 0; row < l->n_rows[t]; row++) {
                        const uint8_t *found = engram_store_row(s, t, row);
                        made_up_row(m->seed, t, row, expected, l->row_bytes);
                        bool same = memcmp(found, expected, l->row_bytes) == 0;
                        bool intact = engram_row_intact(l, t, row, found);
                        n_wrong += intact && !same;
                        n_damaged += !intact;
                }
        *ret_damaged = n_damaged;
        return n_wrong;
}

static void must_hold(const struct made_up *m) {
        struct engram_store *s;
        struct error err = { 0 };
        unsigned n_damaged;
        if (engram_store_open(path, &m->source.about, &s, &err) < 0)
                fail_msg("%s", err.text);
        assert_int_equal(wrong_rows(s, m, &n_damaged), 0);
        assert_int_equal(n_damaged, 0);
        assert_int_equal(engram_store_verify(s, NULL, NULL), 0);
        engram_store_close(s);
}

static void every_row_has_its_own_place_in_one_page(void **state) {
        (void)state;
        for (uint32_t bytes = 1; bytes <= ENGRAM_ROW_BYTES_MAX; bytes += bytes < 300 ? 1 : 97) {
                struct engram_layout l = { .n_tables = 1, .code_bytes = bytes };
                l.n_rows[0] = ENGRAM_ROWS_MAX;
                assert_true(engram_layout_init(&l, 8));
                uint64_t per_extent = 8ULL * l.rows_per_page;
                for (uint64_t i = 0; i < 4000; i++) {
                        /* from the start, at the end, and scattered */
                        uint64_t row = i % 3 == 0 ? i
                                : i % 3 == 1      ? ENGRAM_ROWS_MAX - 1 - i
                                                  : i * 0x9E3779B97F4A7C15U % ENGRAM_ROWS_MAX;
                        struct engram_place p = engram_locate(&l, row);
                        assert_int_equal(p.extent, row / per_extent);
                        assert_int_equal(p.page, row % per_extent / l.rows_per_page);
                        assert_int_equal(p.in_page, 16 + row % l.rows_per_page * (bytes + 4));
                        assert_true(p.in_page + engram_stride(&l) <= ENGRAM_PAGE_BYTES);
                }
        }
        struct engram_layout released = { .n_tables = 2, .code_bytes = 256, .scale_bytes = 8 };
        released.n_rows[0] = 384006168, released.n_rows[1] = 384016682;
        assert_true(engram_layout_init(&released, ENGRAM_EXTENT_PAGES));
        assert_int_equal(released.rows_per_page, 15);
        assert_int_equal(engram_layout_extents(&released, 0), 1563);
        assert_int_equal(engram_layout_value_bytes(&released, 0, 0), (64 << 20) - 16);
}

static void what_cannot_be_laid_out_is_refused(void **state) {
        (void)state;
        struct engram_layout l = { .n_tables = 1, .code_bytes = 64, .n_rows = { 5 } };
        assert_true(engram_layout_init(&l, 1));
        assert_false(engram_layout_init(&l, 0));
        assert_false(engram_layout_init(&l, 3));
        l.n_rows[0] = 0;
        assert_false(engram_layout_init(&l, 1));
        l.n_rows[0] = ENGRAM_ROWS_MAX + 1;
        assert_false(engram_layout_init(&l, 1));
        l.n_rows[0] = 5;
        l.code_bytes = ENGRAM_ROW_BYTES_MAX + 1;
        assert_false(engram_layout_init(&l, 1));
        l.code_bytes = 2, l.scale_bytes = UINT32_MAX;
        assert_false(engram_layout_init(&l, 1));
}

static void an_import_holds_every_row(void **state) {
        (void)state;
        static const uint32_t shapes[][2] = { { 256, 8 }, { 32, 1 }, { 1, 0 }, { 4000, 76 } };
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
                struct made_up m;
                struct error err = { 0 };
                made_up_init(&m, 1, shapes[i][0] > 1000 ? 100 : ROWS, shapes[i][0], shapes[i][1]);
                must_import(&m);
                must_hold(&m);
                assert_int_equal(access(growing, F_OK), -1);
                struct stat st;
                assert_int_equal(stat(path, &st), 0);
                assert_int_equal(st.st_mode & 0777, 0600);
                assert_int_equal(import(&m, &err), 1); /* nothing to do */
                clean(state);
        }
}

struct watch {
        unsigned n_calls, cancel_after;
        struct engram_progress last;
};

static void watch_progress(void *userdata, const struct engram_progress *p) {
        struct watch *w = userdata;
        assert_true(p->done <= p->total);
        if (w->n_calls > 0 && p->what == w->last.what)
                assert_true(p->done >= w->last.done);
        w->last = *p;
        w->n_calls++;
}

static bool watch_cancelled(void *userdata) {
        struct watch *w = userdata;
        return w->cancel_after != 0 && w->cancel_after-- == 1;
}

static void a_stopped_import_goes_on_where_it_was(void **state) {
        (void)state;
        struct made_up m;
        made_up_init(&m, 2, ROWS, 256, 8);
        struct engram_import_options o = options();
        struct watch watch = { 0 };
        struct error err = { 0 };
        o.progress = watch_progress;
        o.cancelled = watch_cancelled;
        o.userdata = &watch;
        uint64_t done = 0;
        int r;
        unsigned rounds = 0;
        bool all_there = false; /* and only reading it back is left */
        do {
                watch = (struct watch){ .cancel_after = all_there && rounds > 30 ? 0 : 3 };
                r = engram_import(&m.source, &o, &err);
                assert_true(r == 0 || r == -ECANCELED);
                if (r == -ECANCELED && all_there) {
                        assert_string_equal(watch.last.what, "reading back");
                } else if (r == -ECANCELED) {
                        all_there = strcmp(watch.last.what, "reading back") == 0;
                        assert_true(all_there || watch.last.done > done);
                        done = watch.last.done;
                        struct engram_store *s;
                        assert_int_equal(engram_store_open(path, NULL, &s, NULL), -ENOENT);
                        if (!all_there) {
                                assert_int_equal(engram_store_open(growing, NULL, &s, &err),
                                                 -EUCLEAN);
                                assert_non_null(strstr(err.text, "it was not finished"));
                        }
                }
                rounds++;
        } while (r != 0);
        assert_true(rounds > 30);
        assert_string_equal(watch.last.what, "reading back");
        assert_int_equal(watch.last.done, watch.last.total);
        must_hold(&m);
}

static int import_or_say_why(struct made_up *m) {
        struct error err = { 0 };
        int r = import(m, &err);
        if (r < 0)
                fprintf(stderr, "%s\n", err.text);
        return r == 0 || r == 1 ? 0 : 1;
}

static void an_import_survives_kill_at_any_time(void **state) {
        (void)state;
        struct made_up m;
        unsigned n_killed = 0;
        for (unsigned trial = 0; trial < 5; trial++) {
                made_up_init(&m, 3 + trial, ROWS, 256, 8);
                m.sleep_every = 50;
                for (unsigned round = 0;; round++) {
                        pid_t child = fork();
                        assert_true(child >= 0);
                        if (child == 0)
                                _exit(import_or_say_why(&m));
                        /* later and later, so that slow machines end as well */
                        usleep(1000 + (trial * 7919 + round * 104729) % 40000 + 200 * round);
                        kill(child, SIGKILL);
                        int status;
                        assert_int_equal(waitpid(child, &status, 0), child);
                        if (WIFEXITED(status)) {
                                assert_int_equal(WEXITSTATUS(status), 0);
                                break;
                        }
                        n_killed++;
                        assert_true(round < 1000);
                }
                must_hold(&m);
                clean(state);
        }
        assert_true(n_killed > 5);
}

static void a_source_that_fails_is_named_and_costs_one_commit(void **state) {
        (void)state;
        struct made_up m;
        struct error err = { 0 };
        made_up_init(&m, 4, ROWS, 256, 8);
        m.fail_at = 2500;
        assert_int_equal(import(&m, &err), -EIO);
        assert_string_equal(err.text, "row 2500 of the source is unreadable");
        m.fail_at = 1;                            /* is in the file already */
        assert_int_equal(import(&m, &err), -EIO); /* row 1 of the second table */
        m.fail_at = 0;
        must_import(&m);
        must_hold(&m);
}

static void another_checkpoint_is_never_mixed_in(void **state) {
        (void)state;
        struct made_up m, other;
        struct error err = { 0 };
        made_up_init(&m, 5, ROWS, 256, 8);
        m.fail_at = 2500;
        assert_int_equal(import(&m, NULL), -EIO);
        made_up_init(&other, 6, ROWS, 256, 8);
        assert_int_equal(import(&other, &err), -ESTALE);
        assert_non_null(strstr(err.text, "engram.mdb.import"));
        assert_non_null(strstr(err.text, "the same shape, other weights"));

        m.fail_at = 0;
        must_import(&m);
        assert_int_equal(import(&other, &err), -ESTALE);
        made_up_init(&other, 5, ROWS + 1, 256, 8);
        assert_int_equal(import(&other, &err), -ESTALE);
        assert_non_null(strstr(err.text, "rows of a table: 3000, this one has 3001"));
        made_up_init(&other, 5, ROWS, 256, 8);
        other.source.about.prime[1][3]++;
        assert_int_equal(import(&other, &err), -ESTALE);
        assert_non_null(strstr(err.text, "a prime"));
        made_up_init(&other, 5, ROWS, 256, 8);
        other.source.about.multiplier[0][1] += 2;
        assert_int_equal(import(&other, &err), -ESTALE);
        assert_non_null(strstr(err.text, "a multiplier"));
        must_hold(&m); /* none of them changed it */
}

static void flip(const char *name, uint64_t offset) {
        uint8_t byte;
        int fd = open(name, O_RDWR | O_CLOEXEC);
        assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
        close(fd);
}

/* What the disk made of it is noticed before it gets its name. */
static void spoil_when_read_back(void *userdata, const struct engram_progress *p) {
        bool *spoilt = userdata;
        struct engram_store *s;
        if (strcmp(p->what, "reading back") != 0 || *spoilt)
                return;
        assert_int_equal(engram_store_open(growing, NULL, &s, NULL), 0);
        flip(growing, engram_store_offset(s, 1, 1999) + 50);
        engram_store_close(s);
        *spoilt = true;
}

static void an_import_that_reads_back_otherwise_gets_no_name(void **state) {
        (void)state;
        struct made_up m;
        struct engram_import_options o = options();
        struct error err = { 0 };
        bool spoilt = false;
        made_up_init(&m, 13, ROWS, 256, 8);
        o.progress = spoil_when_read_back;
        o.userdata = &spoilt;
        assert_int_equal(engram_import(&m.source, &o, &err), -EUCLEAN);
        assert_true(spoilt);
        assert_non_null(strstr(err.text, "engram.mdb.import: extent"));
        assert_non_null(strstr(err.text, "row 1999 is damaged; remove the file"));
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(import(&m, &err), -EUCLEAN); /* it is there, and still damaged */
        assert_int_equal(unlink(growing), 0);
        must_import(&m);
        must_hold(&m);
}

static void two_imports_do_not_run_at_once(void **state) {
        (void)state;
        struct made_up m;
        struct error err = { 0 };
        made_up_init(&m, 7, ROWS, 256, 8);
        int fd = open(growing, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        assert_int_equal(import(&m, &err), -EBUSY);
        assert_non_null(strstr(err.text, "another import is running"));
        close(fd);
        must_import(&m);
}

/* Leaves no room once the import has begun: it was enough when it looked. */
static void fill_up(void *userdata, const struct engram_progress *p) {
        (void)p;
        char name[PATH_MAX];
        snprintf(name, sizeof(name), "%s/filler", folder);
        int *fd = userdata;
        if (*fd >= 0)
                return;
        *fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        uint8_t page[4096] = { 0 };
        while (write(*fd, page, sizeof(page)) > 0)
                continue;
}

/* What this process mounts from now on, only it sees. */
static bool own_mounts(void) {
        char map[64];
        int n = snprintf(map, sizeof(map), "0 %u 1", geteuid());
        if (unshare(CLONE_NEWNS) < 0) {
                if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
                        return false;
                int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
                if (fd < 0 || write(fd, map, (size_t)n) != n || close(fd) < 0)
                        return false;
        }
        return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* In a process of its own, with a file system of its own of 4 MiB. 0 = as it should be, 77 = such a
 * thing cannot be made here, else the step that went wrong. */
static int fill_a_small_disk(struct made_up *m) {
        if (!own_mounts() || mount("none", folder, "tmpfs", 0, "size=4m") < 0)
                return 77;
        struct engram_import_options o = options();
        struct error err = { 0 };
        int fd = -1;
        o.progress = fill_up;
        o.userdata = &fd;
        if (engram_import(&m->source, &o, &err) != -ENOSPC)
                return 1;
        if (!strstr(err.text, "engram.mdb.import: No space left on device"))
                return 2;
        if (access(path, F_OK) == 0)
                return 3;
        if (ftruncate(fd, 0) < 0 || engram_import(&m->source, &o, &err) != 0)
                return 4; /* room again: it goes on */
        must_hold(m);
        return 0;
}

static void a_full_disk_is_named_and_nothing_is_lost(void **state) {
        (void)state;
        struct made_up m;
        struct error err = { 0 };
        made_up_init(&m, 8, ROWS, 256, 8);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
                _exit(fill_a_small_disk(&m));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                print_message("no small file system can be mounted here\n");
        else
                assert_int_equal(WEXITSTATUS(status), 0);

        made_up_init(&m, 8, 1ULL << 40, 256, 8); /* 290 TB: no file system of a test has that */
        struct engram_import_options o = options();
        o.extent_pages = 1U << 20;
        assert_int_equal(engram_import(&m.source, &o, &err), -ENOSPC);
        assert_non_null(strstr(err.text, "are still needed"));
}

static uint8_t *read_file(const char *name, size_t *ret_n) {
        FILE *f = fopen(name, "re");
        struct stat st;
        assert_non_null(f);
        assert_int_equal(fstat(fileno(f), &st), 0);
        uint8_t *bytes = malloc((size_t)st.st_size);
        assert_int_equal(fread(bytes, 1, (size_t)st.st_size, f), st.st_size);
        fclose(f);
        *ret_n = (size_t)st.st_size;
        return bytes;
}

static void write_file(const char *name, const uint8_t *bytes, size_t n) {
        FILE *f = fopen(name, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        fclose(f);
}

static void flipped_bits_are_never_a_wrong_row(void **state) {
        (void)state;
        struct made_up m;
        made_up_init(&m, 9, 400, 256, 8);
        must_import(&m);
        size_t n;
        uint8_t *whole = read_file(path, &n);
        unsigned n_refused = 0, n_damaged_rows = 0, n_verified_bad = 0;
        uint64_t x = 1;
        for (unsigned trial = 0; trial < 2000; trial++) {
                x = x * 6364136223846793005U + 1442695040888963407U;
                size_t at = (size_t)(x >> 20) % n;
                /* Every other one in the first pages of the file and in its last, where the index
                 * is. */
                if (trial % 2 == 0)
                        at = at % 65536 < n ? at % 65536 : at;
                uint8_t bit = (uint8_t)(1U << (x >> 10) % 8);
                whole[at] ^= bit;
                write_file(path, whole, n);
                struct engram_store *s = NULL;
                struct error err = { 0 };
                int r = engram_store_open(path, &m.source.about, &s, &err);
                if (r < 0) {
                        assert_non_null(strstr(err.text, "engram.mdb: "));
                        n_refused++;
                } else {
                        unsigned n_damaged;
                        assert_int_equal(wrong_rows(s, &m, &n_damaged), 0);
                        n_damaged_rows += n_damaged;
                        int verified = engram_store_verify(s, NULL, &err);
                        if (n_damaged > 0)
                                assert_int_equal(verified, -EUCLEAN);
                        n_verified_bad += verified != 0;
                        engram_store_close(s);
                }
                whole[at] ^= bit;
        }
        free(whole);
        assert_true(n_refused > 20 && n_damaged_rows > 500);
        assert_true(n_verified_bad >= n_damaged_rows); /* also what lies between rows */
}

/* -------- reading a file back -------- */

/* What it noted is judged when its thread has ended. */
struct reader {
        const struct engram_store *store;
        unsigned n_damaged, n_progress, cancel_after;
        struct engram_damage damage[4]; /* the first ones; their text is in `texts` */
        char texts[4][512];
        uint64_t done;
        bool fell_back; /* progress, or was of something else */
        int result, priority;
        struct error err;
};

static void note_damage(void *userdata, const struct engram_damage *damage) {
        struct reader *reader = userdata;
        unsigned n = reader->n_damaged++;
        if (n >= 4)
                return;
        snprintf(reader->texts[n], sizeof(reader->texts[n]), "%s", damage->text);
        reader->damage[n] = *damage;
}

static void note_progress(void *userdata, const struct engram_progress *p) {
        struct reader *reader = userdata;
        reader->fell_back |= p->done <= reader->done || p->done > p->total ||
                strcmp(p->what, "reading back") != 0;
        reader->done = p->done;
        reader->n_progress++;
}

static bool stop_reading(void *userdata) {
        struct reader *reader = userdata;
        return reader->cancel_after != 0 && reader->cancel_after-- == 1;
}

static void *read_all_back(void *userdata) {
        struct reader *reader = userdata;
        struct engram_verify_options how = { .background = true,
                                             .progress = note_progress,
                                             .damaged = note_damage,
                                             .cancelled = stop_reading,
                                             .userdata = reader };
        reader->result = engram_store_verify(reader->store, &how, &reader->err);
        reader->priority = getpriority(PRIO_PROCESS, 0); /* of this thread */
        return NULL;
}

/* On a thread of its own, which is what a reader in the background changes. */
static void read_back_beside(struct reader *reader) {
        int before = getpriority(PRIO_PROCESS, 0);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, read_all_back, reader), 0);
        pthread_join(thread, NULL);
        assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
        assert_int_equal(reader->priority, 19);
        assert_false(reader->fell_back);
        if (reader->n_damaged > 0)
                assert_string_equal(reader->err.text, reader->texts[0]);
}

static void every_damaged_extent_is_named(void **state) {
        (void)state;
        struct made_up m;
        made_up_init(&m, 12, ROWS, 256, 8);
        must_import(&m);
        struct engram_store *s;
        assert_int_equal(engram_store_open(path, NULL, &s, NULL), 0);
        const struct engram_layout *l = engram_store_layout(s);
        struct engram_extent between = engram_store_extent(s, 1, 3);
        uint64_t n_extents = engram_layout_extents(l, 0) + engram_layout_extents(l, 1);
        uint64_t first = engram_store_offset(s, 0, 777), second = engram_store_offset(s, 0, 779);
        flip(path, first + 200);
        flip(path, second + 100); /* the same extent: it is named once, by its first row */
        flip(path, between.offset + ENGRAM_PAGE_BYTES + 3); /* no row lies there */

        struct reader reader = { .store = s };
        read_back_beside(&reader);
        assert_int_equal(reader.result, -EUCLEAN);
        assert_int_equal(reader.n_damaged, 2);
        assert_int_equal(reader.n_progress, n_extents);
        assert_int_equal(reader.damage[0].table, 0);
        assert_int_equal(reader.damage[0].extent, 777 / (EXTENT_PAGES * l->rows_per_page));
        assert_int_equal(reader.damage[0].offset, first);
        assert_non_null(strstr(reader.texts[0], "engram.mdb: extent 12 of table 0, at byte"));
        assert_non_null(strstr(reader.texts[0], "row 777 is damaged"));
        assert_int_equal(reader.damage[1].table, 1);
        assert_int_equal(reader.damage[1].extent, 3);
        assert_int_equal(reader.damage[1].offset, between.offset);
        assert_non_null(strstr(reader.texts[1], "though its rows have theirs"));

        flip(path, first + 200), flip(path, second + 100),
                flip(path, between.offset + ENGRAM_PAGE_BYTES + 3);
        reader = (struct reader){ .store = s };
        read_back_beside(&reader);
        assert_int_equal(reader.result, 0);
        assert_int_equal(reader.done, engram_store_bytes(s));

        reader = (struct reader){ .store = s, .cancel_after = 5 };
        read_back_beside(&reader);
        assert_int_equal(reader.result, -ECANCELED);
        assert_int_equal(reader.n_progress, 4);

        /* What the file does not have any more counts as damaged, all of it. */
        assert_int_equal(truncate(path, (off_t)(engram_store_extent(s, 1, 14).offset + 4096)), 0);
        reader = (struct reader){ .store = s };
        read_back_beside(&reader);
        assert_int_equal(reader.result, -EUCLEAN);
        assert_true(reader.n_damaged >= 2);
        assert_non_null(strstr(reader.texts[0], "No data available"));
        engram_store_close(s);
}

static void a_truncated_file_is_refused(void **state) {
        (void)state;
        struct made_up m;
        made_up_init(&m, 10, 1000, 256, 8);
        must_import(&m);
        struct stat st;
        unsigned n_refused = 0;
        assert_int_equal(stat(path, &st), 0);
        for (off_t left = st.st_size - 1; left > 0; left -= st.st_size / 37) {
                struct error err = { 0 };
                struct engram_store *s;
                assert_int_equal(truncate(path, left), 0);
                int r = engram_store_open(path, &m.source.about, &s, &err);
                if (r == 0) { /* LMDB left free pages at the end */
                        engram_store_close(s);
                        must_hold(&m);
                        assert_true(st.st_size - left < 10 * (off_t)LMDB_PAGE_BYTES);
                        continue;
                }
                assert_int_equal(r, -EUCLEAN);
                assert_non_null(strstr(err.text, "import again"));
                n_refused++;
        }
        struct engram_store *s;
        assert_true(n_refused > 30);
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(engram_store_open(path, &m.source.about, &s, NULL), -EUCLEAN);
}

static void a_later_format_is_refused_by_number(void **state) {
        (void)state;
        struct made_up m;
        made_up_init(&m, 11, 100, 256, 8);
        must_import(&m);
        size_t n;
        uint8_t *bytes = read_file(path, &n), *at = bytes;
        while ((at = memmem(at, n - (size_t)(at - bytes), "seekdEng", 8))) /* and older copies */
                *(at += 8) = 2;
        write_file(path, bytes, n);
        free(bytes);
        struct engram_store *s;
        struct error err = { 0 };
        assert_int_equal(engram_store_open(path, &m.source.about, &s, &err), -EPROTONOSUPPORT);
        assert_non_null(strstr(err.text, "format 2, this seekd reads 1"));
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, clean, clean)

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_row_has_its_own_place_in_one_page),
                cmocka_unit_test(what_cannot_be_laid_out_is_refused),
                STORE_TEST(an_import_holds_every_row),
                STORE_TEST(a_stopped_import_goes_on_where_it_was),
                STORE_TEST(an_import_survives_kill_at_any_time),
                STORE_TEST(a_source_that_fails_is_named_and_costs_one_commit),
                STORE_TEST(another_checkpoint_is_never_mixed_in),
                STORE_TEST(an_import_that_reads_back_otherwise_gets_no_name),
                STORE_TEST(two_imports_do_not_run_at_once),
                STORE_TEST(a_full_disk_is_named_and_nothing_is_lost),
                STORE_TEST(flipped_bits_are_never_a_wrong_row),
                STORE_TEST(every_damaged_extent_is_named),
                STORE_TEST(a_truncated_file_is_refused),
                STORE_TEST(a_later_format_is_refused_by_number),
        };
        if (!mkdtemp(folder))
                return 1;
        snprintf(path, sizeof(path), "%s/engram.mdb", folder);
        snprintf(growing, sizeof(growing), "%s/engram.mdb.import", folder);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        rmdir(folder);
        return failed;
}
