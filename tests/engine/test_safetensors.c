/* Checkpoint files, well-formed and not: what is refused, and that the message says what and where.
 */
#include <errno.h>
#include <inttypes.h>
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
#include "engine/progress.h"
#include "engine/safetensors.h"

static const char *model_dir;

/* A file image: length, header, `data_bytes` bytes counting up. On the heap, exactly as large as
 * the file, so that a sanitizer sees a byte too many. */
struct image {
        uint8_t *bytes;
        size_t n;
};

static struct image image_new(const char *header, uint64_t length, size_t data_bytes) {
        size_t n_header = strlen(header);
        struct image image = { malloc(8 + n_header + data_bytes), 8 + n_header + data_bytes };
        assert_non_null(image.bytes);
        for (unsigned i = 0; i < 8; i++)
                image.bytes[i] = (uint8_t)(length >> (8 * i));
        memcpy(image.bytes + 8, header, n_header);
        for (size_t i = 0; i < data_bytes; i++)
                image.bytes[8 + n_header + i] = (uint8_t)i;
        return image;
}

/* Headers here are padded to a multiple of 8 bytes, as writers do. */
static struct image image_padded(const char *header, size_t data_bytes) {
        char padded[2048];
        size_t n = (strlen(header) + 7) / 8 * 8;
        assert_true(n < sizeof(padded));
        snprintf(padded, sizeof(padded), "%-*s", (int)n, header);
        return image_new(padded, n, data_bytes);
}

static void expect_refused(struct image image, const char *why) {
        struct error err = { 0 };
        struct tensor *tensors = NULL;
        size_t n = 0;
        int r = safetensors_parse("file", image.bytes, image.n, &tensors, &n, &err);
        free(image.bytes);
        assert_int_equal(r, -EINVAL);
        assert_null(tensors);
        if (strncmp(err.text, "file: ", 6) != 0 || !strstr(err.text, why))
                fail_msg("expected \"file: ... %s\", the message is \"%s\"", why, err.text);
}

static void expect_header_refused(const char *header, size_t data_bytes, const char *why) {
        expect_refused(image_padded(header, data_bytes), why);
}

#define ENTRY(name, dtype, shape, begin, end)                                                      \
        "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin      \
        "," #end "]}"

static void test_a_file_is_parsed_in_name_order(void **state) {
        (void)state;
        struct image image = image_padded(
                "{\"__metadata__\":{\"format\":\"pt\"}," ENTRY("b", "F32", "[2,1]", 0, 8) "," ENTRY(
                        "a", "BF16", "[3]", 8, 14) "," ENTRY("s", "I8", "[]", 14, 15) "}",
                15);
        struct tensor *tensors = NULL;
        size_t n = 0;
        assert_int_equal(safetensors_parse("file", image.bytes, image.n, &tensors, &n, NULL), 0);
        assert_int_equal(n, 3);
        assert_string_equal(tensors[0].name, "a");
        assert_int_equal(tensors[0].dtype, DTYPE_BF16);
        assert_int_equal(tensors[0].n_dims, 1);
        assert_int_equal(tensors[0].shape[0], 3);
        assert_int_equal(tensors[0].bytes, 6);
        assert_int_equal(tensors[0].data[0], 8);
        assert_string_equal(tensors[1].name, "b");
        assert_int_equal(tensors[1].shape[0], 2);
        assert_int_equal(tensors[1].shape[1], 1);
        assert_int_equal(tensors[2].n_dims, 0);
        assert_int_equal(tensors[2].bytes, 1);
        safetensors_free(tensors, n);
        free(image.bytes);
}

static void test_fp4_codes_count_as_stored_bytes(void **state) {
        (void)state;
        struct image image = image_padded("{" ENTRY("w", "I8", "[2,16]", 0, 32) "}", 32);
        struct tensor *tensors = NULL;
        size_t n = 0;
        assert_int_equal(safetensors_parse("file", image.bytes, image.n, &tensors, &n, NULL), 0);
        assert_int_equal(tensors[0].bytes, 32);
        assert_int_equal(dtype_bytes(DTYPE_I8), 1);
        safetensors_free(tensors, n);
        free(image.bytes);
}

