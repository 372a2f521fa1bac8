/* The vocabulary: errors, arena, UTF-8, cleanup, descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/utf8.h"

static void an_error_keeps_code_and_message(void **state) {
        (void)state;
        struct error err = { 0 };
        assert_int_equal(error_set(&err, -EINVAL, "field %d is wrong", 7), -EINVAL);
        assert_int_equal(err.code, -EINVAL);
        assert_string_equal(err.text, "field 7 is wrong");
        assert_int_equal(error_prefix(&err, "%s", "file.json"), -EINVAL);
        assert_string_equal(err.text, "file.json: field 7 is wrong");
}

static void an_error_nobody_reads_still_returns_its_code(void **state) {
        (void)state;
        assert_int_equal(error_set(NULL, -ENOMEM, "unread"), -ENOMEM);
        errno = ENOENT;
        assert_int_equal(error_errno(NULL, "unread"), -ENOENT);
}

static void an_errno_becomes_words(void **state) {
        (void)state;
        struct error err = { 0 };
        errno = ENOENT;
        assert_int_equal(error_errno(&err, "/x"), -ENOENT);
        assert_string_equal(err.text, "/x: No such file or directory");
}

static void a_message_too_long_is_cut_and_ended(void **state) {
        (void)state;
        struct error err = { 0 };
        char big[2 * sizeof(err.text)];
        memset(big, 'a', sizeof(big) - 1);
        big[sizeof(big) - 1] = '\0';
        assert_int_equal(error_set(&err, -EINVAL, "%s", big), -EINVAL);
        assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
        assert_int_equal(error_prefix(&err, "%s", big), -EINVAL);
        assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void an_arena_hands_out_zeroed_aligned_pieces_up_to_its_capacity(void **state) {
        (void)state;
        struct arena arena;
        assert_int_equal(arena_init(&arena, 64), 0);
        uint8_t *a = arena_alloc(&arena, 1), *b = arena_alloc(&arena, 48);
        assert_non_null(a);
        assert_non_null(b);
        assert_int_equal((uintptr_t)a % 16, 0);
        assert_int_equal(b - a, 16);
        assert_null(arena_alloc(&arena, 1));
        memset(b, 0xff, 48);

        arena_reset(&arena);
        a = arena_alloc(&arena, 64);
        assert_non_null(a);
        for (size_t i = 0; i < 64; i++)
                assert_int_equal(a[i], 0);
        arena_deinit(&arena);
}

static void an_arena_refuses_sizes_that_would_wrap(void **state) {
        (void)state;
        struct arena arena;
        assert_int_equal(arena_init(&arena, 64), 0);
        assert_non_null(arena_alloc(&arena, 8));
        assert_null(arena_alloc(&arena, SIZE_MAX));
        assert_null(arena_alloc(&arena, SIZE_MAX - 15));
        assert_non_null(arena_alloc(&arena, 8));
        arena_deinit(&arena);
}

static void utf8_is_valid_up_to_the_first_wrong_byte(void **state) {
        (void)state;
        static const struct {
                const char *text;
                size_t valid;
        } cases[] = {
                { "", 0 },
                { "abc", 3 },
                { "a\xc3\xa9z", 4 },
                { "\xf0\x9f\x98\x80", 4 },
                { "\xf4\x8f\xbf\xbf", 4 },   /* U+10FFFF */
                { "ab\x80", 2 },             /* a continuation alone */
                { "ab\xc0\xaf", 2 },         /* overlong */
                { "ab\xe0\x80\xaf", 2 },     /* overlong */
                { "ab\xed\xa0\x80", 2 },     /* surrogate */
                { "ab\xf4\x90\x80\x80", 2 }, /* above U+10FFFF */
                { "ab\xff", 2 },
                { "ab\xe2\x82", 2 }, /* cut */
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_int_equal(utf8_valid_prefix(cases[i].text, strlen(cases[i].text)),
                                 cases[i].valid);
}

static void utf8_knows_how_many_bytes_wait_for_more(void **state) {
        (void)state;
        assert_int_equal(utf8_unfinished_suffix("abc", 3), 0);
        assert_int_equal(utf8_unfinished_suffix("a\xc3", 2), 1);
        assert_int_equal(utf8_unfinished_suffix("a\xe2\x82", 3), 2);
        assert_int_equal(utf8_unfinished_suffix("a\xf0\x9f\x98", 4), 3);
        assert_int_equal(utf8_unfinished_suffix("a\xf0\x9f\x98\x80", 5), 0);
        assert_int_equal(utf8_unfinished_suffix("", 0), 0);
}

