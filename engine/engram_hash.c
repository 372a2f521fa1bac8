#include "engine/engram_hash.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/numpy_random.h"
#include "engine/token_map.h"
#include "engine/tokenizer.h"

/* The seed of a layer's multipliers is this times its number. */
#define SEED_PER_LAYER 10007u

/* Four times the largest vocabularies; keeps the multipliers' bound above 2^32 (numpy_random.h). */
#define COMPRESSED_MAX (1u << 20)

/* Trial division to 2^16 is instant; above, a table would have more rows than its 32-bit
 * configuration can say. */
#define TABLE_START_MAX (UINT32_MAX - 1000000u)

static bool is_prime(uint64_t n) {
        if (n < 4)
                return n >= 2;
        if (n % 2 == 0)
                return false;
        for (uint64_t d = 3; d * d <= n; d += 2)
                if (n % d == 0)
                        return false;
        return true;
}

static int check_config(const struct model_config *config, struct error *err) {
        if (config->n_engram_layers > ENGRAM_LAYERS_MAX)
                return error_set(err, -EINVAL, "engram_layer_ids: %u layers, at most %d",
                                 config->n_engram_layers, ENGRAM_LAYERS_MAX);
        if (config->engram_ngram_max < 2 || config->engram_ngram_max > NGRAM_MAX)
                return error_set(err, -EINVAL, "engram_max_ngram_size: %u, expected 2 to %d",
                                 config->engram_ngram_max, NGRAM_MAX);
        if (config->engram_n_heads < 1 || config->engram_n_heads > ENGRAM_HEADS_MAX)
                return error_set(err, -EINVAL, "engram_n_heads: %u, expected 1 to %d",
                                 config->engram_n_heads, ENGRAM_HEADS_MAX);
        if (config->engram_compressed_vocab < 1 || config->engram_compressed_vocab > COMPRESSED_MAX)
                return error_set(err, -EINVAL, "engram_compressed_vocab_size: %u, expected 1 to %u",
                                 config->engram_compressed_vocab, COMPRESSED_MAX);
        if (config->engram_vocab_size < 2 || config->engram_vocab_size > TABLE_START_MAX)
                return error_set(err, -EINVAL, "engram_vocab_size: %u, expected 2 to %u",
                                 config->engram_vocab_size, TABLE_START_MAX);
        return 0;
}

/* The released rule sweeps once per layer and order, each time from engram_vocab_size and past all
 * primes taken before: together that is simply the primes in ascending order. Returns where the
 * next layer goes on. */
static uint64_t take_primes(struct engram_hash *hash, unsigned layer, uint64_t next) {
        int64_t offset = 0;
        for (uint32_t row = 0; row < hash->n_rows; row++) {
                while (!is_prime(next))
                        next++;
                hash->prime[layer][row] = (int64_t)next++;
                hash->offset[layer][row] = offset;
                offset += hash->prime[layer][row];
        }
        return next;
}

/* Odd, and so small that a product with a compressed id stays below 2^63. */
static void draw_multipliers(struct engram_hash *hash, unsigned layer, uint32_t model_layer) {
        struct numpy_random random;
        numpy_random_init(&random, SEED_PER_LAYER * model_layer);
        uint64_t bound = (uint64_t)INT64_MAX / hash->n_compressed / 2;
        for (uint32_t i = 0; i < hash->ngram_max; i++)
                hash->multiplier[layer][i] =
                        (int64_t)(2 * numpy_random_bounded(&random, bound) + 1);
}

static uint64_t table_rows(const struct engram_hash *hash, unsigned layer) {
        uint32_t last = hash->n_rows - 1;
        return (uint64_t)(hash->offset[layer][last] + hash->prime[layer][last]);
}

static int make_constants(struct engram_hash *ret, const struct model_config *config,
                          struct error *err) {
        int r = check_config(config, err);
        if (r < 0)
                return r;
        *ret = (struct engram_hash){
                .n_layers = config->n_engram_layers,
                .n_heads = config->engram_n_heads,
                .ngram_max = config->engram_ngram_max,
                .n_rows = (config->engram_ngram_max - 1) * config->engram_n_heads,
                .n_compressed = config->engram_compressed_vocab,
        };
        uint64_t next = config->engram_vocab_size;
        for (unsigned layer = 0; layer < ret->n_layers; layer++) {
                next = take_primes(ret, layer, next);
                draw_multipliers(ret, layer, config->engram_layers[layer]);
        }
        return 0;
}

