#include "memory/kv_index.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t key_of(const struct page_id *id) {
        uint64_t key;
        memcpy(&key, id->bytes, sizeof(key));
        return key;
}

void kv_index_deinit(struct kv_index *index) {
        void *p;
        for (size_t at = 0; (p = id_table_next(&index->by_value, &at));)
                free(p);
        for (size_t at = 0; (p = id_table_next(&index->owners, &at));)
                free(p);
        for (size_t i = 0; i < index->n_sessions; i++)
                free(index->sessions[i]);
        free(index->sessions);
        id_table_deinit(&index->by_value);
        id_table_deinit(&index->by_id);
        id_table_deinit(&index->owners);
        *index = (struct kv_index){ 0 };
}

struct kv_node *kv_node_new(unsigned count) {
        struct kv_node *node = calloc(1, sizeof(*node) + count * sizeof(node->id[0]));
        if (node)
                node->count = (uint8_t)count;
        return node;
}

/* -- finding -------------------------------------------------------------------------------------
 */

struct kv_node *kv_index_find(const struct kv_index *index, const struct page_id *id,
                              unsigned *ret_part) {
        struct kv_node *node = id_table_get(&index->by_id, key_of(id));
        for (unsigned i = 0; node && i < node->count; i++) {
                if ((node->live >> i & 1) && page_id_equal(&node->id[i], id)) {
                        if (ret_part)
                                *ret_part = i;
                        return node;
                }
        }
        return NULL;
}

struct kv_node *kv_index_find_value(const struct kv_index *index, uint64_t value) {
        return id_table_get(&index->by_value, value);
}

bool kv_node_needs_parent(const struct kv_node *node) {
        if (node->kind == KV_FRONTIER)
                return node->position >= PAGE_TOKENS;
        return node->position > 0 || !(node->live & 1);
}

bool kv_node_covers(const struct kv_node *covering, const struct kv_node *node) {
        for (unsigned i = 0; i < node->count; i++) {
                if (!(node->live >> i & 1))
                        continue;
                unsigned k = 0;
                while (k < covering->count &&
                       !((covering->live >> k & 1) &&
                         page_id_equal(&covering->id[k], &node->id[i])))
                        k++;
                if (k == covering->count)
                        return false;
        }
        return true;
}

/* -- the trees -----------------------------------------------------------------------------------
 */

static void hang(struct kv_node *node, struct kv_node *up) {
        node->up = up;
        node->previous = NULL;
        node->next = up->first_child;
        if (up->first_child)
                up->first_child->previous = node;
        up->first_child = node;
}

static void take_down(struct kv_node *node) {
        if (!node->up)
                return;
        if (node->previous)
                node->previous->next = node->next;
        else
                node->up->first_child = node->next;
        if (node->next)
                node->next->previous = node->previous;
        node->up = node->next = node->previous = NULL;
}

bool kv_index_link(struct kv_index *index, struct kv_node *node) {
        if (!kv_node_needs_parent(node))
                return true;
        struct kv_node *up = kv_index_find(index, &node->parent, NULL);
        if (!up || up == node)
                return false;
        hang(node, up);
        return true;
}

/* -- coming and going ----------------------------------------------------------------------------
 */

int kv_index_reserve(struct kv_index *index, unsigned n_parts) {
        int r = id_table_reserve(&index->by_value, index->by_value.n + 1);
        return r < 0 ? r : id_table_reserve(&index->by_id, index->by_id.n + n_parts);
}

static void set_reserved(struct id_table *table, uint64_t key, void *pointer) {
        int r = id_table_set(table, key, pointer);
        assert(r == 0); /* room was made */
        (void)r;
}

static void count_parts(struct kv_index *index, const struct kv_node *node, uint64_t sign) {
        uint64_t n = (uint64_t)__builtin_popcount(node->live) * sign;
        struct kv_owner *owner = id_table_get(&index->owners, node->owner);
        uint64_t *total = node->kind == KV_FRONTIER ? &index->n_frontiers : &index->n_pages;
        uint64_t *own = node->kind == KV_FRONTIER ? &owner->n_frontiers : &owner->n_pages;
        assert(owner); /* its bytes are charged to it */
        *total += n;
        *own += n;
}

/* `old` is about to lose all its parts to `node`: what hung on them hangs on `node` from here on.
 */
static void inherit(struct kv_node *node, struct kv_node *old) {
        while (old->first_child) {
                struct kv_node *child = old->first_child;
                take_down(child);
                hang(child, node);
        }
}

static void forget_parts(struct kv_index *index, struct kv_node *node) {
        count_parts(index, node, (uint64_t)-1);
        for (unsigned i = 0; i < node->count; i++)
                if (kv_index_find(index, &node->id[i], NULL) == node && (node->live >> i & 1))
                        id_table_remove(&index->by_id, key_of(&node->id[i]));
        node->live = 0;
}