static void test_a_tensor_may_be_empty(void **state) {
        (void)state;
        struct image image = image_padded(
                "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("e", "F32", "[0,9]", 0, 0) "}", 4);
        struct tensor *tensors = NULL;
        size_t n = 0;
        assert_int_equal(safetensors_parse("file", image.bytes, image.n, &tensors, &n, NULL), 0);
        assert_int_equal(n, 2);
        safetensors_free(tensors, n);
        free(image.bytes);
}

static void test_a_truncated_file_is_refused_at_every_length(void **state) {
        (void)state;
        struct image whole = image_padded("{" ENTRY("a", "F32", "[2]", 0, 8) "}", 8);
        for (size_t n = 0; n < whole.n; n++) {
                struct image part = { malloc(n ? n : 1), n };
                memcpy(part.bytes, whole.bytes, n);
                expect_refused(part, "");
        }
        free(whole.bytes);
}

static void test_a_lying_header_length_is_refused(void **state) {
        (void)state;
        expect_refused(image_new("{}", 0, 0), "header of 0 bytes");
        expect_refused(image_new("{}", 3, 0), "longer than the file (10 bytes)");
        expect_refused(image_new("{}", 33554432, 0), "longer than the file");
        expect_refused(image_new("{}", 33554433, 0), "2 to 33554432 are legal");
        expect_refused(image_new("{}", UINT64_MAX, 0), "2 to 33554432 are legal");
}

static void test_a_header_that_is_not_an_object_is_refused(void **state) {
        (void)state;
        expect_header_refused("[]", 0, "not a JSON object");
        expect_header_refused("{\"a\":", 0, "header, byte");
        expect_header_refused("{} {}", 0, "header, byte");
        expect_header_refused("{\"a\":1}", 0, "tensor 'a': its header entry is not an object");
        expect_header_refused("{\"a\":{}}", 0, "tensor 'a': no dtype");
}

static void test_a_duplicate_name_is_refused(void **state) {
        (void)state;
        expect_header_refused(
                "{" ENTRY("a", "F32", "[1]", 0, 4) "," ENTRY("a", "F32", "[1]", 4, 8) "}", 8,
                "duplicate object key");
}

static void test_an_unknown_dtype_is_refused(void **state) {
        (void)state;
        expect_header_refused("{" ENTRY("a", "F4", "[2]", 0, 1) "}", 1,
                              "tensor 'a': unknown dtype 'F4'");
}

static void test_a_known_dtype_of_no_use_is_reported_as_other(void **state) {
        (void)state;
        struct image image = image_padded("{" ENTRY("a", "U64", "[2]", 0, 16) "}", 16);
        struct tensor *tensors = NULL;
        size_t n = 0;
        assert_int_equal(safetensors_parse("file", image.bytes, image.n, &tensors, &n, NULL), 0);
        assert_int_equal(tensors[0].dtype, DTYPE_OTHER);
        safetensors_free(tensors, n);
        free(image.bytes);
}

static void test_overlapping_tensors_are_refused(void **state) {
        (void)state;
        expect_header_refused(
                "{" ENTRY("a", "U8", "[5]", 0, 5) "," ENTRY("b", "U8", "[4]", 4, 8) "}", 8,
                "the data of tensor 'a' and tensor 'b' overlap");
        /* An empty tensor between the two hides nothing. */
        expect_header_refused("{" ENTRY("a", "U8", "[8]", 0, 8) "," ENTRY(
                                      "e", "U8", "[0]", 3, 3) "," ENTRY("b", "U8", "[2]", 4, 6) "}",
                              8, "overlap");
}

static void test_a_range_outside_of_the_data_is_refused(void **state) {
        (void)state;
        expect_header_refused("{" ENTRY("a", "F32", "[2]", 0, 8) "}", 7,
                              "offset 8 is past the end of the data (7 bytes)");
        expect_header_refused("{" ENTRY("a", "F32", "[1]", 8, 4) "}", 8, "do not form a range");
        expect_header_refused("{" ENTRY("a", "F32", "[1]", -4, 0) "}", 8, "do not form a range");
        expect_header_refused(
                "{" ENTRY("a", "U8", "[1]", 9223372036854775806, 9223372036854775807) "}", 8,
                "past the end");
        expect_header_refused("{" ENTRY("a", "F32", "[1]", 0.0, 4) "}", 8,
                              "not a pair of whole numbers");
}

