#include "engine/other_parts.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "base/error.h"
#include "engine/model_config.h"

/* Far above the released sizes (3 draft layers, 128 experts, rank 256; vision 32 layers, 1,024 and
 * 2,816 wide, patches of 14, 3 x 3 joined); small enough that every tensor's size stays below
 * 2^63. */
#define DRAFT_LAYERS_MAX  64
#define EXPERTS_MAX       4096
#define WIDTH_MAX         (1 << 16)
#define VISION_LAYERS_MAX 1024
#define PATCH_MAX         1024
#define DOWNSAMPLE_MAX    64

/* Fields of one object; the first error sticks, later reads give 0. */
struct fields {
        const char *file, *prefix;
        const json_t *object;
        struct error *err;
        int r;
};

static uint32_t size_field(struct fields *f, const char *name, int min, int max) {
        const json_t *value = json_object_get(f->object, name);
        if (f->r < 0)
                return 0;
        json_int_t v = json_integer_value(value);
        if (json_is_integer(value) && v >= min && v <= max)
                return (uint32_t)v;
        f->r = value ? error_set(f->err, -EINVAL, "%s: %s%s: not a whole number from %d to %d",
                                 f->file, f->prefix, name, min, max)
                     : error_set(f->err, -EINVAL, "%s: %s%s: missing", f->file, f->prefix, name);
        return 0;
}

static void read_draft(struct fields *f, struct draft_config *draft) {
        if (!json_object_get(f->object, "num_nextn_predict_layers"))
                return;
        draft->n_layers = size_field(f, "num_nextn_predict_layers", 0, DRAFT_LAYERS_MAX);
        if (draft->n_layers == 0)
                return;
        draft->n_experts = size_field(f, "dspark_n_routed_experts", 1, EXPERTS_MAX);
        draft->markov_rank = size_field(f, "dspark_markov_rank", 1, WIDTH_MAX);
        const json_t *targets = json_object_get(f->object, "dspark_target_layer_ids");
        size_t n = json_array_size(targets);
        if (f->r == 0 && (n < 1 || n > LAYERS_MAX))
                f->r = error_set(f->err, -EINVAL,
                                 "%s: %sdspark_target_layer_ids: not an array of 1 to %d entries",
                                 f->file, f->prefix, LAYERS_MAX);
        draft->n_targets = (uint32_t)n;
}

static void read_vision(struct fields *f, struct vision_config *vision) {
        vision->n_layers = size_field(f, "num_hidden_layers", 1, VISION_LAYERS_MAX);
        vision->hidden_size = size_field(f, "hidden_size", 1, WIDTH_MAX);
        vision->intermediate_size = size_field(f, "intermediate_size", 1, WIDTH_MAX);
        vision->patch_size = size_field(f, "patch_size", 1, PATCH_MAX);
        vision->downsample_ratio = size_field(f, "downsample_ratio", 1, DOWNSAMPLE_MAX);
}

int other_parts_parse(const char *file, const char *json, size_t n, struct other_parts *ret,
                      struct error *err) {
        json_error_t why;
        json_auto_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &why);
        if (!root)
                return error_set(err, -EINVAL, "%s: line %d: %s", file, why.line, why.text);
        struct other_parts parts = { 0 };
        const char *family = json_string_value(json_object_get(root, "model_type"));
        if (family && strcmp(family, "deepseek_v41") != 0) { /* its list of tensors says all */
                *ret = parts;
                return 0;
        }
        const json_t *text = json_object_get(root, "text_config");
        struct fields f = { file, text ? "text_config." : "", text ? text : root, err, 0 };
        read_draft(&f, &parts.draft);
        const json_t *vision = json_object_get(root, "vision_config");
        if (f.r == 0 && vision && !json_is_null(vision)) {
                f = (struct fields){ file, "vision_config.", vision, err, 0 };
                read_vision(&f, &parts.vision);
        }
        if (f.r == 0)
                *ret = parts;
        return f.r;
}
