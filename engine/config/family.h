/* The families of architectures: who reads which config.json. A family is a file of this folder;
 * the list of all is in model_config.c. */
#pragma once

#include "engine/config/reader.h"

struct config_family {
        enum model_family family;
        const char *model_type;
        const char *architecture; /* what `architectures` names, where it is there */

        /* Reads the document, an object whose model_type was checked, into `ret`, which is zero but
         * for the name and the layers' defaults (config_defaults()). 0, -EINVAL, -ENOMEM. */
        int (*parse)(const char *file, json_t *root, struct model_config *ret, struct error *err);
};

extern const struct config_family config_deepseek_v2, config_deepseek_v3, config_deepseek_v32;
extern const struct config_family config_deepseek_v41;
extern const struct config_family config_nsa;
extern const struct config_family config_deepseek_v4;

/* No sources, no Engram, one residual stream, no groups of experts, no clamp. */
void config_defaults(struct model_config *ret);

/* For a family whose fields all stand at the top level. */
int config_parse_flat(const char *file, json_t *root, const char *const *ignored,
                      unsigned n_ignored,
                      void (*read)(struct config_reader *in, struct model_config *ret),
                      struct model_config *ret, struct error *err);
