#include "memory/prefix.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 1024

static size_t bucket_of(const struct prefix *prefix, const struct page_id *id) {
        uint64_t h; /* identities are keyed hashes: any part of one is as good as random */
        memcpy(&h, id->bytes, sizeof(h));
        return (size_t)(h & (prefix->n_buckets - 1));
}

int prefix_init(struct prefix *ret, const struct page_key *key, size_t page_bytes,
                size_t frontier_bytes) {
        *ret = (struct prefix){
                .key = key,
                .page_bytes = page_bytes,
                .frontier_bytes = frontier_bytes,
                .n_buckets = BUCKETS_MIN,
                .bucket = calloc(BUCKETS_MIN, sizeof(*ret->bucket)),
                .forgotten = calloc(PREFIX_FORGOTTEN, sizeof(*ret->forgotten)),
        };
        if (ret->bucket && ret->forgotten)
                return 0;
        prefix_deinit(ret);
        return -ENOMEM;
}

static void free_node(struct prefix_node *node) {
        free(node->tokens);
        free(node->data);
        free(node);
}

void prefix_deinit(struct prefix *prefix) {
        for (struct prefix_account *a = prefix->accounts, *next; a; a = next) {
                next = a->next;
                free(a);
        }
        for (size_t i = 0; prefix->bucket && i < prefix->n_buckets; i++)
                for (struct prefix_node *n = prefix->bucket[i], *next; n; n = next) {
                        next = n->bucket_next;
                        free_node(n);
                }
        free(prefix->bucket);
        free(prefix->forgotten);
        *prefix = (struct prefix){ 0 };
}

/* -- the table of identities ---------------------------------------------------------------------
 */

struct prefix_node *prefix_find(struct prefix *prefix, const struct page_id *id) {
        for (struct prefix_node *n = prefix->bucket[bucket_of(prefix, id)]; n; n = n->bucket_next)
                if (page_id_equal(&n->id, id))
                        return n;
        return NULL;
}

/* Twice the buckets. Without memory for them the table only becomes slower. */
static void widen(struct prefix *prefix) {
        size_t n_old = prefix->n_buckets;
        struct prefix_node **old = prefix->bucket, **new = calloc(2 * n_old, sizeof(*new));
        if (!new)
                return;
        prefix->bucket = new;
        prefix->n_buckets = 2 * n_old;
        for (size_t i = 0; i < n_old; i++)
                for (struct prefix_node *n = old[i], *next; n; n = next) {
                        next = n->bucket_next;
                        struct prefix_node **bucket = &new[bucket_of(prefix, &n->id)];
                        n->bucket_next = *bucket;
                        *bucket = n;
                }
        free(old);
}

static struct prefix_account *account_of(struct prefix *prefix, uint32_t owner) {
        struct prefix_account *account = prefix->accounts;
        while (account && account->owner != owner)
                account = account->next;
        if (account || !(account = calloc(1, sizeof(*account))))
                return account;
        account->owner = owner;
        account->next = prefix->accounts;
        prefix->accounts = account;
        return account;
}

static void close_unused_account(struct prefix *prefix, struct prefix_account *account) {
        if (account->n_nodes > 0)
                return;
        struct prefix_account **at = &prefix->accounts;
        while (*at != account)
                at = &(*at)->next;
        *at = account->next;
        free(account);
}

static struct prefix_node *add(struct prefix *prefix, enum prefix_kind kind,
                               const struct page_id *id, struct prefix_node *parent,
                               struct prefix_account *account) {
        struct prefix_node *node = account ? calloc(1, sizeof(*node)) : NULL;
        if (!node)
                return NULL;
        node->kind = kind;
        node->id = *id;
        node->parent = parent;
        node->owner = account->owner;
        node->account = account;
        account->n_nodes++;
        if (parent) {
                node->next = parent->child;
                if (node->next)
                        node->next->previous = node;
                parent->child = node;
        }
        if (++prefix->n_nodes > prefix->n_buckets)
                widen(prefix);
        struct prefix_node **bucket = &prefix->bucket[bucket_of(prefix, id)];
        node->bucket_next = *bucket;
        *bucket = node;
        return node;
}

