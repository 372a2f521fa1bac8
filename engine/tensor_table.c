#include "engine/tensor_table.h"

#include "engine/tensors/family.h"

const char *component_name(enum component component) {
        static const char *const names[N_COMPONENTS] = {
                [COMPONENT_EMBEDDING] = "embedding and head",
                [COMPONENT_ATTENTION] = "attention",
                [COMPONENT_COMPRESSOR] = "compressors",
                [COMPONENT_INDEXER] = "indexers",
                [COMPONENT_MIXING] = "residual mixing",
                [COMPONENT_ROUTER] = "routers",
                [COMPONENT_DENSE_MLP] = "dense layers",
                [COMPONENT_SHARED_EXPERTS] = "shared experts",
                [COMPONENT_EXPERTS] = "routed experts",
                [COMPONENT_ENGRAM_TABLES] = "Engram tables",
                [COMPONENT_ENGRAM_DENSE] = "Engram projections",
                [COMPONENT_NORMS] = "norms",
                [COMPONENT_DRAFT_EXPERTS] = "draft experts",
                [COMPONENT_DRAFT] = "draft layers",
                [COMPONENT_VISION] = "vision",
        };
        return names[component];
}

const struct tensor_family *tensor_family(enum model_family family) {
        static const struct tensor_family *const families[N_MODEL_FAMILIES] = {
                [FAMILY_DEEPSEEK_V41] = &tensors_deepseek_v41,
                [FAMILY_NSA] = &tensors_nsa,
                [FAMILY_DEEPSEEK_V3] = &tensors_deepseek_v3,
                [FAMILY_DEEPSEEK_V4] = &tensors_deepseek_v4,
        };
        return families[family];
}

int tensor_table_visit(const struct tensor_table *table,
                       int (*visit)(void *userdata, const struct tensor_entry *entry),
                       void *userdata) {
        struct lister l = {
                .config = table->config,
                .parts = &table->parts,
                .visit = visit,
                .userdata = userdata,
                .scale_suffix = ".scale",
        };
        tensor_family(table->config->family)->list(&l);
        return l.r;
}
