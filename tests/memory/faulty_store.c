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
        uint64_t bytes_max, owner_bytes_max, day_bytes_max, day_bytes;
        uint64_t bytes, state, next_value, n_collateral;
        struct faulty_store_rates rates;
        struct record *record; /* the first n can be found, n_late more come later */
        size_t n, n_late, capacity;
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
        s->bytes_max = s->owner_bytes_max = bytes_max;
        s->state = seed;
        return s;
}

void faulty_store_set(struct kv_store *store, struct faulty_store_rates rates) {
        pthread_mutex_lock(&store->lock);
        store->rates = rates;
        pthread_mutex_unlock(&store->lock);
}

void faulty_store_limit(struct kv_store *store, uint64_t owner_bytes_max,
                        uint64_t write_bytes_per_day) {
        pthread_mutex_lock(&store->lock);
        store->owner_bytes_max = owner_bytes_max ? owner_bytes_max : store->bytes_max;
        store->day_bytes_max = write_bytes_per_day;
        pthread_mutex_unlock(&store->lock);
}

void faulty_store_next_day(struct kv_store *store) {
        store->day_bytes = 0;
}

uint64_t faulty_store_collateral(const struct kv_store *store) {
        return store->n_collateral;
}

void faulty_store_free(struct kv_store *s) {
        for (size_t i = 0; i < s->n + s->n_late; i++)
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

static uint32_t bytes_of(const struct kv_store *s, const struct kv_entry *entry) {
        return entry->kind == KV_EXTENT ? s->page_bytes : s->frontier_bytes;
}

static uint64_t owner_bytes(const struct kv_store *s, uint32_t owner) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < s->n + s->n_late; i++)
                if (s->record[i].entry.owner == owner)
                        bytes += bytes_of(s, &s->record[i].entry);
        return bytes;
}

/* -- writing -------------------------------------------------------------------------------------
 */

static bool has_parent(struct kv_store *s, const struct kv_entry *entry) {
        bool first = entry->position == (entry->kind == KV_EXTENT ? 0 : entry->n_tokens);
        return first || find(s, &entry->parent);
}

/* The oldest that is late: found from now on, unless it is there or cannot be. */
static void write_first(struct kv_store *s, bool fail) {
        struct record late = s->record[s->n], *known = find(s, &late.entry.id);
        s->n_late--;
        if (!known && !fail && has_parent(s, &late.entry)) {
                s->n++;
                return;
        }
        if (known && !fail && late.entry.value_bytes > known->entry.value_bytes) { /* replaced */
                known->entry.value = late.entry.value;
                known->entry.value_bytes = late.entry.value_bytes;
        }
        s->bytes -= bytes_of(s, &late.entry);
        free(late.data);
        memmove(&s->record[s->n], &s->record[s->n + 1], s->n_late * sizeof(*s->record));
}

/* A value is written, or given up, as a whole. */
static void write_all(struct kv_store *s) {
        uint64_t value = 0;
        bool fail = false;
        while (s->n_late > 0) {
                if (s->record[s->n].entry.value != value)
                        fail = fails(s, s->rates.commit);
                value = s->record[s->n].entry.value;
                write_first(s, fail);
        }
}

void faulty_store_write(struct kv_store *s) {
        pthread_mutex_lock(&s->lock);
        write_all(s);
        pthread_mutex_unlock(&s->lock);
}

void faulty_store_crash(struct kv_store *s) {
        pthread_mutex_lock(&s->lock);
        while (s->n_late > 0)
                write_first(s, true);
        pthread_mutex_unlock(&s->lock);
}

static int refusal(struct kv_store *s, uint32_t owner, uint64_t bytes) {
        if (s->rates.full)
                return -ENOSPC;
        if (fails(s, s->rates.put))
                return fails(s, 128) ? -EAGAIN : -ENOSPC;
        if (s->day_bytes_max > 0 && s->day_bytes + bytes > s->day_bytes_max)
                return -EDQUOT;
        if (s->bytes + bytes > s->bytes_max || owner_bytes(s, owner) + bytes > s->owner_bytes_max)
                return -EDQUOT;
        return 0;
}