static void forget_one(struct prefix *prefix, struct prefix_node *node);

/* A node with tokens, known or new. */
static struct prefix_node *add_tokens(struct prefix *prefix, enum prefix_kind kind,
                                      const struct page_id *id, struct prefix_node *parent,
                                      const uint32_t *tokens, uint32_t n) {
        struct prefix_node *node = prefix_find(prefix, id);
        bool made = !node;
        if (made)
                node = add(prefix, kind, id, parent, parent->account);
        if (!node || node->tokens)
                return node;
        node->position = parent->position + n;
        node->n_tokens = n;
        node->tokens = malloc(((size_t)n + 1) * sizeof(*tokens)); /* a frontier may have no tail */
        if (!node->tokens) {
                if (made)
                        forget_one(prefix, node);
                return NULL;
        }
        if (n > 0)
                memcpy(node->tokens, tokens, n * sizeof(*tokens));
        return node;
}

struct prefix_node *prefix_root(struct prefix *prefix, const struct page_id *id, uint32_t owner) {
        struct prefix_node *node = prefix_find(prefix, id);
        if (node)
                return node;
        struct prefix_account *account = account_of(prefix, owner);
        node = add(prefix, PREFIX_ROOT, id, NULL, account);
        if (!node && account)
                close_unused_account(prefix, account);
        return node;
}

struct prefix_node *prefix_page(struct prefix *prefix, struct prefix_node *parent,
                                const uint32_t tokens[PAGE_TOKENS]) {
        struct page_id id;
        page_id_next(prefix->key, &parent->id, tokens, &id);
        return add_tokens(prefix, PREFIX_PAGE, &id, parent, tokens, PAGE_TOKENS);
}

struct prefix_node *prefix_frontier(struct prefix *prefix, struct prefix_node *parent,
                                    const uint32_t *tail, uint32_t n_tail) {
        struct page_id id;
        page_id_frontier(prefix->key, &parent->id, parent->position + n_tail, tail, n_tail, &id);
        return add_tokens(prefix, PREFIX_FRONTIER, &id, parent, tail, n_tail);
}

struct prefix_node *prefix_stored(struct prefix *prefix, enum prefix_kind kind,
                                  const struct page_id *id, const struct page_id *parent,
                                  uint32_t owner, uint32_t position, uint32_t n_tokens) {
        struct prefix_node *node = prefix_find(prefix, id), *up = prefix_find(prefix, parent);
        if (node) {
                node->stored = true;
                return node;
        }
        if (!up && position == n_tokens) /* the first page, or a frontier before it */
                up = prefix_root(prefix, parent, owner);
        if (!up || !(node = add(prefix, kind, id, up, up->account)))
                return NULL;
        node->position = position;
        node->n_tokens = n_tokens;
        node->stored = true;
        return node;
}

/* -- the list by time of use ---------------------------------------------------------------------
 */

static bool is_listed(const struct prefix *prefix, const struct prefix_node *node) {
        return node->older || node->newer || prefix->oldest == node;
}

static void unlist(struct prefix *prefix, struct prefix_node *node) {
        if (!is_listed(prefix, node))
                return;
        *(node->older ? &node->older->newer : &prefix->oldest) = node->newer;
        *(node->newer ? &node->newer->older : &prefix->newest) = node->older;
        node->older = node->newer = NULL;
}

static void list_newest(struct prefix *prefix, struct prefix_node *node) {
        unlist(prefix, node);
        node->older = prefix->newest;
        *(prefix->newest ? &prefix->newest->newer : &prefix->oldest) = node;
        prefix->newest = node;
}

void prefix_touch(struct prefix *prefix, struct prefix_node *node) {
        uint64_t now = ++prefix->n_touches;
        for (; node; node = node->parent) {
                node->used = now;
                if (node->data)
                        list_newest(prefix, node);
        }
}

struct prefix_node *prefix_oldest(const struct prefix *prefix) {
        struct prefix_node *node = prefix->oldest;
        while (node && (node->pins > 0 || (!node->stored && node->held > 0)))
                node = node->newer;
        return node;
}

/* -- bytes ---------------------------------------------------------------------------------------
 */

