/* What goes and what stays, seen from outside; memory/README.md has the rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/memory/faulty_store.h"
#include "tests/memory/kept.h"

/* A prompt of 599 tokens: four pages and a state. */
#define PROMPT       599
#define PROMPT_BYTES (4 * PAGE_BYTES + FRONTIER_BYTES)

static struct kv_store *new_store(uint64_t bytes_max) {
        return faulty_store_new(1, &kept_key, PAGE_BYTES, FRONTIER_BYTES, bytes_max);
}

static struct kv_cache *open_cache(struct kv_store *store, uint64_t host_bytes) {
        return kept_open(&(struct kv_cache_config){ .host_bytes = host_bytes, .store = store });
}

/* A prompt of its own for each number, one token more than is kept of it. */
static const uint32_t *prompt(uint32_t number) {
        static uint32_t ids[PROMPT + 1];
        for (uint32_t i = 0; i <= PROMPT; i++)
                ids[i] = number * 1000 + i;
        return ids;
}

static void remember(struct kv_cache *cache, uint32_t owner, uint32_t number) {
        kept_remember(cache, owner, NULL, prompt(number), PROMPT);
}

static uint32_t reused(struct kv_cache *cache, uint32_t owner, uint32_t number) {
        return kept_ask(cache, owner, NULL, prompt(number), PROMPT + 1).n_reused;
}

/* -- whose ---------------------------------------------------------------------------------------
 */

static void a_flood_takes_no_more_than_a_share_of_memory(void **state) {
        (void)state;
        struct kv_cache *cache = open_cache(NULL, 12 * PROMPT_BYTES);
        for (uint32_t i = 0; i < 6; i++)
                remember(cache, 1, i);
        for (uint32_t i = 100; i < 200; i++)
                remember(cache, 2, i);
        for (uint32_t i = 0; i < 6; i++)
                assert_int_equal(reused(cache, 1, i), PROMPT);
        assert_int_equal(reused(cache, 2, 199), PROMPT);
        assert_int_equal(reused(cache, 2, 150), 0);
        /* Who comes later gets a share as well, from those who have more. */
        for (uint32_t i = 0; i < 4; i++)
                remember(cache, 3, i);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(reused(cache, 3, i), PROMPT);
        kv_cache_close(cache);
}

static void a_user_beyond_his_limit_makes_room_for_himself(void **state) {
        (void)state;
        struct kv_cache *cache = kept_open(&(struct kv_cache_config){
                .host_bytes = 20 * PROMPT_BYTES,
                .owner_bytes_max = 3 * PROMPT_BYTES,
        });
        for (uint32_t i = 0; i < 3; i++)
                remember(cache, 1, i);
        for (uint32_t i = 0; i < 10; i++)
                remember(cache, 2, i);
        for (uint32_t i = 0; i < 3; i++) {
                assert_int_equal(reused(cache, 1, i), PROMPT);
                assert_int_equal(reused(cache, 2, 7 + i), PROMPT);
        }
        assert_int_equal(reused(cache, 2, 0), 0);
        struct kv_cache_statistics s;
        kv_cache_statistics(cache, &s);
        assert_true(s.host_bytes <= 6 * PROMPT_BYTES);
        kv_cache_close(cache);
}

/* On disk, with the store's limit for one user, and without. */
static void a_flood_takes_no_more_than_a_share_of_the_disk(void **state) {
        (void)state;
        for (int limited = 0; limited < 2; limited++) {
                struct kv_store *store = new_store(300 * PROMPT_BYTES);
                struct kv_cache *cache = open_cache(store, 4 * PROMPT_BYTES);
                /* Within the limit, and with it more than a share of three. */
                uint32_t n = limited ? 114 : 90;
                faulty_store_limit(store, limited ? 120 * PROMPT_BYTES : 0, 0);
                for (uint32_t i = 0; i < n; i++)
                        remember(cache, 1, i);
                remember(cache, 3, 0);
                for (uint32_t i = 100; i < 700; i++)
                        remember(cache, 2, i);
                for (uint32_t i = 0; i < n; i++)
                        assert_int_equal(reused(cache, 1, i), PROMPT);
                assert_int_equal(reused(cache, 2, 699), PROMPT);
                assert_int_equal(reused(cache, 2, 100), 0);
                kv_cache_close(cache);
                faulty_store_free(store);
        }
}

