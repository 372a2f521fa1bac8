#include "bench/checkpoint_config.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "engine/engram_hash.h"
#include "engine/token_map.h"
#include "engine/tokenizer.h"

/* In messages: there is no file yet. */
#define FILE_NAME "config.json"

/* What a base has none of gets these: small, of the released kind. */
#define DRAFT_RANK 32

/* The document while it is changed. */
struct draft {
        json_t *top, *text; /* `text` is inside `top`, or `top` itself */
        json_t *set;        /* field -> true: what was changed by hand and follows nothing */
        struct error *err;
};

static int is_folder(const char *path) {
        struct stat st;
        return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* A preset's JSON, or the file's. */
static json_t *load_base(const char *like, const char *const **ret_changes, struct error *err) {
        static const char *const none[] = { NULL };
        json_error_t why;
        *ret_changes = none;
        const char *preset = checkpoint_preset(like, ret_changes);
        if (preset)
                return json_loads(preset, JSON_REJECT_DUPLICATES, &why);

        char path[PATH_MAX];
        if (strcmp(like, "seed-coder") == 0)
                like = SEEKD_MODEL_DIR;
        snprintf(path, sizeof(path), "%s%s", like, is_folder(like) ? "/config.json" : "");
        struct file_map map CLEANUP(file_map_close) = { 0 };
        if (file_map_open(path, &map, err) < 0)
                return NULL;
        json_t *json = json_loadb(map.data ? (const char *)map.data : "", map.bytes,
                                  JSON_REJECT_DUPLICATES, &why);
        if (!json)
                error_set(err, -EINVAL, "%s: line %d: %s", path, why.line, why.text);
        return json;
}

/* field=value */
static int set_field(struct draft *d, const char *change) {
        const char *equals = strchr(change, '=');
        if (!equals || equals == change)
                return error_set(d->err, -EINVAL, "--set %s: not field=value", change);
        CLEANUP_FREE char *name = strndup(change, (size_t)(equals - change));
        json_t *value = json_loads(equals + 1, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
        if (!value)
                value = json_string(equals + 1);
        json_t *level = name && strcmp(name, "vision_config") == 0 ? d->top : d->text;
        if (!name || !value || json_object_set_new(level, name, value) < 0 ||
            json_object_set_new(d->set, name, json_true()) < 0)
                return error_set(d->err, -EINVAL, "--set %s: not valid UTF-8", change);
        return 0;
}

static int64_t number(const struct draft *d, const char *name) {
        return json_integer_value(json_object_get(d->text, name));
}

static bool is_set(const struct draft *d, const char *name) {
        return json_object_get(d->set, name) != NULL;
}

/* Layer numbers from n on leave a list. */
static void cut_layers(struct draft *d, const char *name, int64_t n) {
        json_t *list = json_object_get(d->text, name);
        for (size_t i = json_array_size(list); !is_set(d, name) && i-- > 0;)
                if (json_integer_value(json_array_get(list, i)) >= n)
                        json_array_remove(list, i);
}

/* One ratio a layer: as they are, the last one repeated; 0 for draft layers. */
static void fit_ratios(struct draft *d, size_t n, size_t n_draft) {
        json_t *ratios = json_object_get(d->text, "compress_ratios");
        size_t had = json_array_size(ratios);
        json_t *fitted = json_array();
        for (size_t i = 0; had > 0 && i < n; i++)
                json_array_append(fitted, json_array_get(ratios, i < had ? i : had - 1));
        for (size_t i = 0; i < n_draft; i++)
                json_array_append_new(fitted, json_integer(0));
        json_object_set_new(d->text, "compress_ratios", fitted);
}

static void fit_schedule(struct draft *d) {
        int64_t n = number(d, "num_hidden_layers"), n_draft = number(d, "num_nextn_predict_layers");
        bool sane = n > 0 && n <= LAYERS_MAX && n_draft >= 0 && n_draft <= LAYERS_MAX;
        if (!sane) /* refused later, by name */
                return;
        if (!is_set(d, "compress_ratios"))
                fit_ratios(d, (size_t)n, (size_t)n_draft);
        else if (json_array_size(json_object_get(d->text, "compress_ratios")) == (size_t)n)
                fit_ratios(d, (size_t)n, (size_t)n_draft);
        cut_layers(d, "kv_source_layer_ids", n);
        cut_layers(d, "index_source_layer_ids", n);
        cut_layers(d, "engram_layer_ids", n);
        if (!is_set(d, "candidate_source_layer_id") && number(d, "candidate_source_layer_id") >= n)
                json_object_set_new(d->text, "candidate_source_layer_id", json_null());
}

static void set_default(struct draft *d, const char *name, json_t *value) {
        if (json_object_get(d->text, name))
                json_decref(value);
        else
                json_object_set_new(d->text, name, value);
}

/* Draft layers read the inputs of the last backbone layers. */
static void fit_drafts(struct draft *d, bool drafts) {
        if (!drafts) {
                json_object_set_new(d->text, "num_nextn_predict_layers", json_integer(0));
                return;
        }
        if (number(d, "num_nextn_predict_layers") == 0)
                json_object_set_new(d->text, "num_nextn_predict_layers", json_integer(1));
        int64_t experts = number(d, "n_routed_experts"), n = number(d, "num_hidden_layers");
        set_default(d, "dspark_n_routed_experts", json_integer(experts > 3 ? experts / 3 : 1));
        set_default(d, "dspark_num_experts_per_tok", json_integer(1));
        set_default(d, "dspark_markov_rank", json_integer(DRAFT_RANK));
        set_default(d, "dspark_block_size", json_integer(5));
        set_default(d, "dspark_noise_token_id", json_integer(3));
        if (is_set(d, "dspark_target_layer_ids"))
                return;
        json_t *targets = json_array();
        for (int64_t i = n > 3 ? n - 3 : 0; i < n && i < LAYERS_MAX; i++)
                json_array_append_new(targets, json_integer(i));
        json_object_set_new(d->text, "dspark_target_layer_ids", targets);
}

static void fit_vision(struct draft *d, bool vision) {
        if (!vision) {
                json_object_del(d->top, "vision_config");
                json_object_del(d->top, "image_token_id");
        } else if (!json_is_object(json_object_get(d->top, "vision_config"))) {
                json_object_set_new(
                        d->top, "vision_config",
                        json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:n}",
                                  "model_type", "deepseek_v41_vision", "num_hidden_layers", 2,
                                  "hidden_size", 64, "num_attention_heads", 4, "intermediate_size",
                                  176, "patch_size", 14, "rope_theta", 10000, "downsample_ratio", 3,
                                  "max_image_tokens", 1024, "min_pixels", 295936, "max_wh_ratio"));
        }
}

