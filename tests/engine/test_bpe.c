/* Every way of encoding a piece gives what the definition gives: merge the lowest rank, leftmost
 * first, until there is none. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "engine/bpe.h"
#include "engine/byte_alphabet.h"
#include "engine/tokenizer.h"
#include "engine/vocabulary.h"

static const char *model_dir; /* set by meson */

struct model {
        struct vocabulary vocabulary;
        struct bpe bpe;
};

static void model_read(struct model *ret, json_t *model) {
        json_t *vocab = json_object_get(model, "vocab");
        assert_int_equal(vocabulary_read(&ret->vocabulary, vocab, NULL, NULL), 0);
        assert_int_equal(bpe_read(&ret->bpe, model, &ret->vocabulary, NULL), 0);
}

static void model_deinit(struct model *model) {
        bpe_deinit(&model->bpe);
        vocabulary_deinit(&model->vocabulary);
}

static uint32_t next_random(uint64_t *random, uint32_t n) {
        *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        return (uint32_t)(*random >> 33) % n;
}

/* The definition. */
static size_t encode_naively(const struct bpe *bpe, const char *piece, size_t n, uint32_t *ids) {
        for (size_t i = 0; i < n; i++)
                ids[i] = bpe->byte_ids[(uint8_t)piece[i]];
        for (;;) {
                const struct bpe_merge *lowest = NULL;
                size_t at = 0;
                for (size_t i = 0; i + 1 < n; i++) {
                        const struct bpe_merge *merge = bpe_find(bpe, ids[i], ids[i + 1]);
                        if (merge && (!lowest || merge->rank < lowest->rank)) {
                                lowest = merge;
                                at = i;
                        }
                }
                if (!lowest)
                        return n;
                ids[at] = lowest->merged;
                n--;
                memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof(*ids));
        }
}

static void check(const struct bpe *bpe, struct bpe_scratch *scratch, const char *piece, size_t n) {
        uint32_t want[256];
        size_t n_want = encode_naively(bpe, piece, n, want);
        CLEANUP(token_list_deinit) struct token_list a = { 0 }, b = { 0 }, c = { 0 };
        assert_int_equal(bpe_encode(bpe, scratch, piece, n, &a), 0);
        assert_int_equal(bpe_encode_by_rank(bpe, scratch, piece, n, &b), 0);
        if (bpe->forest.origins) {
                uint64_t dead[5];
                assert_int_equal(bpe_forest_encode(bpe, piece, n, dead, &c), 0);
                if (c.n != n_want || memcmp(c.ids, want, n_want * sizeof(*want)) != 0)
                        fail_msg("'%.*s': forest", (int)n, piece);
        }
        if (a.n != n_want || memcmp(a.ids, want, n_want * sizeof(*want)) != 0)
                fail_msg("'%.*s': encode", (int)n, piece);
        if (b.n != n_want || memcmp(b.ids, want, n_want * sizeof(*want)) != 0)
                fail_msg("'%.*s': by rank", (int)n, piece);
}

/* The 256 bytes and merges of random tokens made before; `twice`: also merges that yield a token
 * that another already yields. */
static json_t *random_model(uint64_t *random, unsigned n_merges, bool twice) {
        static char tokens[300][64];
        json_t *vocab = json_object(), *merges = json_array();
        for (unsigned byte = 0; byte < 256; byte++) {
                char character[3];
                byte_alphabet_write((uint8_t)byte, character);
                json_object_set_new(vocab, character, json_integer(byte));
        }
        size_t n = 0;
        for (const char *letter = "abc"; *letter; letter++)
                snprintf(tokens[n++], sizeof(*tokens), "%c", *letter);
        for (unsigned i = 0; i < n_merges; i++) {
                const char *left = tokens[next_random(random, (uint32_t)n)],
                           *right = tokens[next_random(random, (uint32_t)n)];
                char joined[128];
                snprintf(joined, sizeof(joined), "%s%s", left, right);
                bool known = json_object_get(vocab, joined);
                if (strlen(joined) > 60 || (known && !twice))
                        continue;
                json_array_append_new(merges, json_pack("[s,s]", left, right));
                if (known)
                        continue;
                json_object_set_new(vocab, joined, json_integer(256 + (json_int_t)n));
                snprintf(tokens[n++], sizeof(*tokens), "%.63s", joined);
        }
        return json_pack("{s:s,s:o,s:o}", "type", "BPE", "vocab", vocab, "merges", merges);
}

static bool has_duplicate(json_t *merges) {
        for (size_t i = 0; i < json_array_size(merges); i++)
                for (size_t k = 0; k < i; k++)
                        if (json_equal(json_array_get(merges, i), json_array_get(merges, k)))
                                return true;
        return false;
}

