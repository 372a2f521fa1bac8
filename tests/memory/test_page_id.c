/* Identities of pages. The expected values were computed with Python's hashlib.blake2b from the
 * description in memory/page_id.h; a change of them makes every store on disk unreachable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "memory/page_id.h"

static struct page_key key;
static struct page_format format = {
        .architecture = "deepseek_v41",
        .kv_format = "fp4+fp8",
        .numerics_version = 1,
        .backend = "cpu",
};
static uint32_t tokens[PAGE_TOKENS];

static int setup(void **state) {
        (void)state;
        for (uint8_t i = 0; i < 32; i++) {
                key.bytes[i] = (uint8_t)(0x40 + i);
                format.weights[i] = i;
        }
        for (uint32_t i = 0; i < PAGE_TOKENS; i++)
                tokens[i] = i * 1000;
        return 0;
}

static void assert_id(const struct page_id *id, const char *hex) {
        char text[2 * PAGE_ID_BYTES + 1];
        for (int i = 0; i < PAGE_ID_BYTES; i++)
                snprintf(text + 2 * i, 3, "%02x", id->bytes[i]);
        assert_string_equal(text, hex);
}

static void the_four_kinds_have_pinned_values(void **state) {
        (void)state;
        struct page_id fingerprint, root, page, frontier;
        page_format_fingerprint(&format, &fingerprint);
        assert_id(&fingerprint, "e17dde2542bc4be0204b6a5fde69ada4bdc3c01563deb16cd8d114e3f057c5d6");
        page_id_root(&key, &fingerprint, 1000, "agent", &root);
        assert_id(&root, "db7c0e721ea55be146cf2dee5e40f165ea716d50e59f308d7e2d06fe653500f9");
        page_id_next(&key, &root, tokens, &page);
        assert_id(&page, "26770a400470cd95d80bfc8aa6b98e460d278c2dd51b6e507878fb392b84b7fe");
        page_id_frontier(&key, &page, 131, (const uint32_t[]){ 7, 8, 9 }, 3, &frontier);
        assert_id(&frontier, "f425555308cdb86d56374af17b09b4119befdcd2a96a7cd33de5f44f3a0efb1c");
}

static void everything_that_changes_the_bytes_changes_the_fingerprint(void **state) {
        (void)state;
        struct page_id id[7];
        struct page_format changed[7] = { format, format, format, format, format, format, format };
        changed[1].architecture = "deepseek_v4";
        changed[2].weights[31] ^= 1;
        changed[3].kv_format = "fp8";
        changed[4].numerics_version = 2;
        changed[5].backend = "cuda";
        /* the border between two texts counts, not only their letters in a row */
        changed[6].architecture = "deepseek_v41f";
        changed[6].kv_format = "p4+fp8";
        for (int i = 0; i < 7; i++) {
                page_format_fingerprint(&changed[i], &id[i]);
                for (int k = 0; k < i; k++)
                        assert_false(page_id_equal(&id[i], &id[k]));
        }
}

static void owners_subjects_and_secrets_have_nothing_in_common(void **state) {
        (void)state;
        struct page_id fingerprint, id[5];
        page_format_fingerprint(&format, &fingerprint);
        struct page_key other = key;
        other.bytes[0] ^= 1;
        page_id_root(&key, &fingerprint, 1000, "a", &id[0]);
        page_id_root(&key, &fingerprint, 1001, "a", &id[1]);
        page_id_root(&key, &fingerprint, 1000, "b", &id[2]);
        page_id_root(&other, &fingerprint, 1000, "a", &id[3]);
        page_id_root(&key, &fingerprint, 1000, NULL, &id[4]);
        for (int i = 0; i < 5; i++)
                for (int k = 0; k < i; k++)
                        assert_false(page_id_equal(&id[i], &id[k]));

        struct page_id empty;
        page_id_root(&key, &fingerprint, 1000, "", &empty);
        assert_true(page_id_equal(&empty, &id[4]));
}

static void a_page_depends_on_each_token_and_on_its_parent(void **state) {
        (void)state;
        struct page_id parent = { { 1 } }, other_parent = { { 2 } }, id, changed;
        page_id_next(&key, &parent, tokens, &id);
        page_id_next(&key, &other_parent, tokens, &changed);
        assert_false(page_id_equal(&id, &changed));
        for (int i = 0; i < PAGE_TOKENS; i++) {
                tokens[i] ^= 1U << 31;
                page_id_next(&key, &parent, tokens, &changed);
                assert_false(page_id_equal(&id, &changed));
                tokens[i] ^= 1U << 31;
        }
}

static void a_frontier_depends_on_position_and_tail(void **state) {
        (void)state;
        struct page_id chain = { { 1 } }, id[4];
        page_id_frontier(&key, &chain, 128, NULL, 0, &id[0]);
        page_id_frontier(&key, &chain, 256, NULL, 0, &id[1]);
        page_id_frontier(&key, &chain, 129, tokens, 1, &id[2]);
        page_id_frontier(&key, &chain, 130, tokens, 2, &id[3]);
        for (int i = 0; i < 4; i++)
                for (int k = 0; k < i; k++)
                        assert_false(page_id_equal(&id[i], &id[k]));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_four_kinds_have_pinned_values),
                cmocka_unit_test(everything_that_changes_the_bytes_changes_the_fingerprint),
                cmocka_unit_test(owners_subjects_and_secrets_have_nothing_in_common),
                cmocka_unit_test(a_page_depends_on_each_token_and_on_its_parent),
                cmocka_unit_test(a_frontier_depends_on_position_and_tail),
        };
        return cmocka_run_group_tests(tests, setup, NULL);
}
