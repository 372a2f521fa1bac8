#include "tests/memory/kept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after the three above */
#include <cmocka.h>

#include <string.h>

#define FNV_START 0xCBF29CE484222325
#define FNV_PRIME 0x100000001B3

const struct page_key kept_key = { { 7, 7, 7 } };

/* A hash that goes along the tokens. */
struct walk {
        uint64_t h;
        uint32_t position;
};

static struct walk walk_from_start(uint32_t owner, const char *subject) {
        struct walk walk = { .h = (FNV_START ^ owner) * FNV_PRIME };
        for (; subject && *subject; subject++)
                walk.h = (walk.h ^ (uint8_t)*subject) * FNV_PRIME;
        return walk;
}

/* What an engine would compute for what ends here. */
static void expected(struct walk *walk, const uint32_t *ids, uint32_t end, uint8_t *ret, size_t n) {
        for (; walk->position < end; walk->position++)
                walk->h = (walk->h ^ ids[walk->position]) * FNV_PRIME;
        uint64_t h = walk->h ^ n;
        for (size_t i = 0; i < n; i++, h = (h ^ i) * FNV_PRIME)
                ret[i] = (uint8_t)(h >> 32);
}

struct kv_cache *kept_open(const struct kv_cache_config *config) {
        struct kv_cache *cache;
        struct kv_cache_config all = *config;
        all.key = &kept_key;
        all.fingerprint = (struct page_id){ { 1 } };
        all.page_bytes = PAGE_BYTES;
        all.frontier_bytes = FRONTIER_BYTES;
        assert_int_equal(kv_cache_open(&all, &cache, NULL), 0);
        return cache;
}

void kept_wait(struct kv_lease *lease) {
        while (!kv_lease_ready(lease))
                ;
}

void kept_check_reused(struct kv_lease *lease, uint32_t owner, const char *subject,
                       const uint32_t *ids, uint32_t n) {
        const struct kv_verdict *v = kv_lease_verdict(lease);
        struct walk walk = walk_from_start(owner, subject);
        uint8_t bytes[FRONTIER_BYTES];
        uint32_t n_pages;
        assert_true(v->n_reused < n);
        if (v->n_reused == 0)
                return;
        const uint8_t *const *pages = kv_lease_pages(lease, &n_pages);
        assert_int_equal(n_pages, v->n_reused / PAGE_TOKENS);
        for (uint32_t i = 0; i < n_pages; i++) {
                expected(&walk, ids, (i + 1) * PAGE_TOKENS, bytes, PAGE_BYTES);
                assert_memory_equal(pages[i], bytes, PAGE_BYTES);
        }
        expected(&walk, ids, v->n_reused, bytes, FRONTIER_BYTES);
        assert_memory_equal(kv_lease_frontier(lease), bytes, FRONTIER_BYTES);
}

void kept_extend(struct kv_lease *lease, uint32_t owner, const char *subject, const uint32_t *ids,
                 uint32_t position, bool frontier, bool lasting) {
        struct walk walk = walk_from_start(owner, subject);
        struct kv_lease_page page;
        uint8_t bytes[PAGE_BYTES], *data;
        while (kv_lease_add_page(lease, ids, position, &page)) {
                expected(&walk, ids, (page.number + 1) * PAGE_TOKENS, bytes, PAGE_BYTES);
                if (page.unwritten)
                        memcpy(page.data, bytes, PAGE_BYTES);
                assert_memory_equal(page.data, bytes, PAGE_BYTES);
        }
        if (frontier && (data = kv_lease_add_frontier(lease, ids, position, lasting)))
                expected(&walk, ids, position, data, FRONTIER_BYTES);
}

static struct kv_lease *lease_of(struct kv_cache *cache, uint32_t owner, const char *subject,
                                 const uint32_t *ids, uint32_t n) {
        struct kv_lease *lease;
        assert_int_equal(kv_cache_lease(cache, owner, subject, ids, n, &lease), 0);
        kept_wait(lease);
        return lease;
}

void kept_remember(struct kv_cache *cache, uint32_t owner, const char *subject, const uint32_t *ids,
                   uint32_t n) {
        struct kv_lease *lease = lease_of(cache, owner, subject, ids, n);
        kept_extend(lease, owner, subject, ids, n, true, true);
        kv_lease_end(lease);
}

struct kv_verdict kept_ask(struct kv_cache *cache, uint32_t owner, const char *subject,
                           const uint32_t *ids, uint32_t n) {
        struct kv_lease *lease = lease_of(cache, owner, subject, ids, n);
        kept_check_reused(lease, owner, subject, ids, n);
        struct kv_verdict v = *kv_lease_verdict(lease);
        kv_lease_end(lease);
        return v;
}