static void nothing_is_deleted_when_only_the_day_is_used_up(void **state) {
        (void)state;
        struct kv_store *store = new_store(1000 * PROMPT_BYTES);
        struct kv_cache *cache = open_cache(store, 4 * PROMPT_BYTES);
        faulty_store_limit(store, 0, 60 * PROMPT_BYTES);
        for (uint32_t i = 0; i < 100; i++)
                remember(cache, 1, i);
        struct kv_cache_statistics s;
        kv_cache_statistics(cache, &s);
        assert_int_equal(s.deleted_values, 0);
        for (uint32_t i = 0; i < 20; i++)
                assert_int_equal(reused(cache, 1, i), PROMPT);
        kv_cache_close(cache);
        faulty_store_free(store);
}

/* -- what ----------------------------------------------------------------------------------------
 */

static void what_was_used_stays_longer_than_what_was_not(void **state) {
        (void)state;
        struct kv_cache *cache = open_cache(NULL, 8 * PROMPT_BYTES);
        remember(cache, 1, 0);
        for (uint32_t use = 0; use < 3; use++)
                assert_int_equal(reused(cache, 1, 0), PROMPT);
        for (uint32_t i = 1; i < 12; i++) /* more than there is room for, each once */
                remember(cache, 1, i);
        assert_int_equal(reused(cache, 1, 1), 0);
        assert_int_equal(reused(cache, 1, 0), PROMPT);
        for (uint32_t i = 100; i < 200; i++)
                remember(cache, 1, i);
        assert_int_equal(reused(cache, 1, 0), 0); /* but not for ever */
        kv_cache_close(cache);
}

static void what_is_on_disk_goes_from_memory_before_what_is_not(void **state) {
        (void)state;
        struct kv_store *store = new_store(1000 * PROMPT_BYTES);
        struct kv_cache *cache = open_cache(store, 6 * PROMPT_BYTES);
        faulty_store_set(store, (struct faulty_store_rates){ .full = true });
        remember(cache, 1, 0);
        faulty_store_set(store, (struct faulty_store_rates){ 0 });
        for (uint32_t i = 1; i < 30; i++)
                remember(cache, 1, i);
        struct kv_verdict v = kept_ask(cache, 1, NULL, prompt(0), PROMPT + 1);
        assert_int_equal(v.n_reused, PROMPT);
        assert_int_equal(v.tier, KV_TIER_HOST);
        v = kept_ask(cache, 1, NULL, prompt(1), PROMPT + 1);
        assert_int_equal(v.n_reused, PROMPT);
        assert_int_equal(v.tier, KV_TIER_DISK);
        kv_cache_close(cache);
        faulty_store_free(store);
}

/* Pages behind the last state of a cancelled prompt serve nobody. */
static void pages_that_nobody_can_go_on_from_go_first(void **state) {
        (void)state;
        struct kv_cache *cache = open_cache(NULL, 4 * PROMPT_BYTES);
        struct kv_cache_statistics s;
        uint32_t ids[1200];
        struct kv_lease *lease;
        remember(cache, 1, 0);
        remember(cache, 1, 1);
        for (uint32_t i = 0; i < 1200; i++)
                ids[i] = 77777 + i;
        assert_int_equal(kv_cache_lease(cache, 1, NULL, ids, 1200, &lease), 0);
        kept_extend(lease, 1, NULL, ids, 1200, false, false);
        kv_lease_end(lease);
        kv_cache_statistics(cache, &s);
        assert_int_equal(s.host_bytes, 2 * PROMPT_BYTES + 9 * PAGE_BYTES);
        remember(cache, 1, 2);
        remember(cache, 1, 3);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(reused(cache, 1, i), PROMPT);
        kv_cache_close(cache);
}

