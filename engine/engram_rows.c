#include "engine/engram_rows.h"

#include <string.h>

#include "base/crc32c.h"
#include "engine/engram_hash.h"
#include "engine/formats.h"
#include "engine/weights.h"

/* The fingerprint: CRC32C of samples of the tensors through which a table's rows enter the model
 * (engram.wkv, q_weight, k_weight), dealt in turn to eight sums. They are trained with the table,
 * belong to it alone, and stay in the checkpoint when the tables themselves have been moved out of
 * it. 256 samples of a released model's 157 MB take a cold disk some 25 ms. */
#define N_SUMS       (ENGRAM_FINGERPRINT_BYTES / sizeof(uint32_t))
#define N_SAMPLES    256
#define SAMPLE_BYTES 512

static void sample(uint32_t sums[N_SUMS], const void *data, uint64_t bytes) {
        uint64_t step = bytes / N_SAMPLES;
        step = step < SAMPLE_BYTES ? SAMPLE_BYTES : step;
        for (uint64_t i = 0; i * step < bytes; i++) {
                uint64_t left = bytes - i * step;
                uint32_t *sum = &sums[i % N_SUMS];
                *sum = crc32c(*sum, (const uint8_t *)data + i * step,
                              left < SAMPLE_BYTES ? left : SAMPLE_BYTES);
        }
}

void engram_tables_init(struct engram_tables *ret, const struct model_config *config,
                        const struct weights *weights, const struct engram_hash *hash) {
        struct engram_tables t = {
                .n_tables = config->n_engram_layers,
                .code_bytes = config->engram_head_dim,
                .scale_bytes = config->engram_head_dim / FP8_BLOCK,
                .n_multipliers = hash->ngram_max,
                .n_primes = hash->n_rows,
        };
        uint32_t sums[N_SUMS] = { 0 };
        uint64_t qk_bytes = (uint64_t)config->hc * config->hidden_size * sizeof(uint16_t);
        for (uint32_t i = 0; i < t.n_tables; i++) {
                const struct engram_weights *w = &weights->layer[config->engram_layers[i]].engram;
                t.table[i] = (struct engram_table){
                        .n_rows = config->engram_rows[i],
                        .codes = w->codes,
                        .scales = w->scales,
                        .multiplier = hash->multiplier[i],
                        .prime = hash->prime[i],
                };
                sample(sums, w->wkv.data, w->wkv.n * (uint64_t)matrix_row_bytes(&w->wkv));
                sample(sums, w->q_weight, qk_bytes);
                sample(sums, w->k_weight, qk_bytes);
        }
        memcpy(t.fingerprint, sums, sizeof(t.fingerprint));
        *ret = t;
}

static int open_checkpoint(void *context, const struct engram_tables *tables, struct error *err) {
        (void)err;
        struct engram_checkpoint_rows *source = context;
        source->tables = tables;
        return 0;
}

static void request(void *context, unsigned table, const uint64_t *rows, uint32_t n,
                    uint8_t *dest) {
        struct engram_checkpoint_rows *source = context;
        source->requested[table].rows = rows;
        source->requested[table].n = n;
        source->requested[table].dest = dest;
}

static int collect(void *context, unsigned table, struct error *err) {
        (void)err;
        const struct engram_checkpoint_rows *source = context;
        const struct engram_tables *tables = source->tables;
        const struct engram_table *from = &tables->table[table];
        const uint64_t *rows = source->requested[table].rows;
        uint8_t *dest = source->requested[table].dest;
        for (uint32_t i = 0; i < source->requested[table].n; i++) {
                memcpy(dest, from->codes + rows[i] * tables->code_bytes, tables->code_bytes);
                dest += tables->code_bytes;
                memcpy(dest, from->scales + rows[i] * tables->scale_bytes, tables->scale_bytes);
                dest += tables->scale_bytes;
        }
        return 0;
}

const struct engram_rows_operations engram_checkpoint_rows = {
        .open = open_checkpoint,
        .request = request,
        .collect = collect,
};
