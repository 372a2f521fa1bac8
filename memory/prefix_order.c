/* What may go from a tier, and in which order. */
#include <math.h>

#include "memory/eviction.h"
#include "memory/prefix.h"

static bool in_memory(const struct prefix_node *node) {
        return node->data != NULL;
}

static bool on_disk(const struct prefix_node *node) {
        return node->disk != PREFIX_NOT_STORED;
}

/* Nothing in the tier may hang on it. From the disk a node goes with its bytes in memory left
 * alone, on which something may hang; without such it is forgotten, and then nothing may. */
static bool may_go(const struct prefix_node *node, enum prefix_tier tier) {
        if (node->pins > 0 || node->n_below[tier] > 0)
                return false;
        if (tier == PREFIX_MEMORY)
                return in_memory(node);
        return on_disk(node) && node->held == 0 && (in_memory(node) || !node->child);
}

/* Tokens to compute without this frontier: back to the one before it. And the bytes that it keeps
 * busy: with it go the pages that nothing else hangs on. */
static uint32_t span(const struct prefix *prefix, const struct prefix_node *frontier,
                     uint64_t *ret_bytes) {
        const struct prefix_node *from = frontier, *page = frontier->parent;
        bool alone = true;
        *ret_bytes = prefix->frontier_bytes;
        for (;; from = page, page = page->parent) {
                alone = alone && !from->previous && !from->next;
                if (page->kind == PREFIX_ROOT) /* its states are less than a page from nothing */
                        return frontier->position;
                for (const struct prefix_node *c = page->child; c; c = c->next)
                        if (c->kind == PREFIX_FRONTIER && c->position < frontier->position &&
                            (in_memory(c) || on_disk(c)))
                                return frontier->position - c->position;
                *ret_bytes += alone ? prefix->page_bytes : 0;
        }
}

static double score(const struct prefix *prefix, const struct prefix_node *node,
                    enum prefix_tier tier) {
        struct eviction_input input = {
                .bytes = prefix_data_bytes(prefix, node),
                .used = node->used,
                .hits = node->hits,
                .superseded = node->kind == PREFIX_PAGE && !node->child,
                .pinned = node->held > 0 && !on_disk(node),
        };
        if (tier == PREFIX_MEMORY && on_disk(node))
                input.cost_ms = (double)input.bytes * prefix->disk_ms_per_byte;
        else if (node->kind == PREFIX_FRONTIER)
                input.cost_ms = span(prefix, node, &input.bytes) * prefix->ms_per_token;
        else
                input.cost_ms = PAGE_TOKENS * prefix->ms_per_token;
        return eviction_score(&input, prefix->half_life[tier]);
}

void prefix_reorder(struct prefix *prefix, struct prefix_node *node) {
        for (enum prefix_tier tier = 0; tier < PREFIX_TIERS; tier++) {
                if (may_go(node, tier))
                        heap_put(&node->account->order[tier], &node->order[tier],
                                 score(prefix, node, tier), node->used);
                else
                        heap_remove(&node->account->order[tier], &node->order[tier]);
        }
}

static struct prefix_node *node_of(struct heap_link *link, enum prefix_tier tier) {
        char *node = (char *)(link - tier) - offsetof(struct prefix_node, order);
        return (struct prefix_node *)(void *)node;
}

/* A node's score grows while it lies in the heap when another, from which one could have gone on in
 * its stead, goes: looked at when it comes to the top. */
struct prefix_node *prefix_first(struct prefix *prefix, struct prefix_account *account,
                                 enum prefix_tier tier, double *ret_score) {
        struct pairing_heap *heap = &account->order[tier];
        while (heap->first) {
                struct prefix_node *node = node_of(heap->first, tier);
                double now = score(prefix, node, tier);
                if (now > heap->first->key) {
                        heap_put(heap, heap->first, now, node->used);
                        continue;
                }
                *ret_score = heap->first->key;
                return *ret_score < INFINITY ? node : NULL;
        }
        *ret_score = INFINITY;
        return NULL;
}

void prefix_touch(struct prefix *prefix, struct prefix_node *node, bool hit) {
        for (; node; node = node->parent) {
                node->used = prefix->arrived;
                node->hits += hit && node->hits < UINT32_MAX;
                prefix_reorder(prefix, node);
        }
}
