/* Comparison with golden files: prompt ids, greedy continuation and the largest logits of some
 * positions, made by an implementation that shares no code with the engine. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct engine;
struct error;

struct golden_result {
        char name[64];
        size_t n_prompt, n_greedy, n_greedy_same; /* leading ids of the continuation that agree */
        size_t n_logits;
        double difference_max, tolerance; /* absolute, logits */
        bool ids_from_text_agree; /* the tokenizer gives the file's ids for the file's prompt */
        /* The continuation may part where two logits are closer than the tolerance. */
        bool parted_at_near_tie;
        bool passed;
};

int golden_compare(struct engine *engine, const char *path, unsigned chunk,
                   struct golden_result *ret, struct error *err);
