#include "memory/eviction.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/cleanup.h"

double eviction_value(const struct eviction_item *item, double half_life_s) {
        double idle = item->idle_s > 0 ? item->idle_s : 0; /* a clock may have jumped */
        return item->recompute_ms * (1.0 + item->uses) * exp2(-idle / half_life_s) /
                (double)item->bytes;
}

struct leaf {
        double value; /* -1 = superseded: below all others */
        uint64_t number;
        size_t item;
};

/* A heap of what may go now, the least valuable on top. */
struct heap {
        struct leaf *leaves;
        size_t n;
};

static bool goes_before(const struct leaf *a, const struct leaf *b) {
        return a->value != b->value ? a->value < b->value : a->number < b->number;
}

static void push(struct heap *heap, struct leaf leaf) {
        size_t at = heap->n++;
        for (; at > 0 && goes_before(&leaf, &heap->leaves[(at - 1) / 2]); at = (at - 1) / 2)
                heap->leaves[at] = heap->leaves[(at - 1) / 2];
        heap->leaves[at] = leaf;
}

static struct leaf pop(struct heap *heap) {
        struct leaf top = heap->leaves[0], last = heap->leaves[--heap->n];
        size_t at = 0;
        for (size_t child; (child = 2 * at + 1) < heap->n; at = child) {
                if (child + 1 < heap->n &&
                    goes_before(&heap->leaves[child + 1], &heap->leaves[child]))
                        child++;
                if (!goes_before(&heap->leaves[child], &last))
                        break;
                heap->leaves[at] = heap->leaves[child];
        }
        heap->leaves[at] = last;
        return top;
}

static void push_item(struct heap *heap, const struct eviction_item *items, size_t i,
                      double half_life_s) {
        const struct eviction_item *item = &items[i];
        double value = item->superseded ? -1.0 : eviction_value(item, half_life_s);
        push(heap, (struct leaf){ value, item->number, i });
}

int eviction_choose(const struct eviction_item *items, size_t n, double half_life_s,
                    uint64_t bytes_wanted, size_t *ret_order, size_t *ret_n, uint64_t *ret_bytes) {
        *ret_n = 0;
        *ret_bytes = 0;
        if (n == 0)
                return 0;
        CLEANUP_FREE uint32_t *n_children = calloc(n, sizeof(*n_children));
        CLEANUP_FREE struct leaf *leaves = calloc(n, sizeof(*leaves));
        if (!n_children || !leaves)
                return -ENOMEM;
        struct heap heap = { .leaves = leaves };
        for (size_t i = 0; i < n; i++)
                if (items[i].parent < n)
                        n_children[items[i].parent]++;
        for (size_t i = 0; i < n; i++)
                if (n_children[i] == 0 && !items[i].held)
                        push_item(&heap, items, i, half_life_s);
        while (heap.n > 0 && *ret_bytes < bytes_wanted) {
                size_t i = pop(&heap).item, parent = items[i].parent;
                ret_order[(*ret_n)++] = i;
                *ret_bytes += items[i].bytes;
                if (parent < n && --n_children[parent] == 0 && !items[parent].held)
                        push_item(&heap, items, parent, half_life_s);
        }
        return 0;
}