static void after_a_restart_what_was_written_first_goes_first(void **state) {
        (void)state;
        struct kv_store *store = new_store(100 * PROMPT_BYTES);
        struct kv_cache *cache = open_cache(store, 4 * PROMPT_BYTES);
        for (uint32_t i = 0; i < 90; i++)
                remember(cache, 1, i);
        kv_cache_close(cache);
        cache = open_cache(store, 4 * PROMPT_BYTES);
        for (uint32_t i = 90; i < 120; i++)
                remember(cache, 1, i);
        assert_int_equal(reused(cache, 1, 0), 0);
        for (uint32_t i = 60; i < 120; i++)
                assert_int_equal(reused(cache, 1, i), PROMPT);
        kv_cache_close(cache);
        faulty_store_free(store);
}

/* Eight pages are one value: not deleted while another prompt goes on from the fourth of them. */
static void an_extent_stays_while_one_of_its_pages_is_needed(void **state) {
        (void)state;
        struct kv_store *store = new_store(60 * PROMPT_BYTES);
        struct kv_cache *cache = open_cache(store, 4 * PROMPT_BYTES);
        uint32_t long_ids[8 * PAGE_TOKENS + 50], branch[6 * PAGE_TOKENS + 50];
        const uint32_t n_long = 8 * PAGE_TOKENS + 49, n_branch = 6 * PAGE_TOKENS + 49;
        for (uint32_t i = 0; i <= n_long; i++)
                long_ids[i] = 5000000 + i;
        memcpy(branch, long_ids, sizeof(branch));
        for (uint32_t i = 4 * PAGE_TOKENS; i <= n_branch; i++)
                branch[i] = 6000000 + i;
        kept_remember(cache, 1, NULL, long_ids, n_long);
        kept_remember(cache, 1, NULL, branch, n_branch);
        for (uint32_t i = 0; i < 200; i++) {
                remember(cache, 1, i);
                if (i % 10 == 0) /* used often, other than the rest of the extent */
                        assert_int_equal(kept_ask(cache, 1, NULL, branch, n_branch + 1).n_reused,
                                         n_branch);
        }
        assert_int_equal(kept_ask(cache, 1, NULL, long_ids, n_long + 1).n_reused, 0);
        assert_int_equal(faulty_store_collateral(store), 0);
        kv_cache_close(cache);
        faulty_store_free(store);
}

/* -- thinning ------------------------------------------------------------------------------------
 */

#define TURNS       80
#define TURN_TOKENS 300

static void turns(struct kv_cache *cache, const uint32_t *ids, uint32_t first, uint32_t end) {
        for (uint32_t turn = first; turn < end; turn++)
                kept_remember(cache, 1, NULL, ids, (turn + 1) * TURN_TOKENS);
}

static void count_states(void *context, const struct kv_entry *entry) {
        *(uint32_t *)context += entry->kind == KV_FRONTIER;
}

static void a_long_session_keeps_few_states_and_can_go_back_anywhere(void **state) {
        (void)state;
        static uint32_t ids[TURNS * TURN_TOKENS + 1];
        struct kv_store *store = new_store(1 << 20);
        struct kv_cache *cache = open_cache(store, 1 << 20);
        uint32_t n_states = 0, end = TURNS * TURN_TOKENS;
        for (uint32_t i = 0; i <= end; i++)
                ids[i] = 100 + i;
        faulty_store_set(store, (struct faulty_store_rates){ .late = 128 });
        turns(cache, ids, 0, TURNS);
        faulty_store_write(store);
        kept_ask(cache, 1, "other", ids, 10); /* what came late is looked at */
        kv_store_each(store, count_states, &n_states);
        assert_in_range(n_states, 8, 20);
        for (uint32_t turn = 0; turn < TURNS; turn++) {
                uint32_t to = turn * TURN_TOKENS + 2;
                uint32_t n_reused = kept_ask(cache, 1, NULL, ids, to).n_reused;
                assert_true(to - n_reused <= end - to + TURN_TOKENS);
        }
        kv_cache_close(cache);
        faulty_store_free(store);
}

