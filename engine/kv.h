/* What a sequence remembers: streams of rows that grow with the text, and a frontier of fixed size.
 *
 *   stream    append-only rows, one per tokens_per_row tokens: compressed latents and index keys,
 * one pair of streams for each layer that owns a compressor, stored in the format the model was
 * trained to read page      the rows of all streams for KV_PAGE_TOKENS tokens, one contiguous slab
 *   frontier  the state needed to go on at a position: sliding windows, open compression groups,
 * n-gram history
 *
 * Streams live behind `struct kv_operations`, so that whoever stores the bytes (memory of this
 * process, or tiers of several speeds) never learns what they mean. Rows are written once, in
 * order, and never change. One thread per kv. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/model_config.h"

/* A multiple of every compression ratio of the supported families (1, 2, 4, 128). */
#define KV_PAGE_TOKENS 128              /* also ENGINE_PAGE_TOKENS */
#define KV_STREAMS_MAX (2 * LAYERS_MAX) /* each layer may own latents and keys */

struct kv_stream {
        uint32_t row_bytes;
        uint32_t tokens_per_row;
        uint32_t page_offset; /* of its rows inside a page */
};

struct kv_layout {
        uint32_t n_streams;
        uint32_t page_bytes;
        struct kv_stream stream[KV_STREAMS_MAX];
        int latent_stream[LAYERS_MAX]; /* by layer, -1 = owns none */
        int key_stream[LAYERS_MAX];
};

void kv_layout_init(struct kv_layout *ret, const struct model_config *config);

struct kv; /* one sequence's rows; what it holds is its operations' secret */

struct kv_operations {
        int (*create)(const struct kv_layout *layout,
                      struct kv **ret); /* layout outlives the kv; 0 or -ENOMEM */
        void (*destroy)(struct kv *kv); /* NULL-safe */

        /* Makes room for the rows of the first n_tokens tokens, so that append cannot fail. 0 or
         * -ENOMEM. */
        int (*reserve)(struct kv *kv, uint64_t n_tokens);

        /* Rows [first, first + n) of a stream; appended in order, after reserve. */
        void (*append)(struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                       const uint8_t *rows);

        /* Copies rows out: a range, or a list of row numbers. All of them were appended before. */
        void (*read)(const struct kv *kv, unsigned stream, uint64_t first, uint32_t n,
                     uint8_t *ret_rows);
        void (*gather)(const struct kv *kv, unsigned stream, const uint32_t *rows, uint32_t n,
                       uint8_t *ret_rows);

        uint64_t (*bytes)(const struct kv *kv); /* memory held */
};

/* Pages in this process's memory. */
extern const struct kv_operations kv_memory;

/* The frontier is one block of bytes: header, windows, open groups. */
struct frontier_header {
        uint64_t position; /* tokens computed so far = the next token's position */
        uint32_t history[NGRAM_MAX -
                         1]; /* compressed ids at position-1, -2, ...; the pad before the start */
        uint32_t reserved;
};

struct frontier_layout {
        uint32_t window_row_bytes;
        size_t window_offset; /* layer l: window_offset + l * window * window_row_bytes; slot =
                                 position mod window */
        size_t group_offset[LAYERS_MAX]; /* open ratio-2 group: value [head_dim], gate [head_dim]
                                            float32 */
        size_t bytes;
};

void frontier_layout_init(struct frontier_layout *ret, const struct model_config *config);
