/* The life of kept KV under a store that fails: whatever is evicted, lost or read back, a lease
 * only ever goes on from the bytes that were computed for exactly its tokens. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memory/kv_cache.h"
#include "tests/memory/faulty_store.h"

#define PAGE_BYTES     64
#define FRONTIER_BYTES 192
#define TOKENS_MAX     1600
#define LEASES_MAX     4
#define N_TEXTS        12
/* Less than what four long leases would hold: things must go, and do not always fit. */
#define HOST_BYTES (24 * PAGE_BYTES + 5 * FRONTIER_BYTES)

static const struct page_key key = { { 7, 7, 7 } };

/* What an engine would compute: bytes that depend on every token before `end`. */
static void expected(const uint32_t *ids, uint32_t end, uint8_t *ret, size_t n) {
        uint64_t h = 0xCBF29CE484222325 ^ n;
        for (uint32_t i = 0; i < end; i++)
                h = (h ^ ids[i]) * 0x100000001B3;
        for (size_t i = 0; i < n; i++, h = (h ^ i) * 0x100000001B3)
                ret[i] = (uint8_t)(h >> 32);
}

/* What one owner may pin: a third of the simulated disk. */
#define PINNED_BYTES_MAX (40 * PAGE_BYTES + 10 * FRONTIER_BYTES)

static struct kv_cache *open_cache(struct kv_store *store, uint64_t host_bytes) {
        struct kv_cache *cache;
        struct kv_cache_config config = {
                .key = &key,
                .fingerprint = { { 1 } },
                .page_bytes = PAGE_BYTES,
                .frontier_bytes = FRONTIER_BYTES,
                .host_bytes = host_bytes,
                .store = store,
                .owner_pinned_bytes_max = PINNED_BYTES_MAX,
        };
        assert_int_equal(kv_cache_open(&config, &cache, NULL), 0);
        return cache;
}

static void wait_ready(struct kv_lease *lease) {
        while (!kv_lease_ready(lease))
                ;
}

static void check_reused(struct kv_lease *lease, const uint32_t *ids, uint32_t n) {
        const struct kv_verdict *v = kv_lease_verdict(lease);
        uint8_t bytes[FRONTIER_BYTES];
        uint32_t n_pages;
        assert_true(v->n_reused < n);
        if (v->n_reused == 0)
                return;
        const uint8_t *const *pages = kv_lease_pages(lease, &n_pages);
        assert_int_equal(n_pages, v->n_reused / PAGE_TOKENS);
        for (uint32_t i = 0; i < n_pages; i++) {
                expected(ids, (i + 1) * PAGE_TOKENS, bytes, PAGE_BYTES);
                assert_memory_equal(pages[i], bytes, PAGE_BYTES);
        }
        expected(ids, v->n_reused, bytes, FRONTIER_BYTES);
        assert_memory_equal(kv_lease_frontier(lease), bytes, FRONTIER_BYTES);
}

/* The sequence has got to `position`: keeps its pages, and its state when asked. */
static void extend(struct kv_lease *lease, const uint32_t *ids, uint32_t position, bool frontier,
                   bool lasting) {
        struct kv_lease_page page;
        uint8_t bytes[PAGE_BYTES], *data;
        while (kv_lease_add_page(lease, ids, position, &page)) {
                expected(ids, (page.number + 1) * PAGE_TOKENS, bytes, PAGE_BYTES);
                if (page.unwritten)
                        memcpy(page.data, bytes, PAGE_BYTES);
                assert_memory_equal(page.data, bytes, PAGE_BYTES);
        }
        if (frontier && (data = kv_lease_add_frontier(lease, ids, position, lasting)))
                expected(ids, position, data, FRONTIER_BYTES);
}

static struct kv_lease *lease_of(struct kv_cache *cache, const char *subject, const uint32_t *ids,
                                 uint32_t n) {
        struct kv_lease *lease;
        assert_int_equal(kv_cache_lease(cache, 1000, subject, ids, n, &lease), 0);
        return lease;
}

/* Computes ids[0..n) and keeps all of it. */
static void remember(struct kv_cache *cache, const char *subject, const uint32_t *ids, uint32_t n) {
        struct kv_lease *lease = lease_of(cache, subject, ids, n);
        wait_ready(lease);
        extend(lease, ids, n, true, true);
        kv_lease_end(lease);
}