static void shuffle(json_t *merges, uint64_t *random) {
        for (size_t i = json_array_size(merges); i > 1; i--) {
                size_t k = next_random(random, (uint32_t)i);
                json_t *a = json_incref(json_array_get(merges, i - 1));
                json_t *b = json_incref(json_array_get(merges, k));
                json_array_set_new(merges, i - 1, b);
                json_array_set_new(merges, k, a);
        }
}

/* kind 0: as training writes them; 1: two ways to a token; 2: in any order. */
static void check_random_models(unsigned kind, unsigned *n_forests) {
        uint64_t random = 11 + kind;
        for (unsigned round = 0; round < 400; round++) {
                json_auto_t *json = random_model(&random, 1 + next_random(&random, 60), kind == 1);
                json_t *merges = json_object_get(json, "merges");
                if (has_duplicate(merges))
                        continue;
                if (kind == 2)
                        shuffle(merges, &random);
                struct model model = { 0 };
                model_read(&model, json);
                *n_forests += model.bpe.forest.origins != NULL;
                CLEANUP(bpe_scratch_deinit) struct bpe_scratch scratch = { 0 };
                piece_cache_init(&scratch.cache, 1 << 12);
                for (unsigned text = 0; text < 100; text++) {
                        char piece[200];
                        size_t n = 1 + next_random(&random, text % 4 ? 24 : sizeof(piece) - 1);
                        uint32_t letters = 1 + next_random(&random, 3);
                        for (size_t i = 0; i < n; i++)
                                piece[i] = (char)('a' + next_random(&random, letters));
                        check(&model.bpe, &scratch, piece, n);
                }
                model_deinit(&model);
        }
}

static void test_trained_merges_have_a_forest_and_encode_alike(void **state) {
        (void)state;
        unsigned n_forests = 0;
        check_random_models(0, &n_forests);
        assert_true(n_forests >= 390);
}

static void test_merges_without_a_forest_encode_alike(void **state) {
        (void)state;
        unsigned n_forests = 0;
        check_random_models(1, &n_forests);
        check_random_models(2, &n_forests);
        assert_true(n_forests < 400);
}

/* "ab" is made after "abc" and "cab", which are made from it. */
static void test_tokens_made_before_their_parts_make_no_forest(void **state) {
        (void)state;
        static const char *const merges[] = { "[[\"ab\",\"c\"],[\"a\",\"b\"]]",
                                              "[[\"c\",\"ab\"],[\"a\",\"b\"]]" };
        static const char *const made[] = { "abc", "cab" };
        for (unsigned i = 0; i < 2; i++) {
                uint64_t random = 1;
                json_auto_t *json = random_model(&random, 0, false);
                json_t *vocab = json_object_get(json, "vocab");
                json_object_set_new(vocab, "ab", json_integer(256));
                json_object_set_new(vocab, made[i], json_integer(257));
                json_object_set_new(json, "merges", json_loads(merges[i], 0, NULL));
                struct model model = { 0 };
                model_read(&model, json);
                assert_null(model.bpe.forest.origins);
                CLEANUP(bpe_scratch_deinit) struct bpe_scratch scratch = { 0 };
                check(&model.bpe, &scratch, "cabcabab", 8);
                model_deinit(&model);
        }
}

static void test_pieces_of_the_default_model_encode_alike(void **state) {
        (void)state;
        char path[4096];
        snprintf(path, sizeof(path), "%s/tokenizer.json", model_dir);
        json_auto_t *json = json_load_file(path, 0, NULL);
        struct model model = { 0 };
        model_read(&model, json_object_get(json, "model"));
        assert_non_null(model.bpe.forest.origins);
        CLEANUP(bpe_scratch_deinit) struct bpe_scratch scratch = { 0 };
        uint64_t random = 5;
        for (unsigned round = 0; round < 20000; round++) {
                char piece[256];
                size_t n = 0, n_max = 1 + next_random(&random, sizeof(piece) - 1);
                while (n < n_max) { /* tokens one after another, and some bytes */
                        uint32_t id = next_random(&random, model.vocabulary.n_ids);
                        const struct vocabulary_entry *entry = &model.vocabulary.entries[id];
                        if (n + entry->n_bytes > sizeof(piece) - 1)
                                break;
                        memcpy(piece + n, entry->bytes, entry->n_bytes);
                        n += entry->n_bytes;
                        piece[n++] = (char)('a' + next_random(&random, 26));
                }
                if (n > 0)
                        check(&model.bpe, &scratch, piece, n);
        }
        model_deinit(&model);
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        model_dir = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trained_merges_have_a_forest_and_encode_alike),
                cmocka_unit_test(test_merges_without_a_forest_encode_alike),
                cmocka_unit_test(test_tokens_made_before_their_parts_make_no_forest),
                cmocka_unit_test(test_pieces_of_the_default_model_encode_alike),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