/* Where another chain parts, where others went on twice, and what lies on no part of the chain. */
static void states_that_others_need_are_not_thinned(void **state) {
        (void)state;
        static uint32_t ids[TURNS * TURN_TOKENS + 1], other[TURNS * TURN_TOKENS + 1];
        struct kv_cache *cache = open_cache(NULL, 1 << 20);
        const uint32_t branch = 7 * TURN_TOKENS, twice = 5 * TURN_TOKENS, aside = 6 * TURN_TOKENS;
        for (uint32_t i = 0; i <= TURNS * TURN_TOKENS; i++)
                other[i] = ids[i] = 100 + i;
        turns(cache, ids, 0, 6);
        for (int use = 0; use < 2; use++)
                assert_int_equal(kept_ask(cache, 1, NULL, ids, twice + 1).n_reused, twice);
        turns(cache, ids, 6, 10);
        for (uint32_t i = branch + 1; i <= TURNS * TURN_TOKENS; i++)
                other[i] += 7;
        kept_remember(cache, 1, NULL, other, branch + 200); /* one hit, and a branch */
        other[aside + 19] = 3; /* in the page after `aside`, and so short that no page branches */
        kept_remember(cache, 1, NULL, other, aside + 20);
        turns(cache, ids, 10, TURNS);
        assert_int_equal(kept_ask(cache, 1, NULL, ids, twice + 1).n_reused, twice);
        assert_int_equal(kept_ask(cache, 1, NULL, ids, branch + 1).n_reused, branch);
        assert_int_equal(kept_ask(cache, 1, NULL, other, aside + 21).n_reused, aside + 20);
        assert_true(kept_ask(cache, 1, NULL, ids, 9 * TURN_TOKENS + 1).n_reused < 9 * TURN_TOKENS);
        kv_cache_close(cache);
}

/* The number of uses is not on disk, the tree is. */
static void after_a_restart_states_where_chains_part_are_not_thinned(void **state) {
        (void)state;
        static uint32_t ids[TURNS * TURN_TOKENS + 1], other[10 * TURN_TOKENS];
        struct kv_store *store = new_store(1 << 20);
        struct kv_cache *cache = open_cache(store, 1 << 20);
        const uint32_t branch = 7 * TURN_TOKENS;
        for (uint32_t i = 0; i <= TURNS * TURN_TOKENS; i++)
                ids[i] = 100 + i;
        memcpy(other, ids, sizeof(other));
        other[branch + 1] = 3;
        turns(cache, ids, 0, 10);
        kept_remember(cache, 1, NULL, other, branch + 200);
        kv_cache_close(cache);
        cache = open_cache(store, 1 << 20);
        turns(cache, ids, 10, TURNS);
        assert_int_equal(kept_ask(cache, 1, NULL, ids, branch + 1).n_reused, branch);
        kv_cache_close(cache);
        faulty_store_free(store);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_flood_takes_no_more_than_a_share_of_memory),
                cmocka_unit_test(a_user_beyond_his_limit_makes_room_for_himself),
                cmocka_unit_test(a_flood_takes_no_more_than_a_share_of_the_disk),
                cmocka_unit_test(nothing_is_deleted_when_only_the_day_is_used_up),
                cmocka_unit_test(what_was_used_stays_longer_than_what_was_not),
                cmocka_unit_test(what_is_on_disk_goes_from_memory_before_what_is_not),
                cmocka_unit_test(pages_that_nobody_can_go_on_from_go_first),
                cmocka_unit_test(after_a_restart_what_was_written_first_goes_first),
                cmocka_unit_test(an_extent_stays_while_one_of_its_pages_is_needed),
                cmocka_unit_test(a_long_session_keeps_few_states_and_can_go_back_anywhere),
                cmocka_unit_test(states_that_others_need_are_not_thinned),
                cmocka_unit_test(after_a_restart_states_where_chains_part_are_not_thinned),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
