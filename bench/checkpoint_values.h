/* The numbers of a made-up checkpoint: any byte of any tensor, from the seed and its place alone.
 *
 * Each 8 bytes of a tensor are one counter, mixed; every value takes its own bits of it and looks
 * up a quantile of a normal distribution. So any part can be made by any thread in any order.
 * Nothing of it depends on a mathematical library: the same seed gives the same bytes everywhere.
 * Pure functions; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "engine/tensor_table.h"

enum value_kind { VALUE_FP8, VALUE_FP4, VALUE_SCALE, VALUE_BF16, VALUE_F32, VALUE_IDS };

struct value_rule {
        uint64_t key; /* of this tensor, from name and seed */
        enum value_kind kind;
        double mean, deviation;      /* of the codes, where scales multiply them */
        int exponent;                /* VALUE_SCALE: around 2^exponent */
        uint64_t ids_per_row, n_ids; /* VALUE_IDS: different ones below n_ids in a row */
};

/* Matrices keep the size of what they multiply (deviation 1/sqrt(inputs)), norms are near 1,
 * residual mixing, sinks and router biases small: a forward pass stays finite and its logits tell
 * tokens apart. */
struct value_rule value_rule(const struct tensor_entry *entry, uint64_t seed);

/* Bytes [offset, offset + n) of the tensor. */
void values_fill(const struct value_rule *rule, uint64_t offset, size_t n, uint8_t *ret);