static void a_sealed_memory_file_cannot_be_resized(void **state) {
        (void)state;
        CLEANUP_CLOSE int fd = fd_memory("test", 4096);
        assert_true(fd >= 0);
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal(fd_seal(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(ftruncate(fd, 8192), -1);
        assert_int_equal(fd_seal(fd, F_SEAL_WRITE), -EPERM);
}

static void a_file_is_mapped_whole(void **state) {
        (void)state;
        struct file_map map;
        struct error err = { 0 };
        char path[] = "/tmp/seekd-test-base.XXXXXX";
        CLEANUP_CLOSE int fd = mkstemp(path);
        assert_true(fd >= 0);

        assert_int_equal(file_map_open(path, &map, &err), 0);
        assert_null(map.data);
        assert_int_equal(map.bytes, 0);
        file_map_close(&map);

        assert_int_equal(write(fd, "whole", 5), 5);
        assert_int_equal(file_map_open(path, &map, &err), 0);
        assert_int_equal(map.bytes, 5);
        assert_memory_equal(map.data, "whole", 5);
        file_map_close(&map);
        assert_null(map.data);
        unlink(path);
}

static void what_cannot_be_mapped_is_named(void **state) {
        (void)state;
        struct file_map map = { NULL, 99 };
        struct error err = { 0 };
        assert_int_equal(file_map_open("/nonexistent/file", &map, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/file"));
        assert_int_equal(file_map_open("/", &map, &err), -EINVAL);
        assert_non_null(strstr(err.text, "/: "));
        assert_int_equal(map.bytes, 99);
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

static void leaving_a_scope_releases_what_was_not_handed_over(void **state) {
        (void)state;
        int kept = -1, closed = -1;
        {
                CLEANUP_CLOSE int a = fd_memory("a", 1);
                CLEANUP_CLOSE int b = fd_memory("b", 1);
                closed = a;
                kept = TAKE_FD(b);
                assert_int_equal(b, -1);
        }
        assert_false(is_open(closed));
        assert_true(is_open(kept));
        close(kept);

        char *outlives = NULL;
        {
                CLEANUP_FREE char *text = strdup("text");
                outlives = TAKE_PTR(text);
                assert_null(text);
        }
        assert_string_equal(outlives, "text");
        free(outlives);
}

static void the_clock_does_not_go_back(void **state) {
        (void)state;
        uint64_t last = clock_ns();
        for (int i = 0; i < 1000; i++) {
                uint64_t now = clock_ns();
                assert_true(now >= last);
                last = now;
        }
}

static void crc32c_gives_the_published_sums(void **state) {
        (void)state;
        uint8_t bytes[32];
        assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
        memset(bytes, 0, sizeof(bytes)); /* this and the next two: RFC 3720, appendix B.4 */
        assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8A9136AA);
        memset(bytes, 0xFF, sizeof(bytes));
        assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62A8AB43);
        for (uint8_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = i;
        assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46DD794E);
        assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void crc32c_is_the_same_in_pieces_and_without_the_instruction(void **state) {
        (void)state;
        uint8_t bytes[1000];
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t)(i * i >> 3);
        for (size_t n = 0; n <= 70; n++)
                for (size_t offset = 0; offset < 9; offset++)
                        assert_int_equal(crc32c(0, bytes + offset, n),
                                         crc32c_table(0, bytes + offset, n));
        uint32_t whole = crc32c(0, bytes, sizeof(bytes));
        for (size_t cut = 0; cut < sizeof(bytes); cut += 37) {
                uint32_t crc = crc32c(0, bytes, cut);
                assert_int_equal(crc32c(crc, bytes + cut, sizeof(bytes) - cut), whole);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_error_keeps_code_and_message),
                cmocka_unit_test(an_error_nobody_reads_still_returns_its_code),
                cmocka_unit_test(an_errno_becomes_words),
                cmocka_unit_test(a_message_too_long_is_cut_and_ended),
                cmocka_unit_test(an_arena_hands_out_zeroed_aligned_pieces_up_to_its_capacity),
                cmocka_unit_test(an_arena_refuses_sizes_that_would_wrap),
                cmocka_unit_test(utf8_is_valid_up_to_the_first_wrong_byte),
                cmocka_unit_test(utf8_knows_how_many_bytes_wait_for_more),
                cmocka_unit_test(a_sealed_memory_file_cannot_be_resized),
                cmocka_unit_test(a_file_is_mapped_whole),
                cmocka_unit_test(what_cannot_be_mapped_is_named),
                cmocka_unit_test(leaving_a_scope_releases_what_was_not_handed_over),
                cmocka_unit_test(crc32c_gives_the_published_sums),
                cmocka_unit_test(crc32c_is_the_same_in_pieces_and_without_the_instruction),
                cmocka_unit_test(the_clock_does_not_go_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
