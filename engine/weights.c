#include "engine/weights.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "engine/progress.h"
#include "engine/safetensors.h"
#include "engine/tensors/family.h"

/* The family's list, visited. */
struct binder {
        const struct checkpoint *checkpoint;
        const struct model_config *config;
        const struct progress *progress;
        struct error *err;
        struct weights *weights;
        bool *taken; /* [checkpoint_n_tensors] */
        bool tables_optional, scan_experts;
        uint32_t n_layers_seen;
};

/* Whether loading looks for NaN among the experts' scales. They are 1/17 of an FP4 expert, which
 * lies in the file as scales, then weights: of a model as large as the release (17 GB of scales)
 * that would read a large part of the file before the first token. A NaN there still cannot give a
 * wrong token: it makes every output of its row NaN, and the step ends with an error that names the
 * layer. The same holds for Engram scales and for NaN among the FP8 codes. */
#define SCALES_SCANNED_MAX (1ULL << 30)

static bool scan_experts(const struct model_config *c) {
        uint64_t values = 3ULL * c->expert_dim * c->hidden_size * c->n_experts *
                model_config_expert_layers(c);
        return values / WEIGHT_BLOCK <= SCALES_SCANNED_MAX;
}

static int nan_scale(const char *name, uint64_t at, uint64_t row_length, const char *what,
                     struct error *err) {
        return error_set(err, -EINVAL, "tensor '%s': the scale at [%" PRIu64 ", %" PRIu64 "] is %s",
                         name, at / row_length, at % row_length, what);
}

/* Scale byte 255 is NaN: the first one is named. */
static int check_scales(const char *name, const uint8_t *scales, uint64_t n, uint64_t row_length,
                        struct error *err) {
        const uint8_t *bad = memchr(scales, 255, n);
        return bad ? nan_scale(name, (uint64_t)(bad - scales), row_length, "255 (NaN)", err) : 0;
}

static int check_float_scales(const char *name, const float *scales, uint64_t n,
                              uint64_t row_length, struct error *err) {
        for (uint64_t i = 0; i < n; i++)
                if (!isfinite(scales[i]))
                        return nan_scale(name, i, row_length, "not a finite number", err);
        return 0;
}

static int check_scale_tensor(const struct binder *b, const struct tensor_entry *entry,
                              const void *data) {
        uint64_t n = entry->shape[0] * entry->shape[1];
        if ((entry->component == COMPONENT_EXPERTS && !b->scan_experts) ||
            entry->component == COMPONENT_ENGRAM_TABLES) /* weights_check_engram_scales() */
                return 0;
        return entry->dtype == DTYPE_F32
                ? check_float_scales(entry->name, data, n, entry->shape[1], b->err)
                : check_scales(entry->name, data, n, entry->shape[1], b->err);
}

/* A table names different experts that exist: with one named twice, or none, a position would get
 * less than its weights say. */
static int check_expert_ids(const struct binder *b, const struct tensor_entry *entry,
                            const int64_t *ids) {
        uint64_t k = entry->shape[1];
        for (uint64_t i = 0; i < entry->shape[0] * k; i++) {
                if (ids[i] < 0 || ids[i] >= b->config->n_experts)
                        return error_set(b->err, -EINVAL,
                                         "tensor '%s': [%" PRIu64 ", %" PRIu64
                                         "] is expert %" PRId64 ", there are %u",
                                         entry->name, i / k, i % k, ids[i], b->config->n_experts);
                for (uint64_t j = i / k * k; j < i; j++)
                        if (ids[j] == ids[i])
                                return error_set(b->err, -EINVAL,
                                                 "tensor '%s': row %" PRIu64 " has expert %" PRId64
                                                 " twice",
                                                 entry->name, i / k, ids[i]);
        }
        return 0;
}

