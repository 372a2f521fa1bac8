/* Where the rows of Engram tables come from: the interface the engine needs, and the default, which
 * reads the mapped checkpoint.
 *
 * A table is too large to copy and its row numbers depend on token ids alone, so a step says at its
 * start which rows it will need, of all tables at once, and takes them only when the layer runs. In
 * between, a source may read them in the background. A packed row is its codes (e4m3, one byte per
 * channel), then its scales (ue8m0, one byte per FP8_BLOCK channels): 256 + 8 bytes in the released
 * model. */
#pragma once

#include <stdint.h>

#include "engine/model_config.h"

struct engram_hash;
struct error;
struct weights;

/* Bytes that name one checkpoint's tables (engram_rows.c says of what they are made). */
#define ENGRAM_FINGERPRINT_BYTES 32

struct engram_table {
        uint64_t n_rows;
        const uint8_t *codes;  /* [n_rows][code_bytes] in the mapped checkpoint, NULL when it has */
        const uint8_t *scales; /* [n_rows][scale_bytes]      no such tensors any more */
        const int64_t *multiplier; /* [n_multipliers] */
        const int64_t *prime;      /* [n_primes] */
};

/* All Engram tables of a model. What it points to lives as long as the engine. */
struct engram_tables {
        uint32_t n_tables;
        uint32_t code_bytes, scale_bytes; /* of one row; together a packed row */
        uint32_t n_multipliers, n_primes; /* of one table */
        struct engram_table table[ENGRAM_LAYERS_MAX];
        uint8_t fingerprint[ENGRAM_FINGERPRINT_BYTES];
};

/* All calls from the engine thread, but open() from the thread that opens the engine. */
struct engram_rows_operations {
        /* Once, before all other calls: the source says whether it has just these tables. 0, or a
         * negative errno with a message that names what differs; the engine then does not open.
         * ENGRAM_ROWS_OF_CHECKPOINT: read the checkpoint, no other call will follow. */
        int (*open)(void *context, const struct engram_tables *tables, struct error *err);

        /* Starts fetching n different rows of a table into dest, packed, in the order given. `rows`
         * and `dest` stay valid and untouched until collect(). At most one request per table at a
         * time. Does not wait for slow media. */
        void (*request)(void *context, unsigned table, const uint64_t *rows, uint32_t n,
                        uint8_t *dest);

        /* Waits until the table's requested rows are in dest. 0, or a negative errno with a message
         * that names the row; dest is then undefined. Ends the request either way. */
        int (*collect)(void *context, unsigned table, struct error *err);

        /* These rows will probably be requested soon. May be NULL. `rows` is valid only during the
         * call. */
        void (*prefetch)(void *context, unsigned table, const uint64_t *rows, uint32_t n);
};
#define ENGRAM_ROWS_OF_CHECKPOINT 1

/* A source and its context, borrowed by the engine until engine_close(). */
struct engram_rows {
        const struct engram_rows_operations *operations;
        void *context;
};

/* Describes the tables of a bound checkpoint. `weights` and `hash` outlive the result. */
void engram_tables_init(struct engram_tables *ret, const struct model_config *config,
                        const struct weights *weights, const struct engram_hash *hash);

/* The default source: copies from the mapped planes when rows are collected, so that the first
 * touch of a page may wait for the disk. Context: struct engram_checkpoint_rows, zeroed. */
struct engram_checkpoint_rows {
        const struct engram_tables *tables;
        struct {
                const uint64_t *rows;
                uint32_t n;
                uint8_t *dest;
        } requested[ENGRAM_LAYERS_MAX];
};
extern const struct engram_rows_operations engram_checkpoint_rows;
