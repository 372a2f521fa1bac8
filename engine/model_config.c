#include "engine/model_config.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "engine/config/family.h"

#define CONFIG_BYTES_MAX (1U << 20)

static const struct config_family *const families[] = {
        &config_deepseek_v2, &config_deepseek_v3,  &config_deepseek_v32,
        &config_deepseek_v4, &config_deepseek_v41, &config_nsa,
};
#define N_FAMILIES (sizeof(families) / sizeof(families[0]))

void config_defaults(struct model_config *ret) {
        ret->candidate_layer = -1;
        ret->hc = 1;
        ret->n_groups = ret->n_groups_chosen = 1;
        ret->n_kv_heads = 1;
        ret->gate_temp = 1;
        ret->swiglu_limit = INFINITY;
        ret->weight_tile = WEIGHT_BLOCK;
        ret->exact_rows = ROW_BF16;
        for (unsigned i = 0; i < LAYERS_MAX; i++)
                ret->layer[i] =
                        (struct layer_config){ .kv_source = -1, .index_source = -1, .engram = -1 };
}

int config_parse_flat(const char *file, json_t *root, const char *const *ignored,
                      unsigned n_ignored,
                      void (*read)(struct config_reader *in, struct model_config *ret),
                      struct model_config *ret, struct error *err) {
        struct config_reader in;
        config_reader_init(&in, file, "", root, err);
        config_take(&in, "model_type");
        read(&in, ret);
        config_refuse_left(&in, ignored, n_ignored);
        config_reader_deinit(&in);
        return in.r;
}

static const struct config_family *find_family(const char *file, json_t *root, struct error *err) {
        const json_t *type = json_object_get(root, "model_type");
        const char *name = json_string_value(type);
        for (size_t i = 0; name && i < N_FAMILIES; i++)
                if (strcmp(name, families[i]->model_type) == 0)
                        return families[i];
        if (!type) {
                error_set(err, -EINVAL, "%s: model_type: missing", file);
                return NULL;
        }
        char known[256] = "";
        for (size_t i = 0; i < N_FAMILIES; i++) {
                size_t at = strlen(known);
                snprintf(known + at, sizeof(known) - at, "%s'%s'", i > 0 ? ", " : "",
                         families[i]->model_type);
        }
        error_set(err, -EINVAL, "%s: model_type: '%s' is not supported (%s %s)", file,
                  name ? name : "not a string", known, N_FAMILIES > 1 ? "are" : "is");
        return NULL;
}

/* Absent, or a list that begins with the family's class: files of two families that were mixed are
 * noticed before their fields are. */
static int check_architecture(const char *file, const json_t *root,
                              const struct config_family *family, struct error *err) {
        const json_t *list = json_object_get(root, "architectures");
        const char *name = json_string_value(json_array_get(list, 0));
        if (!list || json_is_null(list))
                return 0;
        if (!name)
                return error_set(err, -EINVAL, "%s: architectures: not an array of strings", file);
        if (strcmp(name, family->architecture) != 0)
                return error_set(
                        err, -EINVAL,
                        "%s: architectures: '%s' does not belong to model_type '%s', whose "
                        "is '%s'",
                        file, name, family->model_type, family->architecture);
        return 0;
}

static int parse_document(const char *file, json_t *root, struct model_config *ret,
                          struct error *err) {
        if (!json_is_object(root))
                return error_set(err, -EINVAL, "%s: not a JSON object", file);
        const struct config_family *family = find_family(file, root, err);
        int r = family ? check_architecture(file, root, family, err) : -EINVAL;
        if (r < 0)
                return r;
        struct model_config config;
        memset(&config, 0, sizeof(config)); /* padding too: configurations are compared as bytes */
        snprintf(config.architecture, sizeof(config.architecture), "%s", family->model_type);
        config.family = family->family;
        config_defaults(&config);
        r = family->parse(file, root, &config, err);
        if (r == 0)
                *ret = config;
        return r;
}

static int parse_bytes(const char *file, const char *json, size_t n, struct model_config *ret,
                       struct error *err) {
        if (n > CONFIG_BYTES_MAX)
                return error_set(err, -EINVAL, "%s: %zu bytes (at most %u)", file, n,
                                 CONFIG_BYTES_MAX);
        json_error_t why;
        json_auto_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
        if (!root)
                return error_set(err, -EINVAL, "%s: line %d: %s", file, why.line, why.text);
        return parse_document(file, root, ret, err);
}

int model_config_parse(const char *file, const char *json, struct model_config *ret,
                       struct error *err) {
        return parse_bytes(file, json, strlen(json), ret, err);
}

int model_config_read(const char *dir, struct model_config *ret, struct error *err) {
        char path[PATH_MAX];
        int n = snprintf(path, sizeof(path), "%s/config.json", dir);
        if (n < 0 || (size_t)n >= sizeof(path))
                return error_set(err, -ENAMETOOLONG, "%s/config.json: path too long", dir);
        CLEANUP(file_map_close) struct file_map map = { 0 };
        int r = file_map_open(path, &map, err);
        if (r < 0)
                return r;
        return parse_bytes(path, map.data ? (const char *)map.data : "", map.bytes, ret, err);
}
