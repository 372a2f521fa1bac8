/* The order in which kept prefixes go, and that choosing takes no walk over all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "memory/pairing_heap.h"
#include "memory/prefix.h"

static uint64_t seed = 5;

static uint32_t draw(uint32_t n) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        return (uint32_t)(seed >> 33) % n;
}

static void a_heap_gives_the_least_whatever_is_taken_out_before(void **unused) {
        (void)unused;
        enum { N = 2000 };
        static struct heap_link link[N];
        struct pairing_heap heap = { 0 };
        for (int i = 0; i < 20 * N; i++) {
                struct heap_link *l = &link[draw(N)];
                if (draw(3) == 0)
                        heap_remove(&heap, l);
                else
                        heap_put(&heap, l, draw(10) ? (double)draw(50) : -INFINITY, draw(1000));
                const struct heap_link *least = NULL;
                for (int k = 0; k < N && i % 97 == 0; k++)
                        if (link[k].linked &&
                            (!least || link[k].key < least->key ||
                             (link[k].key == least->key && link[k].tie < least->tie)))
                                least = &link[k];
                if (least)
                        assert_true(heap.first->key == least->key && heap.first->tie == least->tie);
        }
        for (int k = 0; k < N; k++)
                heap_remove(&heap, &link[k]);
        assert_null(heap.first);
}

#define PAGE_BYTES     8
#define FRONTIER_BYTES 16

static const struct page_key key = { { 1 } };

static void set_data(struct prefix *prefix, struct prefix_node *node) {
        size_t bytes = prefix_data_bytes(prefix, node);
        uint8_t *data = malloc(bytes);
        assert_non_null(data);
        prefix_reserve(prefix, node->account, bytes);
        prefix_set_data(prefix, node, data);
}

/* A chain of pages and a state at its end, below `from`. */
static struct prefix_node *add_chain(struct prefix *prefix, struct prefix_node *from,
                                     uint32_t n_pages, uint32_t first_token) {
        uint32_t tokens[PAGE_TOKENS] = { first_token };
        struct prefix_node *node = from;
        for (uint32_t i = 0; i < n_pages; i++) {
                node = prefix_page(prefix, node, tokens);
                assert_non_null(node);
                if (!node->data)
                        set_data(prefix, node);
                tokens[1] = i;
        }
        struct prefix_node *frontier = prefix_frontier(prefix, node, tokens, 5);
        assert_non_null(frontier);
        set_data(prefix, frontier);
        return frontier;
}

/* 100,000 nodes in random trees of two owners: evicting all of them, each leaf before what it hangs
 * on, nobody's out of turn. With a walk over all for each it would take an hour. */
static void evicting_takes_leaves_first_and_no_walk(void **unused) {
        (void)unused;
        struct prefix prefix;
        struct prefix_node *root[2], *node = NULL;
        assert_int_equal(prefix_init(&prefix, &key, PAGE_BYTES, FRONTIER_BYTES), 0);
        prefix.half_life[PREFIX_MEMORY] = 1000;
        for (uint32_t i = 0; i < 2; i++) {
                struct page_id id = { { (uint8_t)i } };
                root[i] = prefix_root(&prefix, &id, i);
                assert_non_null(root[i]);
                prefix_pin(&prefix, root[i]);
        }
        uint32_t token = 1;
        while (prefix.n_nodes < 100000) {
                struct prefix_node *from = root[draw(2)];
                if (node && draw(2)) /* branches off */
                        for (from = node->parent; draw(3) && from->parent; from = from->parent)
                                ;
                node = add_chain(&prefix, from, 1 + draw(30), token++);
                if (draw(3) == 0)
                        prefix_touch(&prefix, node, draw(2));
        }
        uint64_t begin = clock_ns();
        size_t n = prefix.n_nodes - 2;
        for (double score; prefix.n_nodes > 2; n--) {
                struct prefix_account *account = root[draw(2)]->account;
                node = prefix_first(&prefix, account, PREFIX_MEMORY, &score);
                if (!node)
                        continue;
                assert_null(node->child);
                assert_int_equal(node->pins + node->held, 0);
                assert_true(node->account == account);
                prefix_drop_data(&prefix, node);
        }
        printf("%.1f us for each of 100,000 evictions\n", (double)(clock_ns() - begin) / 1e8);
        assert_int_equal(prefix.data_bytes, 0);
        prefix_unpin(&prefix, root[0]);
        prefix_unpin(&prefix, root[1]);
        prefix_deinit(&prefix);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_heap_gives_the_least_whatever_is_taken_out_before),
                cmocka_unit_test(evicting_takes_leaves_first_and_no_walk),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
