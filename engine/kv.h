/* What a sequence remembers: streams of rows that grow with the text, and a frontier of fixed size.
 *
 *   stream    append-only rows of one layer, one per tokens_per_row tokens: main rows (latents,
 *             which attention reads) and index keys (which choose among them), as the layer's kind
 *             of attention says (attention.h), in the format the model was trained to read
 *   page      the rows of all streams for KV_PAGE_TOKENS tokens
 *   frontier  the state needed to go on at a position: sliding windows, open compression groups,
 *             n-gram history
 *
 * A page has two forms. In host memory, as it is saved, it is one contiguous slab. On the device it
 * is two blocks: rows that every token reads, and rows of which a token reads those it selected.
 * The latter may leave the device when their page is full and lent, the former never do. Rows are
 * written once, in order, and never change.
 *
 * Streams live behind `struct kv_operations`, so that the layers never learn where rows lie. One
 * thread per kv; what is marked so may run on several at once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/kv_slot.h"
#include "engine/model_config.h"

/* A multiple of every compression ratio of the supported families (1, 2, 4, 128). */
#define KV_PAGE_TOKENS 128              /* also ENGINE_PAGE_TOKENS */
#define KV_STREAMS_MAX (2 * LAYERS_MAX) /* each layer may own latents and keys */

enum kv_part {
        KV_SCANNED, /* every token reads them all: index keys, latents attended without selection */
        KV_SELECTED, /* a token reads at most index_topk of them, which the indexer chose */
        N_KV_PARTS
};

/* Row i holds what the tokens up to (i + 1) * tokens_per_row closed: it is appended in the step of
 * the last of them. */
struct kv_stream {
        uint32_t row_bytes;
        uint32_t tokens_per_row;
        uint32_t slab_offset; /* of its rows inside a slab */
        enum kv_part part;
        uint32_t block_offset;  /* of its rows inside the device block of its part */
        enum row_format format; /* for those who read rows; what keeps them only moves bytes */
        uint32_t n_values;
};

struct kv_layout {
        uint32_t n_streams;
        uint32_t page_bytes;              /* of a slab, and of both blocks together */
        uint32_t block_bytes[N_KV_PARTS]; /* of a page on the device */
        struct kv_stream stream[KV_STREAMS_MAX];
        int main_stream[LAYERS_MAX]; /* by layer, -1 = owns none */
        int key_stream[LAYERS_MAX];
};

/* Appends a stream of rows, of which one is for tokens_per_row tokens (a divisor of
 * KV_PAGE_TOKENS). Returns its number. */
int kv_layout_add_rows(struct kv_layout *layout, enum kv_part part, enum row_format format,
                       uint32_t n_values, uint32_t tokens_per_row);

/* The same for rows of any bytes. */
int kv_layout_add(struct kv_layout *layout, enum kv_part part, uint32_t row_bytes,
                  uint32_t tokens_per_row);

static inline uint64_t kv_pages(uint64_t n_tokens) {
        return (n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
}

/* A full page in host memory, as sequence_save_page() gave it. Never where attention reads. */
struct kv_slab {
        const uint8_t *bytes; /* NULL: none */
};

/* The main rows that consecutive queries of one sequence selected. */
struct kv_queries {
        const uint32_t *rows;   /* [n][stride] each query's, different ones, at most hot_rows */
        const uint32_t *n_rows; /* [n] */
        uint32_t n, stride;
        uint64_t selection; /* queries of equal numbers are the same; 0: equal to none */
};

struct kv;      /* one sequence's rows; what it holds is its operations' secret */
struct kv_pool; /* the device memory they are taken from (kv_pool.h) */

struct kv_operations {
        /* layout and pool outlive the kv. 0 or -ENOMEM. */
        int (*create)(const struct kv_layout *layout, struct kv_pool *pool, struct kv **ret);
        void (*destroy)(struct kv *kv); /* NULL-safe */

        /* Device bytes that reserve(n_tokens, 0) would take. */
        uint64_t (*missing)(const struct kv *kv, uint64_t n_tokens);

        /* Makes room for the rows of the first n_tokens tokens, so that append cannot fail. The
         * first n_restored pages come by restore(): of a spilled kv they need no room for main
         * rows. The caller has seen to it that the pool has room. 0 or -ENOMEM. */
        int (*reserve)(struct kv *kv, uint64_t n_tokens, uint64_t n_restored);

        /* Rows [first, first + n) of a stream; appended in order, after reserve. */
        void (*append)(struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                       const uint8_t *rows);

        /* A full page out of a slab, which is lent from then on; in order, after reserve. */
        void (*restore)(struct kv *kv, uint64_t page, struct kv_slab slab);

        /* The slab of a full page: borrowed until destroy(). A spilled kv drops its main rows. */
        void (*lend)(struct kv *kv, uint64_t page, struct kv_slab slab);

        /* Device bytes that spill() would free; negative: would take. 0 when it is spilled. */
        int64_t (*gain)(const struct kv *kv);

        /* Drops the main rows of all lent pages and of those lent later; from now on they are
         * gathered from their slabs. 0, or -ENOMEM and nothing has changed. */
        int (*spill)(struct kv *kv);
        bool (*spilled)(const struct kv *kv);

        /* Copies rows [first, first + n) out, wherever they lie. All of them were appended. */
        void (*read)(const struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                     uint8_t *ret_rows);

        /* Sees to it that the main rows of the first queries have slots, of as many queries as the
         * hot pool holds together, and returns how many (one at least). They keep them until the
         * next stage() of this stream. */
        uint32_t (*stage)(struct kv *kv, unsigned stream, const struct kv_queries *queries);

        /* The slots of rows: any keys, main rows that were staged. Several threads at once. */
        void (*slots)(const struct kv *kv, unsigned stream, const uint32_t *rows, uint32_t n,
                      struct kv_slot *ret_slots);

        /* The slot of a key, and how many from it on lie one after the other. Several threads. */
        uint32_t (*run)(const struct kv *kv, unsigned stream, uint64_t key,
                        struct kv_slot *ret_first);

        uint64_t (*bytes)(const struct kv *kv); /* of the device, held */
};

/* Device memory that is this process's memory: the CPU backends. */
extern const struct kv_operations kv_memory;

/* The frontier is one block of bytes: header, windows, open groups. */
struct frontier_header {
        uint64_t position; /* tokens computed so far = the next token's position */
        uint32_t history[NGRAM_MAX -
                         1]; /* compressed ids at position-1, -2, ...; the pad before the start */
        uint32_t reserved;
};

/* Each layer has at most one state and one window; a window's slot is position mod window. */
struct frontier_layout {
        enum row_format window_format; /* one for all layers */
        uint32_t window_values, window_row_bytes;
        size_t state_offset[LAYERS_MAX]; /* floats: open compression groups */
        size_t window_offset[LAYERS_MAX];
        size_t state_bytes, window_bytes, bytes; /* `bytes`: of all, with the header */
};

void frontier_add_state(struct frontier_layout *layout, uint32_t layer, size_t n_floats);
void frontier_add_window(struct frontier_layout *layout, uint32_t layer, uint32_t n_rows,
                         enum row_format format, uint32_t n_values);

/* Both, as the layers' kinds of attention say. */
void kv_layout_init(struct kv_layout *ret, struct frontier_layout *ret_frontier,
                    const struct model_config *config);
