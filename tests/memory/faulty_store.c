#include "tests/memory/faulty_store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct record {
        struct kv_entry entry;
        uint32_t tokens[PAGE_TOKENS];
        uint8_t *data;
};

struct kv_store {
        pthread_mutex_t lock;
        const struct page_key *key;
        uint32_t page_bytes, frontier_bytes;
        uint64_t bytes_max, bytes, state, next_value;
        struct faulty_store_rates rates;
        struct record *record;
        size_t n, capacity;
};

static bool fails(struct kv_store *s, unsigned rate) {
        s->state = s->state * 6364136223846793005ULL + 1442695040888963407ULL;
        return (s->state >> 33) % 256 < rate;
}

struct kv_store *faulty_store_new(uint64_t seed, const struct page_key *key, uint32_t page_bytes,
                                  uint32_t frontier_bytes, uint64_t bytes_max) {
        struct kv_store *s = calloc(1, sizeof(*s));
        pthread_mutex_init(&s->lock, NULL);
        s->key = key;
        s->page_bytes = page_bytes;
        s->frontier_bytes = frontier_bytes;
        s->bytes_max = bytes_max;
        s->state = seed;
        return s;
}

void faulty_store_set(struct kv_store *store, struct faulty_store_rates rates) {
        store->rates = rates;
}

void faulty_store_free(struct kv_store *s) {
        for (size_t i = 0; i < s->n; i++)
                free(s->record[i].data);
        free(s->record);
        pthread_mutex_destroy(&s->lock);
        free(s);
}

static struct record *find(struct kv_store *s, const struct page_id *id) {
        for (size_t i = 0; i < s->n; i++)
                if (page_id_equal(&s->record[i].entry.id, id))
                        return &s->record[i];
        return NULL;
}

static int add(struct kv_store *s, struct kv_entry entry, const uint32_t *tokens, const void *data,
               uint32_t bytes) {
        if (find(s, &entry.id))
                return 0;
        bool first = entry.position == (entry.kind == KV_EXTENT ? 0 : entry.n_tokens);
        if (!first && !find(s, &entry.parent))
                return 0; /* its parent is gone: accepted, then given up */
        if (s->bytes + bytes > s->bytes_max)
                return -EDQUOT;
        if (s->n == s->capacity) {
                s->capacity = s->capacity ? 2 * s->capacity : 64;
                s->record = reallocarray(s->record, s->capacity, sizeof(*s->record));
        }
        struct record *r = &s->record[s->n++];
        entry.value = ++s->next_value;
        entry.value_bytes = bytes;
        r->entry = entry;
        memcpy(r->tokens, tokens, entry.n_tokens * sizeof(*tokens));
        r->data = malloc(bytes);
        memcpy(r->data, data, bytes);
        s->bytes += bytes;
        return 0;
}

int kv_store_put_extent(struct kv_store *s, const struct kv_extent *e, kv_done *done, void *ctx) {
        (void)done, (void)ctx;
        pthread_mutex_lock(&s->lock);
        int r = fails(s, s->rates.put) ? (fails(s, 128) ? -EAGAIN : -ENOSPC) : 0;
        struct page_id parent = e->parent;
        for (uint32_t i = 0; r == 0 && i < e->n_pages; i++) {
                struct kv_entry entry = {
                        .kind = KV_EXTENT,
                        .owner = e->owner,
                        .position = e->position + i * PAGE_TOKENS,
                        .n_tokens = PAGE_TOKENS,
                        .parent = parent,
                };
                page_id_next(s->key, &parent, e->tokens + i * PAGE_TOKENS, &entry.id);
                parent = entry.id;
                r = add(s, entry, e->tokens + i * PAGE_TOKENS, e->page[i], s->page_bytes);
        }
        pthread_mutex_unlock(&s->lock);
        return r;
}

int kv_store_put_frontier(struct kv_store *s, const struct kv_frontier *f, kv_done *done,
                          void *ctx) {
        (void)done, (void)ctx;
        struct kv_entry entry = {
                .kind = KV_FRONTIER,
                .owner = f->owner,
                .position = f->position,
                .n_tokens = f->position % PAGE_TOKENS,
                .parent = f->chain,
        };
        page_id_frontier(s->key, &f->chain, f->position, f->tail, entry.n_tokens, &entry.id);
        pthread_mutex_lock(&s->lock);
        int r = fails(s, s->rates.put) ? -EAGAIN : 0;
        if (r == 0)
                r = add(s, entry, f->tail, f->data, f->bytes);
        pthread_mutex_unlock(&s->lock);
        return r;
}

