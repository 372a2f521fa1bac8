/* How a family lists its tensors: names, types and shapes, and where each belongs in the model. One
 * list serves the binding of a checkpoint, what describes a model, and what makes random ones.
 *
 * The first result of the visitor that is not 0 sticks, so that a layer reads as a list. */
#pragma once

#include <stddef.h>

#include "engine/model_config.h"
#include "engine/tensor_table.h"
#include "engine/weights.h"

struct lister {
        const struct model_config *config;
        const struct other_parts *parts;
        int (*visit)(void *userdata, const struct tensor_entry *entry);
        void *userdata;
        int r;
        unsigned group;            /* of what follows: releases put a group in one file */
        char prefix[64];           /* of the names that follow */
        uint32_t layer, expert;    /* whose places are meant */
        bool draft;                /* all that follows belongs to the drafts, and has no place */
        const char *scale_suffix;  /* of a matrix' scales: ".scale" */
        enum weight_format scaled; /* what the next scales belong to, */
        uint32_t scaled_columns;   /* and how many columns share one */
};

__attribute__((format(printf, 2, 3))) void lister_prefix(struct lister *l, const char *format, ...);

#define NO_PLACE ((struct tensor_place){ 0 })
#define MODEL(member)                                                                              \
        ((struct tensor_place){ .of = PLACE_MODEL, .offset = offsetof(struct weights, member) })
#define LAYER(member)                                                                              \
        ((struct tensor_place){ .of = PLACE_LAYER,                                                 \
                                .offset = offsetof(struct layer_weights, member) })
#define LAYER_POINTER(member)                                                                      \
        ((struct tensor_place){ .of = PLACE_LAYER,                                                 \
                                .offset = offsetof(struct layer_weights, member),                  \
                                .plain = true })
#define EXPERT(member)                                                                             \
        ((struct tensor_place){ .of = PLACE_EXPERT,                                                \
                                .offset = offsetof(struct mlp_weights, member) })

/* A tensor of n rows, or of n numbers when k is 0. */
struct shape {
        uint64_t n, k;
};

/* A tensor of any kind. */
void put(struct lister *l, const char *name, enum component component, enum tensor_content content,
         enum dtype dtype, struct shape shape, struct tensor_place place);

/* BF16 factors. */
void put_norm(struct lister *l, const char *name, enum component component, uint64_t n,
              struct tensor_place place);

/* The same, as BF16 or F32: a struct float_vector. */
void put_any_float(struct lister *l, const char *name, enum component component,
                   enum tensor_content content, uint64_t n, struct tensor_place place);

/* A matrix that is BF16 in every checkpoint. */
void put_bf16(struct lister *l, const char *name, enum component component, uint64_t n, uint64_t k,
              struct tensor_place place);

/* F32 numbers, or a matrix of them. */
void put_f32(struct lister *l, const char *name, enum component component,
             enum tensor_content content, struct shape shape, struct tensor_place place);

/* A table of n rows of k experts. */
void put_expert_ids(struct lister *l, const char *name, enum component component, uint64_t n,
                    uint64_t k, struct tensor_place place);

/* STEM.weight in a format of the configuration, and what it has of scales. */
void put_weight(struct lister *l, const char *stem, enum component component,
                enum weight_format format, uint64_t n, uint64_t k, struct tensor_place place);
void put_scales(struct lister *l, const char *stem, enum component component,
                enum weight_format format, uint64_t n, uint64_t k, struct tensor_place place);

/* Both, for a matrix of those that releases quantise: weight, then scales. The input of the product
 * is quantised as well, but for an `exact` one. */
void put_dense(struct lister *l, const char *stem, enum component component, uint64_t n, uint64_t k,
               struct tensor_place place);
void put_dense_exact(struct lister *l, const char *stem, enum component component, uint64_t n,
                     uint64_t k, struct tensor_place place);
