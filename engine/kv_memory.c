/* Streams in this process's memory: a growing list of pages. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kv.h"

struct kv {
        const struct kv_layout *layout;
        uint8_t **page; /* [n_pages] of layout->page_bytes */
        size_t n_pages, capacity;
};

static int create(const struct kv_layout *layout, struct kv **ret) {
        struct kv *kv = calloc(1, sizeof(*kv));
        if (!kv)
                return -ENOMEM;
        kv->layout = layout;
        *ret = kv;
        return 0;
}

static void destroy(struct kv *kv) {
        if (!kv)
                return;
        for (size_t i = 0; i < kv->n_pages; i++)
                free(kv->page[i]);
        free(kv->page);
        free(kv);
}

static int reserve(struct kv *kv, uint64_t n_tokens) {
        uint64_t wanted = (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
        if (kv->layout->page_bytes == 0)
                return 0;
        if (wanted > kv->capacity) {
                size_t capacity = wanted > 2 * kv->capacity ? (size_t)wanted : 2 * kv->capacity;
                uint8_t **page = reallocarray(kv->page, capacity, sizeof(*page));
                if (!page)
                        return -ENOMEM;
                kv->page = page;
                kv->capacity = capacity;
        }
        while (kv->n_pages < wanted) {
                uint8_t *page = malloc(kv->layout->page_bytes);
                if (!page)
                        return -ENOMEM;
                kv->page[kv->n_pages++] = page;
        }
        return 0;
}

static uint8_t *row_at(const struct kv *kv, unsigned stream, uint64_t row) {
        const struct kv_stream *s = &kv->layout->stream[stream];
        uint32_t per_page = KV_PAGE_TOKENS / s->tokens_per_row;
        assert(row / per_page < kv->n_pages);
        return kv->page[row / per_page] + s->page_offset + (size_t)(row % per_page) * s->row_bytes;
}

/* Rows from `row` on that lie contiguous in its page. */
static uint32_t contiguous_rows(const struct kv *kv, unsigned stream, uint64_t row) {
        uint32_t per_page = KV_PAGE_TOKENS / kv->layout->stream[stream].tokens_per_row;
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

static uint64_t bytes(const struct kv *kv) {
        return sizeof(*kv) + kv->capacity * sizeof(*kv->page) +
                (uint64_t)kv->n_pages * kv->layout->page_bytes;
}

const struct kv_operations kv_memory = {
        create, destroy, reserve, append, read_rows, gather, bytes
};