static void fit_format(struct draft *d, enum checkpoint_format format) {
        json_object_del(d->text, "quantization_config");
        json_object_del(d->top, "quantization_config");
        if (format != CHECKPOINT_BF16)
                json_object_set_new(d->top, "quantization_config",
                                    json_pack("{s:s, s:s, s:[i,i], s:s, s:s}", "quant_method",
                                              "fp8", "activation_scheme", "dynamic",
                                              "weight_block_size", 32, 32, "scale_fmt", "ue8m0",
                                              "expert_dtype",
                                              format == CHECKPOINT_RELEASED ? "fp4" : "fp8"));
}

static int parse(struct draft *d, struct checkpoint_config *ret) {
        CLEANUP_FREE char *text = json_dumps(d->top, 0);
        if (!text)
                return error_set(d->err, -ENOMEM, "out of memory");
        int r = model_config_parse(FILE_NAME, text, &ret->model, d->err);
        if (r == 0)
                r = other_parts_parse(FILE_NAME, text, strlen(text), &ret->table.parts, d->err);
        return r;
}

/* DeepSeek-V4.1's documents have schedules, tables and other parts that follow from each other. */
static bool is_v41(const struct draft *d) {
        const char *type = json_string_value(json_object_get(d->top, "model_type"));
        return type && strcmp(type, "deepseek_v41") == 0;
}