/* The entry's type, or the other one that it may have. */
static enum dtype dtype_of(const struct binder *b, const struct tensor_entry *entry) {
        const struct tensor *t =
                entry->any_float ? checkpoint_find(b->checkpoint, entry->name) : NULL;
        return t && t->dtype == DTYPE_F32 ? DTYPE_F32 : entry->dtype;
}

static int take(struct binder *b, const struct tensor_entry *entry, const void **ret) {
        const struct tensor *t;
        enum dtype dtype = dtype_of(b, entry);
        int r = checkpoint_require(b->checkpoint, entry->name, dtype, entry->n_dims, entry->shape,
                                   &t, b->err);
        if (r < 0)
                return r;
        size_t align = dtype_bytes(dtype);
        if ((uintptr_t)t->data % align != 0)
                return error_set(b->err, -EINVAL,
                                 "tensor '%s': its data is not aligned to %zu bytes", entry->name,
                                 align);
        b->weights->bytes += t->bytes;
        b->taken[checkpoint_index(b->checkpoint, t)] = true;
        *ret = t->data;
        return 0;
}

/* Whether a plane of an Engram table may be left out: both are, and rows come from elsewhere. */
static bool may_lack(const struct binder *b, const struct tensor_entry *entry) {
        if (!b->tables_optional || entry->component != COMPONENT_ENGRAM_TABLES)
                return false;
        static const char *const planes[] = { "weight", "scale" };
        const char *dot = strrchr(entry->name, '.');
        for (unsigned i = 0; i < 2; i++) {
                char name[sizeof(entry->name) + 8];
                snprintf(name, sizeof(name), "%.*s.%s", (int)(dot - entry->name), entry->name,
                         planes[i]);
                if (checkpoint_find(b->checkpoint, name))
                        return false;
        }
        return true;
}

static void *place_of(const struct binder *b, const struct tensor_entry *entry) {
        struct weights *w = b->weights;
        uint8_t *base = NULL;
        switch (entry->place.of) {
        case PLACE_NONE: return NULL;
        case PLACE_MODEL: base = (uint8_t *)w; break;
        case PLACE_LAYER: base = (uint8_t *)&w->layer[entry->layer]; break;
        case PLACE_EXPERT: base = (uint8_t *)&w->layer[entry->layer].experts[entry->expert]; break;
        }
        return base + entry->place.offset;
}

static void bind_matrix(const struct binder *b, const struct tensor_entry *entry, const void *data,
                        struct matrix *matrix) {
        bool quantised = entry->format != WEIGHT_F32 && entry->format != WEIGHT_BF16;
        bool fp8 = entry->format == WEIGHT_FP8 || entry->format == WEIGHT_FP8_F32;
        *matrix = (struct matrix){
                .data = data,
                .scales = matrix->scales, /* which may be listed first */
                .n = (uint32_t)entry->shape[0],
                .k = (uint32_t)entry->shape[1] * (entry->format == WEIGHT_FP4 ? 2 : 1),
                .format = entry->format,
                .input_block = quantised && !entry->exact_input ? b->config->input_block : 0,
                .tile = fp8 ? b->config->weight_tile : 0,
        };
}

static void report_layer(struct binder *b, const struct tensor_entry *entry) {
        if (entry->place.of != PLACE_LAYER || entry->layer < b->n_layers_seen)
                return;
        char what[48];
        b->n_layers_seen = entry->layer + 1;
        snprintf(what, sizeof(what), "checking layer %u of %u", b->n_layers_seen,
                 b->config->n_layers);
        progress_report(b->progress, (double)entry->layer / b->config->n_layers, what);
}

