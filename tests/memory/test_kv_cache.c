/* What kept KV does for its callers, rule by rule; tests/memory/test_kv_life.c lets chance combine
 * them. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/memory/faulty_store.h"
#include "tests/memory/kept.h"

#define OWNER 1000

/* What one owner may pin. */
#define PINNED_BYTES_MAX (40 * PAGE_BYTES + 10 * FRONTIER_BYTES)

static struct kv_cache *open_cache(struct kv_store *store, uint64_t host_bytes) {
        return kept_open(&(struct kv_cache_config){
                .host_bytes = host_bytes,
                .store = store,
                .owner_pinned_bytes_max = PINNED_BYTES_MAX,
        });
}

/* Computes ids[0..n) and keeps all of it. */
static void remember(struct kv_cache *cache, const char *subject, const uint32_t *ids, uint32_t n) {
        kept_remember(cache, OWNER, subject, ids, n);
}

static void fill(uint32_t *ids, uint32_t n, uint32_t seed) {
        for (uint32_t i = 0; i < n; i++)
                ids[i] = seed * 1000 + i;
}

static struct kv_verdict ask(struct kv_cache *cache, const char *subject, const uint32_t *ids,
                             uint32_t n) {
        return kept_ask(cache, OWNER, subject, ids, n);
}

static void the_verdict_says_where_prompts_part(void **state) {
        (void)state;
        uint32_t ids[1000];
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        fill(ids, 1000, 1);
        assert_int_equal(ask(cache, NULL, ids, 500).end, PREFIX_END_COLD);
        remember(cache, NULL, ids, 400);

        struct kv_verdict v = ask(cache, NULL, ids, 500);
        assert_int_equal(v.end, PREFIX_END_WHOLE);
        assert_int_equal(v.n_reused, 400);
        assert_int_equal(v.tier, KV_TIER_HOST);
        assert_int_equal(ask(cache, NULL, ids, 401).n_reused, 400);

        /* The same prompt again: its last token must be computed, and no state lies before it. */
        v = ask(cache, NULL, ids, 400);
        assert_int_equal(v.end, PREFIX_END_NO_FRONTIER);
        assert_int_equal(v.n_reused, 0);

        remember(cache, NULL, ids, 150);
        ids[390] = 7;
        v = ask(cache, NULL, ids, 500);
        assert_int_equal(v.end, PREFIX_END_DIFFERENT);
        assert_int_equal(v.n_reused, 150);
        assert_int_equal(v.differs_at, 390);
        assert_int_equal(v.n_prompt_ids, 8);
        assert_int_equal(v.prompt_ids[0], 7);
        assert_int_equal(v.kept_ids[0], 1390);
        assert_int_equal(v.n_kept_ids, 8);
        kv_cache_close(cache);
}

static void subjects_and_owners_share_nothing(void **state) {
        (void)state;
        uint32_t ids[300];
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        fill(ids, 300, 2);
        remember(cache, "a", ids, 299);
        assert_int_equal(ask(cache, "a", ids, 300).n_reused, 299);
        assert_int_equal(ask(cache, "b", ids, 300).n_reused, 0);
        assert_int_equal(kept_ask(cache, OWNER + 1, "a", ids, 300).n_reused, 0);
        kv_cache_close(cache);
}

static void a_small_memory_forgets_the_oldest_and_says_so(void **state) {
        (void)state;
        uint32_t ids[5][600];
        struct kv_cache *cache = open_cache(NULL, 3 * (4 * PAGE_BYTES + FRONTIER_BYTES));
        for (uint32_t i = 0; i < 5; i++) {
                fill(ids[i], 600, i);
                remember(cache, NULL, ids[i], 599);
        }
        struct kv_cache_statistics s;
        kv_cache_statistics(cache, &s);
        assert_true(s.host_bytes <= s.host_bytes_max);
        assert_int_equal(ask(cache, NULL, ids[4], 600).n_reused, 599);
        assert_int_equal(ask(cache, NULL, ids[0], 600).n_reused, 0);
        assert_int_equal(ask(cache, NULL, ids[0], 600).end, PREFIX_END_EVICTED);
        kv_cache_close(cache);
}

