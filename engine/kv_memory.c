/* Streams in device memory that is this process's memory: a growing table of pages. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv.h"
#include "engine/kv_pool.h"

struct page {
        uint8_t *block[N_KV_PARTS]; /* main rows: NULL when they were dropped */
        struct kv_slab slab;
};

struct kv {
        const struct kv_layout *layout;
        struct kv_pool *pool;
        struct page *page;
        size_t n_pages, capacity;
        size_t n_droppable; /* pages whose main rows are on the device and in a slab */
        size_t n_dropped;
        bool spilled;
};

static int create(const struct kv_layout *layout, struct kv_pool *pool, struct kv **ret) {
        struct kv *kv = calloc(1, sizeof(*kv));
        if (!kv)
                return -ENOMEM;
        kv->layout = layout;
        kv->pool = pool;
        *ret = kv;
        return 0;
}

static uint64_t hot_bytes(const struct kv *kv) {
        return kv_pool_hot_bytes(kv->pool, kv->layout);
}

static uint64_t bytes(const struct kv *kv) {
        return (uint64_t)kv->n_pages * kv->layout->page_bytes -
                (uint64_t)kv->n_dropped * kv->layout->block_bytes[KV_MAIN] +
                (kv->spilled ? hot_bytes(kv) : 0);
}

static void destroy(struct kv *kv) {
        if (!kv)
                return;
        kv_pool_give(kv->pool, bytes(kv));
        for (size_t i = 0; i < kv->n_pages; i++)
                for (unsigned part = 0; part < N_KV_PARTS; part++)
                        free(kv->page[i].block[part]);
        free(kv->page);
        free(kv);
}

static uint64_t missing(const struct kv *kv, uint64_t n_tokens) {
        uint64_t wanted = kv_pages(n_tokens);
        return wanted > kv->n_pages ? (wanted - kv->n_pages) * kv->layout->page_bytes : 0;
}

static int add_page(struct kv *kv, bool restored) {
        struct page *page = &kv->page[kv->n_pages];
        bool dropped = kv->spilled && restored;
        *page = (struct page){ .block = { malloc(kv->layout->block_bytes[KV_KEYS]) } };
        if (!dropped)
                page->block[KV_MAIN] = malloc(kv->layout->block_bytes[KV_MAIN]);
        if (!page->block[KV_KEYS] || (!dropped && !page->block[KV_MAIN])) {
                free(page->block[KV_KEYS]);
                free(page->block[KV_MAIN]);
                return -ENOMEM;
        }
        kv->n_pages++;
        kv->n_dropped += dropped;
        kv_pool_take(kv->pool,
                     kv->layout->page_bytes - (dropped ? kv->layout->block_bytes[KV_MAIN] : 0));
        return 0;
}

static int reserve(struct kv *kv, uint64_t n_tokens, uint64_t n_restored) {
        uint64_t wanted = kv_pages(n_tokens);
        if (kv->layout->page_bytes == 0)
                return 0;
        if (wanted > kv->capacity) {
                size_t capacity = wanted > 2 * kv->capacity ? (size_t)wanted : 2 * kv->capacity;
                struct page *page = reallocarray(kv->page, capacity, sizeof(*page));
                if (!page)
                        return -ENOMEM;
                kv->page = page;
                kv->capacity = capacity;
        }
        int r = 0;
        while (r == 0 && kv->n_pages < wanted)
                r = add_page(kv, kv->n_pages < n_restored);
        return r;
}

static uint32_t rows_per_page(const struct kv *kv, unsigned stream) {
        return KV_PAGE_TOKENS / kv->layout->stream[stream].tokens_per_row;
}

