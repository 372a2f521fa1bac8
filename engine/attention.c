#include "engine/attention.h"

const struct attention_operations *attention_operations(enum attention_kind kind) {
        static const struct attention_operations *const kinds[N_ATTENTION_KINDS] = {
                [ATTENTION_CSA2] = &attention_csa2,
                [ATTENTION_MLA] = &attention_mla,
                [ATTENTION_NSA] = &attention_nsa,
                [ATTENTION_CSA] = &attention_csa,
        };
        return kinds[kind];
}

bool attention_in_use(const struct model_config *config, enum attention_kind kind) {
        for (uint32_t l = 0; l < config->n_layers; l++)
                if (config->layer[l].attention == kind)
                        return true;
        return false;
}
