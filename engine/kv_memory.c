/* Streams in device memory that is this process's memory: a growing table of pages, and, of a
 * spilled sequence, a hot pool for each stream of main rows. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv.h"
#include "engine/kv_pool.h"
#include "engine/kv_source.h"

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
        struct kv_source *source; /* [n_streams], those of main rows; NULL: not spilled */
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
                (uint64_t)kv->n_dropped * kv->layout->block_bytes[KV_SELECTED] +
                (kv->source ? hot_bytes(kv) : 0);
}

static void free_sources(const struct kv *kv, struct kv_source *source) {
        for (uint32_t i = 0; source && i < kv->layout->n_streams; i++)
                kv_source_deinit(&source[i]);
        free(source);
}

static void destroy(struct kv *kv) {
        if (!kv)
                return;
        kv_pool_give(kv->pool, bytes(kv));
        for (size_t i = 0; i < kv->n_pages; i++)
                for (unsigned part = 0; part < N_KV_PARTS; part++)
                        free(kv->page[i].block[part]);
        free(kv->page);
        free_sources(kv, kv->source);
        free(kv);
}

static uint64_t missing(const struct kv *kv, uint64_t n_tokens) {
        uint64_t wanted = kv_pages(n_tokens);
        return wanted > kv->n_pages ? (wanted - kv->n_pages) * kv->layout->page_bytes : 0;
}

static int add_page(struct kv *kv, bool restored) {
        struct page *page = &kv->page[kv->n_pages];
        bool dropped = kv->source && restored;
        *page = (struct page){ .block = { malloc(kv->layout->block_bytes[KV_SCANNED]) } };
        if (!dropped)
                page->block[KV_SELECTED] = malloc(kv->layout->block_bytes[KV_SELECTED]);
        if (!page->block[KV_SCANNED] || (!dropped && !page->block[KV_SELECTED])) {
                free(page->block[KV_SCANNED]);
                free(page->block[KV_SELECTED]);
                return -ENOMEM;
        }
        kv->n_pages++;
        kv->n_dropped += dropped;
        kv_pool_take(kv->pool,
                     kv->layout->page_bytes - (dropped ? kv->layout->block_bytes[KV_SELECTED] : 0));
        return 0;
}

static uint32_t rows_per_page(const struct kv *kv, unsigned stream) {
        return KV_PAGE_TOKENS / kv->layout->stream[stream].tokens_per_row;
}

/* Room for n_pages pages in the tables. */
static int grow_tables(struct kv *kv, size_t n_pages, struct kv_source *source) {
        if (n_pages > kv->capacity) {
                struct page *page = reallocarray(kv->page, n_pages, sizeof(*page));
                if (!page)
                        return -ENOMEM;
                kv->page = page;
                kv->capacity = n_pages;
        }
        int r = 0;
        for (uint32_t i = 0; r == 0 && source && i < kv->layout->n_streams; i++)
                if (kv->layout->stream[i].part == KV_SELECTED)
                        r = hot_pool_grow(&source[i].hot,
                                          (uint64_t)kv->capacity * rows_per_page(kv, i));
        return r;
}

static int reserve(struct kv *kv, uint64_t n_tokens, uint64_t n_restored) {
        size_t wanted = (size_t)kv_pages(n_tokens);
        if (kv->layout->page_bytes == 0 || wanted <= kv->n_pages)
                return 0;
        size_t doubled = 2 * kv->capacity;
        int r = grow_tables(kv, wanted > kv->capacity && wanted < doubled ? doubled : wanted,
                            kv->source);
        while (r == 0 && kv->n_pages < wanted)
                r = add_page(kv, kv->n_pages < n_restored);
        return r;
}

/* Where a row lies on the device; NULL: it was dropped. */
static uint8_t *row_at(const struct kv *kv, unsigned stream, uint64_t row) {
        const struct kv_stream *s = &kv->layout->stream[stream];
        uint32_t per_page = rows_per_page(kv, stream);
        assert(row / per_page < kv->n_pages);
        uint8_t *block = kv->page[row / per_page].block[s->part];
        return block ? block + s->block_offset + (size_t)(row % per_page) * s->row_bytes : NULL;
}

/* Where a row of a lent page lies in host memory. */
static const uint8_t *row_in_slab(const struct kv *kv, unsigned stream, uint64_t row) {
        const struct kv_stream *s = &kv->layout->stream[stream];
        uint32_t per_page = rows_per_page(kv, stream);
        return kv->page[row / per_page].slab.bytes + s->slab_offset +
                (size_t)(row % per_page) * s->row_bytes;
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
        free(page->block[KV_SELECTED]);
        page->block[KV_SELECTED] = NULL;
        kv_pool_give(kv->pool, kv->layout->block_bytes[KV_SELECTED]);
        kv->n_dropped++;
}