static void add(struct kv_store *s, const struct kv_entry *entry, const uint32_t *tokens,
                const void *data) {
        if (s->n + s->n_late == s->capacity) {
                s->capacity = s->capacity ? 2 * s->capacity : 64;
                s->record = reallocarray(s->record, s->capacity, sizeof(*s->record));
        }
        struct record *r = &s->record[s->n + s->n_late++];
        uint32_t bytes = bytes_of(s, entry);
        r->entry = *entry;
        memcpy(r->tokens, tokens, entry->n_tokens * sizeof(*tokens));
        r->data = malloc(bytes);
        memcpy(r->data, data, bytes);
        s->bytes += bytes;
        s->day_bytes += bytes;
}

int kv_store_put_extent(struct kv_store *s, const struct kv_extent *e, kv_done *done, void *ctx) {
        (void)done, (void)ctx;
        pthread_mutex_lock(&s->lock);
        uint32_t bytes = e->n_pages * s->page_bytes;
        int r = refusal(s, e->owner, bytes);
        struct kv_entry entry = {
                .value = ++s->next_value,
                .kind = KV_EXTENT,
                .owner = e->owner,
                .n_tokens = PAGE_TOKENS,
                .value_bytes = bytes,
                .id = e->parent,
        };
        for (uint32_t i = 0; r == 0 && i < e->n_pages; i++) {
                entry.parent = entry.id;
                entry.position = e->position + i * PAGE_TOKENS;
                page_id_next(s->key, &entry.parent, e->tokens + i * PAGE_TOKENS, &entry.id);
                add(s, &entry, e->tokens + i * PAGE_TOKENS, e->page[i]);
        }
        if (!fails(s, s->rates.late))
                write_all(s);
        pthread_mutex_unlock(&s->lock);
        return r;
}

int kv_store_put_frontier(struct kv_store *s, const struct kv_frontier *f, kv_done *done,
                          void *ctx) {
        (void)done, (void)ctx;
        pthread_mutex_lock(&s->lock);
        struct kv_entry entry = {
                .value = ++s->next_value,
                .kind = KV_FRONTIER,
                .owner = f->owner,
                .position = f->position,
                .n_tokens = f->position % PAGE_TOKENS,
                .value_bytes = f->bytes,
                .parent = f->chain,
        };
        page_id_frontier(s->key, &f->chain, f->position, f->tail, entry.n_tokens, &entry.id);
        int r = refusal(s, f->owner, f->bytes);
        if (r == 0)
                add(s, &entry, f->tail, f->data);
        if (!fails(s, s->rates.late))
                write_all(s);
        pthread_mutex_unlock(&s->lock);
        return r;
}

void kv_store_flush(struct kv_store *s) {
        (void)s;
}

/* -- forgetting ----------------------------------------------------------------------------------
 */

static void remove_record(struct kv_store *s, struct record *r) {
        s->bytes -= bytes_of(s, &r->entry);
        free(r->data);
        *r = s->record[--s->n];
        memmove(&s->record[s->n], &s->record[s->n + 1], s->n_late * sizeof(*s->record));
}

static void delete_tree(struct kv_store *s, struct page_id id, uint64_t value) {
        for (size_t i = 0; i < s->n;) {
                if (!page_id_equal(&s->record[i].entry.parent, &id)) {
                        i++;
                        continue;
                }
                delete_tree(s, s->record[i].entry.id, value);
                i = 0;
        }
        struct record *r = find(s, &id);
        if (!r)
                return;
        s->n_collateral += r->entry.value != value;
        remove_record(s, r);
}

static void delete_value(struct kv_store *s, uint64_t value) {
        for (size_t i = 0; i < s->n;) {
                if (s->record[i].entry.value != value) {
                        i++;
                        continue;
                }
                delete_tree(s, s->record[i].entry.id, value);
                i = 0;
        }
}

void kv_store_delete(struct kv_store *s, const uint64_t *values, size_t n) {
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < n; i++)
                delete_value(s, values[i]);
        pthread_mutex_unlock(&s->lock);
}