static void fill(uint32_t *ids, uint32_t n, uint32_t seed) {
        for (uint32_t i = 0; i < n; i++)
                ids[i] = seed * 1000 + i;
}

static struct kv_verdict ask(struct kv_cache *cache, const char *subject, const uint32_t *ids,
                             uint32_t n) {
        struct kv_lease *lease = lease_of(cache, subject, ids, n);
        wait_ready(lease);
        check_reused(lease, ids, n);
        struct kv_verdict v = *kv_lease_verdict(lease);
        kv_lease_end(lease);
        return v;
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
        struct kv_lease *lease;
        assert_int_equal(kv_cache_lease(cache, 1001, "a", ids, 300, &lease), 0);
        assert_int_equal(kv_lease_verdict(lease)->n_reused, 0);
        kv_lease_end(lease);
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
        struct kv_store *store = faulty_store_new(1, &key, PAGE_BYTES, FRONTIER_BYTES, 1 << 20);
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

static void what_is_pinned_is_never_evicted(void **state) {
        (void)state;
        uint32_t ids[6][600];
        uint64_t five = 5 * (4 * PAGE_BYTES + FRONTIER_BYTES);
        struct kv_store *store = faulty_store_new(1, &key, PAGE_BYTES, FRONTIER_BYTES, five);
        struct kv_cache *cache = open_cache(store, five / 2);
        struct kv_pin *pin;
        for (uint32_t i = 0; i < 6; i++)
                fill(ids[i], 600, i);
        assert_int_equal(kv_cache_pin(cache, 1000, NULL, ids[0], 599, &pin), -ENOENT);
        remember(cache, NULL, ids[0], 599);
        assert_int_equal(kv_cache_pin(cache, 1001, NULL, ids[0], 599, &pin), -ENOENT);
        assert_int_equal(kv_cache_pin(cache, 1000, NULL, ids[0], 599, &pin), 0);
        assert_int_equal(kv_pin_tokens(pin), 599);
        assert_int_equal(kv_cache_pinned_bytes(cache, 1000), 4 * PAGE_BYTES + FRONTIER_BYTES);
        for (uint32_t round = 0; round < 3; round++)
                for (uint32_t i = 1; i < 6; i++)
                        remember(cache, NULL, ids[i], 599);
        assert_int_equal(ask(cache, NULL, ids[0], 600).n_reused, 599);
        pin = kv_cache_unpin(pin);
        assert_int_equal(kv_cache_pinned_bytes(cache, 1000), 0);
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
                r = kv_cache_pin(cache, 1000, NULL, ids[n], 599, &pin[n]);
        }
        assert_int_equal(r, -EDQUOT);
        uint64_t pinned = kv_cache_pinned_bytes(cache, 1000);
        assert_true(pinned <= PINNED_BYTES_MAX);
        assert_int_equal(kv_cache_pin(cache, 1000, NULL, ids[0], 599, &again), 0);
        assert_int_equal(kv_cache_pinned_bytes(cache, 1000), pinned);
        for (uint32_t i = 0; i + 1 < n; i++)
                kv_cache_unpin(pin[i]);
        assert_int_equal(kv_cache_pinned_bytes(cache, 1000), 4 * PAGE_BYTES + FRONTIER_BYTES);
        kv_cache_unpin(again);
        kv_cache_close(cache);
}

/* -- simulation ----------------------------------------------------------------------------------
 */

struct text {
        uint32_t ids[TOKENS_MAX], n;
};

struct running {
        struct kv_lease *lease;
        struct text text; /* what it computes: its own copy */
        uint32_t position;
        bool ready;
};

struct simulation {
        uint64_t state;
        struct kv_store *store;
        struct kv_cache *cache;
        struct text text[N_TEXTS];
        struct running running[LEASES_MAX];
        bool waits; /* for each read at once: the same steps in every run */
        uint64_t n_reused, n_leases, n_restarts;
};

static uint32_t draw(struct simulation *s, uint32_t n) {
        s->state = s->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(s->state >> 33) % n;
}