void kv_index_insert(struct kv_index *index, struct kv_node *node) {
        for (unsigned i = 0; i < node->count; i++) {
                if (!(node->live >> i & 1))
                        continue;
                struct kv_node *old = id_table_get(&index->by_id, key_of(&node->id[i]));
                if (old && kv_node_covers(node, old)) {
                        inherit(node, old);
                        kv_index_doom(index, old);
                        old = NULL;
                }
                if (old) /* someone else's identity with the same first bytes, or a part of more */
                        node->live &= (uint8_t) ~(1U << i);
        }
        set_reserved(&index->by_value, node->value, node);
        for (unsigned i = 0; i < node->count; i++)
                if (node->live >> i & 1)
                        set_reserved(&index->by_id, key_of(&node->id[i]), node);
        count_parts(index, node, 1);
}

static void await_deletion(struct kv_index *index, struct kv_node *node) {
        node->next_doomed = index->doomed;
        index->doomed = node;
}

size_t kv_index_doom(struct kv_index *index, struct kv_node *node) {
        if (node->doomed)
                return 0;
        size_t n = 0;
        take_down(node);
        /* The list of those still to be doomed, through `next`, which take_down() freed. */
        for (struct kv_node *list = node; list;) {
                node = list;
                list = node->next;
                node->next = NULL;
                while (node->first_child) {
                        struct kv_node *child = node->first_child;
                        take_down(child);
                        child->next = list;
                        list = child;
                }
                forget_parts(index, node);
                kv_index_refund(index, node->owner, node->bytes);
                node->doomed = true;
                if (node->pins == 0)
                        await_deletion(index, node);
                n++;
        }
        return n;
}

void kv_index_pin(struct kv_node *node) {
        node->pins++;
}

void kv_index_unpin(struct kv_index *index, struct kv_node *node) {
        assert(node->pins > 0);
        if (--node->pins == 0 && node->doomed)
                await_deletion(index, node);
}

void kv_index_remove(struct kv_index *index, struct kv_node *node) {
        assert(node->doomed && node->pins == 0);
        id_table_remove(&index->by_value, node->value);
        free(node);
}

/* -- owners --------------------------------------------------------------------------------------
 */

struct kv_owner *kv_index_owner(struct kv_index *index, uint32_t uid) {
        struct kv_owner *owner = id_table_get(&index->owners, uid);
        if (owner)
                return owner;
        owner = calloc(1, sizeof(*owner));
        if (!owner || id_table_set(&index->owners, uid, owner) < 0) {
                free(owner);
                return NULL;
        }
        owner->uid = uid;
        return owner;
}

void kv_index_charge(struct kv_index *index, struct kv_owner *owner, uint64_t bytes) {
        owner->bytes += bytes;
        index->bytes += bytes;
}

void kv_index_refund(struct kv_index *index, uint32_t uid, uint64_t bytes) {
        struct kv_owner *owner = id_table_get(&index->owners, uid);
        assert(owner && owner->bytes >= bytes && index->bytes >= bytes);
        owner->bytes -= bytes;
        index->bytes -= bytes;
}

/* -- sessions ------------------------------------------------------------------------------------
 */

/* The first whose id is not less. */
static size_t session_at(const struct kv_index *index, uint64_t id) {
        size_t low = 0, high = index->n_sessions;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (index->sessions[middle]->id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

struct kv_session *kv_index_session(const struct kv_index *index, uint64_t id) {
        size_t at = session_at(index, id);
        if (at == index->n_sessions || index->sessions[at]->id != id)
                return NULL;
        return index->sessions[at];
}

int kv_index_reserve_sessions(struct kv_index *index, size_t n_more) {
        size_t capacity = index->sessions_capacity ? index->sessions_capacity : 64;
        while (capacity < index->n_sessions + n_more)
                capacity *= 2;
        if (capacity == index->sessions_capacity)
                return 0;
        struct kv_session **grown =
                reallocarray(index->sessions, capacity, sizeof(index->sessions[0]));
        if (!grown)
                return -ENOMEM;
        index->sessions = grown;
        index->sessions_capacity = capacity;
        return 0;
}

void kv_index_put_session(struct kv_index *index, struct kv_session *session) {
        size_t at = session_at(index, session->id);
        struct kv_session *old = kv_index_session(index, session->id);
        if (old) {
                free(old);
        } else {
                assert(index->n_sessions < index->sessions_capacity);
                memmove(index->sessions + at + 1, index->sessions + at,
                        (index->n_sessions - at) * sizeof(index->sessions[0]));
                index->n_sessions++;
        }
        index->sessions[at] = session;
}

void kv_index_remove_session(struct kv_index *index, uint64_t id) {
        size_t at = session_at(index, id);
        if (!kv_index_session(index, id))
                return;
        free(index->sessions[at]);
        index->n_sessions--;
        memmove(index->sessions + at, index->sessions + at + 1,
                (index->n_sessions - at) * sizeof(index->sessions[0]));
}
