#include "tests/memory/kept_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
/* after the three above */
#include <cmocka.h>

#include <string.h>

#include "tests/memory/kept.h"

struct sums {
        uint64_t pins, held, data_bytes, nodes;
};

static uint64_t bytes_of(const struct prefix_node *node) {
        return node->kind == PREFIX_PAGE ? PAGE_BYTES : FRONTIER_BYTES;
}

/* The rule of prefix_order.c, in the words of the README. */
static bool may_go(const struct prefix_node *node, enum prefix_tier tier) {
        if (node->pins > 0 || node->n_below[tier] > 0)
                return false;
        if (tier == PREFIX_MEMORY)
                return node->data != NULL;
        return node->disk != PREFIX_NOT_STORED && node->held == 0 && (node->data || !node->child);
}

static void check_children(const struct prefix_node *node) {
        uint32_t n_below[PREFIX_TIERS] = { 0 };
        for (const struct prefix_node *c = node->child; c; c = c->next) {
                assert_ptr_equal(c->parent, node);
                assert_true(c->next == NULL || c->next->previous == c);
                assert_true(c->kind == PREFIX_FRONTIER || c->kind == PREFIX_PAGE);
                assert_int_equal(c->position, node->position + c->n_tokens);
                assert_true(node->kind != PREFIX_FRONTIER);
                n_below[PREFIX_MEMORY] += c->data != NULL;
                n_below[PREFIX_DISK] += c->disk != PREFIX_NOT_STORED;
        }
        assert_memory_equal(n_below, node->n_below, sizeof(n_below));
}

static void check_node(const struct prefix_node *node, struct sums *sums) {
        check_children(node);
        bool empty = !node->data && node->disk == PREFIX_NOT_STORED;
        bool in_use = node->pins > 0 || node->held > 0;
        assert_true(!empty || in_use || node->child); /* else it is forgotten */
        if (node->kind != PREFIX_ROOT) {
                assert_non_null(node->parent);
                assert_true(node->account == node->parent->account);
                assert_true(!in_use || node->parent->pins > 0 || node->parent->held > 0);
                sums->held += node->held;
        } else {
                assert_null(node->data);
        }
        assert_int_equal(node->owner, node->account->owner);
        for (enum prefix_tier tier = 0; tier < PREFIX_TIERS; tier++)
                assert_int_equal(node->order[tier].linked, may_go(node, tier));
        sums->nodes++;
        sums->pins += node->pins;
        sums->data_bytes += node->data ? bytes_of(node) : 0;
}

struct owner_sums {
        uint64_t data_bytes, held_bytes, nodes;
};

static void check_account(const struct kv_cache *cache, const struct prefix_account *account,
                          struct kv_lease *const *leases, size_t n_leases) {
        const struct prefix *prefix = &cache->prefix;
        struct owner_sums s = { 0 };
        for (size_t i = 0; i < prefix->n_buckets; i++)
                for (const struct prefix_node *n = prefix->bucket[i]; n; n = n->bucket_next) {
                        if (n->account != account)
                                continue;
                        s.nodes++;
                        s.data_bytes += n->data ? bytes_of(n) : 0;
                        s.held_bytes += n->held > 0 ? bytes_of(n) : 0;
                }
        for (size_t i = 0; i < n_leases; i++) { /* reads in flight */
                const struct kv_lease *lease = leases[i];
                if (!lease || lease->root->account != account)
                        continue;
                s.data_bytes += lease->read.n_pages * (uint64_t)PAGE_BYTES;
                s.data_bytes += lease->read.frontier_data ? FRONTIER_BYTES : 0;
        }
        assert_int_equal(account->n_nodes, s.nodes);
        assert_int_equal(account->data_bytes, s.data_bytes);
        assert_int_equal(account->held_bytes, s.held_bytes);
        assert_true(s.held_bytes <= cache->owner_pinned_bytes_max);
        assert_true(cache->owner_bytes_max == 0 || s.data_bytes <= cache->owner_bytes_max);
}

/* Nothing lies on disk that the tree does not know of, but what it will look at. */
static void check_known(void *context, const struct kv_entry *entry) {
        struct kv_cache *cache = context;
        if (prefix_find(&cache->prefix, &entry->id))
                return;
        bool late = false;
        for (size_t i = 0; i < cache->n_late; i++)
                late = late || page_id_equal(&cache->late[i].id, &entry->id);
        assert_true(late);
}

void kept_check(struct kv_cache *cache, struct kv_lease *const *leases, size_t n_leases,
                struct kv_pin *const *pins, size_t n_pins) {
        const struct prefix *prefix = &cache->prefix;
        struct sums sums = { 0 };
        for (size_t i = 0; i < prefix->n_buckets; i++)
                for (const struct prefix_node *n = prefix->bucket[i]; n; n = n->bucket_next)
                        check_node(n, &sums);
        uint64_t pins_wanted = 0, held_wanted = 0, account_bytes = 0;
        for (size_t i = 0; i < n_leases; i++)
                if (leases[i])
                        pins_wanted += 1 + leases[i]->n_pages + (leases[i]->frontier != NULL) +
                                (leases[i]->unwritten != NULL);
        for (size_t i = 0; i < n_pins; i++)
                if (pins[i]) {
                        pins_wanted++;
                        held_wanted += kv_pin_tokens(pins[i]) / PAGE_TOKENS + 1;
                }
        assert_int_equal(sums.nodes, prefix->n_nodes);
        assert_int_equal(sums.pins, pins_wanted);
        assert_int_equal(sums.held, held_wanted);
        for (const struct prefix_account *a = prefix->accounts; a; a = a->next) {
                check_account(cache, a, leases, n_leases);
                account_bytes += a->data_bytes;
        }
        assert_int_equal(prefix->data_bytes, account_bytes);
        assert_true(prefix->data_bytes >= sums.data_bytes);
        assert_true(prefix->data_bytes <= cache->host_bytes_max);
        if (cache->store)
                kv_store_each(cache->store, check_known, cache);
}
