#include "memory/row_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Keys of a set fill a cache line: a lookup touches that, and the row. */
#define WAYS 8

struct set {
        uint64_t key[WAYS]; /* 1 + key, 0 = free */
};

struct row_cache {
        uint64_t n_sets;
        uint32_t row_bytes;
        struct set *set; /* [n_sets] */
        uint8_t *mark;   /* [n_sets], a bit per way */
        uint8_t *hand;   /* [n_sets] */
        uint8_t *rows;   /* [n_sets][WAYS][row_bytes], mapped */
        size_t mapped_bytes;
};

int row_cache_new(uint64_t n_rows, uint32_t row_bytes, struct row_cache **ret) {
        struct row_cache *c = calloc(1, sizeof(*c));
        size_t bytes;
        if (!c)
                return -ENOMEM;
        c->n_sets = n_rows / WAYS + (n_rows % WAYS != 0 || n_rows == 0);
        c->row_bytes = row_bytes;
        c->rows = MAP_FAILED;
        c->set = calloc(c->n_sets, sizeof(*c->set));
        c->mark = calloc(c->n_sets, 1);
        c->hand = calloc(c->n_sets, 1);
        if (!__builtin_mul_overflow(c->n_sets * WAYS, (size_t)row_bytes, &bytes)) {
                c->mapped_bytes = bytes;
                c->rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        }
        if (!c->set || !c->mark || !c->hand || c->rows == MAP_FAILED) {
                row_cache_free(c);
                return -ENOMEM;
        }
        *ret = c;
        return 0;
}

struct row_cache *row_cache_free(struct row_cache *cache) {
        if (!cache)
                return NULL;
        if (cache->rows != MAP_FAILED)
                munmap(cache->rows, cache->mapped_bytes);
        free(cache->set);
        free(cache->mark);
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
                if (set->key[way] == key + 1)
                        return way;
        return -1;
}

static uint8_t *row_at(const struct row_cache *c, uint64_t set, int way) {
        return c->rows + (set * WAYS + (uint64_t)way) * c->row_bytes;
}

const uint8_t *row_cache_find(struct row_cache *cache, uint64_t key) {
        uint64_t set = set_of(cache, key);
        int way = way_of(&cache->set[set], key);
        if (way < 0)
                return NULL;
        cache->mark[set] |= (uint8_t)(1U << way);
        return row_at(cache, set, way);
}

/* A free way, or the first that the hand finds without a mark. */
static int make_room(struct row_cache *c, uint64_t set) {
        for (int way = 0; way < WAYS; way++)
                if (c->set[set].key[way] == 0)
                        return way;
        for (;;) {
                int way = c->hand[set];
                c->hand[set] = (uint8_t)((way + 1) % WAYS);
                if (!(c->mark[set] >> way & 1))
                        return way;
                c->mark[set] &= (uint8_t) ~(1U << way);
        }
}

void row_cache_put(struct row_cache *cache, uint64_t key, const uint8_t *row) {
        uint64_t set = set_of(cache, key);
        int way = way_of(&cache->set[set], key);
        if (way < 0)
                way = make_room(cache, set);
        cache->set[set].key[way] = key + 1;
        memcpy(row_at(cache, set, way), row, cache->row_bytes);
}

uint64_t row_cache_capacity(const struct row_cache *cache) {
        return cache->n_sets * WAYS;
}
