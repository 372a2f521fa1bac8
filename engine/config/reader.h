/* Reading one JSON object of a config.json, field by field.
 *
 * Each field is taken once, checked and bounded; what is left at the end is unknown and refused.
 * The first error sticks and later reads do nothing, so that a family's reader reads as a list.
 * Values are borrowed from the document. One thread per reader. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/model_config.h"

struct error;

/* Bounds beyond LAYERS_MAX and its like: four times the largest released models or more, and small
 * enough that what the engine counts in 32 bits stays below 2^31 (asserted in reader.c) and every
 * tensor size below 2^63. */
#define VOCAB_MAX     (1U << 24)
#define HIDDEN_MAX    (4U * 7168)
#define WIDTH_MAX     (1U << 16) /* ranks, widths of dense layers and experts */
#define HEADS_MAX     1024U
#define HEAD_DIM_MAX  4096U
#define EXPERTS_MAX   4096U
#define WINDOW_MAX    (1U << 16)
#define SELECT_MAX    (1U << 20) /* selected rows, candidate blocks */
#define POSITIONS_MAX (1U << 27)
#define DRAFT_MAX     64U

struct config_reader {
        const char *file;
        const char *prefix; /* "text_config." or "" */
        json_t *left;       /* fields nobody has taken yet (owned, shares the values) */
        struct error *err;
        int r;
};

void config_reader_init(struct config_reader *in, const char *file, const char *prefix,
                        json_t *object, struct error *err);
void config_reader_deinit(struct config_reader *in);

/* "FILE: PREFIXNAME: why". */
__attribute__((format(printf, 3, 4))) void config_refuse(struct config_reader *in, const char *name,
                                                         const char *format, ...);

bool config_has(const struct config_reader *in, const char *name); /* false after an error */

/* The field's value (borrowed from the document), NULL when absent or after an error. */
json_t *config_take(struct config_reader *in, const char *name);
json_t *config_require(struct config_reader *in, const char *name); /* absent: refused */

/* The following are required, and give a value inside the bounds even after an error. */
int64_t config_int(struct config_reader *in, const char *name, int64_t min, int64_t max);
uint32_t config_u32(struct config_reader *in, const char *name, uint32_t min, uint32_t max);
double config_number(struct config_reader *in, const char *name, double min,
                     double max); /* in (min, max] */
bool config_bool(struct config_reader *in, const char *name);
void config_exactly(struct config_reader *in, const char *name, const char *wanted);

/* One of n strings; returns which, 0 after an error. */
unsigned config_one_of(struct config_reader *in, const char *name, const char *const *wanted,
                       unsigned n);

/* A switch that must be off; it may be absent, off being what absence means upstream. */
void config_off(struct config_reader *in, const char *name);

/* An array of `n_min` to `n_max` whole numbers in [min, max]. Returns how many. */
unsigned config_array(struct config_reader *in, const char *name, unsigned n_min, unsigned n_max,
                      int64_t min, int64_t max, int64_t *ret);

/* Layer numbers in ascending order. */
unsigned config_layers(struct config_reader *in, const char *name, unsigned n_max,
                       uint32_t n_layers, int64_t *ret);

/* rope_scaling: null, or YaRN in an object of its own. `magnitudes`: mscale and mscale_all_dim are
 * part of it. */
void config_rope_scaling(struct config_reader *in, bool magnitudes, struct yarn_config *ret);

/* Refuses the first field that nobody took and that is not among the n `ignored` ones. */
void config_refuse_left(struct config_reader *in, const char *const *ignored, unsigned n);
