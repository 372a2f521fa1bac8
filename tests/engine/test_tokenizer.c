/* The tokenizer: same ids as Hugging Face tokenizers, refusals by name, bounded work. */
#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/token_map.h"
#include "engine/tokenizer.h"

/* Set by meson: the default model, this folder, and the one of the DeepSeek family's tokenizer, cut
 * to its first merges. */
static const char *model_dir, *test_dir, *deepseek_dir;

static int open_model(void **state) {
        struct error err = { 0 };
        struct tokenizer *tokenizer;
        if (tokenizer_open(model_dir, &tokenizer, &err) < 0) {
                print_error("%s\n", err.text);
                return -1;
        }
        *state = tokenizer;
        return 0;
}

static int close_model(void **state) {
        tokenizer_close(*state);
        return 0;
}

static json_t *load(const char *dir, const char *name) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        json_error_t where;
        json_t *json = json_load_file(path, JSON_ALLOW_NUL, &where);
        if (!json)
                fail_msg("%s: line %d: %s", path, where.line, where.text);
        return json;
}

static void check_ids(const struct tokenizer *tokenizer, json_t *text, unsigned flags, json_t *want,
                      size_t index) {
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        if (tokenizer_encode(tokenizer, json_string_value(text), json_string_length(text), flags,
                             &ids, &err) < 0)
                fail_msg("case %zu: %s", index, err.text);
        bool same = ids.n == json_array_size(want);
        for (size_t i = 0; i < ids.n && same; i++)
                same = ids.ids[i] == (uint32_t)json_integer_value(json_array_get(want, i));
        if (!same)
                fail_msg("case %zu, flags %u: '%s' has other ids", index, flags,
                         json_string_value(text));
}

static void check_cases(const struct tokenizer *tokenizer, json_t *cases, size_t n_min) {
        size_t i;
        json_t *value;
        assert_true(json_array_size(cases) >= n_min);
        json_array_foreach(cases, i, value) {
                json_t *text = json_object_get(value, "text"), *ids = json_object_get(value, "ids");
                json_t *plain = json_object_get(value, "plain");
                check_ids(tokenizer, text, TOKENIZE_SPECIAL, ids, i);
                check_ids(tokenizer, text, 0, plain ? plain : ids, i);
        }
}

static void test_ids_are_those_of_hugging_face(void **state) {
        json_auto_t *root = load(test_dir, "tokenizer_cases.json");
        check_cases(*state, json_object_get(root, "cases"), 400);
}

static void test_added_tokens_that_overlap_are_found_as_by_hugging_face(void **state) {
        (void)state;
        json_auto_t *root = load(test_dir, "tokenizer_cases.json");
        json_auto_t *file = load(model_dir, "tokenizer.json");
        json_array_extend(json_object_get(file, "added_tokens"), json_object_get(root, "added"));
        CLEANUP_FREE char *json = json_dumps(file, JSON_COMPACT);
        struct tokenizer *tokenizer;
        assert_int_equal(tokenizer_parse("t.json", json, strlen(json), &tokenizer, NULL), 0);
        check_cases(tokenizer, json_object_get(root, "overlapping"), 200);
        tokenizer_close(tokenizer);
}

static void test_ids_of_the_deepseek_family_are_those_of_hugging_face(void **state) {
        (void)state;
        struct error err = { 0 };
        struct tokenizer *tokenizer;
        json_auto_t *root = load(deepseek_dir, "tokenizer_cases.json");
        if (tokenizer_open(deepseek_dir, &tokenizer, &err) < 0)
                fail_msg("%s", err.text);
        check_cases(tokenizer, json_object_get(root, "cases"), 400);
        /* Not marked special in this file, and yet found without being asked for; literal text
         * stays text. */
        uint32_t user = tokenizer_added(tokenizer, "<｜User｜>");
        assert_false(tokenizer_is_special(tokenizer, user));
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        const char *text = "<｜User｜>";
        assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), 0, &ids, NULL), 0);
        assert_int_equal(ids.n, 1);
        assert_int_equal(ids.ids[0], user);
        ids.n = 0;
        assert_int_equal(
                tokenizer_encode(tokenizer, text, strlen(text), TOKENIZE_LITERAL, &ids, NULL), 0);
        assert_true(ids.n > 1);
        tokenizer_close(tokenizer);

        json_auto_t *file = load(deepseek_dir, "tokenizer.json");
        json_array_extend(json_object_get(file, "added_tokens"), json_object_get(root, "added"));
        CLEANUP_FREE char *json = json_dumps(file, JSON_COMPACT);
        assert_int_equal(tokenizer_parse("t.json", json, strlen(json), &tokenizer, NULL), 0);
        check_cases(tokenizer, json_object_get(root, "overlapping"), 200);
        tokenizer_close(tokenizer);
}