static int bind(void *userdata, const struct tensor_entry *entry) {
        struct binder *b = userdata;
        void *place = place_of(b, entry);
        if (!place || may_lack(b, entry))
                return 0;
        report_layer(b, entry);
        const void *data = NULL;
        int r = take(b, entry, &data);
        if (r == 0 && entry->content == CONTENT_SCALES)
                r = check_scale_tensor(b, entry, data);
        if (r == 0 && entry->content == CONTENT_EXPERT_IDS)
                r = check_expert_ids(b, entry, data);
        if (r < 0)
                return r;
        if (entry->any_float) {
                *(struct float_vector *)place = (struct float_vector){
                        data, dtype_of(b, entry) == DTYPE_F32 ? WEIGHT_F32 : WEIGHT_BF16
                };
                return 0;
        }
        bool matrix = !entry->place.plain &&
                (entry->content == CONTENT_MATRIX || entry->content == CONTENT_EMBEDDING);
        if (matrix)
                bind_matrix(b, entry, data, place);
        else if (!entry->place.plain && entry->content == CONTENT_SCALES)
                ((struct matrix *)place)->scales = data;
        else
                *(const void **)place = data;
        return 0;
}

static void count_skipped(const struct binder *b, struct tensors_skipped *skipped) {
        const struct tensor_family *family = tensor_family(b->config->family);
        skipped[SKIPPED_DRAFT].what = family->drafts;
        skipped[SKIPPED_VISION].what = family->vision;
        skipped[SKIPPED_UNKNOWN].what = "unknown tensors";
        for (size_t i = 0; i < checkpoint_n_tensors(b->checkpoint); i++) {
                if (b->taken[i])
                        continue;
                const struct tensor *t = checkpoint_tensor(b->checkpoint, i);
                struct tensors_skipped *of = &skipped[family->skipped(b->config, t->name)];
                if (of->n++ == 0)
                        of->first = t->name;
                of->bytes += t->bytes;
        }
}

static int allocate(struct weights *w, const struct model_config *config) {
        w->layer = calloc(config->n_layers, sizeof(*w->layer));
        w->experts = calloc((size_t)config->n_layers * config->n_experts + 1, sizeof(*w->experts));
        if (!w->layer || !w->experts)
                return -ENOMEM;
        for (uint32_t l = 0; l < config->n_layers; l++)
                w->layer[l].experts = w->experts + (size_t)l * config->n_experts;
        return 0;
}

int weights_bind(struct weights *ret, const struct checkpoint *checkpoint,
                 const struct model_config *config, bool tables_optional,
                 const struct progress *progress, struct error *err) {
        struct weights w = { 0 };
        CLEANUP_FREE bool *taken = calloc(checkpoint_n_tensors(checkpoint) + 1, sizeof(*taken));
        struct binder b = {
                .checkpoint = checkpoint,
                .config = config,
                .progress = progress,
                .err = err,
                .weights = &w,
                .taken = taken,
                .tables_optional = tables_optional,
                .scan_experts = scan_experts(config),
        };
        struct tensor_table table = { .config = config };
        int r = taken && allocate(&w, config) == 0
                ? tensor_table_visit(&table, bind, &b)
                : error_set(err, -ENOMEM, "out of memory for %u layers' tensor tables",
                            config->n_layers);
        if (r < 0) {
                weights_unbind(&w);
                return r;
        }
        count_skipped(&b, w.skipped);
        *ret = w;
        return 0;
}

int weights_check_engram_scales(const struct weights *weights, const struct model_config *config,
                                struct error *err) {
        uint64_t row_length = config->engram_head_dim / FP8_BLOCK;
        int r = 0;
        for (uint32_t i = 0; r == 0 && i < config->n_engram_layers; i++) {
                uint64_t n = config->engram_rows[i] * row_length;
                char name[48];
                snprintf(name, sizeof(name), "layers.%u.engram.embed.scale",
                         config->engram_layers[i]);
                if (n <= SCALES_SCANNED_MAX)
                        r = check_scales(name,
                                         weights->layer[config->engram_layers[i]].engram.scales, n,
                                         row_length, err);
        }
        return r;
}

void weights_unbind(struct weights *weights) {
        free(weights->layer);
        free(weights->experts);
        *weights = (struct weights){ 0 };
}
