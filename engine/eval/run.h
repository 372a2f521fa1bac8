/* One token sequence through the engine: all logits, the likelihood, a greedy continuation. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct engine;
struct error;

struct eval_options {
        uint32_t chunk;    /* tokens per step, 0 = as many as the engine takes */
        uint32_t generate; /* greedy tokens to append */
        /* Called once per chunk of a long evaluation; may be NULL. */
        void (*progress)(void *userdata, size_t done, size_t total);
        void *userdata;
};

struct eval_result {
        size_t n_tokens, n_generated;
        uint32_t vocab_size;
        float *logits; /* [n_tokens + n_generated - (n_generated > 0)][vocab_size], by position */
        size_t n_positions;  /* rows of logits */
        uint32_t *generated; /* [n_generated] */
        double nll; /* mean negative log-likelihood of tokens 1.. given those before, nats; 0 for
                       one token */
        double prefill_s, decode_s;
};

int eval_run(struct engine *engine, const uint32_t *ids, size_t n,
             const struct eval_options *options, struct eval_result *ret, struct error *err);
void eval_result_deinit(struct eval_result *result);

/* Ids of the k largest of n logits, largest first, ties to the lower id. k <= n. */
void eval_top(const float *logits, uint32_t n, uint32_t k, uint32_t *ret_ids);