static void test_token_map_is_that_of_hugging_face_normalizers(void **state) {
        (void)state;
        json_auto_t *root = load(test_dir, "token_map_cases.json");
        CLEANUP_FREE char *json = json_dumps(json_object_get(root, "tokenizer"), JSON_COMPACT);
        struct error err = { 0 };
        struct tokenizer *tokenizer;
        if (tokenizer_parse("t.json", json, strlen(json), &tokenizer, &err) < 0)
                fail_msg("%s", err.text);
        json_t *want = json_object_get(root, "map");
        uint32_t *map = NULL, n_numbers = 0, largest = 0;
        assert_int_equal(token_map_build(tokenizer, &map, &n_numbers, NULL), 0);
        assert_int_equal(json_array_size(want), tokenizer_n_ids(tokenizer));
        for (uint32_t id = 0; id < tokenizer_n_ids(tokenizer); id++) {
                if (map[id] != (uint32_t)json_integer_value(json_array_get(want, id)))
                        fail_msg("id %u, '%s': number %u", id,
                                 tokenizer_vocab_string(tokenizer, id), map[id]);
                largest = map[id] > largest ? map[id] : largest;
        }
        assert_int_equal(n_numbers, largest + 1);
        free(map);
        tokenizer_close(tokenizer);
}

static void test_bytes_of_ids_join_to_the_text(void **state) {
        json_auto_t *root = load(test_dir, "tokenizer_cases.json");
        json_t *cases = json_object_get(root, "cases"), *value;
        size_t i;
        json_array_foreach(cases, i, value) {
                json_t *text = json_object_get(value, "text"), *ids = json_object_get(value, "ids"),
                       *id;
                size_t k, at = 0, n = json_string_length(text);
                json_array_foreach(ids, k, id) {
                        size_t n_bytes = 0;
                        const char *bytes =
                                tokenizer_bytes(*state, (uint32_t)json_integer_value(id), &n_bytes);
                        assert_non_null(bytes);
                        assert_true(n_bytes <= n - at);
                        assert_memory_equal(bytes, json_string_value(text) + at, n_bytes);
                        at += n_bytes;
                }
                assert_int_equal(at, n);
        }
}

static void test_special_tokens_are_found_by_their_written_form(void **state) {
        assert_int_equal(tokenizer_added(*state, "<｜fim▁begin｜>"), 7);
        assert_int_equal(tokenizer_added(*state, "<think>"), 5);
        assert_int_equal(tokenizer_added(*state, "<thin"), TOKEN_NONE);
        assert_int_equal(tokenizer_added(*state, ""), TOKEN_NONE);
        assert_true(tokenizer_is_special(*state, 7));
        assert_false(tokenizer_is_special(*state, 5));
        assert_int_equal(tokenizer_n_ids(*state), 4096);
        assert_false(tokenizer_is_special(*state, 4096));
        assert_null(tokenizer_vocab_string(*state, 4096));
        size_t n;
        assert_null(tokenizer_bytes(*state, TOKEN_NONE, &n));
}

static void test_invalid_utf8_is_refused_with_its_offset(void **state) {
        static const struct {
                const char *text;
                size_t n;
                const char *offset;
        } cases[] = { { "ab\xFF", 3, "byte 2" },
                      { "\xC0\x80", 2, "byte 0" },
                      { "abc\xE4\xBD", 5, "byte 3" },
                      { "\xED\xA0\x80", 3, "byte 0" },
                      { "a\xF4\x90\x80\x80", 5, "byte 1" } };
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
                struct error err = { 0 };
                assert_int_equal(tokenizer_encode(*state, cases[i].text, cases[i].n, 0, &ids, &err),
                                 -EILSEQ);
                assert_non_null(strstr(err.text, cases[i].offset));
                assert_int_equal(ids.n, 0);
        }
}

