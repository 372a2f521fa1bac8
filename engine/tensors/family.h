/* The families' lists of tensors, one file of this folder each; the list of all is in
 * tensor_table.c. */
#pragma once

#include "engine/tensors/lister.h"

struct tensor_family {
        /* Lists every tensor that the configuration implies, group by group. */
        void (*list)(struct lister *l);

        /* What a tensor is that nobody has bound. */
        enum skipped_kind (*skipped)(const struct model_config *config, const char *name);
        const char *drafts, *vision; /* in words; NULL: the family has none */
};

extern const struct tensor_family tensors_deepseek_v3;
extern const struct tensor_family tensors_deepseek_v41;
extern const struct tensor_family tensors_nsa;
extern const struct tensor_family tensors_deepseek_v4;

const struct tensor_family *tensor_family(enum model_family family);