static uint8_t *row_at(const struct kv *kv, unsigned stream, uint64_t row) {
        const struct kv_stream *s = &kv->layout->stream[stream];
        uint32_t per_page = rows_per_page(kv, stream);
        assert(row / per_page < kv->n_pages);
        const struct page *page = &kv->page[row / per_page];
        size_t at = (size_t)(row % per_page) * s->row_bytes;
        if (!page->block[s->part])
                return (uint8_t *)page->slab.bytes + s->slab_offset + at;
        return page->block[s->part] + s->block_offset + at;
}

/* Rows from `row` on that lie contiguous in its page. */
static uint32_t contiguous_rows(const struct kv *kv, unsigned stream, uint64_t row) {
        uint32_t per_page = rows_per_page(kv, stream);
        return per_page - (uint32_t)(row % per_page);
}

static void append(struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                   const uint8_t *rows) {
        uint32_t row_bytes = kv->layout->stream[stream].row_bytes;
        for (uint32_t done = 0; done < n;) {
                uint32_t run = contiguous_rows(kv, stream, first + done);
                run = run < n - done ? run : n - done;
                memcpy(row_at(kv, stream, first + done), rows + (size_t)done * row_bytes,
                       (size_t)run * row_bytes);
                done += run;
        }
}

static void drop(struct kv *kv, struct page *page) {
        free(page->block[KV_MAIN]);
        page->block[KV_MAIN] = NULL;
        kv_pool_give(kv->pool, kv->layout->block_bytes[KV_MAIN]);
        kv->n_dropped++;
}

static void lend(struct kv *kv, uint64_t page, struct kv_slab slab) {
        struct page *p = &kv->page[page];
        assert(page < kv->n_pages && slab.bytes);
        if (p->slab.bytes)
                return;
        p->slab = slab;
        if (!kv->spilled)
                kv->n_droppable++;
        else if (p->block[KV_MAIN])
                drop(kv, p);
}

static void restore(struct kv *kv, uint64_t page, struct kv_slab slab) {
        for (unsigned i = 0; i < kv->layout->n_streams; i++) {
                const struct kv_stream *s = &kv->layout->stream[i];
                uint8_t *block = kv->page[page].block[s->part];
                if (block)
                        memcpy(block + s->block_offset, slab.bytes + s->slab_offset,
                               (size_t)rows_per_page(kv, i) * s->row_bytes);
        }
        lend(kv, page, slab);
}

static int64_t gain(const struct kv *kv) {
        return kv->spilled ? 0
                           : (int64_t)(kv->n_droppable * kv->layout->block_bytes[KV_MAIN]) -
                        (int64_t)hot_bytes(kv);
}

static int spill(struct kv *kv) {
        if (kv->spilled)
                return 0;
        for (size_t i = 0; i < kv->n_pages; i++)
                if (kv->page[i].slab.bytes)
                        drop(kv, &kv->page[i]);
        kv->n_droppable = 0;
        kv->spilled = true;
        kv_pool_take(kv->pool, hot_bytes(kv));
        return 0;
}

static bool spilled(const struct kv *kv) {
        return kv->spilled;
}

static void read_rows(const struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                      uint8_t *ret_rows) {
        uint32_t row_bytes = kv->layout->stream[stream].row_bytes;
        for (uint32_t done = 0; done < n;) {
                uint32_t run = contiguous_rows(kv, stream, first + done);
                run = run < n - done ? run : n - done;
                memcpy(ret_rows + (size_t)done * row_bytes, row_at(kv, stream, first + done),
                       (size_t)run * row_bytes);
                done += run;
        }
}

static void gather(const struct kv *kv, unsigned stream, const uint32_t *rows, uint32_t n,
                   uint8_t *ret_rows) {
        uint32_t row_bytes = kv->layout->stream[stream].row_bytes;
        for (uint32_t i = 0; i < n; i++)
                memcpy(ret_rows + (size_t)i * row_bytes, row_at(kv, stream, rows[i]), row_bytes);
}

const struct kv_operations kv_memory = {
        create, destroy, missing, reserve,   append, restore, lend,
        gain,   spill,   spilled, read_rows, gather, bytes,
};
