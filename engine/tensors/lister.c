#include "engine/tensors/lister.h"

#include <stdarg.h>
#include <stdio.h>

#define FP4_CODES 2U /* in a byte */

static const enum dtype dtypes[] = {
        [WEIGHT_F32] = DTYPE_F32,         [WEIGHT_BF16] = DTYPE_BF16, [WEIGHT_FP8] = DTYPE_F8_E4M3,
        [WEIGHT_FP8_F32] = DTYPE_F8_E4M3, [WEIGHT_FP4] = DTYPE_I8,
};

void lister_prefix(struct lister *l, const char *format, ...) {
        va_list args;
        va_start(args, format);
        vsnprintf(l->prefix, sizeof(l->prefix), format, args);
        va_end(args);
}

static enum component drafted(const struct lister *l, enum component component) {
        if (!l->draft)
                return component;
        return component == COMPONENT_EXPERTS ? COMPONENT_DRAFT_EXPERTS : COMPONENT_DRAFT;
}

/* `name` without the prefix; sizes and parameters follow. */
static void visit(struct lister *l, const char *name, struct tensor_entry entry) {
        if (l->r != 0)
                return;
        uint64_t count = entry.shape[0] * (entry.n_dims > 1 ? entry.shape[1] : 1);
        entry.bytes = count * dtype_bytes(entry.dtype);
        bool trained = entry.content != CONTENT_SCALES && entry.content != CONTENT_EXPERT_IDS;
        entry.parameters = !trained ? 0 : entry.format == WEIGHT_FP4 ? count * FP4_CODES : count;
        entry.component = drafted(l, entry.component);
        if (l->draft)
                entry.place = NO_PLACE;
        entry.scaled_columns = entry.content == CONTENT_SCALES ? l->scaled_columns : 0;
        entry.layer = l->layer;
        entry.expert = l->expert;
        entry.group = l->group;
        snprintf(entry.name, sizeof(entry.name), "%s%s", l->prefix, name);
        l->r = l->visit(l->userdata, &entry);
}

void put(struct lister *l, const char *name, enum component component, enum tensor_content content,
         enum dtype dtype, struct shape shape, struct tensor_place place) {
        static const enum weight_format formats[] = {
                [DTYPE_F32] = WEIGHT_F32,
                [DTYPE_BF16] = WEIGHT_BF16,
                [DTYPE_F8_E4M3] = WEIGHT_FP8,
        };
        bool listed = (size_t)dtype < sizeof(formats) / sizeof(formats[0]);
        visit(l, name,
              (struct tensor_entry){
                      .dtype = dtype,
                      .n_dims = shape.k > 0 ? 2 : 1,
                      .shape = { shape.n, shape.k },
                      .component = component,
                      .content = content,
                      .format = content == CONTENT_SCALES ? l->scaled
                              : listed                    ? formats[dtype]
                                                          : WEIGHT_F32,
                      .place = place,
              });
}

void put_norm(struct lister *l, const char *name, enum component component, uint64_t n,
              struct tensor_place place) {
        put(l, name, component, CONTENT_NORM, DTYPE_BF16, (struct shape){ n, 0 }, place);
}

void put_any_float(struct lister *l, const char *name, enum component component,
                   enum tensor_content content, uint64_t n, struct tensor_place place) {
        visit(l, name,
              (struct tensor_entry){
                      .dtype = DTYPE_BF16,
                      .n_dims = 1,
                      .shape = { n },
                      .component = component,
                      .content = content,
                      .format = WEIGHT_BF16,
                      .any_float = true,
                      .place = place,
              });
}

void put_bf16(struct lister *l, const char *name, enum component component, uint64_t n, uint64_t k,
              struct tensor_place place) {
        put(l, name, component, CONTENT_MATRIX, DTYPE_BF16, (struct shape){ n, k }, place);
}

void put_f32(struct lister *l, const char *name, enum component component,
             enum tensor_content content, struct shape shape, struct tensor_place place) {
        put(l, name, component, content, DTYPE_F32, shape, place);
}

void put_expert_ids(struct lister *l, const char *name, enum component component, uint64_t n,
                    uint64_t k, struct tensor_place place) {
        visit(l, name,
              (struct tensor_entry){
                      .dtype = DTYPE_I64,
                      .n_dims = 2,
                      .shape = { n, k },
                      .component = component,
                      .content = CONTENT_EXPERT_IDS,
                      .n_ids = l->config->n_experts,
                      .place = place,
              });
}

static void put_matrix(struct lister *l, const char *stem, enum component component,
                       enum weight_format format, uint64_t n, uint64_t k, bool exact_input,
                       struct tensor_place place) {
        char name[64];
        snprintf(name, sizeof(name), "%s.weight", stem);
        visit(l, name,
              (struct tensor_entry){
                      .dtype = dtypes[format],
                      .n_dims = 2,
                      .shape = { n, format == WEIGHT_FP4 ? k / FP4_CODES : k },
                      .component = component,
                      .content = CONTENT_MATRIX,
                      .format = format,
                      .exact_input = exact_input,
                      .place = place,
              });
}

void put_weight(struct lister *l, const char *stem, enum component component,
                enum weight_format format, uint64_t n, uint64_t k, struct tensor_place place) {
        put_matrix(l, stem, component, format, n, k, false, place);
}

/* One scale for a tile of an FP8 matrix, or for 32 values of an FP4 matrix' row; else nothing. */
void put_scales(struct lister *l, const char *stem, enum component component,
                enum weight_format format, uint64_t n, uint64_t k, struct tensor_place place) {
        if (format == WEIGHT_F32 || format == WEIGHT_BF16)
                return;
        uint64_t tile = l->config->weight_tile;
        struct shape shape = { (n + tile - 1) / tile, (k + tile - 1) / tile };
        if (format == WEIGHT_FP4)
                shape = (struct shape){ n, k / WEIGHT_BLOCK };
        char name[64];
        snprintf(name, sizeof(name), "%s%s", stem, l->scale_suffix);
        l->scaled = format;
        l->scaled_columns = format == WEIGHT_FP4 ? WEIGHT_BLOCK : (uint32_t)tile;
        put(l, name, component, CONTENT_SCALES,
            format == WEIGHT_FP8_F32 ? DTYPE_F32 : DTYPE_F8_E8M0, shape, place);
}

void put_dense(struct lister *l, const char *stem, enum component component, uint64_t n, uint64_t k,
               struct tensor_place place) {
        enum weight_format format = l->config->dense_format;
        put_matrix(l, stem, component, format, n, k, false, place);
        put_scales(l, stem, component, format, n, k, place);
}

void put_dense_exact(struct lister *l, const char *stem, enum component component, uint64_t n,
                     uint64_t k, struct tensor_place place) {
        enum weight_format format = l->config->dense_format;
        put_matrix(l, stem, component, format, n, k, true, place);
        put_scales(l, stem, component, format, n, k, place);
}
