/* Streaming text: whole characters, stop strings never shown in part, whatever the tokens' borders.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/utf8.h"
#include "engine/text_stream.h"
#include "engine/tokenizer.h"

#define TEXT_MAX 4096

static const char *model_dir;
static struct tokenizer *tokenizer;
static uint32_t byte_ids[256];

static int open_model(void **state) {
        (void)state;
        struct error err = { 0 };
        if (tokenizer_open(model_dir, &tokenizer, &err) < 0) {
                print_error("%s\n", err.text);
                return -1;
        }
        for (uint32_t id = 0; id < tokenizer_n_ids(tokenizer); id++) {
                size_t n;
                const char *bytes = tokenizer_bytes(tokenizer, id, &n);
                if (bytes && n == 1)
                        byte_ids[(uint8_t)*bytes] = id;
        }
        return 0;
}

static int close_model(void **state) {
        (void)state;
        tokenizer_close(tokenizer);
        return 0;
}

static uint32_t draw(uint64_t *random, uint32_t n) {
        *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)((*random >> 33) % n);
}

/* What a stream has given out so far. */
struct shown {
        struct text_stream *stream;
        char text[TEXT_MAX];
        size_t n;
        bool stopped;
};

static void start(struct shown *shown, const char *const *stops, size_t n_stops,
                  bool show_special) {
        shown->n = 0;
        shown->stopped = false;
        assert_int_equal(text_stream_new(tokenizer, stops, n_stops, show_special, &shown->stream),
                         0);
}

static void collect(struct shown *shown, const char *text, size_t n) {
        assert_true(shown->n + n <= TEXT_MAX);
        assert_int_equal(utf8_valid_prefix(text, n), n);
        memcpy(shown->text + shown->n, text, n);
        shown->n += n;
}

static void push(struct shown *shown, uint32_t id) {
        const char *text;
        size_t n;
        shown->stopped = text_stream_push(shown->stream, id, &text, &n);
        collect(shown, text, n);
}

static void finish(struct shown *shown) {
        const char *text;
        size_t n;
        text_stream_finish(shown->stream, &text, &n);
        collect(shown, text, n);
        shown->stream = text_stream_free(shown->stream);
}

static void expect(const struct shown *shown, const char *text) {
        assert_int_equal(shown->n, strlen(text));
        assert_memory_equal(shown->text, text, shown->n);
}

static void push_bytes(struct shown *shown, const char *bytes, size_t n) {
        for (size_t i = 0; i < n; i++)
                push(shown, byte_ids[(uint8_t)bytes[i]]);
}

static void test_characters_appear_when_they_are_whole(void **state) {
        (void)state;
        struct shown shown;
        start(&shown, NULL, 0, false);
        push_bytes(&shown, "\xE4\xBD", 2);
        expect(&shown, "");
        push_bytes(&shown, "\xA0", 1);
        expect(&shown, "你");
        push_bytes(&shown, "\xF0\x9F\x98", 3);
        expect(&shown, "你");
        push_bytes(&shown, "\x80!", 2);
        expect(&shown, "你😀!");
        finish(&shown);
}