int engram_hash_constants(struct engram_hash *ret, const struct model_config *config,
                          struct error *err) {
        struct engram_hash hash;
        int r = make_constants(&hash, config, err);
        if (r < 0)
                return r;
        for (unsigned layer = 0; layer < hash.n_layers; layer++) {
                uint64_t n = table_rows(&hash, layer);
                if (n != config->engram_rows[layer])
                        return error_set(err, -EINVAL,
                                         "engram_num_embeddings[%u]: %" PRIu64
                                         " rows, but the primes add up to %" PRIu64,
                                         layer, config->engram_rows[layer], n);
        }
        *ret = hash;
        return 0;
}

int engram_hash_table_rows(const struct model_config *config, uint64_t *ret_rows,
                           struct error *err) {
        struct engram_hash hash;
        int r = make_constants(&hash, config, err);
        for (unsigned layer = 0; r == 0 && layer < hash.n_layers; layer++)
                ret_rows[layer] = table_rows(&hash, layer);
        return r;
}

/* Ids that the model has and the tokenizer does not (padding of the embedding) hash like the pad.
 */
static int extend_map(struct engram_hash *hash, uint32_t *map, uint32_t n_map, uint32_t n_ids) {
        uint32_t *grown = realloc(map, n_ids * sizeof(*map));
        if (!grown) {
                free(map);
                return -ENOMEM;
        }
        for (uint32_t id = n_map; id < n_ids; id++)
                grown[id] = hash->pad;
        hash->map = grown;
        hash->n_ids = n_ids;
        return 0;
}

int engram_hash_init(struct engram_hash *ret, const struct model_config *config,
                     const struct tokenizer *tokenizer, struct error *err) {
        struct engram_hash hash;
        int r = engram_hash_constants(&hash, config, err);
        if (r < 0)
                return r;
        uint32_t n_ids = tokenizer_n_ids(tokenizer);
        if (n_ids > config->vocab_size || config->engram_pad_id >= n_ids)
                return error_set(
                        err, -EINVAL,
                        "tokenizer has %u ids: vocab_size %u and engram_pad_token_id %u do not fit",
                        n_ids, config->vocab_size, config->engram_pad_id);
        CLEANUP_FREE uint32_t *map = NULL;
        uint32_t n_compressed;
        r = token_map_build(tokenizer, &map, &n_compressed, err);
        if (r < 0)
                return r;
        if (n_compressed != hash.n_compressed)
                return error_set(
                        err, -EINVAL,
                        "engram_compressed_vocab_size: %u, but the tokenizer compresses to %u",
                        hash.n_compressed, n_compressed);
        hash.pad = map[config->engram_pad_id];
        r = extend_map(&hash, TAKE_PTR(map), n_ids, config->vocab_size);
        if (r < 0)
                return error_set(err, r, "out of memory");
        *ret = hash;
        return 0;
}

void engram_hash_deinit(struct engram_hash *hash) {
        if (!hash)
                return;
        free(hash->map);
        *hash = (struct engram_hash){ 0 };
}

void engram_hash_rows(const struct engram_hash *hash, unsigned engram_layer,
                      const uint32_t *history, uint64_t *ret_rows) {
        assert(engram_layer < hash->n_layers);
        const int64_t *multiplier = hash->multiplier[engram_layer];
        int64_t mixed = (int64_t)history[0] * multiplier[0];
        uint32_t row = 0;
        for (uint32_t shift = 1; shift < hash->ngram_max; shift++) {
                assert(history[shift] < hash->n_compressed);
                mixed ^= (int64_t)history[shift] * multiplier[shift];
                for (uint32_t head = 0; head < hash->n_heads; head++, row++)
                        ret_rows[row] = (uint64_t)(mixed % hash->prime[engram_layer][row] +
                                                   hash->offset[engram_layer][row]);
        }
}
