/* The scanner for DeepSeek's patterns cuts as the patterns do. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/pretokenize.h"
#include "engine/text_class.h"

static const char *model_dir, *v2_pieces; /* set by meson */

struct both {
        struct pretokenizer scanner, patterns;
};

/* The patterns in groups mean the same, but are not the ones that have a scanner. */
static int open_both(void **state) {
        static struct both both;
        char path[4096];
        snprintf(path, sizeof(path), "%s/tokenizer.json", model_dir);
        json_auto_t *root = json_load_file(path, 0, NULL);
        json_t *json = json_object_get(root, "pre_tokenizer");
        if (pretokenizer_read(&both.scanner, json, NULL) < 0)
                return -1;
        json_t *steps = json_object_get(json, "pretokenizers");
        for (size_t i = 0; i < 3; i++) {
                json_t *pattern = json_object_get(json_array_get(steps, i), "pattern");
                const char *regex = json_string_value(json_object_get(pattern, "Regex"));
                json_object_set_new(pattern, "Regex", json_sprintf("(?:%s)", regex));
        }
        *state = &both;
        return pretokenizer_read(&both.patterns, json, NULL);
}

static int close_both(void **state) {
        struct both *both = *state;
        pretokenizer_deinit(&both->scanner);
        pretokenizer_deinit(&both->patterns);
        return 0;
}

static void check_same(const struct both *both, const char *text, size_t n) {
        CLEANUP(pieces_deinit) struct pieces a = { 0 };
        CLEANUP(pieces_deinit) struct pieces b = { 0 };
        assert_int_equal(pieces_start(&a, &both->scanner, text, n, NULL), 0);
        assert_int_equal(pieces_start(&b, &both->patterns, text, n, NULL), 0);
        struct piece x, y;
        size_t at = 0;
        while (pieces_next(&b, &y)) {
                assert_true(pieces_next(&a, &x));
                if (x.at != y.at || x.n != y.n)
                        fail_msg("'%.*s', byte %zu: pieces of %u and %u bytes", (int)n, text, at,
                                 x.n, y.n);
                at += y.n;
        }
        assert_false(pieces_next(&a, &x));
        assert_int_equal(at, n);
}

static size_t put_character(char *text, uint32_t c) {
        if (c < 0x80) {
                text[0] = (char)c;
                return 1;
        }
        size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        for (size_t i = n - 1; i > 0; i--, c >>= 6)
                text[i] = (char)(0x80 | (c & 0x3F));
        text[0] = (char)((0xF00 >> n & 0xF0) | c);
        return n;
}

static uint32_t next_random(uint64_t *random, uint32_t n) {
        *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)(*random >> 33) % n;
}

static void test_one_scanner_replaces_the_patterns(void **state) {
        const struct both *both = *state;
        assert_non_null(both->scanner.classes);
        assert_null(both->patterns.classes);
}

/* Characters of every kind that the patterns tell apart, in every combination of a few. */
static void test_any_mixture_of_kinds_is_cut_alike(void **state) {
        static const uint32_t kinds[] = {
                'a',    'Z',    '_',     '.',     '<',     '5',     ' ',      ' ',    '\n',
                '\r',   '\t',   0,       0x1F,    0x7F,    0x85,    0xA0,     0xE9,   0x301,
                0x661,  0xBD,   0x2028,  0x200B,  0x200D,  0x20AC,  0x3000,   0x3001, 0x3040,
                0x3042, 0x3097, 0x3099,  0x30A0,  0x30A2,  0x30FB,  0x30FC,   0x3400, 0x4E00,
                0x9FA5, 0x9FA6, 0xAC00,  0xE000,  0xFF5C,  0xFFFE,  0x180E,   0x1680, 0x93F,
                0x3007, 0x3021, 0x1D7D9, 0x1F600, 0x1F3FD, 0xE0001, 0x10FFFF,
        };
        uint64_t random = 7;
        for (unsigned round = 0; round < 200000; round++) {
                char text[64];
                size_t n = 0, n_characters = 1 + round % 14;
                /* Few kinds in each text, so that runs occur. */
                uint32_t from[4];
                for (size_t i = 0; i < 4; i++)
                        from[i] = kinds[next_random(&random, sizeof(kinds) / sizeof(*kinds))];
                for (size_t i = 0; i < n_characters; i++)
                        n += put_character(text + n, from[next_random(&random, 4)]);
                check_same(*state, text, n);
        }
}

