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
                .half_life = { 1, 1 },
                .ms_per_token = 1,
                .disk_ms_per_byte = 1,
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
                prefix_reorder(prefix, parent);
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
                                  uint32_t owner, uint32_t position, uint32_t n_tokens,
                                  uint64_t used) {
        struct prefix_node *node = prefix_find(prefix, id), *up = prefix_find(prefix, parent);
        if (node) {
                prefix_set_disk(prefix, node, PREFIX_STORED);
                return node;
        }
        if (!up && position == n_tokens) /* the first page, or a frontier before it */
                up = prefix_root(prefix, parent, owner);
        if (!up || !(node = add(prefix, kind, id, up, up->account)))
                return NULL;
        node->position = position;
        node->n_tokens = n_tokens;
        node->used = used;
        prefix_set_disk(prefix, node, PREFIX_STORED);
        return node;
}

/* -- bytes ---------------------------------------------------------------------------------------
 */

size_t prefix_data_bytes(const struct prefix *prefix, const struct prefix_node *node) {
        return node->kind == PREFIX_PAGE ? prefix->page_bytes : prefix->frontier_bytes;
}

void prefix_reserve(struct prefix *prefix, struct prefix_account *account, size_t bytes) {
        prefix->data_bytes += bytes;
        account->data_bytes += bytes;
}

void prefix_unreserve(struct prefix *prefix, struct prefix_account *account, size_t bytes) {
        prefix->data_bytes -= bytes;
        account->data_bytes -= bytes;
}

/* A node enters a tier or leaves it. */
static void count(struct prefix *prefix, struct prefix_node *node, enum prefix_tier tier, int n) {
        if (node->parent) {
                node->parent->n_below[tier] += (uint32_t)n;
                prefix_reorder(prefix, node->parent);
        }
        prefix_reorder(prefix, node);
}

void prefix_set_data(struct prefix *prefix, struct prefix_node *node, uint8_t *data) {
        assert(!node->data);
        node->data = data;
        prefix->arrived += prefix_data_bytes(prefix, node);
        node->used = prefix->arrived;
        if (node->kind == PREFIX_FRONTIER)
                node->parent->lost_state = false;
        count(prefix, node, PREFIX_MEMORY, 1);
}

static void free_data(struct prefix *prefix, struct prefix_node *node) {
        if (!node->data)
                return;
        prefix_unreserve(prefix, node->account, prefix_data_bytes(prefix, node));
        free(node->data);
        node->data = NULL;
        count(prefix, node, PREFIX_MEMORY, -1);
}

void prefix_set_disk(struct prefix *prefix, struct prefix_node *node, enum prefix_disk disk) {
        bool was = node->disk != PREFIX_NOT_STORED, is = disk != PREFIX_NOT_STORED;
        node->disk = disk;
        if (was != is)
                count(prefix, node, PREFIX_DISK, is ? 1 : -1);
}

void prefix_drop_data(struct prefix *prefix, struct prefix_node *node) {
        free_data(prefix, node);
        if (node->disk == PREFIX_NOT_STORED)
                prefix_forget(prefix, node);
}

static void leave_table(struct prefix *prefix, struct prefix_node *node) {
        struct prefix_node **at = &prefix->bucket[bucket_of(prefix, &node->id)];
        while (*at != node)
                at = &(*at)->bucket_next;
        *at = node->bucket_next;
}

static void enter_table(struct prefix *prefix, struct prefix_node *node) {
        struct prefix_node **bucket = &prefix->bucket[bucket_of(prefix, &node->id)];
        node->bucket_next = *bucket;
        *bucket = node;
}

void prefix_rename(struct prefix *prefix, struct prefix_node *node, const struct page_id *id) {
        leave_table(prefix, node);
        node->id = *id;
        enter_table(prefix, node);
}

static void forget_one(struct prefix *prefix, struct prefix_node *node) {
        leave_table(prefix, node);
        prefix->n_nodes--;
        free_data(prefix, node);
        prefix_set_disk(prefix, node, PREFIX_NOT_STORED);
        if (node->next)
                node->next->previous = node->previous;
        if (node->previous)
                node->previous->next = node->next;
        else if (node->parent)
                node->parent->child = node->next;
        if (node->parent)
                prefix_reorder(prefix, node->parent);
        node->account->n_nodes--;
        close_unused_account(prefix, node->account);
        if (node->kind == PREFIX_FRONTIER)
                node->parent->lost_state = true;
        if (node->kind == PREFIX_PAGE)
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
        return !node->data && node->disk == PREFIX_NOT_STORED && !node->child &&
                !prefix_in_use(node);
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
                if (at->disk == PREFIX_STORED)
                        prefix_set_disk(prefix, at, PREFIX_NOT_STORED);
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

void prefix_pin(struct prefix *prefix, struct prefix_node *node) {
        if (node->pins++ == 0)
                prefix_reorder(prefix, node);
}

void prefix_unpin(struct prefix *prefix, struct prefix_node *node) {
        if (--node->pins == 0)
                prefix_reorder(prefix, node);
}

bool prefix_hold(struct prefix *prefix, struct prefix_node *node, uint64_t bytes_max) {
        uint64_t bytes = 0;
        for (struct prefix_node *n = node; n->kind != PREFIX_ROOT; n = n->parent)
                bytes += n->held == 0 ? prefix_data_bytes(prefix, n) : 0;
        if (bytes > 0 && node->account->held_bytes + bytes > bytes_max)
                return false;
        node->account->held_bytes += bytes;
        for (; node->kind != PREFIX_ROOT; node = node->parent) {
                node->held++;
                prefix_reorder(prefix, node);
        }
        return true;
}

void prefix_release(struct prefix *prefix, struct prefix_node *node) {
        for (struct prefix_node *n = node; n->kind != PREFIX_ROOT; n = n->parent) {
                if (--n->held == 0)
                        n->account->held_bytes -= prefix_data_bytes(prefix, n);
                prefix_reorder(prefix, n);
        }
        prefix_tidy(prefix, node);
}