static void test_text_without_a_split_is_not_quadratic(void **state) {
        /* A megabyte that is one piece: quadratic merging would run for hours, past any test's
         * patience. */
        size_t n = 1 << 20;
        CLEANUP_FREE char *text = malloc(n);
        assert_non_null(text);
        for (unsigned pattern = 0; pattern < 3; pattern++) {
                for (size_t i = 0; i < n; i++)
                        text[i] = pattern == 0 ? 'a'
                                : pattern == 1 ? ' '
                                               : (char)('a' + i * i % 26);
                CLEANUP(token_list_deinit) struct token_list ids = { 0 };
                assert_int_equal(tokenizer_encode(*state, text, n, 0, &ids, NULL), 0);
                size_t total = 0;
                for (size_t i = 0; i < ids.n; i++) {
                        size_t n_bytes = 0;
                        assert_non_null(tokenizer_bytes(*state, ids.ids[i], &n_bytes));
                        total += n_bytes;
                }
                assert_int_equal(total, n);
        }
}

static void test_random_bytes_give_ids_or_an_error(void **state) {
        uint64_t random = 1;
        for (unsigned round = 0; round < 2000; round++) {
                char text[256];
                size_t n = 0;
                for (; n < sizeof(text) && (n == 0 || random >> 58 != 0); n++) {
                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
                        /* Every other round ASCII alone, so that many texts are valid. */
                        text[n] = (char)(random >> 33 & (round % 2 ? 0xFF : 0x7F));
                }
                CLEANUP(token_list_deinit) struct token_list ids = { 0 };
                int r = tokenizer_encode(*state, text, n, round & TOKENIZE_SPECIAL, &ids, NULL);
                assert_true(r == 0 || r == -EILSEQ);
                assert_true(r == 0 || ids.n == 0);
                assert_true(ids.n <= n);
        }
}