size_t prefix_data_bytes(const struct prefix *prefix, const struct prefix_node *node) {
        return node->kind == PREFIX_PAGE ? prefix->page_bytes : prefix->frontier_bytes;
}

void prefix_set_data(struct prefix *prefix, struct prefix_node *node, uint8_t *data) {
        assert(!node->data);
        node->data = data;
        prefix->data_bytes += prefix_data_bytes(prefix, node);
        prefix_touch(prefix, node);
}

static void free_data(struct prefix *prefix, struct prefix_node *node) {
        if (!node->data)
                return;
        unlist(prefix, node);
        prefix->data_bytes -= prefix_data_bytes(prefix, node);
        free(node->data);
        node->data = NULL;
}

void prefix_drop_data(struct prefix *prefix, struct prefix_node *node) {
        free_data(prefix, node);
        if (!node->stored)
                prefix_forget(prefix, node);
}

static void forget_one(struct prefix *prefix, struct prefix_node *node) {
        struct prefix_node **at = &prefix->bucket[bucket_of(prefix, &node->id)];
        while (*at != node)
                at = &(*at)->bucket_next;
        *at = node->bucket_next;
        prefix->n_nodes--;
        if (node->next)
                node->next->previous = node->previous;
        if (node->previous)
                node->previous->next = node->next;
        else if (node->parent)
                node->parent->child = node->next;
        free_data(prefix, node);
        node->account->n_nodes--;
        close_unused_account(prefix, node->account);
        if (node->kind != PREFIX_ROOT)
                prefix->forgotten[prefix->n_forgotten++ % PREFIX_FORGOTTEN] = node->id;
        free_node(node);
}

static struct prefix_node *first_leaf(struct prefix_node *node) {
        while (node->child)
                node = node->child;
        return node;
}

/* Subtrees are walked leaves first, without recursion: chains are as long as contexts. */
static struct prefix_node *next_up(const struct prefix_node *top, const struct prefix_node *node) {
        return node == top ? NULL : node->next ? first_leaf(node->next) : node->parent;
}

static bool is_empty(const struct prefix_node *node) {
        return !node->data && !node->stored && !node->child && !prefix_in_use(node);
}

void prefix_tidy(struct prefix *prefix, struct prefix_node *node) {
        for (struct prefix_node *parent; node && is_empty(node); node = parent) {
                parent = node->parent;
                forget_one(prefix, node);
        }
}

void prefix_forget(struct prefix *prefix, struct prefix_node *top) {
        struct prefix_node *parent = top->parent;
        for (struct prefix_node *at = first_leaf(top), *next; at; at = next) {
                next = next_up(top, at);
                assert(!prefix_in_use(at));
                forget_one(prefix, at);
        }
        prefix_tidy(prefix, parent);
}

void prefix_lose(struct prefix *prefix, struct prefix_node *top) {
        struct prefix_node *parent = top->parent;
        for (struct prefix_node *at = first_leaf(top), *next; at; at = next) {
                next = next_up(top, at);
                at->stored = false;
                if (is_empty(at))
                        forget_one(prefix, at);
        }
        prefix_tidy(prefix, parent);
}

/* -- who needs what ------------------------------------------------------------------------------
 */

bool prefix_in_use(const struct prefix_node *node) {
        return node->pins > 0 || node->held > 0;
}

bool prefix_hold(struct prefix *prefix, struct prefix_node *node, uint64_t bytes_max) {
        uint64_t bytes = 0;
        for (struct prefix_node *n = node; n->kind != PREFIX_ROOT; n = n->parent)
                bytes += n->held == 0 ? prefix_data_bytes(prefix, n) : 0;
        if (bytes > 0 && node->account->held_bytes + bytes > bytes_max)
                return false;
        node->account->held_bytes += bytes;
        for (; node->kind != PREFIX_ROOT; node = node->parent)
                node->held++;
        return true;
}

void prefix_release(struct prefix *prefix, struct prefix_node *node) {
        for (struct prefix_node *n = node; n->kind != PREFIX_ROOT; n = n->parent)
                if (--n->held == 0)
                        n->account->held_bytes -= prefix_data_bytes(prefix, n);
        prefix_tidy(prefix, node);
}