static struct pretokenizer one_pattern(const char *regex) {
        struct pretokenizer ret = { 0 };
        json_auto_t *json = json_pack("{s:s,s:[{s:s,s:{s:s},s:s,s:b},{s:s,s:b,s:b}]}", "type",
                                      "Sequence", "pretokenizers", "type", "Split", "pattern",
                                      "Regex", regex, "behavior", "Isolated", "invert", 0, "type",
                                      "ByteLevel", "add_prefix_space", 0, "use_regex", 0);
        assert_int_equal(pretokenizer_read(&ret, json, NULL), 0);
        return ret;
}

/* `other`: a character that the pattern does not match. */
static bool matches(const struct pretokenizer *pattern, uint32_t c, uint32_t other) {
        CLEANUP(pieces_deinit) struct pieces pieces = { 0 };
        struct piece piece;
        char text[8];
        size_t n = put_character(text, c);
        n += put_character(text + n, other);
        assert_int_equal(pieces_start(&pieces, pattern, text, n, NULL), 0);
        assert_true(pieces_next(&pieces, &piece));
        return piece.n < n;
}

/* Each beside a letter, a space and itself. Versions of PCRE2 know fewer characters than Unicode 16
 * or more: those that only one of the two takes for assigned are left out. */
static void test_every_character_is_classed_alike(void **state) {
        const struct both *both = *state;
        struct pretokenizer assigned = one_pattern("\\P{Cn}"), other = one_pattern("\\p{C}");
        unsigned n_checked = 0;
        for (uint32_t c = 0; c < CHARACTERS; c++) {
                if (c >= 0xD800 && c < 0xE000)
                        continue;
                bool known = both->scanner.classes[c] & (CLASSES_END - 1);
                if (!(known ? matches(&assigned, c, 0x10FFFF) : matches(&other, c, 'a')))
                        continue;
                char text[32];
                size_t n = put_character(text, c);
                text[n++] = 'a';
                n += put_character(text + n, c);
                text[n++] = ' ';
                n += put_character(text + n, c);
                n += put_character(text + n, c);
                check_same(both, text, n);
                n_checked++;
        }
        pretokenizer_deinit(&assigned);
        pretokenizer_deinit(&other);
        assert_true(n_checked >= 1000000);
}

/* DeepSeek-V2's steps, as Hugging Face `tokenizers` 0.23.3 cuts by them. */
static void test_the_steps_of_v2_cut_as_elsewhere(void **state) {
        (void)state;
        json_auto_t *root = json_load_file(v2_pieces, JSON_ALLOW_NUL, NULL);
        CLEANUP(pretokenizer_deinit) struct pretokenizer pretokenizer = { 0 };
        assert_int_equal(
                pretokenizer_read(&pretokenizer, json_object_get(root, "pre_tokenizer"), NULL), 0);
        assert_int_equal(pretokenizer.n_splits, 6);
        size_t i;
        json_t *one;
        json_array_foreach(json_object_get(root, "cases"), i, one) {
                CLEANUP(pieces_deinit) struct pieces pieces = { 0 };
                const char *text = json_string_value(json_array_get(one, 0));
                json_t *expected = json_array_get(one, 1);
                struct piece piece;
                assert_int_equal(pieces_start(&pieces, &pretokenizer, text, strlen(text), NULL), 0);
                for (size_t k = 0; k < json_array_size(expected); k++) {
                        const char *wanted = json_string_value(json_array_get(expected, k));
                        assert_true(pieces_next(&pieces, &piece));
                        if (piece.n != strlen(wanted) ||
                            memcmp(text + piece.at, wanted, piece.n) != 0)
                                fail_msg("case %zu, piece %zu: '%.*s', not '%s'", i, k,
                                         (int)piece.n, text + piece.at, wanted);
                }
                assert_false(pieces_next(&pieces, &piece));
        }
        assert_true(i > 100);
}

int main(int argc, char **argv) {
        if (argc != 3)
                return 2;
        model_dir = argv[1];
        v2_pieces = argv[2];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_scanner_replaces_the_patterns),
                cmocka_unit_test(test_any_mixture_of_kinds_is_cut_alike),
                cmocka_unit_test(test_every_character_is_classed_alike),
                cmocka_unit_test(test_the_steps_of_v2_cut_as_elsewhere),
        };
        return cmocka_run_group_tests(tests, open_both, close_both);
}