/* What is changed in the default model's file, and what the refusal must name. */
static const struct {
        const char *path, *value, *names;
} mutations[] = {
        { "normalizer", "{\"type\":\"NFC\"}", "normalizer: type 'NFC'" },
        { "normalizer.normalizers.0", "{\"type\":\"Prepend\"}", "normalizers[0]: type 'Prepend'" },
        { "surprise", "1", "surprise" },
        { "truncation", "{}", "truncation" },
        { "decoder", "null", "decoder" },
        { "model.type", "\"Unigram\"", "model.type: 'Unigram'" },
        { "model.dropout", "0.1", "model.dropout" },
        { "model.unk_token", "\"<unk>\"", "model.unk_token" },
        { "model.byte_fallback", "true", "model.byte_fallback" },
        { "model.ignore_merges", "true", "model.ignore_merges" },
        { "model.continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix" },
        { "model.end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix" },
        { "model.novelty", "3", "model.novelty" },
        { "model.vocab", "[]", "model.vocab" },
        { "model.vocab.x1", "20", "id 20 for both" },
        { "model.vocab.x1", "-1", "'x1': id -1" },
        { "model.vocab.x1", "1048576", "'x1': id 1048576" },
        { "model.vocab.x1", "\"7\"", "'x1'" },
        { "model.vocab.a", NULL, "byte 0x61" },
        { "model.vocab.Ġ", NULL, "byte 0x20" },
        { "model.merges", "{}", "model.merges" },
        { "model.merges.5", "\"a qqqq\"", "merges[5]: 'qqqq'" },
        { "model.merges.5", "[\"qqqq\",\"a\"]", "merges[5]: 'qqqq'" },
        { "model.merges.5", "\"~ ~ ~\"", "merges[5]" },
        { "model.merges.5", "\"~~\"", "merges[5]" },
        { "model.merges.5", "\" a\"", "merges[5]: an empty part" },
        { "model.merges.5", "[\"a\",\"\"]", "merges[5]: an empty part" },
        { "model.merges.5", "[\"a\"]", "merges[5]" },
        { "model.merges.5", "7", "merges[5]" },
        { "model.merges.5", "[\"ï\",\"~\"]", "merges[5]: 'ï~'" },
        { "model.merges.5", "[\"Ġ\",\"Ġ\"]", "merges[5]: the same as model.merges[0]" },
        { "added_tokens", "3", "added_tokens" },
        { "added_tokens.3.lstrip", "true", "added_tokens[3]: lstrip" },
        { "added_tokens.3.rstrip", "true", "added_tokens[3]: rstrip" },
        { "added_tokens.3.single_word", "true", "added_tokens[3]: single_word" },
        { "added_tokens.3.content", "\"\"", "added_tokens[3]: no content" },
        { "added_tokens.3.id", "9", "id 9" },
        { "added_tokens.3.id", "99999999999", "id 99999999999" },
        { "added_tokens.16", "{\"id\":16,\"content\":\"<new>\",\"special\":true}",
          "id 16 for both" },
        { "added_tokens.16", "{\"id\":5,\"content\":\"<think>\"}", "'<think>' twice" },
        { "added_tokens.3.id", "\"3\"", "the id is not an integer" },
        { "added_tokens.3.id", "-3", "id -3" },
        { "added_tokens.3.id", "3.0", "the id is not an integer" },
        { "added_tokens.3.content", "7", "added_tokens[3]: no content" },
        { "added_tokens.3.special", "\"yes\"", "added_tokens[3]: special" },
        { "added_tokens.3.normalized", "0", "added_tokens[3]: normalized" },
        { "added_tokens.3", "[]", "added_tokens[3]: no content" },
        { "model", NULL, "model.vocab: not an object" },
        { "model", "[]", "model.vocab: not an object" },
        { "model.vocab", NULL, "model.vocab: not an object" },
        { "model.vocab", "{}", "byte 0x00" },
        { "model.merges", NULL, "model.merges: not an array" },
        { "model.type", NULL, "model.type: 'missing'" },
        { "normalizer", "[]", "normalizer: type 'missing'" },
        { "normalizer", "{\"type\":\"Lowercase\"}", "normalizer: type 'Lowercase'" },
        { "normalizer.normalizers.0", "7", "normalizers[0]: type 'missing'" },
        { "padding", "{}", "padding" },
        { "decoder", "{\"type\":\"Metaspace\"}", "decoder: type 'Metaspace'" },
        { "pre_tokenizer", "{\"type\":\"Metaspace\"}", "pre_tokenizer: type 'Metaspace'" },
        { "pre_tokenizer", "{\"type\":\"Split\"}", "pre_tokenizer: type 'Split'" },
        { "pre_tokenizer.pretokenizers.0.pattern", NULL, "[0]: pattern" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a{70000}\"", "[0]: pattern" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(?>a)\"", "group" },
        { "pre_tokenizer", "null", "pre_tokenizer" },
        { "pre_tokenizer.pretokenizers", "[]", "empty Sequence" },
        { "pre_tokenizer.pretokenizers.3", "{\"type\":\"Digits\"}", "[3]: type 'Digits'" },
        { "pre_tokenizer.pretokenizers.3.use_regex", "true", "[3]: use_regex" },
        { "pre_tokenizer.pretokenizers.3.add_prefix_space", "true", "[3]: add_prefix_space" },
        { "pre_tokenizer.pretokenizers.0.behavior", "\"Removed\"", "[0]: behavior 'Removed'" },
        { "pre_tokenizer.pretokenizers.0.invert", "true", "[0]: invert" },
        { "pre_tokenizer.pretokenizers.0.pattern", "{\"String\":\"a\"}", "[0]: pattern" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a*\"", "can match nothing" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(a\"", "[0]: pattern" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\w+\"", "byte 0: this escape" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"\\\\p{Han}\"", "general category" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"[a[:digit:]]\"", "byte 2" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"[a&&b]\"", "intersection" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(?i:a)\"", "group" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(*ACCEPT)\"", "verb" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a{2}+\"", "quantifier" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a.b\"", "byte 1" },
        { "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"a\\\\\"", "byte 1" },
};

/* Replaces what is at `path` ("model.merges.3") by a JSON value; NULL removes it. */
static void mutate(json_t *root, const char *path, const char *value) {
        char copy[128];
        snprintf(copy, sizeof(copy), "%s", path);
        json_t *parent = root;
        char *key = copy, *dot;
        while ((dot = strchr(key, '.'))) {
                *dot = 0;
                parent = json_is_array(parent) ? json_array_get(parent, strtoul(key, NULL, 10))
                                               : json_object_get(parent, key);
                key = dot + 1;
        }
        json_t *json = value ? json_loads(value, JSON_DECODE_ANY, NULL) : NULL;
        assert_true(json || !value);
        if (!value)
                assert_int_equal(json_object_del(parent, key), 0);
        else if (json_is_array(parent) && strtoul(key, NULL, 10) < json_array_size(parent))
                json_array_set_new(parent, strtoul(key, NULL, 10), json);
        else if (json_is_array(parent))
                json_array_append_new(parent, json);
        else
                json_object_set_new(parent, key, json);
}

static void expect_refusal(const char *json, size_t n, const char *names) {
        struct error err = { 0 };
        struct tokenizer *tokenizer = NULL;
        assert_int_equal(tokenizer_parse("t.json", json, n, &tokenizer, &err), -EINVAL);
        assert_null(tokenizer);
        if (!strstr(err.text, names) || strncmp(err.text, "t.json: ", 8) != 0)
                fail_msg("'%s' does not name '%s'", err.text, names);
}

static void test_unsupported_and_broken_files_are_refused_by_name(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof(mutations) / sizeof(*mutations); i++) {
                json_auto_t *root = load(model_dir, "tokenizer.json");
                mutate(root, mutations[i].path, mutations[i].value);
                CLEANUP_FREE char *json = json_dumps(root, JSON_COMPACT);
                expect_refusal(json, strlen(json), mutations[i].names);
        }
        expect_refusal("{", 1, "line 1");
        expect_refusal("[]", 2, "");
        expect_refusal("{\"model\":1,\"model\":2}", 21, "duplicate");
}

