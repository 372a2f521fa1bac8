#include "memory/row_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Keys of a set fill a cache line: a lookup touches that, and the row. */
#define WAYS 8

/* Set by use, taken away by the hand. */
#define MARK (UINT64_C(1) << 63)

struct set {
        uint64_t key[WAYS]; /* 1 + key, and its mark; 0 = free */
};

struct row_cache {
        uint64_t n_sets;
        uint32_t row_bytes;
        struct set *set; /* [n_sets], mapped */
        uint8_t *hand;   /* [n_sets] */
        uint8_t *rows;   /* [n_sets][WAYS][row_bytes], mapped */
        size_t set_bytes, rows_bytes;
};

/* Zeroes, in large pages where there are some: rows are scattered, and with small ones most lookups
 * would wait twice, for the row and for where its page is. NULL: no memory, or too much. */
static void *map(uint64_t n, size_t bytes_each, size_t *ret_bytes) {
        if (__builtin_mul_overflow(n, bytes_each, ret_bytes))
                return NULL;
        void *p = mmap(NULL, *ret_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return NULL;
        madvise(p, *ret_bytes, MADV_HUGEPAGE);
        return p;
}

int row_cache_new(uint64_t n_rows, uint32_t row_bytes, struct row_cache **ret) {
        struct row_cache *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->n_sets = n_rows / WAYS + (n_rows % WAYS != 0 || n_rows == 0);
        c->row_bytes = row_bytes;
        c->hand = calloc(c->n_sets, 1);
        c->set = map(c->n_sets, sizeof(*c->set), &c->set_bytes);
        c->rows = map(c->n_sets, WAYS * (size_t)row_bytes, &c->rows_bytes);
        if (!c->hand || !c->set || !c->rows) {
                row_cache_free(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

struct row_cache *row_cache_free(struct row_cache *cache) {
        if (!cache)
                return NULL;
        if (cache->rows)
                munmap(cache->rows, cache->rows_bytes);
        if (cache->set)
                munmap(cache->set, cache->set_bytes);
        free(cache->hand);
        free(cache);
        return NULL;
}

static uint64_t set_of(const struct row_cache *c, uint64_t key) {
        uint64_t hash = key * 0x9E3779B97F4A7C15U >> 32; /* 2^64 / golden ratio */
        return hash * c->n_sets >> 32;
}

static int way_of(const struct set *set, uint64_t key) {
        for (int way = 0; way < WAYS; way++)
                if ((set->key[way] & ~MARK) == key + 1)
                        return way;
        return -1;
}

static uint8_t *row_at(const struct row_cache *c, uint64_t set, int way) {
        return c->rows + (set * WAYS + (uint64_t)way) * c->row_bytes;
}

void row_cache_expect(const struct row_cache *cache, uint64_t key) {
        __builtin_prefetch(&cache->set[set_of(cache, key)], 1);
}

const uint8_t *row_cache_find(struct row_cache *cache, uint64_t key) {
        uint64_t number = set_of(cache, key);
        struct set *set = &cache->set[number];
        int way = way_of(set, key);
        if (way < 0)
                return NULL;
        set->key[way] |= MARK;
        return row_at(cache, number, way);
}

/* A free way, or the first that the hand finds without a mark. */
static int make_room(struct row_cache *c, uint64_t number) {
        struct set *set = &c->set[number];
        for (int way = 0; way < WAYS; way++)
                if (set->key[way] == 0)
                        return way;
        for (;;) {
                int way = c->hand[number];
                c->hand[number] = (uint8_t)((way + 1) % WAYS);
                if (!(set->key[way] & MARK))
                        return way;
                set->key[way] &= ~MARK;
        }
}

void row_cache_put(struct row_cache *cache, uint64_t key, const uint8_t *row) {
        uint64_t number = set_of(cache, key);
        struct set *set = &cache->set[number];
        int way = way_of(set, key);
        if (way < 0) {
                way = make_room(cache, number);
                set->key[way] = key + 1;
        }
        memcpy(row_at(cache, number, way), row, cache->row_bytes);
}

uint64_t row_cache_capacity(const struct row_cache *cache) {
        return cache->n_sets * WAYS;
}
