/* Engram row addresses: which rows of a hash table the last few tokens select.
 *
 * Three steps (DeepSeek-V4.1, "Engram"): token ids go through a compressed map (ids whose texts
 * normalise alike share an entry), the last n compressed ids are mixed with per-layer odd
 * multipliers, and each head takes the mix modulo its own prime. All constants follow from the
 * configuration and the tokenizer; nothing is stored in the checkpoint. Immutable after creation;
 * any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/model_config.h"

struct error;
struct tokenizer;

#define ENGRAM_HEADS_MAX 32 /* heads per n-gram order; released models have 8 */

struct engram_hash {
        uint32_t n_layers, n_heads, ngram_max;
        uint32_t n_rows;                   /* rows per token and layer: (ngram_max - 1) * n_heads */
        uint32_t n_ids, n_compressed, pad; /* pad: compressed id */
        uint32_t *map;                     /* [n_ids] token id -> compressed id, owned */
        int64_t multiplier[ENGRAM_LAYERS_MAX][NGRAM_MAX];
        int64_t prime[ENGRAM_LAYERS_MAX][(NGRAM_MAX - 1) * ENGRAM_HEADS_MAX];
        int64_t offset[ENGRAM_LAYERS_MAX][(NGRAM_MAX - 1) * ENGRAM_HEADS_MAX];
};

/* Builds the map and the constants and checks them against config (compressed vocabulary, rows per
 * table); a mismatch is -EINVAL naming both numbers. */
int engram_hash_init(struct engram_hash *ret, const struct model_config *config,
                     const struct tokenizer *tokenizer, struct error *err);
void engram_hash_deinit(struct engram_hash *hash);

/* Multipliers, primes and offsets only (no tokenizer): from config and a compressed vocabulary
 * size. For test vectors. */
int engram_hash_constants(struct engram_hash *ret, const struct model_config *config,
                          struct error *err);

/* Rows that each table has with these settings, whatever engram_num_embeddings says: to make a
 * configuration. Writes n_engram_layers numbers. */
int engram_hash_table_rows(const struct model_config *config, uint64_t *ret_rows,
                           struct error *err);

/* Rows of one position. `history[i]` = compressed id at position p - i, i < ngram_max, already the
 * pad id from the first shift that leaves the sequence. Writes n_rows row numbers (0 <= row <
 * engram_rows[layer]) in n-gram order. */
void engram_hash_rows(const struct engram_hash *hash, unsigned engram_layer,
                      const uint32_t *history, uint64_t *ret_rows);
