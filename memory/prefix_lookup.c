/* The longest kept prefix of a prompt, and why it is not longer. */
#include <string.h>

#include "memory/prefix.h"

struct lookup {
        struct prefix *prefix;
        const uint32_t *ids;
        uint32_t n;
        uint32_t last; /* the longest state that is of use */
        bool (*stored_tokens)(void *context, struct prefix_node *node);
        void *context;
        unsigned n_asked;
};

/* Nodes whose tokens a lookup reads from the disk, only to say where two prompts part. */
#define ASKED_MAX 4

static bool has_tokens(struct lookup *l, struct prefix_node *node) {
        return node->tokens ||
                (l->stored_tokens && l->n_asked++ < ASKED_MAX &&
                 l->stored_tokens(l->context, node));
}

static bool is_kept(const struct prefix_node *node) {
        return node->data || node->disk != PREFIX_NOT_STORED;
}

/* The last page of the chain that ids begin with. Identity says which child it can be, its tokens
 * whether it is. */
static struct prefix_node *last_page(const struct lookup *l, struct prefix_node *root) {
        struct prefix_node *node = root;
        while (l->n - node->position >= PAGE_TOKENS) {
                const uint32_t *tokens = l->ids + node->position;
                struct page_id id;
                page_id_next(l->prefix->key, &node->id, tokens, &id);
                struct prefix_node *page = prefix_find(l->prefix, &id);
                if (!page || page->parent != node || !is_kept(page) ||
                    (page->tokens && memcmp(page->tokens, tokens, PAGE_TOKENS * sizeof(*tokens))))
                        break;
                node = page;
        }
        return node;
}

/* Tokens that a node has in common with ids from its parent's end on. */
static uint32_t common(const struct lookup *l, const struct prefix_node *node) {
        const uint32_t *ids = l->ids + node->parent->position;
        uint32_t left = l->n - node->parent->position, i = 0,
                 n = left < node->n_tokens ? left : node->n_tokens;
        while (i < n && ids[i] == node->tokens[i])
                i++;
        return i;
}

/* Whether a frontier's tokens are those of ids: by its identity, so that the disk need not be
 * asked.
 */
static bool fits(const struct lookup *l, const struct prefix_node *frontier) {
        const struct prefix_node *page = frontier->parent;
        const uint32_t *tail = l->ids + page->position;
        struct page_id id;
        if (frontier->position > l->last || !is_kept(frontier))
                return false;
        if (frontier->tokens)
                return memcmp(frontier->tokens, tail, frontier->n_tokens * sizeof(*tail)) == 0;
        page_id_frontier(l->prefix->key, &page->id, frontier->position, tail, frontier->n_tokens,
                         &id);
        return page_id_equal(&id, &frontier->id);
}

/* The longest frontier that fits, below `page` or what is before it. */
static struct prefix_node *best_frontier(const struct lookup *l, struct prefix_node *page) {
        for (; page; page = page->parent) {
                struct prefix_node *best = NULL;
                for (struct prefix_node *c = page->child; c; c = c->next)
                        if (c->kind == PREFIX_FRONTIER && (!best || c->position > best->position) &&
                            fits(l, c))
                                best = c;
                if (best)
                        return best;
        }
        return NULL;
}

/* How far what is kept after `page` goes along, and where it turns away. */
static void compare_children(struct lookup *l, const struct prefix_node *page,
                             struct prefix_match *ret) {
        ret->known = page->position;
        for (struct prefix_node *c = page->child; c; c = c->next) {
                if (!is_kept(c) || !has_tokens(l, c))
                        continue;
                uint32_t same = common(l, c), at = page->position + same,
                         n_other = at < l->n ? c->n_tokens - same : 0;
                if (at < ret->known || (at == ret->known && (n_other == 0 || ret->n_other > 0)))
                        continue;
                ret->known = ret->differs_at = at;
                ret->n_other = n_other < PREFIX_SIDES_MAX ? n_other : PREFIX_SIDES_MAX;
                memcpy(ret->other, c->tokens + same, ret->n_other * sizeof(*ret->other));
        }
}

static bool was_forgotten(const struct lookup *l, const struct prefix_node *page) {
        uint32_t left = l->n - page->position, n = (uint32_t)l->prefix->n_forgotten;
        struct page_id id;
        if (left < PAGE_TOKENS)
                return false;
        page_id_next(l->prefix->key, &page->id, l->ids + page->position, &id);
        if (prefix_find(l->prefix, &id)) /* without bytes, or it would be in the chain */
                return true;
        n = l->prefix->n_forgotten < PREFIX_FORGOTTEN ? n : PREFIX_FORGOTTEN;
        for (uint32_t i = 0; i < n; i++)
                if (page_id_equal(&l->prefix->forgotten[i], &id))
                        return true;
        return false;
}

/* Whether a state was evicted between the one that is left and the last page that is kept. */
static bool lost_state(const struct prefix_node *page, const struct prefix_node *frontier) {
        for (; page; page = page->parent) {
                if (page->lost_state)
                        return true;
                if (frontier && page == frontier->parent)
                        return false;
        }
        return false;
}

void prefix_lookup(struct prefix *prefix, struct prefix_node *root, const uint32_t *ids, uint32_t n,
                   bool (*stored_tokens)(void *context, struct prefix_node *node), void *context,
                   struct prefix_match *ret) {
        struct lookup l = { prefix, ids, n, n - 1, stored_tokens, context, 0 };
        *ret = (struct prefix_match){ 0 };
        struct prefix_node *page = last_page(&l, root);
        ret->frontier = best_frontier(&l, page);
        ret->position = ret->frontier ? ret->frontier->position : 0;
        compare_children(&l, page, ret);

        if (ret->position + 1 == n)
                ret->end = PREFIX_END_WHOLE;
        else if (was_forgotten(&l, page))
                ret->end = PREFIX_END_EVICTED;
        else if (ret->known == 0)
                ret->end = PREFIX_END_COLD;
        else if (ret->n_other > 0)
                ret->end = PREFIX_END_DIFFERENT;
        else if (ret->known == ret->position)
                ret->end = PREFIX_END_WHOLE;
        else
                ret->end = lost_state(page, ret->frontier) ? PREFIX_END_EVICTED
                                                           : PREFIX_END_NO_FRONTIER;
        if (ret->end != PREFIX_END_DIFFERENT)
                ret->n_other = 0;
}

struct prefix_node *prefix_longest(struct prefix *prefix, struct prefix_node *root,
                                   const uint32_t *ids, uint32_t n) {
        struct lookup l = { .prefix = prefix, .ids = ids, .n = n, .last = n };
        return best_frontier(&l, last_page(&l, root));
}
