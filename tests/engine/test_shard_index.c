/* Indexes of sharded checkpoints, well-formed and not. */
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
#include "engine/shard_index.h"

static void tensors_and_shards_are_numbered_by_name(void **state) {
        (void)state;
        static const char text[] = "{\"metadata\":{\"total_size\":12,\"x\":[]},\"weight_map\":"
                                   "{\"c\":\"2\",\"a\":\"2\",\"b\":\"1\"},\"more\":0}";
        struct shard_index index;
        assert_int_equal(shard_index_parse("f", text, strlen(text), &index, NULL), 0);
        assert_int_equal(index.n, 3);
        assert_int_equal(index.n_shards, 2);
        assert_string_equal(index.shards[0], "1");
        assert_string_equal(index.shards[1], "2");
        assert_true(index.has_total);
        assert_int_equal(index.total_bytes, 12);
        for (size_t i = 0; i < index.n; i++) {
                const struct shard_entry *entry = &index.entries[i];
                assert_int_equal(entry->tensor[0], 'a' + (int)i);
                assert_string_equal(index.shards[entry->shard_number], entry->shard);
                assert_ptr_equal(shard_index_find(&index, entry->tensor), entry);
        }
        assert_null(shard_index_find(&index, "d"));
        shard_index_deinit(&index);
        assert_null(shard_index_find(&index, "a"));
}

static void metadata_may_be_absent(void **state) {
        (void)state;
        static const char *const texts[] = {
                "{\"weight_map\":{\"a\":\"1\"}}",
                "{\"metadata\":null,\"weight_map\":{\"a\":\"1\"}}",
                "{\"metadata\":{},\"weight_map\":{\"a\":\"1\"}}",
        };
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                struct shard_index index;
                assert_int_equal(shard_index_parse("f", texts[i], strlen(texts[i]), &index, NULL),
                                 0);
                assert_false(index.has_total);
                shard_index_deinit(&index);
        }
}

#define MAP(entries) "{\"weight_map\":{" entries "}}"
#define TOTAL(value) "{\"metadata\":{\"total_size\":" value "},\"weight_map\":{\"a\":\"1\"}}"

static void what_is_malformed_is_refused_by_name(void **state) {
        (void)state;
        static const struct {
                const char *text, *why;
        } cases[] = {
                { "", "f: line 1" },
                { "{", "f: line 1" },
                { "{}\n{}", "f: line 2" },
                { "null", "f: line 1" },
                { "[]", "f: not a JSON object" },
                { "{}", "f: no weight_map" },
                { "{\"weight_map\":[]}", "f: weight_map: not an object" },
                { "{\"weight_map\":null}", "f: weight_map: not an object" },
                { MAP(""), "f: weight_map: no tensors" },
                { MAP("\"a\":1"), "f: weight_map: the shard of tensor 'a' is not a string" },
                { MAP("\"a\":null"), "the shard of tensor 'a' is not a string" },
                { MAP("\"a\":[\"1\"]"), "the shard of tensor 'a' is not a string" },
                { MAP("\"a\":\"\""), "tensor 'a': '' is not a plain file name" },
                { MAP("\"a\":\".\""), "'.' is not a plain file name" },
                { MAP("\"a\":\"..\""), "'..' is not a plain file name" },
                { MAP("\"a\":\"../x\""), "'../x' is not a plain file name" },
                { MAP("\"a\":\"x/../../y\""), "'x/../../y' is not a plain file name" },
                { MAP("\"a\":\"./x\""), "'./x' is not a plain file name" },
                { MAP("\"a\":\"sub/x\""), "'sub/x' is not a plain file name" },
                { MAP("\"a\":\"/etc/passwd\""), "'/etc/passwd' is not a plain file name" },
                { MAP("\"a\":\"x\\u0000y\""), "f: line 1" },
                { MAP("\"a\":\"1\",\"a\":\"2\""), "duplicate object key" },
                { MAP("\"a\":\"\xff\""), "f: line 1" },
                { "{\"weight_map\":{\"a\":\"1\"},\"weight_map\":{}}", "duplicate object key" },
                { "{\"metadata\":[],\"weight_map\":{\"a\":\"1\"}}", "metadata: not an object" },
                { TOTAL("-1"), "f: metadata.total_size: not a whole number" },
                { TOTAL("1.5"), "metadata.total_size: not a whole number" },
                { TOTAL("\"8\""), "metadata.total_size: not a whole number" },
                { TOTAL("1e3"), "metadata.total_size: not a whole number" },
                { TOTAL("99999999999999999999"), "f: line 1" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct error err = { 0 };
                struct shard_index index = { 0 };
                assert_int_equal(
                        shard_index_parse("f", cases[i].text, strlen(cases[i].text), &index, &err),
                        -EINVAL);
                if (!strstr(err.text, cases[i].why))
                        fail_msg("%s: \"%s\"", cases[i].text, err.text);
                assert_null(index.document);
        }
}

/* An index of n tensors, each in a shard of its own. */
static char *many_shards(unsigned n, size_t *ret_n) {
        char *text = NULL;
        FILE *out = open_memstream(&text, ret_n);
        assert_non_null(out);
        fputs("{\"weight_map\":{", out);
        for (unsigned i = 0; i < n; i++)
                fprintf(out, "%s\"t%u\":\"s%u\"", i ? "," : "", i, i);
        fputs("}}", out);
        assert_int_equal(fclose(out), 0);
        return text;
}

static void the_number_of_shards_is_bounded(void **state) {
        (void)state;
        struct shard_index index;
        struct error err = { 0 };
        size_t n;
        char *text = many_shards(4096, &n);
        assert_int_equal(shard_index_parse("f", text, n, &index, NULL), 0);
        assert_int_equal(index.n_shards, 4096);
        shard_index_deinit(&index);
        free(text);
        text = many_shards(4097, &n);
        assert_int_equal(shard_index_parse("f", text, n, &index, &err), -EINVAL);
        assert_string_equal(err.text, "f: weight_map: more than 4096 files");
        free(text);
}

static void nesting_is_refused_and_does_not_overflow(void **state) {
        (void)state;
        size_t n = 1 << 20;
        char *text = malloc(n);
        memset(text, '[', n);
        struct shard_index index;
        struct error err = { 0 };
        assert_int_equal(shard_index_parse("f", text, n, &index, &err), -EINVAL);
        assert_non_null(strstr(err.text, "depth"));
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tensors_and_shards_are_numbered_by_name),
                cmocka_unit_test(metadata_may_be_absent),
                cmocka_unit_test(what_is_malformed_is_refused_by_name),
                cmocka_unit_test(the_number_of_shards_is_bounded),
                cmocka_unit_test(nesting_is_refused_and_does_not_overflow),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