static void test_broken_bytes_become_replacements(void **state) {
        (void)state;
        /* Results of Rust's String::from_utf8_lossy(). */
        static const char *const cases[][2] = {
                { "Hello \xF0\x90\x80World", "Hello \uFFFDWorld" },
                { "Hello\xC2 There\xFF Goodbye", "Hello\uFFFD There\uFFFD Goodbye" },
                { "Hello\xC0\x80 There\xE6\x83 Goodbye", "Hello\uFFFD\uFFFD There\uFFFD Goodbye" },
                { "\xF5"
                  "foo\xF5\x80"
                  "bar",
                  "\uFFFDfoo\uFFFD\uFFFDbar" },
                { "\xF1"
                  "foo\xF1\x80"
                  "bar\xF1\x80\x80"
                  "baz",
                  "\uFFFDfoo\uFFFDbar\uFFFDbaz" },
                { "\xF4"
                  "foo\xF4\x80"
                  "bar\xF4\xBF"
                  "baz",
                  "\uFFFDfoo\uFFFDbar\uFFFD\uFFFDbaz" },
                { "\xF0\x80\x80\x80"
                  "foo\xF0\x90\x80\x80"
                  "bar",
                  "\uFFFD\uFFFD\uFFFD\uFFFDfoo\U00010000bar" },
                { "\xED\xA0\x80"
                  "foo\xED\xBF\xBF"
                  "bar",
                  "\uFFFD\uFFFD\uFFFDfoo\uFFFD\uFFFD\uFFFDbar" },
                { "a\xE4\xBD", "a\uFFFD" },
                { "a\xE4", "a\uFFFD" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct shown shown;
                start(&shown, NULL, 0, false);
                push_bytes(&shown, cases[i][0], strlen(cases[i][0]));
                finish(&shown);
                expect(&shown, cases[i][1]);
        }
}

/* Whether some well-formed character begins with these bytes: tried out. */
static bool begins_a_character(const char *bytes, size_t n) {
        static const uint8_t tails[] = { 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF };
        char whole[4];
        memcpy(whole, bytes, n);
        for (unsigned tail = 0; tail < 6 * 6 * 6; tail++) {
                unsigned digits = tail;
                for (size_t n_whole = n + 1; n_whole <= 4; n_whole++, digits /= 6) {
                        whole[n_whole - 1] = (char)tails[digits % 6];
                        if (utf8_valid_prefix(whole, n_whole) == n_whole)
                                return true;
                }
        }
        return false;
}

static size_t lossy(const char *bytes, size_t n, char *ret) {
        size_t n_ret = 0;
        for (size_t at = 0; at < n;) {
                size_t valid = utf8_valid_prefix(bytes + at, n - at), k = 1;
                memcpy(ret + n_ret, bytes + at, valid);
                n_ret += valid;
                at += valid;
                if (at == n)
                        break;
                while (k < 3 && at + k < n && begins_a_character(bytes + at, k + 1))
                        k++;
                memcpy(ret + n_ret, "\uFFFD", 3);
                n_ret += 3;
                at += k;
        }
        return n_ret;
}

static void test_random_bytes_come_out_as_if_decoded_at_once(void **state) {
        (void)state;
        static const uint8_t likely[] = { 0x80, 0x8F, 0x90, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0,
                                          0xE4, 0xED, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF, 'a' };
        uint64_t random = 3;
        for (unsigned round = 0; round < 20000; round++) {
                char bytes[24], want[sizeof(bytes) * 3];
                size_t n = draw(&random, sizeof(bytes)) + 1;
                for (size_t i = 0; i < n; i++)
                        bytes[i] = (char)(round % 4 ? likely[draw(&random, sizeof(likely))]
                                                    : draw(&random, 256));
                size_t n_want = lossy(bytes, n, want);
                struct shown shown;
                start(&shown, NULL, 0, false);
                push_bytes(&shown, bytes, n);
                finish(&shown);
                assert_int_equal(shown.n, n_want);
                assert_memory_equal(shown.text, want, n_want);
        }
}

static void test_random_ids_print_their_bytes(void **state) {
        (void)state;
        uint64_t random = 4;
        const char *const stops[] = { "the", "\uFFFD\uFFFD\uFFFD\uFFFD", "  ", "e" };
        for (unsigned round = 0; round < 2000; round++) {
                struct shown shown;
                start(&shown, stops, draw(&random, 5), draw(&random, 2));
                for (unsigned i = 0; i < 40 && !shown.stopped; i++)
                        push(&shown, draw(&random, 4100)); /* a few have no text */
                finish(&shown);
        }
}

static void test_special_tokens_print_only_when_asked(void **state) {
        (void)state;
        uint32_t eos = tokenizer_added(tokenizer, "<｜end▁of▁sentence｜>");
        uint32_t think = tokenizer_added(tokenizer, "<think>");
        struct shown shown;
        start(&shown, NULL, 0, false);
        push(&shown, eos);
        push(&shown, think);
        finish(&shown);
        expect(&shown, "<think>");
        start(&shown, NULL, 0, true);
        push(&shown, eos);
        finish(&shown);
        expect(&shown, "<｜end▁of▁sentence｜>");
}

static void test_stop_string_ends_the_text_before_it(void **state) {
        (void)state;
        struct shown shown;
        start(&shown, (const char *const[]){ "\n\n", "END" }, 2, false);
        push_bytes(&shown, "a\nbEN", 5);
        expect(&shown, "a\nb");
        push_bytes(&shown, "x\n", 2);
        expect(&shown, "a\nbENx");
        assert_null(text_stream_stop(shown.stream));
        push_bytes(&shown, "\n", 1);
        assert_true(shown.stopped);
        assert_string_equal(text_stream_stop(shown.stream), "\n\n");
        push_bytes(&shown, "more", 4);
        assert_true(shown.stopped);
        finish(&shown);
        expect(&shown, "a\nbENx");
}

static void test_what_was_held_back_comes_at_the_end(void **state) {
        (void)state;
        struct shown shown;
        start(&shown, (const char *const[]){ "abcdef" }, 1, false);
        push_bytes(&shown, "xabcde\xE4", 7);
        expect(&shown, "x");
        finish(&shown);
        expect(&shown, "xabcde\uFFFD");
}

static void test_replacement_at_the_end_can_complete_a_stop_string(void **state) {
        (void)state;
        struct shown shown;
        start(&shown, (const char *const[]){ "a\uFFFD" }, 1, false);
        push_bytes(&shown, "xa\xE4", 3);
        finish(&shown);
        expect(&shown, "x");
}

static void test_stop_strings_out_of_bounds_are_refused(void **state) {
        (void)state;
        struct text_stream *stream = NULL;
        const char *stops[STOP_STRINGS_MAX + 1];
        for (size_t i = 0; i < STOP_STRINGS_MAX + 1; i++)
                stops[i] = "x";
        assert_int_equal(text_stream_new(tokenizer, stops, STOP_STRINGS_MAX + 1, false, &stream),
                         -EINVAL);
        char *longest = calloc(1, STOP_STRING_BYTES_MAX + 2);
        memset(longest, 'x', STOP_STRING_BYTES_MAX + 1);
        const char *const bad[] = { "", "\xFF", longest };
        for (size_t i = 0; i < 3; i++)
                assert_int_equal(text_stream_new(tokenizer, &bad[i], 1, false, &stream), -EINVAL);
        assert_null(stream);
        longest[STOP_STRING_BYTES_MAX] = 0;
        struct shown shown;
        start(&shown, (const char *const *)&longest, 1, false);
        push_bytes(&shown, longest, STOP_STRING_BYTES_MAX - 1);
        expect(&shown, "");
        push_bytes(&shown, "x", 1);
        assert_true(shown.stopped);
        finish(&shown);
        expect(&shown, "");
        free(longest);
}

/* Where the text ends by definition: at the stop string that is complete first, of several at one
 * byte the longest. */
static size_t cut(const char *text, size_t n, char stops[][8], size_t n_stops) {
        for (size_t end = 1; end <= n; end++) {
                size_t longest = 0;
                for (size_t i = 0; i < n_stops; i++) {
                        size_t k = strlen(stops[i]);
                        if (k <= end && k > longest && memcmp(text + end - k, stops[i], k) == 0)
                                longest = k;
                }
                if (longest > 0)
                        return end - longest;
        }
        return n;
}

/* Ids of one to four letters out of a, e, r, t. */
static size_t few_letter_ids(uint32_t *ret, size_t n_max) {
        size_t n_ids = 0;
        for (uint32_t id = 0; id < tokenizer_n_ids(tokenizer) && n_ids < n_max; id++) {
                size_t n = 0;
                const char *bytes = tokenizer_bytes(tokenizer, id, &n);
                if (bytes && n >= 1 && n <= 4 && strspn(bytes, "aert") >= n)
                        ret[n_ids++] = id;
        }
        return n_ids;
}

static void test_borders_of_tokens_make_no_difference(void **state) {
        (void)state;
        uint32_t ids[64];
        size_t n_ids = few_letter_ids(ids, 64);
        assert_true(n_ids >= 8);
        uint64_t random = 5;
        for (unsigned round = 0; round < 20000; round++) {
                char stops[4][8], whole[TEXT_MAX];
                const char *pointers[4];
                size_t n_stops = draw(&random, 4) + 1, n_whole = 0;
                for (size_t i = 0; i < n_stops; i++) {
                        size_t n = draw(&random, 7) + 1;
                        for (size_t k = 0; k < n; k++)
                                stops[i][k] = "aert"[draw(&random, 4)];
                        stops[i][n] = 0;
                        pointers[i] = stops[i];
                }
                struct shown shown;
                start(&shown, pointers, n_stops, false);
                for (unsigned i = 0; i < 30; i++) {
                        uint32_t id = ids[draw(&random, (uint32_t)n_ids)];
                        size_t n = 0;
                        const char *bytes = tokenizer_bytes(tokenizer, id, &n);
                        memcpy(whole + n_whole, bytes, n);
                        n_whole += n;
                        push(&shown, id);
                        /* Only what can still become a stop string is missing. */
                        size_t n_safe = cut(whole, n_whole, stops, n_stops);
                        assert_true(shown.n <= n_safe && shown.n + 7 > n_safe);
                        assert_int_equal(shown.stopped, n_safe < n_whole);
                        assert_memory_equal(shown.text, whole, shown.n);
                        if (shown.stopped)
                                break;
                }
                finish(&shown);
                assert_int_equal(shown.n, cut(whole, n_whole, stops, n_stops));
                assert_memory_equal(shown.text, whole, shown.n);
        }
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        model_dir = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_characters_appear_when_they_are_whole),
                cmocka_unit_test(test_broken_bytes_become_replacements),
                cmocka_unit_test(test_random_bytes_come_out_as_if_decoded_at_once),
                cmocka_unit_test(test_random_ids_print_their_bytes),
                cmocka_unit_test(test_special_tokens_print_only_when_asked),
                cmocka_unit_test(test_stop_string_ends_the_text_before_it),
                cmocka_unit_test(test_what_was_held_back_comes_at_the_end),
                cmocka_unit_test(test_replacement_at_the_end_can_complete_a_stop_string),
                cmocka_unit_test(test_stop_strings_out_of_bounds_are_refused),
                cmocka_unit_test(test_borders_of_tokens_make_no_difference),
        };
        return cmocka_run_group_tests(tests, open_model, close_model);
}
