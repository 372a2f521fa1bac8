/* The states along a lease's chain, thinned as the chain grows. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "memory/kv_cache_private.h"
#include "memory/thinning.h"

struct chain {
        struct kv_cache *cache;
        const uint32_t *ids; /* its tokens */
        const struct prefix_node *end;
        struct prefix_node **frontier; /* [n] those on it before the end */
        size_t n, capacity;
        bool failed;
};

/* Whether a state lies on the chain: by its identity when its tokens are on disk only. */
static bool is_on_chain(const struct chain *chain, const struct prefix_node *frontier) {
        const uint32_t *tail = chain->ids + frontier->parent->position;
        struct page_id id;
        if (frontier->kind != PREFIX_FRONTIER || frontier->position >= chain->end->position)
                return false;
        if (frontier->tokens)
                return memcmp(frontier->tokens, tail, frontier->n_tokens * sizeof(*tail)) == 0;
        page_id_frontier(&chain->cache->key, &frontier->parent->id, frontier->position, tail,
                         frontier->n_tokens, &id);
        return page_id_equal(&id, &frontier->id);
}

static void add(struct chain *chain, struct prefix_node *frontier) {
        if (chain->n == chain->capacity) {
                size_t capacity = chain->capacity ? 2 * chain->capacity : 32;
                struct prefix_node **more = reallocarray(chain->frontier, capacity, sizeof(*more));
                if (!more) {
                        chain->failed = true;
                        return;
                }
                chain->frontier = more;
                chain->capacity = capacity;
        }
        chain->frontier[chain->n++] = frontier;
}

static void add_states_after(struct chain *chain, const struct prefix_node *page) {
        for (struct prefix_node *c = page->child; c; c = c->next)
                if (is_on_chain(chain, c))
                        add(chain, c);
}

static int by_position(const void *a, const void *b) {
        const struct prefix_node *x = *(struct prefix_node *const *)a,
                                 *y = *(struct prefix_node *const *)b;
        return x->position < y->position ? -1 : x->position > y->position;
}

/* More than one chain goes on from here. */
static bool branches(const struct prefix_node *page) {
        unsigned n = 0;
        for (const struct prefix_node *c = page->child; c && n < 2; c = c->next)
                n += c->kind == PREFIX_PAGE;
        return n > 1;
}

/* Who went on from it twice will do so again: the end of a system prompt. */
static bool is_needed(const struct prefix_node *frontier) {
        return prefix_in_use(frontier) || frontier->hits > 1 || branches(frontier->parent);
}

void kv_lease_thin(struct kv_lease *lease, const uint32_t *ids, const struct prefix_node *end) {
        struct chain chain = { .cache = lease->cache, .ids = ids, .end = end };
        add_states_after(&chain, lease->root);
        for (uint32_t i = 0; i < lease->n_pages; i++)
                add_states_after(&chain, lease->page[i]);
        CLEANUP_FREE struct prefix_node **frontier = chain.frontier;
        CLEANUP_FREE struct thinning_state *state = calloc(chain.n + 1, sizeof(*state));
        if (chain.failed || !state) /* another time */
                return;
        if (chain.n > 0)
                qsort(frontier, chain.n, sizeof(struct prefix_node *), by_position);
        for (size_t i = 0; i < chain.n; i++) {
                state[i].position = frontier[i]->position;
                state[i].needed = is_needed(frontier[i]);
        }
        state[chain.n].position = end->position;
        thinning_choose(state, chain.n + 1);
        for (size_t i = 0; i < chain.n; i++)
                if (state[i].goes) {
                        kv_cache_discard(lease->cache, frontier[i]);
                        lease->cache->statistics.thinned++;
                }
}