/* Other families': weights are stored as the base stores its own, or in BF16. */
static int fit_other(struct draft *d, const struct config_request *request,
                     struct checkpoint_config *ret) {
        if (!request->drafts && json_object_get(d->top, "num_nextn_predict_layers"))
                json_object_set_new(d->top, "num_nextn_predict_layers", json_integer(0));
        if (request->format == CHECKPOINT_BF16)
                json_object_del(d->top, "quantization_config");
        return parse(d, ret);
}

/* Any table sizes that can be read, until the true ones are known. */
static void placeholder_rows(struct draft *d) {
        json_t *rows = json_array();
        for (size_t i = 0; i < json_array_size(json_object_get(d->text, "engram_layer_ids")); i++)
                json_array_append_new(rows, json_integer(1));
        json_object_set_new(d->text, "engram_num_embeddings", rows);
}

/* The tables' rows are sums of primes, the compressed vocabulary is the tokenizer's. */
static int fit_engram(struct draft *d, const struct tokenizer *tokenizer,
                      struct checkpoint_config *config) {
        CLEANUP_FREE uint32_t *map = NULL;
        uint32_t n_compressed;
        uint64_t rows[ENGRAM_LAYERS_MAX];
        int r = token_map_build(tokenizer, &map, &n_compressed, d->err);
        if (r < 0)
                return r;
        json_object_set_new(d->text, "engram_compressed_vocab_size", json_integer(n_compressed));
        placeholder_rows(d);
        r = parse(d, config);
        if (r == 0)
                r = engram_hash_table_rows(&config->model, rows, d->err);
        if (r < 0)
                return r;
        json_t *list = json_array();
        for (uint32_t i = 0; i < config->model.n_engram_layers; i++)
                json_array_append_new(list, json_integer((json_int_t)rows[i]));
        json_object_set_new(d->text, "engram_num_embeddings", list);
        return parse(d, config);
}

static int fit_vocabulary(struct draft *d, const struct tokenizer *tokenizer) {
        uint32_t n = tokenizer_n_ids(tokenizer);
        if (number(d, "vocab_size") >= n)
                return 0;
        if (is_set(d, "vocab_size"))
                return error_set(d->err, -EINVAL,
                                 "vocab_size: %lld, but the tokenizer has %u ids (see --tokenizer)",
                                 (long long)number(d, "vocab_size"), n);
        json_object_set_new(d->text, "vocab_size", json_integer(n));
        return 0;
}

static int apply(struct draft *d, const struct config_request *request,
                 const char *const *preset_changes) {
        for (; *preset_changes; preset_changes++)
                if (set_field(d, *preset_changes) < 0)
                        return -EINVAL;
        json_object_clear(d->set); /* a preset's own choices do follow */
        for (size_t i = 0; i < request->n_sets; i++)
                if (set_field(d, request->sets[i]) < 0)
                        return -EINVAL;
        return 0;
}

int checkpoint_config_make(const struct config_request *request, const struct tokenizer *tokenizer,
                           struct checkpoint_config *ret, struct error *err) {
        const char *const *preset_changes;
        json_auto_t *top = load_base(request->like, &preset_changes, err);
        if (!top)
                return err && err->code ? err->code : -ENOMEM;
        json_auto_t *set = json_object();
        json_t *text = json_object_get(top, "text_config");
        struct draft d = { top, text ? text : top, set, err };
        if (!json_is_object(d.text) || !set)
                return error_set(err, -EINVAL, "%s: text_config: not an object", request->like);

        int r = apply(&d, request, preset_changes);
        if (r < 0)
                return r;
        if (is_v41(&d)) {
                fit_drafts(&d, request->drafts);
                fit_schedule(&d);
                fit_vision(&d, request->vision);
                fit_format(&d, request->format);
        }
        r = fit_vocabulary(&d, tokenizer);
        if (r == 0)
                r = is_v41(&d) ? fit_engram(&d, tokenizer, ret) : fit_other(&d, request, ret);
        if (r < 0)
                return r;
        ret->table.config = &ret->model;
        ret->json = json_incref(top);
        return 0;
}

void checkpoint_config_deinit(struct checkpoint_config *config) {
        json_decref(config->json);
        *config = (struct checkpoint_config){ 0 };
}