static void test_work_of_a_hostile_pattern_is_bounded(void **state) {
        (void)state;
        json_auto_t *root = load(model_dir, "tokenizer.json");
        mutate(root, "pre_tokenizer.pretokenizers.0.pattern.Regex", "\"(?:a|aa|a)+b\"");
        CLEANUP_FREE char *json = json_dumps(root, JSON_COMPACT);
        struct tokenizer *tokenizer;
        assert_int_equal(tokenizer_parse("t.json", json, strlen(json), &tokenizer, NULL), 0);
        char text[200];
        memset(text, 'a', sizeof(text));
        /* The letter that the pattern ends with is there, so that it is tried at all. */
        text[sizeof(text) - 2] = 'c';
        text[sizeof(text) - 1] = 'b';
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        struct error err = { 0 };
        assert_int_equal(tokenizer_encode(tokenizer, text, sizeof(text), 0, &ids, &err), -E2BIG);
        assert_non_null(strstr(err.text, "too many steps"));
        assert_int_equal(ids.n, 0);
        tokenizer_close(tokenizer);
}

/* A list of so many Splits, the first with a pattern of so many bytes. */
static void test_sizes_beyond_any_real_file_are_refused(void **state) {
        (void)state;
        json_auto_t *root = load(model_dir, "tokenizer.json");
        json_auto_t *other = json_deep_copy(root);
        json_t *steps = json_object_get(json_object_get(root, "pre_tokenizer"), "pretokenizers");
        for (unsigned i = 0; i < 14; i++)
                json_array_insert(steps, 0, json_array_get(steps, 0));
        CLEANUP_FREE char *many = json_dumps(root, JSON_COMPACT);
        expect_refusal(many, strlen(many), "[16]: more than 16 Splits");

        char text[5000];
        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        json_t *step = json_array_get(
                json_object_get(json_object_get(other, "pre_tokenizer"), "pretokenizers"), 0);
        json_object_set_new(step, "pattern", json_pack("{s:s}", "Regex", text));
        CLEANUP_FREE char *large = json_dumps(other, JSON_COMPACT);
        expect_refusal(large, strlen(large), "pattern of 4999 bytes");
        text[257] = 0;
        json_t *token = json_array_get(json_object_get(other, "added_tokens"), 3);
        json_object_del(json_object_get(json_object_get(other, "model"), "vocab"),
                        json_string_value(json_object_get(token, "content")));
        json_object_set_new(token, "content", json_string(text));
        CLEANUP_FREE char *long_token = json_dumps(other, JSON_COMPACT);
        expect_refusal(long_token, strlen(long_token), "added_tokens[3]: 257 bytes");
}

