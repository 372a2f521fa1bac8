#include "bench/checkpoint_values.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "engine/formats.h"
#include "engine/numerics.h"

#define BITS      12 /* of randomness in a BF16 or F32 value */
#define QUANTILES (1U << BITS)

/* Code magnitudes that use the formats well: FP8 up to 448, FP4 up to 6. */
#define FP8_DEVIATION 24
#define FP4_DEVIATION 1.5

#define SCALE_BIAS 127 /* ue8m0: byte b is 2^(b - 127) */

/* Standard normal: the value below which (i + 1/2) / QUANTILES of the numbers lie. */
static double quantile[QUANTILES];
static pthread_once_t quantile_once = PTHREAD_ONCE_INIT;

/* Integrates the density from 0 in steps of 1/1024. exp(-x^2/2) at x = i/1024 comes from the value
 * before it times a factor that itself shrinks by exp(-1/1024^2): multiplications only. */
static void make_quantiles(void) {
        const double step = 1.0 / 1024, shrink = 0x1.ffffe00001p-1, scale = 0.39894228040143267794;
        double density = scale, factor = 0x1.fffff000004p-1, below = 0.5, x = 0;
        for (unsigned i = QUANTILES / 2; i < QUANTILES; i++) {
                double wanted = (i + 0.5) / QUANTILES;
                double next = density * factor;
                while (below + (density + next) / 2 * step < wanted) {
                        below += (density + next) / 2 * step;
                        x += step;
                        density = next;
                        factor *= shrink;
                        next = density * factor;
                }
                quantile[i] = x + (wanted - below) / ((density + next) / 2);
                quantile[QUANTILES - 1 - i] = -quantile[i];
        }
}

static uint64_t mix(uint64_t x) { /* splitmix64's finaliser */
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return x ^ x >> 31;
}

/* FNV-1a of the name, mixed with the seed. */
static uint64_t tensor_key(const char *name, uint64_t seed) {
        uint64_t hash = 0xcbf29ce484222325;
        for (; *name; name++)
                hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
        return mix(hash ^ mix(seed + 0x9e3779b97f4a7c15));
}

/* The exponent e for which numbers of this deviation have codes of deviation [target, 2 target):
 * deviation / 2^e. */
static int scale_exponent(double deviation, double target) {
        int exponent;
        frexp(deviation / target, &exponent); /* exact, unlike a logarithm */
        return exponent - 1;
}

static double matrix_deviation(uint64_t inputs) {
        return 1 / sqrt((double)inputs);
}

/* A scale tensor must fit the codes that its weights were given. */
static struct value_rule scale_rule(const struct tensor_entry *entry) {
        bool fp4 = entry->format == WEIGHT_FP4;
        double deviation = entry->component == COMPONENT_ENGRAM_TABLES
                ? 1
                : matrix_deviation(entry->shape[1] * entry->scaled_columns);
        int exponent = scale_exponent(deviation, fp4 ? FP4_DEVIATION : FP8_DEVIATION);
        return (struct value_rule){
                .kind = VALUE_SCALE,
                .exponent = exponent,
                .mean = ldexp(1, exponent), /* of float scales */
        };
}

static struct value_rule content_rule(const struct tensor_entry *entry) {
        uint64_t inputs = entry->shape[entry->n_dims - 1] * (entry->dtype == DTYPE_I8 ? 2 : 1);
        switch (entry->content) {
        case CONTENT_SCALES: return scale_rule(entry);
        case CONTENT_MATRIX: return (struct value_rule){ .deviation = matrix_deviation(inputs) };
        case CONTENT_EMBEDDING: return (struct value_rule){ .deviation = 1 };
        case CONTENT_NORM: return (struct value_rule){ .mean = 1, .deviation = 0.1 };
        case CONTENT_SINKS: return (struct value_rule){ .mean = 0.5, .deviation = 0.2 };
        case CONTENT_BIAS: return (struct value_rule){ .deviation = 0.05 };
        case CONTENT_MIX_BASE: return (struct value_rule){ .deviation = 1 };
        case CONTENT_MIX_SCALE: return (struct value_rule){ .mean = 0.4, .deviation = 0.05 };
        case CONTENT_EXPERT_IDS:
                return (struct value_rule){ .ids_per_row = entry->shape[1], .n_ids = entry->n_ids };
        }
        return (struct value_rule){ .deviation = 1 };
}

