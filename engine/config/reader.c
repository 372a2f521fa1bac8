#include "engine/config/reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "engine/engram_hash.h"

/* What matrix.n, matrix.k, the operations of backend.h and a page's layout hold in 32 bits. Rows of
 * a step: engine.c clamps them to 65,536. Tokens of a page: 128. A page's rows take at most four
 * bytes a value (float32). */
#define BELOW_2_31(size) _Static_assert((size) < UINT64_C(1) << 31, #size)
BELOW_2_31(UINT64_C(1) * HEADS_MAX * HEAD_DIM_MAX);       /* query of all heads */
BELOW_2_31(UINT64_C(1) * HEADS_MAX * WIDTH_MAX);          /* output groups' ranks */
BELOW_2_31(UINT64_C(1) * HEADS_MAX * INDEX_HEAD_DIM_MAX); /* index query */
BELOW_2_31(UINT64_C(1) * (HC_MAX + 1) * HIDDEN_MAX);      /* streams; an Engram's output */
BELOW_2_31(UINT64_C(1) * (NGRAM_MAX - 1) * ENGRAM_HEADS_MAX * HEAD_DIM_MAX); /* and its input */
BELOW_2_31(UINT64_C(1) * SHARED_EXPERTS_MAX * WIDTH_MAX);
BELOW_2_31(UINT64_C(65536) * HIDDEN_MAX);             /* a sum over all rows of a step */
BELOW_2_31(UINT64_C(1) * WINDOW_MAX + SELECT_MAX);    /* attended keys */
BELOW_2_31(UINT64_C(1) * POSITIONS_MAX + SELECT_MAX); /* rows of whole candidate blocks */
BELOW_2_31(UINT64_C(4) * 128 * LAYERS_MAX * (HEAD_DIM_MAX + INDEX_HEAD_DIM_MAX)); /* a page */

void config_reader_init(struct config_reader *in, const char *file, const char *prefix,
                        json_t *object, struct error *err) {
        *in = (struct config_reader){ file, prefix, json_copy(object), err, 0 };
        if (!in->left)
                in->r = error_set(err, -ENOMEM, "%s: out of memory", file);
}

void config_reader_deinit(struct config_reader *in) {
        json_decref(in->left);
}

void config_refuse(struct config_reader *in, const char *name, const char *format, ...) {
        if (in->r < 0)
                return;
        char why[256];
        va_list args;
        va_start(args, format);
        vsnprintf(why, sizeof(why), format, args);
        va_end(args);
        in->r = error_set(in->err, -EINVAL, "%s: %s%s: %s", in->file, in->prefix, name, why);
}

bool config_has(const struct config_reader *in, const char *name) {
        return in->r == 0 && json_object_get(in->left, name);
}

json_t *config_take(struct config_reader *in, const char *name) {
        if (in->r < 0)
                return NULL;
        json_t *value = json_object_get(in->left, name);
        json_object_del(in->left, name); /* the document still holds it */
        return value;
}

json_t *config_require(struct config_reader *in, const char *name) {
        json_t *value = config_take(in, name);
        if (!value)
                config_refuse(in, name, "missing");
        return value;
}

int64_t config_int(struct config_reader *in, const char *name, int64_t min, int64_t max) {
        json_t *value = config_require(in, name);
        if (!value)
                return min;
        int64_t v = json_integer_value(value);
        if (!json_is_integer(value) || v < min || v > max) {
                config_refuse(in, name, "not a whole number from %" PRId64 " to %" PRId64, min,
                              max);
                return min;
        }
        return v;
}

uint32_t config_u32(struct config_reader *in, const char *name, uint32_t min, uint32_t max) {
        return (uint32_t)config_int(in, name, min, max);
}

double config_number(struct config_reader *in, const char *name, double min, double max) {
        json_t *value = config_require(in, name);
        if (!value)
                return max;
        double v = json_number_value(value);
        if (!json_is_number(value) || !(v > min) || v > max) {
                config_refuse(in, name, "not a number above %g and up to %g", min, max);
                return max;
        }
        return v;
}

bool config_bool(struct config_reader *in, const char *name) {
        json_t *value = config_require(in, name);
        if (value && !json_is_boolean(value))
                config_refuse(in, name, "neither true nor false");
        return json_is_true(value);
}