/* What is written, and what is late. */
void faulty_store_purge(struct kv_store *s, uint32_t owner) {
        pthread_mutex_lock(&s->lock);
        size_t n = 0, n_late = 0;
        for (size_t i = 0; i < s->n + s->n_late; i++) {
                struct record *r = &s->record[i];
                if (r->entry.owner == owner) {
                        s->bytes -= bytes_of(s, &r->entry);
                        free(r->data);
                        continue;
                }
                s->record[n + n_late] = *r;
                *(i < s->n ? &n : &n_late) += 1;
        }
        s->n = n;
        s->n_late = n_late;
        pthread_mutex_unlock(&s->lock);
}

/* -- reading -------------------------------------------------------------------------------------
 */

bool kv_store_find(struct kv_store *s, const struct page_id *id, struct kv_entry *ret) {
        pthread_mutex_lock(&s->lock);
        const struct record *r = find(s, id);
        if (r)
                *ret = r->entry;
        pthread_mutex_unlock(&s->lock);
        return r != NULL;
}

void kv_store_each(struct kv_store *s, void (*visit)(void *, const struct kv_entry *), void *ctx) {
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->n; i++)
                visit(ctx, &s->record[i].entry);
        pthread_mutex_unlock(&s->lock);
}

/* What fails is quarantined: the whole value. */
static const struct record *read_record(struct kv_store *s, const struct page_id *id,
                                        const uint32_t *tokens, uint32_t n_tokens) {
        const struct record *r = find(s, id);
        if (r && !fails(s, s->rates.read) && r->entry.n_tokens == n_tokens &&
            memcmp(r->tokens, tokens, n_tokens * sizeof(*tokens)) == 0)
                return r;
        uint64_t before = s->n_collateral;
        if (r)
                delete_value(s, r->entry.value);
        s->n_collateral = before; /* damage, nobody's decision */
        return NULL;
}

/* Nothing is slow here. */
void kv_store_expect(struct kv_store *s, const struct kv_page_read *pages, size_t n,
                     const struct page_id *frontier) {
        (void)s, (void)pages, (void)n, (void)frontier;
}

size_t kv_store_read_pages(struct kv_store *s, const struct kv_page_read *pages, size_t n) {
        size_t i;
        pthread_mutex_lock(&s->lock);
        for (i = 0; i < n; i++) {
                const struct record *r = read_record(s, &pages[i].id, pages[i].tokens, PAGE_TOKENS);
                if (!r)
                        break;
                memcpy(pages[i].data, r->data, s->page_bytes);
        }
        pthread_mutex_unlock(&s->lock);
        return i;
}

int kv_store_read_frontier(struct kv_store *s, const struct page_id *id, const uint32_t *tail,
                           uint32_t n_tail, void *data, size_t capacity, uint32_t *ret_bytes) {
        pthread_mutex_lock(&s->lock);
        const struct record *r = read_record(s, id, tail, n_tail);
        bool good = r && s->frontier_bytes <= capacity;
        if (good) {
                memcpy(data, r->data, s->frontier_bytes);
                *ret_bytes = s->frontier_bytes;
        }
        pthread_mutex_unlock(&s->lock);
        return good ? 0 : -ENOENT;
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

void kv_store_statistics(struct kv_store *s, struct kv_store_statistics *ret) {
        pthread_mutex_lock(&s->lock);
        *ret = (struct kv_store_statistics){
                .value_bytes = s->bytes,
                .bytes_max = s->bytes_max,
                .owner_bytes_max = s->owner_bytes_max,
                .day_bytes = s->day_bytes,
                .write_bytes_per_day = s->day_bytes_max,
                .queued_bytes = s->n_late,
        };
        pthread_mutex_unlock(&s->lock);
}

uint64_t kv_store_owner_bytes(struct kv_store *s, uint32_t owner) {
        pthread_mutex_lock(&s->lock);
        uint64_t bytes = owner_bytes(s, owner);
        pthread_mutex_unlock(&s->lock);
        return bytes;
}