bool kv_store_find(struct kv_store *s, const struct page_id *id, struct kv_entry *ret) {
        pthread_mutex_lock(&s->lock);
        const struct record *r = find(s, id);
        if (r)
                *ret = r->entry;
        pthread_mutex_unlock(&s->lock);
        return r != NULL;
}

void kv_store_each(struct kv_store *s, void (*visit)(void *, const struct kv_entry *), void *ctx) {
        for (size_t i = 0; i < s->n; i++)
                visit(ctx, &s->record[i].entry);
}

/* A node takes what hangs on it along, as in the real store. */
static void delete_tree(struct kv_store *s, struct page_id id) {
        for (size_t i = 0; i < s->n;) {
                if (!page_id_equal(&s->record[i].entry.parent, &id)) {
                        i++;
                        continue;
                }
                delete_tree(s, s->record[i].entry.id);
                i = 0;
        }
        struct record *r = find(s, &id);
        if (!r)
                return;
        s->bytes -= r->entry.value_bytes;
        free(r->data);
        *r = s->record[--s->n];
}

void kv_store_delete(struct kv_store *s, const uint64_t *values, size_t n) {
        pthread_mutex_lock(&s->lock);
        for (size_t v = 0; v < n; v++)
                for (size_t i = 0; i < s->n; i++)
                        if (s->record[i].entry.value == values[v]) {
                                delete_tree(s, s->record[i].entry.id);
                                break;
                        }
        pthread_mutex_unlock(&s->lock);
}

size_t kv_store_read_pages(struct kv_store *s, const struct kv_page_read *pages, size_t n) {
        size_t i;
        pthread_mutex_lock(&s->lock);
        for (i = 0; i < n; i++) {
                const struct record *r = find(s, &pages[i].id);
                if (r && fails(s, s->rates.read)) {
                        delete_tree(s, pages[i].id); /* quarantined */
                        r = NULL;
                }
                if (!r || memcmp(r->tokens, pages[i].tokens, sizeof(r->tokens)) != 0)
                        break;
                memcpy(pages[i].data, r->data, s->page_bytes);
        }
        pthread_mutex_unlock(&s->lock);
        return i;
}

int kv_store_read_frontier(struct kv_store *s, const struct page_id *id, const uint32_t *tail,
                           uint32_t n_tail, void *data, size_t capacity, uint32_t *ret_bytes) {
        int result = -ENOENT;
        pthread_mutex_lock(&s->lock);
        const struct record *r = find(s, id);
        if (r && !fails(s, s->rates.read) && r->entry.n_tokens == n_tail &&
            memcmp(r->tokens, tail, n_tail * sizeof(*tail)) == 0 &&
            r->entry.value_bytes <= capacity) {
                memcpy(data, r->data, r->entry.value_bytes);
                *ret_bytes = r->entry.value_bytes;
                result = 0;
        } else if (r) {
                delete_tree(s, *id);
        }
        pthread_mutex_unlock(&s->lock);
        return result;
}

int kv_store_read_tokens(struct kv_store *s, const struct page_id *id, uint32_t ret[PAGE_TOKENS]) {
        pthread_mutex_lock(&s->lock);
        const struct record *r = find(s, id);
        int n = r ? (int)r->entry.n_tokens : -ENOENT;
        if (r)
                memcpy(ret, r->tokens, r->entry.n_tokens * sizeof(*ret));
        pthread_mutex_unlock(&s->lock);
        return n;
}

void kv_store_flush(struct kv_store *s) {
        (void)s;
}

void kv_store_statistics(struct kv_store *s, struct kv_store_statistics *ret) {
        pthread_mutex_lock(&s->lock);
        *ret = (struct kv_store_statistics){ .value_bytes = s->bytes, .bytes_max = s->bytes_max };
        pthread_mutex_unlock(&s->lock);
}

uint64_t kv_store_owner_bytes(struct kv_store *s, uint32_t owner) {
        uint64_t bytes = 0;
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->n; i++)
                bytes += s->record[i].entry.owner == owner ? s->record[i].entry.value_bytes : 0;
        pthread_mutex_unlock(&s->lock);
        return bytes;
}