/* Grows, branches off another, or begins anew. */
static struct text *next_text(struct simulation *s) {
        struct text *t = &s->text[draw(s, N_TEXTS)];
        uint32_t what = draw(s, 10);
        if (what == 0 || t->n == 0 || t->n > TOKENS_MAX - 400) {
                t->n = 0;
        } else if (what == 1) {
                const struct text *other = &s->text[draw(s, N_TEXTS)];
                memcpy(t->ids, other->ids, sizeof(t->ids));
                t->n = other->n > 0 ? draw(s, other->n) : 0;
        }
        for (uint32_t grow = 1 + draw(s, 300); grow > 0; grow--)
                t->ids[t->n++] = draw(s, 3);
        return t;
}

static void begin(struct simulation *s, struct running *r) {
        r->text = *next_text(s);
        r->lease = lease_of(s->cache, draw(s, 2) ? "x" : NULL, r->text.ids, r->text.n);
        r->position = 0;
        r->ready = false;
        s->n_leases++;
        if (s->waits)
                wait_ready(r->lease);
}

static void go_on(struct simulation *s, struct running *r) {
        if (!r->ready) {
                wait_ready(r->lease);
                check_reused(r->lease, r->text.ids, r->text.n);
                r->position = kv_lease_verdict(r->lease)->n_reused;
                s->n_reused += r->position > 0;
                r->ready = true;
        }
        uint32_t left = r->text.n - r->position;
        r->position += left > 0 ? 1 + draw(s, left) : 0;
        bool last = r->position == r->text.n;
        extend(r->lease, r->text.ids, r->position, last || draw(s, 3) == 0, last || draw(s, 2));
}

static void end(struct running *r) {
        r->lease = kv_lease_end(r->lease);
}

static void restart(struct simulation *s) {
        for (int i = 0; i < LEASES_MAX; i++)
                end(&s->running[i]);
        kv_cache_close(s->cache);
        s->cache = open_cache(s->store, HOST_BYTES);
        s->n_restarts++;
}

static void simulate(uint64_t seed, uint64_t n_steps) {
        struct simulation *s = calloc(1, sizeof(*s));
        printf("seed %llu, %llu steps\n", (unsigned long long)seed, (unsigned long long)n_steps);
        s->state = seed;
        s->waits = seed % 2 == 0;
        s->store = faulty_store_new(seed, &key, PAGE_BYTES, FRONTIER_BYTES,
                                    100 * PAGE_BYTES + 40 * FRONTIER_BYTES);
        faulty_store_set(s->store, (struct faulty_store_rates){ .put = 10, .read = 10 });
        s->cache = open_cache(s->store, HOST_BYTES);
        for (uint64_t i = 0; i < n_steps; i++) {
                struct running *r = &s->running[draw(s, LEASES_MAX)];
                uint32_t what = draw(s, 1000);
                if (!r->lease)
                        begin(s, r);
                else if (what == 0)
                        restart(s);
                else if (what < 350)
                        end(r);
                else
                        go_on(s, r);
                struct kv_cache_statistics now;
                kv_cache_statistics(s->cache, &now);
                assert_true(now.host_bytes <= now.host_bytes_max);
        }
        printf("%llu leases, %llu went on from something, %llu restarts\n",
               (unsigned long long)s->n_leases, (unsigned long long)s->n_reused,
               (unsigned long long)s->n_restarts);
        assert_true(s->n_reused > s->n_leases / 20);
        restart(s);
        kv_cache_close(s->cache);
        faulty_store_free(s->store);
        free(s);
}

/* SEEKD_TEST_SEED and SEEKD_TEST_STEPS repeat or lengthen a run. */
static void only_what_was_computed_comes_back(void **state) {
        (void)state;
        const char *seed = getenv("SEEKD_TEST_SEED"), *steps = getenv("SEEKD_TEST_STEPS");
        uint64_t n_steps = steps ? strtoull(steps, NULL, 10) : 20000;
        if (seed) {
                simulate(strtoull(seed, NULL, 10), n_steps);
                return;
        }
        for (uint64_t i = 1; i <= 2; i++)
                simulate(i, n_steps);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_verdict_says_where_prompts_part),
                cmocka_unit_test(subjects_and_owners_share_nothing),
                cmocka_unit_test(a_small_memory_forgets_the_oldest_and_says_so),
                cmocka_unit_test(disk_serves_what_memory_dropped_and_a_new_process),
                cmocka_unit_test(what_is_pinned_is_never_evicted),
                cmocka_unit_test(pins_have_a_quota_and_share_pages),
                cmocka_unit_test(only_what_was_computed_comes_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
