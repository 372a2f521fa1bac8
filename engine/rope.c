#include "engine/rope.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/numerics.h"

#define TWO_PI 6.283185307179586

/* YaRN's border: the pair index at which `rotations` full turns fit into the original context. */
static double correction_pair(const struct rope_config *rope, uint32_t dim, double rotations) {
        return (double)dim *
                math_log((double)rope->yarn.original_positions / (rotations * TWO_PI)) /
                (2.0 * math_log(rope->theta));
}

/* Pairs below `low` keep their frequency, pairs above `high` are slowed by the factor, a ramp lies
 * between. */
static double yarn_scaled(const struct rope_config *rope, uint32_t dim, uint32_t pair, double f) {
        if (!rope->yarn.enabled)
                return f;
        double low = floor(correction_pair(rope, dim, (double)rope->yarn.beta_fast));
        double high = ceil(correction_pair(rope, dim, (double)rope->yarn.beta_slow));
        low = low < 0.0 ? 0.0 : low;
        high = high > (double)dim - 1.0 ? (double)dim - 1.0 : high;
        double width =
                high > low ? high - low : 0.001; /* the usual guard against a division by zero */
        double ramp = ((double)pair - low) / width;
        ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
        return f / (double)rope->yarn.factor * ramp + f * (1.0 - ramp);
}

int rope_frequencies_init(struct rope_frequencies *ret, const struct model_config *config) {
        uint32_t dim = config->rope_dim, n = dim / 2;
        float *table = calloc(N_ROPE_KINDS * (size_t)n + 1, sizeof(float));
        if (!table)
                return -ENOMEM;
        *ret = (struct rope_frequencies){ .n_pairs = n };
        for (unsigned kind = 0; kind < N_ROPE_KINDS; kind++) {
                const struct rope_config *rope = &config->rope[kind];
                ret->frequency[kind] = table + (size_t)kind * n;
                for (uint32_t i = 0; rope->theta > 0 && i < n; i++) {
                        double exponent = -2.0 * (double)i / (double)dim;
                        ret->frequency[kind][i] = (float)yarn_scaled(
                                rope, dim, i, math_exp(exponent * math_log(rope->theta)));
                }
        }
        return 0;
}

void rope_frequencies_deinit(struct rope_frequencies *frequencies) {
        free(frequencies->frequency[0]);
        *frequencies = (struct rope_frequencies){ 0 };
}

void rope_table(const float *frequency, uint32_t n_pairs, uint64_t position, float *ret_cos,
                float *ret_sin) {
        for (uint32_t i = 0; i < n_pairs; i++) {
                double s, c;
                math_sincos((double)((float)position * frequency[i]), &s, &c);
                ret_cos[i] = (float)c;
                ret_sin[i] = (float)s;
        }
}
