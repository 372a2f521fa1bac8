/* All that a store holds, read back: what is sound stays, what is damaged is found, named, counted
 * and gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "memory/kv_private.h"
#include "memory/kv_verify.h"
#include "tests/memory/store_fixture.h"

#define OWNER_A 1000
#define OWNER_B 1001

static struct fixture f;
static struct chain a, b;

static void put(const struct chain *chain) {
        for (uint32_t page = 0; page < 16; page += 8)
                assert_int_equal(chain_put(&f, chain, page, 8, NULL, NULL), 0);
        assert_int_equal(chain_put_frontier(&f, chain, 16 * PAGE_TOKENS + 5, NULL, NULL), 0);
}

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        fixture_open(&f);
        chain_make(&a, &f.key, OWNER_A, 1);
        chain_make(&b, &f.key, OWNER_B, 2);
        put(&a);
        put(&b);
        kv_store_sync(f.store);
        return 0;
}

static int teardown(void **state) {
        (void)state;
        fixture_close(&f);
        fixture_deinit(&f);
        return 0;
}

/* Turns a bit of the value that holds this page or frontier, at a byte of the value. */
static void flip(const struct page_id *id, size_t at) {
        uint64_t run = kv_index_find(&f.store->index, id, NULL)->run;
        off_t offset = (off_t)(run * LMDB_PAGE_BYTES + LMDB_PAGE_HEADER + at);
        uint8_t byte;
        int fd = open(scratch_file(&f.folder, "kv.mdb"), O_RDWR);
        assert_int_equal(pread(fd, &byte, 1, offset), 1);
        byte ^= 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, offset), 1);
        close(fd);
}

static struct kv_verified verify(const struct kv_verify_options *options) {
        struct kv_verified verified;
        assert_int_equal(kv_store_verify(f.store, options, &verified), 0);
        return verified;
}

static const struct kv_verify_options everything = { 0 };

struct steps {
        unsigned n, n_max;
        uint64_t done, total;
};

static void count_step(void *userdata, uint64_t done, uint64_t total) {
        struct steps *steps = userdata;
        assert_true(done > steps->done && done <= total);
        *steps = (struct steps){ steps->n + 1, steps->n_max, done, total };
}

static bool is_enough(void *userdata) {
        const struct steps *steps = userdata;
        return steps->n == steps->n_max;
}

static void what_is_sound_is_read_and_stays(void **state) {
        (void)state;
        struct steps steps = { .n_max = 100 };
        struct kv_store_statistics s;
        struct kv_verified verified = verify(&(struct kv_verify_options){
                .background = true, .progress = count_step, .userdata = &steps });
        kv_store_statistics(f.store, &s);
        assert_int_equal(verified.n_values, 6);
        assert_int_equal(verified.n_damaged, 0);
        assert_int_equal(verified.bytes, s.value_bytes);
        assert_int_equal(steps.n, 6);
        assert_int_equal(steps.done, steps.total);
        assert_int_equal(s.quarantined_values, 0);
        assert_int_equal(chain_read(&f, &a, 0, 16), 16);
}

static void damage_is_found_once_and_gone(void **state) {
        (void)state;
        struct kv_store_statistics s;
        flip(&a.id[8], 6000); /* in the rows of a page */
        struct kv_verified verified = verify(&everything);
        assert_int_equal(verified.n_damaged, 1);
        assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 1);
        kv_store_statistics(f.store, &s);
        assert_int_equal(s.quarantined_values, 2); /* and the frontier that hung on it */
        kv_store_sync(f.store);
        verified = verify(&everything);
        assert_int_equal(verified.n_values, 4);
        assert_int_equal(verified.n_damaged, 0);
        assert_int_equal(chain_read(&f, &a, 0, 16), 8);
        assert_int_equal(chain_read(&f, &b, 0, 16), 16);
}

static void headers_and_frontiers_are_checked_too(void **state) {
        (void)state;
        struct page_id frontier;
        chain_frontier_id(&a, &f.key, 16 * PAGE_TOKENS + 5, &frontier);
        flip(&frontier, kv_value_header_bytes(5, 1) + frontier_bytes_of(&frontier) - 1);
        flip(&b.id[0], 104); /* its first token id */
        assert_int_equal(verify(&everything).n_damaged, 2);
        assert_int_equal(chain_read(&f, &a, 0, 16), 16);
        assert_false(chain_read_frontier(&f, &a, 16 * PAGE_TOKENS + 5));
        assert_int_equal(chain_read(&f, &b, 0, 16), 0);
}

static void one_users_values_alone(void **state) {
        (void)state;
        flip(&b.id[0], 6000);
        struct kv_verified verified =
                verify(&(struct kv_verify_options){ .one_owner = true, .owner = OWNER_A });
        assert_int_equal(verified.n_values, 3);
        assert_int_equal(verified.n_damaged, 0);
        verified = verify(&(struct kv_verify_options){ .one_owner = true, .owner = OWNER_B });
        assert_int_equal(verified.n_damaged, 1);
        verified = verify(&(struct kv_verify_options){ .one_owner = true, .owner = 7 });
        assert_int_equal(verified.n_values, 0);
}

static void what_a_larger_extent_has_replaced_in_part_is_no_damage(void **state) {
        (void)state;
        struct chain fork;
        chain_fork(&fork, &f.key, &a, 12, 3); /* pages 12 to 15 differ */
        assert_int_equal(chain_put(&f, &fork, 8, 8, NULL, NULL), 0);
        kv_store_sync(f.store);
        assert_int_equal(verify(&everything).n_damaged, 0);
        assert_int_equal(chain_read(&f, &fork, 0, 16), 16);
        assert_int_equal(chain_read(&f, &a, 0, 16), 16);
}

static void it_stops_when_told(void **state) {
        (void)state;
        struct steps steps = { .n_max = 2 };
        struct kv_verified verified;
        struct kv_verify_options options = { .progress = count_step,
                                             .cancelled = is_enough,
                                             .userdata = &steps };
        assert_int_equal(kv_store_verify(f.store, &options, &verified), -ECANCELED);
        assert_int_equal(verified.n_values, 2);
}

static void count_owner(void *context, const struct kv_owner_statistics *owner) {
        unsigned *n = context;
        assert_true(owner->owner == OWNER_A || owner->owner == OWNER_B);
        assert_int_equal(owner->n_pages, owner->owner == OWNER_A ? 8 : 16);
        assert_int_equal(owner->n_frontiers, owner->owner == OWNER_A ? 0 : 1);
        assert_true(owner->bytes > owner->n_pages * PAGE_BYTES);
        ++*n;
}

static void each_user_is_listed_with_what_he_has(void **state) {
        (void)state;
        unsigned n = 0;
        flip(&a.id[8], 6000);
        verify(&everything);
        kv_store_each_owner(f.store, count_owner, &n);
        assert_int_equal(n, 2);
        fixture_close(&f);
        fixture_open(&f);
        n = 0;
        kv_store_each_owner(f.store, count_owner, &n);
        assert_int_equal(n, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(what_is_sound_is_read_and_stays),
                TEST(damage_is_found_once_and_gone),
                TEST(headers_and_frontiers_are_checked_too),
                TEST(one_users_values_alone),
                TEST(what_a_larger_extent_has_replaced_in_part_is_no_damage),
                TEST(it_stops_when_told),
                TEST(each_user_is_listed_with_what_he_has),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
