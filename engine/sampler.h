/* Choosing the next token from logits. A function of (logits, parameters, seed, position) only: no
 * state, so a resumed or batched request draws the same tokens.
 *
 * In this order: a mask takes out what may not come; logits are divided by the temperature; top_k
 * keeps the likeliest k; top_p keeps, of these, the fewest likeliest whose share reaches top_p (at
 * least one); min_p drops those less likely than min_p times the likeliest. The kept tokens,
 * likeliest first, then divide [0, 1) by their shares, and the token is the one in whose part the
 * 53 bits of Philox4x32-10 with key = seed and counter = position fall. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;

struct sampling {
        float temperature; /* 0 = greedy, at most 100 */
        uint32_t top_k;    /* 0 = all */
        float top_p; /* 1 = all; keeps the smallest set of most likely tokens whose mass reaches
                        top_p */
        float min_p; /* 0 = all; drops tokens less likely than min_p times the likeliest */
        uint64_t seed;
};

#define SAMPLING_DEFAULT ((struct sampling){ .temperature = 0, .top_p = 1 })

/* 0, or -EINVAL naming the field and its legal range. */
int sampling_check(const struct sampling *sampling, struct error *err);

/* Scratch for a vocabulary, so that sampling does not allocate: 16 bytes per id. One thread at a
 * time. */
struct sampler;
int sampler_new(uint32_t vocab_size, struct sampler **ret);
struct sampler *sampler_free(struct sampler *sampler);

/* Draws the token for `position` (the index that the new token will have in its sequence). Ties go
 * to the lower id. `allowed` (NULL: all): bit (id % 64) of word (id / 64) is set for each token
 * that may come, at least one; with all bits set it changes nothing. `ret_logprob` (may be NULL):
 * natural log of the token's probability under the plain softmax (temperature 1, no filters, no
 * mask). Logits are finite (the engine has checked). */
uint32_t sampler_draw(struct sampler *sampler, const float *logits, const uint64_t *allowed,
                      const struct sampling *sampling, uint64_t position, float *ret_logprob);
