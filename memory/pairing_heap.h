/* A heap whose links lie in what it orders: no allocation, so nothing can fail. The least comes
 * first.
 *
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan: The pairing heap, 1986): putting in takes
 * constant time, taking out, of the first or of any other, O(log n) on average. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All zero: in no heap. */
struct heap_link {
        double key;
        uint64_t tie;               /* decides between equal keys */
        struct heap_link *child;    /* of those not less: the first, the others its siblings */
        struct heap_link *next;     /* sibling */
        struct heap_link *previous; /* sibling, or for the first child its parent */
        bool linked;
};

struct pairing_heap {
        struct heap_link *first; /* NULL = empty */
};

/* Puts it in, or to its new place. The key is not NaN. */
void heap_put(struct pairing_heap *heap, struct heap_link *link, double key, uint64_t tie);

/* Takes it out if it is in. */
void heap_remove(struct pairing_heap *heap, struct heap_link *link);