static void test_a_shape_must_match_its_bytes(void **state) {
        (void)state;
        expect_header_refused("{" ENTRY("a", "F32", "[3]", 0, 8) "}", 8,
                              "tensor 'a': 8 bytes of data, its shape needs 12");
        expect_header_refused("{" ENTRY("a", "F32", "[-1]", 0, 8) "}", 8,
                              "not a whole number >= 0");
        expect_header_refused("{" ENTRY("a", "F32", "[2.0]", 0, 8) "}", 8, "not a whole number");
        expect_header_refused("{" ENTRY("a", "F32", "2", 0, 8) "}", 8, "no shape");
}

static void test_huge_dimensions_are_refused_without_overflow(void **state) {
        (void)state;
        /* 2^62 elements of 4 bytes: 0 in 64 bits, which would match the empty range. */
        expect_header_refused("{" ENTRY("a", "F32", "[4611686018427387904]", 0, 0) "}", 0,
                              "does not fit 64 bits");
        expect_header_refused("{" ENTRY("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0,
                              "does not fit 64 bits");
        expect_header_refused("{" ENTRY("a", "U8", "[99999999999999999999]", 0, 0) "}", 0, "");
        expect_header_refused("{" ENTRY("a", "U8", "[1,1,1,1,1]", 0, 1) "}", 1,
                              "5 dimensions (at most 4)");
}

static void test_data_that_is_not_aligned_is_refused(void **state) {
        (void)state;
        expect_header_refused(
                "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("b", "F32", "[1]", 1, 5) "}", 5,
                "tensor 'b': its data is not aligned");
}

/* A folder of its own, removed with its files by folder_free(). */
struct folder {
        char path[64];
};

static struct folder folder_new(void) {
        struct folder folder = { "/tmp/seekd-test-XXXXXX" };
        assert_non_null(mkdtemp(folder.path));
        return folder;
}

static void folder_write(const struct folder *folder, const char *name, const void *bytes,
                         size_t n) {
        char path[128];
        snprintf(path, sizeof(path), "%s/%s", folder->path, name);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(bytes, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
}

static void folder_write_shard(const struct folder *folder, const char *name, const char *header,
                               size_t data_bytes) {
        struct image image = image_padded(header, data_bytes);
        folder_write(folder, name, image.bytes, image.n);
        free(image.bytes);
}

static void folder_free(struct folder *folder) {
        static const char *const names[] = { "model.safetensors", "model.safetensors.index.json",
                                             "one.safetensors", "two.safetensors" };
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char path[128];
                snprintf(path, sizeof(path), "%s/%s", folder->path, names[i]);
                unlink(path);
        }
        assert_int_equal(rmdir(folder->path), 0);
}

/* Two shards with "a" and "b", and this index. */
static struct folder sharded(const char *index) {
        struct folder folder = folder_new();
        folder_write(&folder, "model.safetensors.index.json", index, strlen(index));
        folder_write_shard(&folder, "one.safetensors", "{" ENTRY("a", "F32", "[1]", 0, 4) "}", 4);
        folder_write_shard(&folder, "two.safetensors", "{" ENTRY("b", "F32", "[1]", 0, 4) "}", 4);
        return folder;
}

static void expect_folder_refused(struct folder folder, int code, const char *why) {
        struct error err = { 0 };
        struct checkpoint *checkpoint = NULL;
        int r = checkpoint_open(folder.path, NULL, &checkpoint, &err);
        folder_free(&folder);
        assert_null(checkpoint);
        assert_int_equal(r, code);
        if (!strstr(err.text, why))
                fail_msg("expected \"%s\", the message is \"%s\"", why, err.text);
}

static void test_shards_are_joined_in_name_order(void **state) {
        (void)state;
        struct folder folder = sharded("{\"metadata\":{\"total_size\":8},\"weight_map\":"
                                       "{\"b\":\"two.safetensors\",\"a\":\"one.safetensors\"}}");
        struct checkpoint *checkpoint = NULL;
        assert_int_equal(checkpoint_open(folder.path, NULL, &checkpoint, NULL), 0);
        assert_int_equal(checkpoint_n_tensors(checkpoint), 2);
        assert_string_equal(checkpoint_tensor(checkpoint, 0)->name, "a");
        assert_string_equal(checkpoint_tensor(checkpoint, 1)->name, "b");
        assert_null(checkpoint_tensor(checkpoint, 2));
        assert_ptr_equal(checkpoint_find(checkpoint, "b"), checkpoint_tensor(checkpoint, 1));
        assert_null(checkpoint_find(checkpoint, "c"));
        assert_null(checkpoint_close(checkpoint));
        folder_free(&folder);
}

