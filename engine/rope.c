#include "engine/rope.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/numerics.h"

#define TWO_PI 6.283185307179586

/* YaRN's border: the pair index at which `rotations` full turns fit into the original context. */
static double correction_pair(const struct model_config *c, double rotations) {
        return (double)c->rope_dim *
                math_log((double)c->yarn.original_positions / (rotations * TWO_PI)) /
                (2.0 * math_log(c->compress_rope_theta));
}

/* Pairs below `low` keep their frequency, pairs above `high` are slowed by the factor, a ramp lies
 * between. */
static double yarn_scaled(const struct model_config *c, uint32_t pair, double f) {
        if (!c->yarn.enabled)
                return f;
        double low = floor(correction_pair(c, (double)c->yarn.beta_fast));
        double high = ceil(correction_pair(c, (double)c->yarn.beta_slow));
        low = low < 0.0 ? 0.0 : low;
        high = high > (double)c->rope_dim - 1.0 ? (double)c->rope_dim - 1.0 : high;
        double width =
                high > low ? high - low : 0.001; /* the usual guard against a division by zero */
        double ramp = ((double)pair - low) / width;
        ramp = ramp < 0.0 ? 0.0 : ramp > 1.0 ? 1.0 : ramp;
        return f / (double)c->yarn.factor * ramp + f * (1.0 - ramp);
}

int rope_frequencies_init(struct rope_frequencies *ret, const struct model_config *config) {
        uint32_t n = config->rope_dim / 2;
        float *table = calloc(2 * (size_t)n, sizeof(float));
        if (!table)
                return -ENOMEM;
        for (uint32_t i = 0; i < n; i++) {
                double exponent = -2.0 * (double)i / (double)config->rope_dim;
                table[i] = (float)math_exp(exponent * math_log(config->rope_theta));
                table[n + i] = (float)yarn_scaled(
                        config, i, math_exp(exponent * math_log(config->compress_rope_theta)));
        }
        *ret = (struct rope_frequencies){ n, table, table + n };
        return 0;
}

void rope_frequencies_deinit(struct rope_frequencies *frequencies) {
        free(frequencies->main);
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
