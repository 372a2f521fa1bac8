#include "tests/memory/store_fixture.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* Not cmocka's: child processes and threads use this, too. */
#define must(condition)                                                                            \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
                        abort();                                                                   \
                }                                                                                  \
        } while (0)

static void note(void *context, enum kv_event event, const char *text) {
        struct fixture *f = context;
        __atomic_fetch_add(&f->events[event], 1, __ATOMIC_RELAXED);
        if (event != KV_EVENT_DAMAGED_VALUE) /* readers report those, at the same time */
                snprintf(f->last_text, sizeof(f->last_text), "%s", text);
}

void fixture_init(struct fixture *f) {
        memset(f, 0, sizeof(*f));
        scratch_make(&f->folder);
        memset(&f->key, 7, sizeof(f->key));
        f->config = (struct kv_store_config){
                .folder = f->folder.path,
                .key = &f->key,
                .fingerprint = { { 1, 2, 3, 4 } },
                .page_bytes = PAGE_BYTES,
                .frontier_bytes_max = FRONTIER_BYTES,
                .bytes_max = 64 << 20,
                .report = note,
                .context = f,
        };
}

int fixture_try_open(struct fixture *f, struct error *err) {
        return kv_store_open(&f->config, &f->store, err);
}

void fixture_open(struct fixture *f) {
        struct error err = { 0 };
        if (fixture_try_open(f, &err) < 0) {
                fprintf(stderr, "%s\n", err.text);
                abort();
        }
}

void fixture_close(struct fixture *f) {
        kv_store_close(f->store);
        f->store = NULL;
}

void fixture_deinit(struct fixture *f) {
        fixture_close(f);
        scratch_remove(&f->folder);
}

static void chain_continue(struct chain *chain, const struct page_key *key, uint32_t page,
                           uint32_t seed) {
        uint64_t random = seed;
        for (; page < CHAIN_PAGES; page++) {
                uint32_t *tokens = chain->tokens + page * PAGE_TOKENS;
                for (int i = 0; i < PAGE_TOKENS; i++)
                        tokens[i] = (uint32_t)(next_random(&random) % 130000);
                page_id_next(key, chain_parent(chain, page), tokens, &chain->id[page]);
        }
}

void chain_make(struct chain *chain, const struct page_key *key, uint32_t owner, uint32_t seed) {
        struct page_id fingerprint = { { 1, 2, 3, 4 } };
        chain->owner = owner;
        page_id_root(key, &fingerprint, owner, "", &chain->root);
        chain_continue(chain, key, 0, seed);
}

void chain_fork(struct chain *chain, const struct page_key *key, const struct chain *from,
                uint32_t n_pages, uint32_t seed) {
        *chain = *from;
        chain_continue(chain, key, n_pages, seed);
}

const struct page_id *chain_parent(const struct chain *chain, uint32_t page) {
        return page == 0 ? &chain->root : &chain->id[page - 1];
}

void chain_frontier_id(const struct chain *chain, const struct page_key *key, uint32_t position,
                       struct page_id *ret) {
        uint32_t page = position / PAGE_TOKENS;
        page_id_frontier(key, chain_parent(chain, page), position,
                         chain->tokens + page * PAGE_TOKENS, position % PAGE_TOKENS, ret);
}

void bytes_of(const struct page_id *id, void *data, size_t bytes) {
        uint64_t random;
        memcpy(&random, id->bytes, sizeof(random));
        for (size_t i = 0; i < bytes; i += sizeof(random)) {
                uint64_t word = next_random(&random);
                size_t n = bytes - i < sizeof(word) ? bytes - i : sizeof(word);
                memcpy((uint8_t *)data + i, &word, n);
        }
}

uint32_t frontier_bytes_of(const struct page_id *id) {
        return FRONTIER_BYTES - id->bytes[31] % 100;
}