unsigned config_one_of(struct config_reader *in, const char *name, const char *const *wanted,
                       unsigned n) {
        json_t *value = config_require(in, name);
        const char *found = json_string_value(value);
        char known[128] = "";
        for (unsigned i = 0; value && i < n; i++) {
                if (found && strcmp(found, wanted[i]) == 0)
                        return i;
                size_t at = strlen(known);
                snprintf(known + at, sizeof(known) - at, "%s'%s'", i > 0 ? " and " : "", wanted[i]);
        }
        if (value)
                config_refuse(in, name, "'%s' is not supported (%s %s)",
                              found ? found : "not a string", known, n > 1 ? "are" : "is");
        return 0;
}

void config_exactly(struct config_reader *in, const char *name, const char *wanted) {
        config_one_of(in, name, &wanted, 1);
}

void config_off(struct config_reader *in, const char *name) {
        json_t *value = config_take(in, name);
        if (value && !json_is_false(value))
                config_refuse(in, name, "only false is supported");
}

unsigned config_array(struct config_reader *in, const char *name, unsigned n_min, unsigned n_max,
                      int64_t min, int64_t max, int64_t *ret) {
        json_t *array = config_require(in, name);
        if (!array)
                return 0;
        size_t n = json_array_size(array);
        if (!json_is_array(array) || n < n_min || n > n_max) {
                config_refuse(in, name, "not an array of %u to %u entries", n_min, n_max);
                return 0;
        }
        for (size_t i = 0; i < n; i++) {
                json_t *value = json_array_get(array, i);
                ret[i] = json_integer_value(value);
                if (!json_is_integer(value) || ret[i] < min || ret[i] > max) {
                        config_refuse(in, name,
                                      "entry %zu is not a whole number from %" PRId64
                                      " to %" PRId64,
                                      i, min, max);
                        return 0;
                }
        }
        return (unsigned)n;
}

unsigned config_layers(struct config_reader *in, const char *name, unsigned n_max,
                       uint32_t n_layers, int64_t *ret) {
        unsigned n = config_array(in, name, 0, n_max, 0, (int64_t)n_layers - 1, ret);
        for (unsigned i = 1; i < n; i++)
                if (ret[i] <= ret[i - 1]) {
                        config_refuse(in, name, "not in ascending order");
                        return 0;
                }
        return n;
}

void config_rope_scaling(struct config_reader *in, bool magnitudes, struct yarn_config *ret) {
        json_t *scaling = config_require(in, "rope_scaling"); /* absent: an unstated default */
        if (in->r < 0 || json_is_null(scaling))
                return;
        if (!json_is_object(scaling)) {
                config_refuse(in, "rope_scaling", "neither null nor an object");
                return;
        }
        char prefix[64];
        snprintf(prefix, sizeof(prefix), "%srope_scaling.", in->prefix);
        struct config_reader sub;
        config_reader_init(&sub, in->file, prefix, scaling, in->err);
        bool new_name = config_has(&sub, "rope_type");
        config_exactly(&sub, new_name ? "rope_type" : "type", "yarn");
        if (new_name && config_has(&sub, "type"))
                config_exactly(&sub, "type", "yarn");
        ret->enabled = true;
        ret->factor = (float)config_number(&sub, "factor", 0, 1e4);
        ret->beta_fast = (float)config_number(&sub, "beta_fast", 0, 1e6);
        ret->beta_slow = (float)config_number(&sub, "beta_slow", 0, 1e6);
        ret->original_positions =
                config_u32(&sub, "original_max_position_embeddings", 1, POSITIONS_MAX);
        if (magnitudes) {
                ret->mscale = (float)config_number(&sub, "mscale", 0, 100);
                ret->mscale_all_dim = (float)config_number(&sub, "mscale_all_dim", 0, 100);
        }
        if (sub.r == 0 && ret->factor < 1)
                config_refuse(&sub, "factor", "below 1");
        if (sub.r == 0 && ret->beta_fast <= ret->beta_slow)
                config_refuse(&sub, "beta_fast", "not above beta_slow");
        config_refuse_left(&sub, NULL, 0);
        in->r = sub.r;
        config_reader_deinit(&sub);
}

void config_refuse_left(struct config_reader *in, const char *const *ignored, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                config_take(in, ignored[i]);
        if (in->r < 0)
                return;
        void *first = json_object_iter(in->left);
        if (first)
                config_refuse(in, json_object_iter_key(first), "unknown field");
}