static void test_literal_text_holds_no_added_token(void **state) {
        CLEANUP(token_list_deinit) struct token_list ids = { 0 };
        const char *text = "<think><｜User｜><｜fim▁hole｜>";
        assert_int_equal(tokenizer_encode(*state, text, strlen(text), TOKENIZE_LITERAL, &ids, NULL),
                         0);
        for (size_t i = 0; i < ids.n; i++)
                assert_true(ids.ids[i] >= 16); /* 0 to 15 are the added tokens */
}

static void test_merges_as_pairs_mean_the_same_as_strings(void **state) {
        json_auto_t *root = load(model_dir, "tokenizer.json");
        json_t *merges = json_object_get(json_object_get(root, "model"), "merges");
        for (size_t i = 0; i < json_array_size(merges); i++) {
                const char *merge = json_string_value(json_array_get(merges, i));
                const char *space = strchr(merge, ' ');
                json_array_set_new(merges, i,
                                   json_pack("[s%,s]", merge, (size_t)(space - merge), space + 1));
        }
        CLEANUP_FREE char *json = json_dumps(root, JSON_COMPACT);
        struct tokenizer *tokenizer;
        assert_int_equal(tokenizer_parse("t.json", json, strlen(json), &tokenizer, NULL), 0);
        const char *text = "static void tokenizer_close(struct tokenizer *tokenizer) { return; }\n";
        CLEANUP(token_list_deinit) struct token_list a = { 0 }, b = { 0 };
        assert_int_equal(tokenizer_encode(tokenizer, text, strlen(text), 0, &a, NULL), 0);
        assert_int_equal(tokenizer_encode(*state, text, strlen(text), 0, &b, NULL), 0);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.ids, b.ids, a.n * sizeof(*a.ids));
        tokenizer_close(tokenizer);
}

static void test_missing_file_is_named(void **state) {
        (void)state;
        struct error err = { 0 };
        struct tokenizer *tokenizer;
        assert_int_equal(tokenizer_open("/nonexistent", &tokenizer, &err), -ENOENT);
        assert_non_null(strstr(err.text, "/nonexistent/tokenizer.json"));
}

int main(int argc, char **argv) {
        if (argc != 4)
                return 2;
        model_dir = argv[1];
        test_dir = argv[2];
        deepseek_dir = argv[3];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ids_are_those_of_hugging_face),
                cmocka_unit_test(test_added_tokens_that_overlap_are_found_as_by_hugging_face),
                cmocka_unit_test(test_ids_of_the_deepseek_family_are_those_of_hugging_face),
                cmocka_unit_test(test_token_map_is_that_of_hugging_face_normalizers),
                cmocka_unit_test(test_bytes_of_ids_join_to_the_text),
                cmocka_unit_test(test_special_tokens_are_found_by_their_written_form),
                cmocka_unit_test(test_invalid_utf8_is_refused_with_its_offset),
                cmocka_unit_test(test_text_without_a_split_is_not_quadratic),
                cmocka_unit_test(test_random_bytes_give_ids_or_an_error),
                cmocka_unit_test(test_unsupported_and_broken_files_are_refused_by_name),
                cmocka_unit_test(test_work_of_a_hostile_pattern_is_bounded),
                cmocka_unit_test(test_sizes_beyond_any_real_file_are_refused),
                cmocka_unit_test(test_literal_text_holds_no_added_token),
                cmocka_unit_test(test_merges_as_pairs_mean_the_same_as_strings),
                cmocka_unit_test(test_missing_file_is_named),
        };
        return cmocka_run_group_tests(tests, open_model, close_model);
}