struct value_rule value_rule(const struct tensor_entry *entry, uint64_t seed) {
        struct value_rule rule = content_rule(entry);
        rule.key = tensor_key(entry->name, seed);
        switch (entry->dtype) {
        case DTYPE_F8_E4M3:
                rule.kind = VALUE_FP8;
                rule.deviation =
                        ldexp(rule.deviation, -scale_exponent(rule.deviation, FP8_DEVIATION));
                break;
        case DTYPE_I8:
                rule.kind = VALUE_FP4;
                rule.deviation =
                        ldexp(rule.deviation, -scale_exponent(rule.deviation, FP4_DEVIATION));
                break;
        case DTYPE_F32: rule.kind = VALUE_F32; break;
        case DTYPE_F8_E8M0: rule.kind = VALUE_SCALE; break;
        case DTYPE_I64: rule.kind = VALUE_IDS; break;
        default: rule.kind = VALUE_BF16;
        }
        return rule;
}

/* What random bits turn into. */
union lookup {
        uint8_t bytes[256];
        uint16_t bf16[QUANTILES];
        float f32[QUANTILES];
};

/* Value i of n equally likely ones. */
static float value(const struct value_rule *rule, unsigned i, unsigned n) {
        double q = quantile[i * (QUANTILES / n) + QUANTILES / n / 2];
        return (float)(rule->mean + rule->deviation * q);
}

static float clamp(float x, float limit) {
        return x > limit ? limit : x < -limit ? -limit : x;
}

static void make_lookup(const struct value_rule *rule, union lookup *ret) {
        switch (rule->kind) {
        case VALUE_FP8:
                for (unsigned i = 0; i < 256; i++)
                        ret->bytes[i] = e4m3_encode(clamp(value(rule, i, 256), 448));
                break;
        case VALUE_FP4:
                for (unsigned i = 0; i < 256; i++)
                        ret->bytes[i] =
                                (uint8_t)(e2m1_encode(clamp(value(rule, i % 16, 16), 6)) |
                                          e2m1_encode(clamp(value(rule, i / 16, 16), 6)) << 4);
                break;
        case VALUE_SCALE: /* a half as it is, a quarter one step up, a quarter one down */
                for (unsigned i = 0; i < 256; i++)
                        ret->bytes[i] = (uint8_t)(SCALE_BIAS + rule->exponent + (i % 4 == 1) -
                                                  (i % 4 == 2));
                break;
        case VALUE_BF16:
                for (unsigned i = 0; i < QUANTILES; i++)
                        ret->bf16[i] =
                                (uint16_t)(float_bits(bf16_round(value(rule, i, QUANTILES))) >> 16);
                break;
        case VALUE_F32:
                for (unsigned i = 0; i < QUANTILES; i++)
                        ret->f32[i] = value(rule, i, QUANTILES);
                break;
        case VALUE_IDS: break;
        }
}

static uint64_t word_random(const struct value_rule *rule, uint64_t word) {
        return mix(rule->key + word * 0x9e3779b97f4a7c15);
}

/* A row's ids follow each other from a random one on. */
static uint64_t id_at(const struct value_rule *rule, uint64_t word) {
        uint64_t first = word_random(rule, word / rule->ids_per_row) % rule->n_ids;
        return (first + word % rule->ids_per_row) % rule->n_ids;
}

/* The 8 bytes at 8 * word. */
static void make_word(const struct value_rule *rule, const union lookup *lookup, uint64_t word,
                      uint8_t *ret) {
        uint64_t random = word_random(rule, word), id;
        switch (rule->kind) {
        case VALUE_BF16:
                for (unsigned i = 0; i < 4; i++)
                        memcpy(ret + 2 * i, &lookup->bf16[random >> (16 * i) & (QUANTILES - 1)], 2);
                break;
        case VALUE_F32:
                for (unsigned i = 0; i < 2; i++)
                        memcpy(ret + 4 * i, &lookup->f32[random >> (32 * i) & (QUANTILES - 1)], 4);
                break;
        case VALUE_IDS:
                id = id_at(rule, word);
                memcpy(ret, &id, sizeof(id));
                break;
        default:
                for (unsigned i = 0; i < 8; i++)
                        ret[i] = lookup->bytes[random >> (8 * i) & 255];
        }
}

void values_fill(const struct value_rule *rule, uint64_t offset, size_t n, uint8_t *ret) {
        union lookup lookup;
        pthread_once(&quantile_once, make_quantiles);
        make_lookup(rule, &lookup);
        while (n > 0) {
                size_t skip = offset % 8, room = 8 - skip < n ? 8 - skip : n;
                if (room == 8) { /* whole words: most of it */
                        size_t n_words = n / 8;
                        for (size_t i = 0; i < n_words; i++)
                                make_word(rule, &lookup, offset / 8 + i, ret + 8 * i);
                        room = n_words * 8;
                } else {
                        uint8_t word[8];
                        make_word(rule, &lookup, offset / 8, word);
                        memcpy(ret, word + skip, room);
                }
                offset += room;
                ret += room;
                n -= room;
        }
}