static void disk_serves_what_memory_dropped_and_a_new_process(void **state) {
        (void)state;
        uint32_t ids[3][600];
        struct kv_store *store =
                faulty_store_new(1, &kept_key, PAGE_BYTES, FRONTIER_BYTES, 1 << 20);
        struct kv_cache *cache = open_cache(store, 5 * PAGE_BYTES + FRONTIER_BYTES);
        for (uint32_t i = 0; i < 3; i++) {
                fill(ids[i], 600, i);
                remember(cache, NULL, ids[i], 599);
        }
        struct kv_verdict v = ask(cache, NULL, ids[0], 600);
        assert_int_equal(v.n_reused, 599);
        assert_int_equal(v.tier, KV_TIER_DISK);
        kv_cache_close(cache);

        cache = open_cache(store, 1 << 20);
        for (uint32_t i = 0; i < 3; i++)
                assert_int_equal(ask(cache, NULL, ids[i], 600).n_reused, 599);
        ids[1][130] = 5; /* the kept tokens are on disk only: the verdict shows them all the same */
        kv_cache_close(cache);
        cache = open_cache(store, 1 << 20);
        v = ask(cache, NULL, ids[1], 600);
        assert_int_equal(v.end, PREFIX_END_DIFFERENT);
        assert_int_equal(v.differs_at, 130);
        assert_int_equal(v.kept_ids[0], 1130);
        kv_cache_close(cache);
        faulty_store_free(store);
}

static void count_owner(void *context, const struct kv_cache_owner *owner) {
        unsigned *n = context;
        assert_true(owner->bytes > 0);
        ++*n;
}

static void a_purge_forgets_one_owner_in_memory(void **state) {
        (void)state;
        uint32_t ids[600];
        unsigned n = 0;
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        fill(ids, 600, 1);
        remember(cache, "a", ids, 599);
        remember(cache, "b", ids, 599);
        kept_remember(cache, OWNER + 1, "a", ids, 599);
        kv_cache_each_owner(cache, count_owner, &n);
        assert_int_equal(n, 2);

        assert_int_equal(kv_cache_purge(cache, OWNER), 0);
        n = 0;
        kv_cache_each_owner(cache, count_owner, &n);
        assert_int_equal(n, 1);
        assert_int_equal(ask(cache, "a", ids, 600).n_reused, 0);
        assert_int_equal(ask(cache, "b", ids, 600).n_reused, 0);
        assert_int_equal(kept_ask(cache, OWNER + 1, "a", ids, 600).n_reused, 599);
        remember(cache, "a", ids, 599);
        assert_int_equal(ask(cache, "a", ids, 600).n_reused, 599);
        kv_cache_close(cache);
}

