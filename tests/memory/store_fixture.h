/* A KV store in a folder of its own, and conversations whose bytes follow from their identities, so
 * that any byte read back can be judged without having kept it. */
#pragma once

#include "memory/kv_store.h"
#include "tests/memory/scratch.h"
#include "tests/splitmix64.h"

#define PAGE_BYTES     1500
#define FRONTIER_BYTES 6000
#define CHAIN_PAGES    40

struct fixture {
        struct scratch folder;
        struct page_key key;
        struct kv_store_config config;
        struct kv_store *store;
        unsigned events[KV_EVENT_SHARE + 1]; /* reports by kind; atomic */
        char last_text[640];
};

struct chain {
        uint32_t owner;
        struct page_id root;
        uint32_t tokens[CHAIN_PAGES * PAGE_TOKENS];
        struct page_id id[CHAIN_PAGES];
};

void fixture_init(struct fixture *f); /* makes the folder, opens nothing */
void fixture_open(struct fixture *f); /* asserts that it opens */
int fixture_try_open(struct fixture *f, struct error *err);
void fixture_close(struct fixture *f);
void fixture_deinit(struct fixture *f); /* removes the folder */

void chain_make(struct chain *chain, const struct page_key *key, uint32_t owner, uint32_t seed);
/* A chain that shares the first n_pages pages. */
void chain_fork(struct chain *chain, const struct page_key *key, const struct chain *from,
                uint32_t n_pages, uint32_t seed);

const struct page_id *chain_parent(const struct chain *chain, uint32_t page);
void chain_frontier_id(const struct chain *chain, const struct page_key *key, uint32_t position,
                       struct page_id *ret);

/* What a page or frontier of this identity contains. */
void bytes_of(const struct page_id *id, void *data, size_t bytes);
uint32_t frontier_bytes_of(const struct page_id *id);

int chain_put(struct fixture *f, const struct chain *chain, uint32_t page, uint32_t n_pages,
              kv_done *done, void *context);
int chain_put_frontier(struct fixture *f, const struct chain *chain, uint32_t position,
                       kv_done *done, void *context);

/* How many pages from `page` on are there; asserts that their bytes are right. */
size_t chain_read(struct fixture *f, const struct chain *chain, uint32_t page, uint32_t n_pages);
/* Whether the frontier is there; asserts that its bytes are right. */
bool chain_read_frontier(struct fixture *f, const struct chain *chain, uint32_t position);

/* A session of the chain's first n_tokens ids. */
uint64_t chain_session_id(const struct chain *chain);
int chain_put_session(struct fixture *f, const struct chain *chain, uint32_t n_tokens,
                      kv_done *done, void *context);
/* How many tokens the chain's session has, -1 = there is none, or it cannot be read; asserts that
 * they are the chain's. */
int chain_read_session(struct fixture *f, const struct chain *chain);

/* A completion that adds up: *context is struct outcomes. */
struct outcomes {
        unsigned n, n_good;
        int last;
};
void count_outcome(void *outcomes, int status);