int chain_put(struct fixture *f, const struct chain *chain, uint32_t page, uint32_t n_pages,
              kv_done *done, void *context) {
        uint8_t data[KV_EXTENT_PAGES_MAX][PAGE_BYTES];
        struct kv_extent extent = {
                .owner = chain->owner,
                .position = page * PAGE_TOKENS,
                .n_pages = n_pages,
                .parent = *chain_parent(chain, page),
                .tokens = chain->tokens + page * PAGE_TOKENS,
        };
        for (uint32_t i = 0; i < n_pages && i < KV_EXTENT_PAGES_MAX; i++) {
                bytes_of(&chain->id[page + i], data[i], PAGE_BYTES);
                extent.page[i] = data[i];
        }
        return kv_store_put_extent(f->store, &extent, done, context);
}

int chain_put_frontier(struct fixture *f, const struct chain *chain, uint32_t position,
                       kv_done *done, void *context) {
        uint8_t data[FRONTIER_BYTES];
        struct page_id id;
        chain_frontier_id(chain, &f->key, position, &id);
        bytes_of(&id, data, sizeof(data));
        const struct kv_frontier frontier = {
                .owner = chain->owner,
                .position = position,
                .chain = *chain_parent(chain, position / PAGE_TOKENS),
                .tail = chain->tokens + position / PAGE_TOKENS * PAGE_TOKENS,
                .data = data,
                .bytes = frontier_bytes_of(&id),
        };
        return kv_store_put_frontier(f->store, &frontier, done, context);
}

size_t chain_read(struct fixture *f, const struct chain *chain, uint32_t page, uint32_t n_pages) {
        static _Thread_local uint8_t data[CHAIN_PAGES][PAGE_BYTES];
        struct kv_page_read reads[CHAIN_PAGES];
        for (uint32_t i = 0; i < n_pages; i++)
                reads[i] = (struct kv_page_read){
                        .id = chain->id[page + i],
                        .tokens = chain->tokens + (page + i) * PAGE_TOKENS,
                        .data = data[i],
                };
        size_t n = kv_store_read_pages(f->store, reads, n_pages);
        for (size_t i = 0; i < n; i++) {
                uint8_t expected[PAGE_BYTES];
                bytes_of(&chain->id[page + i], expected, PAGE_BYTES);
                must(memcmp(data[i], expected, PAGE_BYTES) == 0);
        }
        return n;
}

bool chain_read_frontier(struct fixture *f, const struct chain *chain, uint32_t position) {
        uint8_t data[FRONTIER_BYTES], expected[FRONTIER_BYTES];
        struct page_id id;
        uint32_t bytes;
        chain_frontier_id(chain, &f->key, position, &id);
        if (kv_store_read_frontier(f->store, &id,
                                   chain->tokens + position / PAGE_TOKENS * PAGE_TOKENS,
                                   position % PAGE_TOKENS, data, sizeof(data), &bytes) < 0)
                return false;
        bytes_of(&id, expected, sizeof(expected));
        must(bytes == frontier_bytes_of(&id) && memcmp(data, expected, bytes) == 0);
        return true;
}

uint64_t chain_session_id(const struct chain *chain) {
        return (uint64_t)chain->owner << 32 | (chain->tokens[0] + 1);
}

int chain_put_session(struct fixture *f, const struct chain *chain, uint32_t n_tokens,
                      kv_done *done, void *context) {
        struct kv_session session = {
                .id = chain_session_id(chain),
                .owner = chain->owner,
                .n_tokens = n_tokens,
                .subject = "tenant",
        };
        return kv_store_put_session(f->store, &session, chain->tokens, done, context);
}

int chain_read_session(struct fixture *f, const struct chain *chain) {
        uint32_t ids[CHAIN_PAGES * PAGE_TOKENS];
        struct kv_session session;
        if (!kv_store_find_session(f->store, chain_session_id(chain), &session))
                return -1;
        must(session.owner == chain->owner && strcmp(session.subject, "tenant") == 0);
        must(session.n_tokens <= CHAIN_PAGES * PAGE_TOKENS);
        if (kv_store_read_session(f->store, session.id, ids, session.n_tokens) < 0)
                return -1;
        must(memcmp(ids, chain->tokens, session.n_tokens * sizeof(ids[0])) == 0);
        return (int)session.n_tokens;
}

void count_outcome(void *context, int status) {
        struct outcomes *outcomes = context;
        outcomes->n++;
        outcomes->n_good += status == 0;
        outcomes->last = status;
}