static void what_is_known_is_told_without_a_trace(void **state) {
        (void)state;
        uint32_t ids[900];
        struct kv_cache_statistics before, after;
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        fill(ids, 900, 1);
        assert_int_equal(kv_cache_known(cache, OWNER, "a", ids, 900), 0);
        kv_cache_statistics(cache, &before);
        assert_int_equal(before.n_nodes, 0);
        uint64_t version = kv_cache_version(cache);
        remember(cache, "a", ids, 599);
        assert_int_not_equal(kv_cache_version(cache), version);
        version = kv_cache_version(cache);
        kv_cache_statistics(cache, &before);
        assert_int_equal(kv_cache_known(cache, OWNER, "a", ids, 900), 599);
        assert_int_equal(kv_cache_known(cache, OWNER, "a", ids, 599), 0); /* one is to compute */
        assert_int_equal(kv_cache_known(cache, OWNER, "b", ids, 900), 0);
        assert_int_equal(kv_cache_known(cache, OWNER + 1, "a", ids, 900), 0);
        kv_cache_statistics(cache, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        assert_int_equal(kv_cache_version(cache), version);
        assert_int_equal(kv_cache_purge(cache, OWNER), 0);
        assert_int_not_equal(kv_cache_version(cache), version);
        kv_cache_close(cache);
}

static void keep_spare(struct kv_cache *cache, uint32_t owner, const uint32_t *ids, uint32_t n) {
        struct kv_lease *lease;
        assert_int_equal(kv_cache_lease_spare(cache, owner, NULL, ids, n, &lease), 0);
        kept_wait(lease);
        kept_extend(lease, owner, NULL, ids, n, true, true);
        kv_lease_end(lease);
}

/* Memory for 12 pages and 4 states: full of two owners' conversations. */
static void what_is_spare_costs_nobody_else_anything(void **state) {
        (void)state;
        uint32_t ids[600], others[600], spare[600];
        struct kv_cache *cache = open_cache(NULL, 12 * PAGE_BYTES + 4 * FRONTIER_BYTES);
        fill(ids, 600, 1);
        fill(others, 600, 2);
        fill(spare, 600, 3);
        kept_remember(cache, OWNER + 1, NULL, others, 599);
        kept_remember(cache, OWNER + 1, "b", others, 599);
        kept_remember(cache, OWNER + 1, "c", others, 599);
        keep_spare(cache, OWNER, spare, 599);
        assert_int_equal(ask(cache, NULL, spare, 600).n_reused, 0); /* there is room for a state */
        assert_int_equal(kept_ask(cache, OWNER + 1, NULL, others, 600).n_reused, 599);
        assert_int_equal(kept_ask(cache, OWNER + 1, "b", others, 600).n_reused, 599);
        assert_int_equal(kept_ask(cache, OWNER + 1, "c", others, 600).n_reused, 599);
        remember(cache, NULL, ids, 599); /* others have more than their share */
        keep_spare(cache, OWNER, spare, 599);
        assert_int_equal(ask(cache, NULL, spare, 600).n_reused, 599); /* its owner made room */
        assert_int_equal(ask(cache, NULL, ids, 600).n_reused, 0);
        kv_cache_close(cache);
}

static void what_is_spare_is_not_written_before_it_is_used(void **state) {
        (void)state;
        uint32_t ids[600];
        struct kv_store_statistics s;
        struct kv_store *store =
                faulty_store_new(1, &kept_key, PAGE_BYTES, FRONTIER_BYTES, 1 << 20);
        struct kv_cache *cache = open_cache(store, 1 << 20);
        fill(ids, 600, 1);
        keep_spare(cache, OWNER, ids, 500);
        faulty_store_write(store);
        kv_store_statistics(store, &s);
        assert_int_equal(s.value_bytes, 0);
        assert_int_equal(ask(cache, NULL, ids, 600).n_reused, 500);
        remember(cache, NULL, ids, 599);
        faulty_store_write(store);
        kv_store_statistics(store, &s);
        assert_true(s.value_bytes >= 4 * PAGE_BYTES + FRONTIER_BYTES);
        kv_cache_close(cache);
        faulty_store_free(store);
}

static void who_runs_during_a_purge_goes_on_and_leaves_nothing(void **state) {
        (void)state;
        uint32_t ids[900], n_pages;
        struct kv_cache_statistics s;
        struct kv_lease *lease, *other;
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        fill(ids, 900, 1);
        remember(cache, NULL, ids, 599);
        assert_int_equal(kv_cache_lease(cache, OWNER, NULL, ids, 900, &lease), 0);
        assert_int_equal(kv_cache_lease(cache, OWNER, NULL, ids, 900, &other), 0);
        assert_true(kv_lease_ready(lease));
        const uint8_t *const *pages = kv_lease_pages(lease, &n_pages);
        uint8_t first = pages[3][0];

        assert_int_equal(kv_cache_purge(cache, OWNER), 0);
        pages = kv_lease_pages(lease, &n_pages);
        assert_int_equal(n_pages, 4);
        assert_int_equal(pages[3][0], first);
        assert_int_equal(ask(cache, NULL, ids, 900).n_reused, 0);
        struct kv_lease_page page;
        assert_false(kv_lease_add_page(lease, ids, 800, &page));
        assert_null(kv_lease_add_frontier(lease, ids, 600, true));
        kv_lease_end(lease);
        assert_int_equal(ask(cache, NULL, ids, 900).n_reused, 0);
        kv_lease_end(other);
        kv_cache_statistics(cache, &s);
        assert_int_equal(s.n_nodes, 0);
        assert_int_equal(s.host_bytes, 0);
        kv_cache_close(cache);
}

static void a_purge_during_a_read_from_disk_makes_it_a_miss(void **state) {
        (void)state;
        uint32_t ids[600];
        struct kv_lease *lease;
        struct kv_store *store =
                faulty_store_new(1, &kept_key, PAGE_BYTES, FRONTIER_BYTES, 1 << 20);
        struct kv_cache *cache = open_cache(store, 1 << 20);
        fill(ids, 600, 1);
        remember(cache, NULL, ids, 599);
        kv_cache_close(cache);
        cache = open_cache(store, 1 << 20);
        assert_int_equal(kv_cache_lease(cache, OWNER, NULL, ids, 600, &lease), 0);
        assert_int_equal(kv_cache_purge(cache, OWNER), 0);
        while (!kv_lease_ready(lease))
                sched_yield();
        assert_int_equal(kv_lease_verdict(lease)->n_reused, 0);
        kv_lease_end(lease);
        kv_cache_close(cache);
        faulty_store_free(store);
}

static void what_is_pinned_is_never_evicted(void **state) {
        (void)state;
        uint32_t ids[6][600];
        uint64_t five = 5 * (4 * PAGE_BYTES + FRONTIER_BYTES);
        struct kv_store *store = faulty_store_new(1, &kept_key, PAGE_BYTES, FRONTIER_BYTES, five);
        struct kv_cache *cache = open_cache(store, five / 2);
        struct kv_pin *pin;
        for (uint32_t i = 0; i < 6; i++)
                fill(ids[i], 600, i);
        assert_int_equal(kv_cache_pin(cache, OWNER, NULL, ids[0], 599, &pin), -ENOENT);
        remember(cache, NULL, ids[0], 599);
        assert_int_equal(kv_cache_pin(cache, OWNER + 1, NULL, ids[0], 599, &pin), -ENOENT);
        assert_int_equal(kv_cache_pin(cache, OWNER, NULL, ids[0], 599, &pin), 0);
        assert_int_equal(kv_pin_tokens(pin), 599);
        assert_int_equal(kv_cache_pinned_bytes(cache, OWNER), 4 * PAGE_BYTES + FRONTIER_BYTES);
        for (uint32_t round = 0; round < 3; round++)
                for (uint32_t i = 1; i < 6; i++)
                        remember(cache, NULL, ids[i], 599);
        assert_int_equal(ask(cache, NULL, ids[0], 600).n_reused, 599);
        pin = kv_cache_unpin(pin);
        assert_int_equal(kv_cache_pinned_bytes(cache, OWNER), 0);
        for (uint32_t round = 0; round < 3; round++)
                for (uint32_t i = 1; i < 6; i++)
                        remember(cache, NULL, ids[i], 599);
        assert_int_equal(ask(cache, NULL, ids[0], 600).n_reused, 0);
        kv_cache_close(cache);
        faulty_store_free(store);
}

static void pins_have_a_quota_and_share_pages(void **state) {
        (void)state;
        uint32_t ids[15][600];
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        struct kv_pin *pin[15] = { NULL }, *again;
        uint32_t n = 0;
        int r = 0;
        for (; n < 15 && r == 0; n++) {
                fill(ids[n], 600, n);
                remember(cache, NULL, ids[n], 599);
                r = kv_cache_pin(cache, OWNER, NULL, ids[n], 599, &pin[n]);
        }
        assert_int_equal(r, -EDQUOT);
        uint64_t pinned = kv_cache_pinned_bytes(cache, OWNER);
        assert_true(pinned <= PINNED_BYTES_MAX);
        assert_int_equal(kv_cache_pin(cache, OWNER, NULL, ids[0], 599, &again), 0);
        assert_int_equal(kv_cache_pinned_bytes(cache, OWNER), pinned);
        for (uint32_t i = 0; i + 1 < n; i++)
                kv_cache_unpin(pin[i]);
        assert_int_equal(kv_cache_pinned_bytes(cache, OWNER), 4 * PAGE_BYTES + FRONTIER_BYTES);
        kv_cache_unpin(again);
        kv_cache_close(cache);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_verdict_says_where_prompts_part),
                cmocka_unit_test(subjects_and_owners_share_nothing),
                cmocka_unit_test(a_small_memory_forgets_the_oldest_and_says_so),
                cmocka_unit_test(disk_serves_what_memory_dropped_and_a_new_process),
                cmocka_unit_test(a_purge_forgets_one_owner_in_memory),
                cmocka_unit_test(what_is_known_is_told_without_a_trace),
                cmocka_unit_test(what_is_spare_costs_nobody_else_anything),
                cmocka_unit_test(what_is_spare_is_not_written_before_it_is_used),
                cmocka_unit_test(who_runs_during_a_purge_goes_on_and_leaves_nothing),
                cmocka_unit_test(a_purge_during_a_read_from_disk_makes_it_a_miss),
                cmocka_unit_test(what_is_pinned_is_never_evicted),
                cmocka_unit_test(pins_have_a_quota_and_share_pages),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