#define MAP(entries) "{\"weight_map\":{" entries "}}"
#define BOTH         "\"a\":\"one.safetensors\",\"b\":\"two.safetensors\""

/* What only index and shards together show; test_shard_index.c has the rest. */
static void test_an_index_that_lies_is_refused(void **state) {
        (void)state;
        static const struct {
                const char *index;
                int code;
                const char *why;
        } cases[] = {
                { "{", -EINVAL, "model.safetensors.index.json: line 1" },
                { MAP("\"a\":\"../one.safetensors\""), -EINVAL, "not a plain file name" },
                { MAP("\"a\":\"three.safetensors\""), -ENOENT, "three.safetensors: No such file" },
                { MAP("\"a\":\"one.safetensors\",\"b\":\"one.safetensors\""), -EINVAL,
                  "tensor 'b' is not in its shard 'one.safetensors'" },
                { MAP("\"a\":\"two.safetensors\",\"b\":\"one.safetensors\""), -EINVAL,
                  "is not in its shard" },
                { MAP(BOTH ",\"c\":\"two.safetensors\""), -EINVAL,
                  "tensor 'c' is not in its shard 'two.safetensors'" },
                { "{\"metadata\":{\"total_size\":9},\"weight_map\":{" BOTH "}}", -EINVAL,
                  "metadata.total_size: 9 bytes, but the tensors of the shards have 8" },
                { "{\"metadata\":{\"total_size\":0},\"weight_map\":{" BOTH "}}", -EINVAL,
                  "metadata.total_size: 0 bytes" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                expect_folder_refused(sharded(cases[i].index), cases[i].code, cases[i].why);
}

static void test_shards_that_contradict_the_index_are_refused(void **state) {
        (void)state;
        static const struct {
                const char *index, *shard, *header;
                size_t data_bytes;
                const char *why;
        } cases[] = {
                { MAP("\"a\":\"one.safetensors\""), "one.safetensors",
                  "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("x", "U8", "[1]", 1, 2) "}", 2,
                  "tensor 'x' of 'one.safetensors' is not listed" },
                { MAP(BOTH), "two.safetensors",
                  "{" ENTRY("a", "U8", "[1]", 0, 1) "," ENTRY("b", "U8", "[1]", 1, 2) "}", 2,
                  "tensor 'a' is in both" },
                { MAP(BOTH), "two.safetensors", "{}", 0, "tensor 'b' is not in its shard" },
                { MAP(BOTH), "two.safetensors",
                  "{" ENTRY("b", "F32", "[2]", 0, 8) "," ENTRY("c", "F32", "[1]", 4, 8) "}", 8,
                  "two.safetensors: the data of tensor 'b' and tensor 'c' overlap" },
                { MAP(BOTH), "two.safetensors", "{" ENTRY("b", "F32", "[2]", 0, 8) "}", 4,
                  "two.safetensors: tensor 'b': offset 8 is past the end" },
                { MAP(BOTH), "two.safetensors", "[]", 0, "two.safetensors: header is not" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct folder folder = sharded(cases[i].index);
                folder_write_shard(&folder, cases[i].shard, cases[i].header, cases[i].data_bytes);
                expect_folder_refused(folder, -EINVAL, cases[i].why);
        }
}

/* A pipe has no size, and opening one would wait for its other end. */
static void test_what_is_not_a_file_is_refused(void **state) {
        (void)state;
        struct folder folder = sharded(MAP(BOTH));
        char path[128];
        snprintf(path, sizeof(path), "%s/two.safetensors", folder.path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0600), 0);
        expect_folder_refused(folder, -EINVAL, "two.safetensors: not a regular file");
}

static void test_an_index_of_a_billion_entries_is_refused_unread(void **state) {
        (void)state;
        struct folder folder = sharded(MAP(BOTH));
        char path[128];
        snprintf(path, sizeof(path), "%s/model.safetensors.index.json", folder.path);
        assert_int_equal(truncate(path, 50000000000), 0); /* a hole: no disk is used */
        expect_folder_refused(folder, -EINVAL, "50000000000 bytes (at most 33554432)");
}

static void note_progress(void *userdata, double done, const char *what) {
        char *names = userdata;
        assert_true(done >= 0.5 && done < 0.7);
        strcat(strcat(names, what), " ");
}

static void test_progress_names_each_shard(void **state) {
        (void)state;
        struct folder folder = sharded(MAP(BOTH));
        char names[128] = "";
        struct progress progress = { note_progress, names, 0.5, 0.7 };
        struct checkpoint *checkpoint = NULL;
        assert_int_equal(checkpoint_open(folder.path, &progress, &checkpoint, NULL), 0);
        checkpoint_close(checkpoint);
        folder_free(&folder);
        assert_string_equal(names, "one.safetensors two.safetensors ");
}

static void test_a_folder_without_a_checkpoint_is_refused(void **state) {
        (void)state;
        expect_folder_refused(
                folder_new(), -ENOENT,
                "neither model.safetensors nor model.safetensors.index.json is there");
        struct folder empty = folder_new();
        folder_write(&empty, "model.safetensors", "", 0);
        expect_folder_refused(empty, -EINVAL, "0 bytes are too few");
}

static void test_a_required_tensor_must_match_exactly(void **state) {
        (void)state;
        struct error err = { 0 };
        struct checkpoint *checkpoint = NULL;
        assert_int_equal(checkpoint_open(model_dir, NULL, &checkpoint, &err), 0);
        const struct tensor *tensor = NULL;
        const uint64_t shape[] = { 4096, 256 }, turned[] = { 256, 4096 };
        assert_int_equal(
                checkpoint_require(checkpoint, "embed.weight", DTYPE_BF16, 2, shape, &tensor, &err),
                0);
        assert_int_equal(tensor->bytes, 4096 * 256 * 2);

        const struct tensor *untouched = NULL;
        assert_int_equal(checkpoint_require(checkpoint, "embed.weight", DTYPE_F32, 2, shape,
                                            &untouched, &err),
                         -EINVAL);
        assert_string_equal(err.text,
                            "model.safetensors: tensor 'embed.weight': expected F32 "
                            "[4096, 256], found BF16 [4096, 256]");
        assert_int_equal(checkpoint_require(checkpoint, "embed.weight", DTYPE_BF16, 2, turned,
                                            &untouched, &err),
                         -EINVAL);
        assert_int_equal(checkpoint_require(checkpoint, "embed.weight", DTYPE_BF16, 1, shape,
                                            &untouched, &err),
                         -EINVAL);
        assert_int_equal(
                checkpoint_require(checkpoint, "nothing", DTYPE_BF16, 2, shape, &untouched, &err),
                -ENOENT);
        assert_string_equal(err.text, "model.safetensors: tensor 'nothing' is missing");
        assert_null(untouched);
        checkpoint_close(checkpoint);
}

int main(int argc, char **argv) {
        model_dir = argc > 1 ? argv[1] : "models/seed-coder";
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_file_is_parsed_in_name_order),
                cmocka_unit_test(test_fp4_codes_count_as_stored_bytes),
                cmocka_unit_test(test_a_tensor_may_be_empty),
                cmocka_unit_test(test_a_truncated_file_is_refused_at_every_length),
                cmocka_unit_test(test_a_lying_header_length_is_refused),
                cmocka_unit_test(test_a_header_that_is_not_an_object_is_refused),
                cmocka_unit_test(test_a_duplicate_name_is_refused),
                cmocka_unit_test(test_an_unknown_dtype_is_refused),
                cmocka_unit_test(test_a_known_dtype_of_no_use_is_reported_as_other),
                cmocka_unit_test(test_overlapping_tensors_are_refused),
                cmocka_unit_test(test_a_range_outside_of_the_data_is_refused),
                cmocka_unit_test(test_a_shape_must_match_its_bytes),
                cmocka_unit_test(test_huge_dimensions_are_refused_without_overflow),
                cmocka_unit_test(test_data_that_is_not_aligned_is_refused),
                cmocka_unit_test(test_shards_are_joined_in_name_order),
                cmocka_unit_test(test_an_index_that_lies_is_refused),
                cmocka_unit_test(test_shards_that_contradict_the_index_are_refused),
                cmocka_unit_test(test_what_is_not_a_file_is_refused),
                cmocka_unit_test(test_an_index_of_a_billion_entries_is_refused_unread),
                cmocka_unit_test(test_progress_names_each_shard),
                cmocka_unit_test(test_a_folder_without_a_checkpoint_is_refused),
                cmocka_unit_test(test_a_required_tensor_must_match_exactly),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
