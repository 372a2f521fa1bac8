/* States that are kept while a sequence runs give way to later ones, but never before one of those
 * is on disk: whenever the process dies, at most the work since the last commit is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <string.h>

#include "memory/kv_cache.h"
#include "tests/memory/store_fixture.h"

#define N_TOKENS 1000

static struct fixture f;
static struct kv_cache *cache;
static uint32_t ids[N_TOKENS];

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        fixture_open(&f);
        struct kv_cache_config config = {
                .key = &f.key,
                .fingerprint = f.config.fingerprint,
                .page_bytes = PAGE_BYTES,
                .frontier_bytes = FRONTIER_BYTES,
                .host_bytes = 1 << 20,
                .store = f.store,
        };
        assert_int_equal(kv_cache_open(&config, &cache, NULL), 0);
        for (uint32_t i = 0; i < N_TOKENS; i++)
                ids[i] = i;
        return 0;
}

static int teardown(void **state) {
        (void)state;
        cache = kv_cache_close(cache);
        fixture_deinit(&f);
        return 0;
}

/* The sequence has come to `position`, where its state is kept in passing. */
static void pass(struct kv_lease *lease, uint32_t position) {
        struct kv_lease_page page;
        while (kv_lease_add_page(lease, ids, position, &page))
                if (page.unwritten)
                        memset(page.data, 1, PAGE_BYTES);
        uint8_t *room = kv_lease_add_frontier(lease, ids, position, false);
        assert_non_null(room);
        memset(room, 2, FRONTIER_BYTES);
        kv_lease_add_page(lease, ids, position, &page); /* the next step hands it to the store */
}

static uint64_t n_states(void) {
        struct kv_store_statistics s;
        kv_store_sync(f.store);
        kv_store_statistics(f.store, &s);
        return s.n_frontiers;
}

static bool is_stored(uint32_t position) {
        struct page_id root, page;
        struct kv_entry entry;
        page_id_root(&f.key, &f.config.fingerprint, 1000, "", &root);
        for (uint32_t i = 0; i < position / PAGE_TOKENS; i++) {
                page_id_next(&f.key, &root, ids + i * PAGE_TOKENS, &page);
                root = page;
        }
        page_id_frontier(&f.key, &root, position, ids + position / PAGE_TOKENS * PAGE_TOKENS,
                         position % PAGE_TOKENS, &page);
        return kv_store_find(f.store, &page, &entry);
}

static void one_is_always_on_disk(void **state) {
        struct kv_lease *lease;
        (void)state;
        assert_int_equal(kv_cache_lease(cache, 1000, "", ids, N_TOKENS, &lease), 0);
        while (!kv_lease_ready(lease))
                ;
        pass(lease, 100);
        assert_int_equal(n_states(), 1);
        /* The second is accepted, but not committed: the first is all that a crash would leave. */
        pass(lease, 200);
        assert_true(is_stored(100));
        assert_int_equal(n_states(), 2);
        pass(lease, 300);
        assert_false(is_stored(100));
        assert_true(is_stored(200));
        assert_int_equal(n_states(), 2);
        /* However long it runs, they do not pile up. */
        for (uint32_t position = 310; position < N_TOKENS; position += 10) {
                pass(lease, position);
                assert_in_range(n_states(), 1, 2);
        }
        kv_lease_end(lease);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(one_is_always_on_disk, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
