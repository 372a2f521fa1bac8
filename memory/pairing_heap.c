#include "memory/pairing_heap.h"

#include <stddef.h>

static bool is_less(const struct heap_link *a, const struct heap_link *b) {
        return a->key != b->key ? a->key < b->key : a->tie < b->tie;
}

/* One heap of two, which may be NULL. */
static struct heap_link *meld(struct heap_link *a, struct heap_link *b) {
        if (!a || !b)
                return a ? a : b;
        if (is_less(b, a)) {
                struct heap_link *less = b;
                b = a;
                a = less;
        }
        b->previous = a;
        b->next = a->child;
        if (b->next)
                b->next->previous = b;
        a->child = b;
        return a;
}

/* One heap of a list of siblings: neighbours first, from the left, then these pairs from the right.
 */
static struct heap_link *meld_all(struct heap_link *list) {
        struct heap_link *pairs = NULL, *all = NULL;
        while (list) {
                struct heap_link *a = list, *b = a->next;
                list = b ? b->next : NULL;
                a->next = a->previous = NULL;
                if (b)
                        b->next = b->previous = NULL;
                struct heap_link *pair = meld(a, b);
                pair->next = pairs;
                pairs = pair;
        }
        while (pairs) {
                struct heap_link *pair = pairs;
                pairs = pair->next;
                pair->next = NULL;
                all = meld(all, pair);
        }
        return all;
}

void heap_remove(struct pairing_heap *heap, struct heap_link *link) {
        if (!link->linked)
                return;
        struct heap_link *below = meld_all(link->child);
        if (link == heap->first) {
                heap->first = below;
        } else {
                if (link->previous->child == link)
                        link->previous->child = link->next;
                else
                        link->previous->next = link->next;
                if (link->next)
                        link->next->previous = link->previous;
                heap->first = meld(heap->first, below);
        }
        *link = (struct heap_link){ .linked = false };
}

void heap_put(struct pairing_heap *heap, struct heap_link *link, double key, uint64_t tie) {
        heap_remove(heap, link);
        *link = (struct heap_link){ .key = key, .tie = tie, .linked = true };
        heap->first = meld(heap->first, link);
}