static void lend(struct kv *kv, uint64_t page, struct kv_slab slab) {
        struct page *p = &kv->page[page];
        assert(page < kv->n_pages && slab.bytes);
        if (p->slab.bytes)
                return;
        p->slab = slab;
        if (!kv->source)
                kv->n_droppable++;
        else if (p->block[KV_SELECTED])
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
        return kv->source ? 0
                          : (int64_t)(kv->n_droppable * kv->layout->block_bytes[KV_SELECTED]) -
                        (int64_t)hot_bytes(kv);
}

static int new_sources(struct kv *kv, struct kv_source **ret) {
        struct kv_source *source = calloc(kv->layout->n_streams + 1, sizeof(*source));
        int r = source ? 0 : -ENOMEM;
        for (uint32_t i = 0; r == 0 && i < kv->layout->n_streams; i++)
                if (kv->layout->stream[i].part == KV_SELECTED)
                        r = kv_source_init(&source[i], kv->pool->hot_rows,
                                           kv->layout->stream[i].row_bytes);
        if (r == 0)
                r = grow_tables(kv, kv->capacity, source);
        if (r < 0) {
                free_sources(kv, source);
                return r;
        }
        *ret = source;
        return 0;
}

static int spill(struct kv *kv) {
        struct kv_source *source;
        if (kv->source)
                return 0;
        int r = new_sources(kv, &source);
        if (r < 0)
                return r;
        for (size_t i = 0; i < kv->n_pages; i++)
                if (kv->page[i].slab.bytes)
                        drop(kv, &kv->page[i]);
        kv->n_droppable = 0;
        kv->source = source;
        kv_pool_take(kv->pool, hot_bytes(kv));
        return 0;
}

static bool spilled(const struct kv *kv) {
        return kv->source != NULL;
}

static void read_rows(const struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                      uint8_t *ret_rows) {
        uint32_t row_bytes = kv->layout->stream[stream].row_bytes;
        for (uint32_t done = 0; done < n;) {
                uint32_t run = contiguous_rows(kv, stream, first + done);
                run = run < n - done ? run : n - done;
                const uint8_t *rows = row_at(kv, stream, first + done);
                memcpy(ret_rows + (size_t)done * row_bytes,
                       rows ? rows : row_in_slab(kv, stream, first + done),
                       (size_t)run * row_bytes);
                done += run;
        }
}

/* Those of a query's rows that are not on the device with their page. */
static uint32_t dropped_rows(const struct kv *kv, unsigned stream, const uint32_t *rows, uint32_t n,
                             uint32_t *ret) {
        uint32_t shift = (uint32_t)__builtin_ctz(rows_per_page(kv, stream)), n_ret = 0;
        for (uint32_t i = 0; i < n; i++) {
                assert(rows[i] >> shift < kv->n_pages);
                if (!kv->page[rows[i] >> shift].block[KV_SELECTED])
                        ret[n_ret++] = rows[i];
        }
        return n_ret;
}

static uint32_t stage(struct kv *kv, unsigned stream, const struct kv_queries *queries) {
        if (kv->n_dropped == 0)
                return queries->n;
        struct kv_source *source = &kv->source[stream];
        if (queries->selection != 0 && source->staged == queries->selection)
                return queries->n;

        uint32_t n = 0, row, slot;
        hot_pool_begin_tile(&source->hot);
        for (; n < queries->n; n++) {
                uint32_t n_wanted =
                        dropped_rows(kv, stream, queries->rows + (size_t)n * queries->stride,
                                     queries->n_rows[n], source->wanted);
                if (!hot_pool_add(&source->hot, source->wanted, n_wanted))
                        break;
        }
        while (hot_pool_next_missing(&source->hot, &row, &slot)) {
                memcpy(kv_source_slot(source, slot), row_in_slab(kv, stream, row),
                       source->row_bytes);
                kv->pool->rows_missed++;
        }
        kv->pool->rows_gathered += source->hot.n_tile;
        source->staged = n == queries->n ? queries->selection : 0;
        return n;
}

static void slots(const struct kv *kv, unsigned stream, const uint32_t *rows, uint32_t n,
                  struct kv_slot *ret_slots) {
        const struct kv_stream *s = &kv->layout->stream[stream];
        const struct kv_source *source = kv->source ? &kv->source[stream] : NULL;
        uint32_t per_page = rows_per_page(kv, stream), shift = (uint32_t)__builtin_ctz(per_page);
        for (uint32_t i = 0; i < n; i++) {
                assert(rows[i] >> shift < kv->n_pages);
                const uint8_t *block = kv->page[rows[i] >> shift].block[s->part];
                ret_slots[i].row = block
                        ? block + s->block_offset + (size_t)(rows[i] % per_page) * s->row_bytes
                        : kv_source_slot(source, hot_pool_slot(&source->hot, rows[i]));
        }
}

static uint32_t run(const struct kv *kv, unsigned stream, uint64_t key, struct kv_slot *ret_first) {
        ret_first->row = row_at(kv, stream, key);
        return contiguous_rows(kv, stream, key);
}

const struct kv_operations kv_memory = {
        create, destroy, missing,   reserve, append, restore, lend,  gain,
        spill,  spilled, read_rows, stage,   slots,  run,     bytes,
};
