#include "engine/model_config.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "engine/engram_hash.h"

#define MODEL_TYPE      "deepseek_v41"
#define MODEL_TYPE_TEXT "deepseek_v41_text"

/* Values are quantised in blocks of 32 channels (window rows, index rows, Engram rows). */
#define QUANT_BLOCK 32U

/* Bounds beyond LAYERS_MAX and its like: four times the largest released models or more, and small
 * enough that what the engine counts in 32 bits stays below 2^31 (asserted below) and every tensor
 * size below 2^63. */
#define VOCAB_MAX        (1U << 24)
#define HIDDEN_MAX       (4U * 7168)
#define WIDTH_MAX        (1U << 16) /* ranks, expert width */
#define HEADS_MAX        1024U
#define HEAD_DIM_MAX     4096U
#define EXPERTS_MAX      4096U
#define WINDOW_MAX       (1U << 16)
#define SELECT_MAX       (1U << 20) /* selected rows, candidate blocks */
#define POSITIONS_MAX    (1U << 27)
#define DRAFT_MAX        64U
#define ENGRAM_ROWS_MAX  (INT64_C(1) << 40)
#define CONFIG_BYTES_MAX (1U << 20)

/* What matrix.n, matrix.k, the operations of backend.h and a page's layout hold in 32 bits. Rows of
 * a step: engine.c clamps them to 65,536. Tokens of a page: 128. */
#define BELOW_2_31(size) _Static_assert((size) < UINT64_C(1) << 31, #size)
BELOW_2_31(UINT64_C(1) * HEADS_MAX * HEAD_DIM_MAX);       /* query of all heads */
BELOW_2_31(UINT64_C(1) * HEADS_MAX * WIDTH_MAX);          /* output groups' ranks */
BELOW_2_31(UINT64_C(1) * HEADS_MAX * INDEX_HEAD_DIM_MAX); /* index query */
BELOW_2_31(UINT64_C(1) * (HC_MAX + 1) * HIDDEN_MAX);      /* streams; an Engram's output */
BELOW_2_31(UINT64_C(1) * (NGRAM_MAX - 1) * ENGRAM_HEADS_MAX * HEAD_DIM_MAX); /* and its input */
BELOW_2_31(UINT64_C(65536) * HIDDEN_MAX);             /* a sum over all rows of a step */
BELOW_2_31(UINT64_C(1) * WINDOW_MAX + SELECT_MAX);    /* attended keys */
BELOW_2_31(UINT64_C(1) * POSITIONS_MAX + SELECT_MAX); /* rows of whole candidate blocks */
BELOW_2_31(UINT64_C(128) * LAYERS_MAX * (HEAD_DIM_MAX + INDEX_HEAD_DIM_MAX)); /* a page */

/* Fields that do not change the logits of text. Made by going through every field of the released
 * DeepSeek-V4.1 config.json and of models/seed-coder: what is neither read below nor here is
 * refused. Training only: attention_dropout, initializer_range. Draft layers, whose proposals never
 * change the output: dspark_*. Images, which the engine does not take: image_token_id,
 * vision_config. The dtypes come from the tensors themselves. */
static const char *const ignored[] = {
        "_name_or_path",
        "architectures",
        "attention_dropout",
        "dspark_block_size",
        "dspark_markov_rank",
        "dspark_n_routed_experts",
        "dspark_noise_token_id",
        "dspark_num_experts_per_tok",
        "dspark_target_layer_ids",
        "dtype",
        "image_token_id",
        "initializer_range",
        "torch_dtype",
        "transformers_version",
        "use_cache",
        "vision_config",
};

/* One JSON object being read. Each field is taken once; what is left at the end is unknown. The
 * first error sticks, later reads do nothing. */
struct reader {
        const char *file;
        const char *prefix; /* "text_config." or "" */
        json_t *left;       /* fields nobody has taken yet (owned, shares the values) */
        struct error *err;
        int r;
};

static void reader_init(struct reader *in, const char *file, const char *prefix, json_t *object,
                        struct error *err) {
        *in = (struct reader){ file, prefix, json_copy(object), err, 0 };
        if (!in->left)
                in->r = error_set(err, -ENOMEM, "%s: out of memory", file);
}

static void reader_deinit(struct reader *in) {
        json_decref(in->left);
}

__attribute__((format(printf, 3, 4))) static void refuse(struct reader *in, const char *name,
                                                         const char *format, ...) {
        if (in->r < 0)
                return;
        char why[256];
        va_list args;
        va_start(args, format);
        vsnprintf(why, sizeof(why), format, args);
        va_end(args);
        in->r = error_set(in->err, -EINVAL, "%s: %s%s: %s", in->file, in->prefix, name, why);
}

/* The field's value (borrowed from the document), NULL when absent or after an error. */
static json_t *take(struct reader *in, const char *name) {
        if (in->r < 0)
                return NULL;
        json_t *value = json_object_get(in->left, name);
        json_object_del(in->left, name); /* the document still holds it */
        return value;
}

static json_t *require(struct reader *in, const char *name) {
        json_t *value = take(in, name);
        if (!value)
                refuse(in, name, "missing");
        return value;
}

static int64_t take_int(struct reader *in, const char *name, int64_t min, int64_t max) {
        json_t *value = require(in, name);
        if (!value)
                return min;
        int64_t v = json_integer_value(value);
        if (!json_is_integer(value) || v < min || v > max) {
                refuse(in, name, "not a whole number from %" PRId64 " to %" PRId64, min, max);
                return min;
        }
        return v;
}

static uint32_t take_u32(struct reader *in, const char *name, uint32_t min, uint32_t max) {
        return (uint32_t)take_int(in, name, min, max);
}

/* A number in (min, max]. */
static double take_number(struct reader *in, const char *name, double min, double max) {
        json_t *value = require(in, name);
        if (!value)
                return max;
        double v = json_number_value(value);
        if (!json_is_number(value) || !(v > min) || v > max) {
                refuse(in, name, "not a number above %g and up to %g", min, max);
                return max;
        }
        return v;
}

static void take_exactly(struct reader *in, const char *name, const char *wanted) {
        json_t *value = require(in, name);
        const char *found = json_string_value(value);
        if (value && (!found || strcmp(found, wanted) != 0))
                refuse(in, name, "'%s' is not supported ('%s' is)", found ? found : "not a string",
                       wanted);
}

/* A switch that must be off; it may be absent, off being what absence means upstream. */
static void take_off(struct reader *in, const char *name) {
        json_t *value = take(in, name);
        if (value && !json_is_false(value))
                refuse(in, name, "only false is supported");
}

/* An array of `n_min` to `n_max` whole numbers in [min, max]. Returns how many. */
static unsigned take_array(struct reader *in, const char *name, unsigned n_min, unsigned n_max,
                           int64_t min, int64_t max, int64_t *ret) {
        json_t *array = require(in, name);
        if (!array)
                return 0;
        size_t n = json_array_size(array);
        if (!json_is_array(array) || n < n_min || n > n_max) {
                refuse(in, name, "not an array of %u to %u entries", n_min, n_max);
                return 0;
        }
        for (size_t i = 0; i < n; i++) {
                json_t *value = json_array_get(array, i);
                ret[i] = json_integer_value(value);
                if (!json_is_integer(value) || ret[i] < min || ret[i] > max) {
                        refuse(in, name,
                               "entry %zu is not a whole number from %" PRId64 " to %" PRId64, i,
                               min, max);
                        return 0;
                }
        }
        return (unsigned)n;
}

/* Layer numbers in ascending order. */
static unsigned take_layers(struct reader *in, const char *name, unsigned n_max, uint32_t n_layers,
                            int64_t *ret) {
        unsigned n = take_array(in, name, 0, n_max, 0, (int64_t)n_layers - 1, ret);
        for (unsigned i = 1; i < n; i++)
                if (ret[i] <= ret[i - 1]) {
                        refuse(in, name, "not in ascending order");
                        return 0;
                }
        return n;
}

static void refuse_left(struct reader *in) {
        for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
                take(in, ignored[i]);
        if (in->r < 0)
                return;
        void *first = json_object_iter(in->left);
        if (first)
                refuse(in, json_object_iter_key(first), "unknown field");
}

static void read_rope(struct reader *in, struct model_config *c) {
        c->rope_theta = take_number(in, "rope_theta", 1, 1e12);
        c->compress_rope_theta = take_number(in, "compress_rope_theta", 1, 1e12);
        c->max_positions = take_u32(in, "max_position_embeddings", 1, POSITIONS_MAX);
        json_t *scaling = require(in, "rope_scaling"); /* absence would mean an unstated default */
        if (in->r < 0 || json_is_null(scaling))
                return;
        if (!json_is_object(scaling)) {
                refuse(in, "rope_scaling", "neither null nor an object");
                return;
        }
        char prefix[64];
        snprintf(prefix, sizeof(prefix), "%srope_scaling.", in->prefix);
        struct reader sub;
        reader_init(&sub, in->file, prefix, scaling, in->err);
        bool new_name = sub.r == 0 && json_object_get(scaling, "rope_type");
        take_exactly(&sub, new_name ? "rope_type" : "type", "yarn");
        if (new_name && json_object_get(scaling, "type"))
                take_exactly(&sub, "type", "yarn");
        c->yarn.enabled = true;
        c->yarn.factor = (float)take_number(&sub, "factor", 0, 1e4);
        c->yarn.beta_fast = (float)take_number(&sub, "beta_fast", 0, 1e6);
        c->yarn.beta_slow = (float)take_number(&sub, "beta_slow", 0, 1e6);
        c->yarn.original_positions =
                take_u32(&sub, "original_max_position_embeddings", 1, POSITIONS_MAX);
        if (sub.r == 0 && c->yarn.factor < 1)
                refuse(&sub, "factor", "below 1");
        if (sub.r == 0 && c->yarn.beta_fast <= c->yarn.beta_slow)
                refuse(&sub, "beta_fast", "not above beta_slow");
        if (sub.r == 0 && json_object_size(sub.left) > 0)
                refuse(&sub, json_object_iter_key(json_object_iter(sub.left)), "unknown field");
        in->r = sub.r;
        reader_deinit(&sub);
}

static void read_attention(struct reader *in, struct model_config *c) {
        c->n_heads = take_u32(in, "num_attention_heads", 1, HEADS_MAX);
        take_int(in, "num_key_value_heads", 1, 1); /* one latent row serves all heads */
        c->head_dim = take_u32(in, "head_dim", QUANT_BLOCK, HEAD_DIM_MAX);
        c->rope_dim = take_u32(in, "qk_rope_head_dim", 2, 2 * ROPE_PAIRS_MAX);
        c->q_lora_rank = take_u32(in, "q_lora_rank", 1, WIDTH_MAX);
        c->o_groups = take_u32(in, "o_groups", 1, HEADS_MAX);
        c->o_lora_rank = take_u32(in, "o_lora_rank", 1, WIDTH_MAX);
        c->window = take_u32(in, "sliding_window", 1, WINDOW_MAX);
        c->index_n_heads = take_u32(in, "index_n_heads", 1, HEADS_MAX);
        c->index_head_dim = take_u32(in, "index_head_dim", QUANT_BLOCK, INDEX_HEAD_DIM_MAX);
        c->index_topk = take_u32(in, "index_topk", 1, SELECT_MAX);
        take_off(in, "attention_bias");

        if (c->head_dim % QUANT_BLOCK != 0)
                refuse(in, "head_dim", "%u is not a multiple of %u", c->head_dim, QUANT_BLOCK);
        if (c->index_head_dim % QUANT_BLOCK != 0)
                refuse(in, "index_head_dim", "%u is not a multiple of %u", c->index_head_dim,
                       QUANT_BLOCK);
        if (c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim || c->rope_dim > c->index_head_dim)
                refuse(in, "qk_rope_head_dim",
                       "%u is odd or above head_dim (%u) or index_head_dim (%u)", c->rope_dim,
                       c->head_dim, c->index_head_dim);
        if (c->n_heads % c->o_groups != 0)
                refuse(in, "o_groups", "%u does not divide num_attention_heads (%u)", c->o_groups,
                       c->n_heads);
}

static void read_experts(struct reader *in, struct model_config *c) {
        c->n_experts = take_u32(in, "n_routed_experts", 1, EXPERTS_MAX);
        c->n_experts_per_token = take_u32(in, "num_experts_per_tok", 1, EXPERTS_MAX);
        c->n_shared_experts = take_u32(in, "n_shared_experts", 1, 1);
        c->expert_dim = take_u32(in, "moe_intermediate_size", 1, WIDTH_MAX);
        take_exactly(in, "scoring_func", "sqrtsoftplus");
        take_exactly(in, "topk_method", "noaux_tc");
        take_exactly(in, "hidden_act", "silu");
        json_t *norm = require(in, "norm_topk_prob");
        if (norm && !json_is_boolean(norm))
                refuse(in, "norm_topk_prob", "neither true nor false");
        c->norm_topk_prob = json_is_true(norm);
        c->routed_scaling = (float)take_number(in, "routed_scaling_factor", 0, 1e3);
        c->swiglu_limit = (float)take_number(in, "swiglu_limit", 0, 1e6);
        c->gate_temp = 1;
        json_t *temp = take(in, "gate_temp"); /* absent from the release: 1 */
        if (temp && json_number_value(temp) != 1)
                refuse(in, "gate_temp", "only 1 is supported");
        if (c->n_experts_per_token > c->n_experts)
                refuse(in, "num_experts_per_tok", "%u is above n_routed_experts (%u)",
                       c->n_experts_per_token, c->n_experts);
}

/* Released files name the pad engram_pad_token_id, the reference's own engram_pad_id. */
static uint32_t read_engram_pad(struct reader *in, uint32_t vocab_size) {
        bool has_short = in->r == 0 && json_object_get(in->left, "engram_pad_id");
        bool has_long = in->r == 0 && json_object_get(in->left, "engram_pad_token_id");
        uint32_t a = 0, b = 0;
        if (has_short)
                a = take_u32(in, "engram_pad_id", 0, vocab_size - 1);
        if (has_long || !has_short)
                b = take_u32(in, "engram_pad_token_id", 0, vocab_size - 1);
        if (has_short && has_long && a != b)
                refuse(in, "engram_pad_id", "%u, but engram_pad_token_id is %u", a, b);
        return has_short ? a : b;
}

static void read_engram(struct reader *in, struct model_config *c) {
        int64_t layers[ENGRAM_LAYERS_MAX], rows[ENGRAM_LAYERS_MAX];
        c->n_engram_layers =
                take_layers(in, "engram_layer_ids", ENGRAM_LAYERS_MAX, c->n_layers, layers);
        unsigned n_rows = take_array(in, "engram_num_embeddings", 0, ENGRAM_LAYERS_MAX, 1,
                                     ENGRAM_ROWS_MAX, rows);
        c->engram_vocab_size = take_u32(in, "engram_vocab_size", 1, INT32_MAX);
        c->engram_ngram_max = take_u32(in, "engram_max_ngram_size", 2, NGRAM_MAX);
        c->engram_n_heads = take_u32(in, "engram_n_heads", 1, ENGRAM_HEADS_MAX);
        c->engram_head_dim = take_u32(in, "engram_head_dim", QUANT_BLOCK, HEAD_DIM_MAX);
        c->engram_compressed_vocab = take_u32(in, "engram_compressed_vocab_size", 1, c->vocab_size);
        c->engram_pad_id = read_engram_pad(in, c->vocab_size);
        if (n_rows != c->n_engram_layers)
                refuse(in, "engram_num_embeddings", "%u entries for %u engram_layer_ids", n_rows,
                       c->n_engram_layers);
        if (c->engram_head_dim % QUANT_BLOCK != 0)
                refuse(in, "engram_head_dim", "%u is not a multiple of %u", c->engram_head_dim,
                       QUANT_BLOCK);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < c->n_engram_layers; i++) {
                c->engram_layers[i] = (uint32_t)layers[i];
                c->engram_rows[i] = (uint64_t)rows[i];
                c->layer[layers[i]].engram = (int)i;
        }
}

/* Ratios of the layers, then (maybe) of the draft layers, which have no compressed rows. */
static void read_ratios(struct reader *in, struct model_config *c) {
        uint32_t n_draft = take_u32(in, "num_nextn_predict_layers", 0, DRAFT_MAX);
        int64_t ratios[LAYERS_MAX + DRAFT_MAX];
        unsigned n = take_array(in, "compress_ratios", 1, LAYERS_MAX + DRAFT_MAX, 0, 2, ratios);
        if (n != c->n_layers && n != c->n_layers + n_draft)
                refuse(in, "compress_ratios", "%u entries for %u layers and %u draft layers", n,
                       c->n_layers, n_draft);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < c->n_layers; i++)
                c->layer[i].compress_ratio = (unsigned)ratios[i];
        for (unsigned i = c->n_layers; i < n; i++)
                if (ratios[i] != 0)
                        refuse(in, "compress_ratios", "draft layer %u has ratio %d",
                               i - c->n_layers, (int)ratios[i]);
}

/* A layer with compressed rows uses the last source at or below it; sources own what they name. */
static void read_sources(struct reader *in, struct model_config *c) {
        int64_t kv[LAYERS_MAX], index[LAYERS_MAX];
        unsigned n_kv = take_layers(in, "kv_source_layer_ids", LAYERS_MAX, c->n_layers, kv);
        unsigned n_index =
                take_layers(in, "index_source_layer_ids", LAYERS_MAX, c->n_layers, index);
        if (in->r < 0)
                return;
        for (unsigned i = 0; i < n_kv; i++)
                c->layer[kv[i]].owns_kv = true;
        for (unsigned i = 0; i < n_index; i++)
                c->layer[index[i]].owns_index = true;

        int kv_source = -1, index_source = -1;
        for (unsigned i = 0; i < c->n_layers; i++) {
                struct layer_config *layer = &c->layer[i];
                const char *owned =
                        layer->owns_kv ? "kv_source_layer_ids" : "index_source_layer_ids";
                if (layer->compress_ratio == 0) {
                        if (layer->owns_kv || layer->owns_index)
                                refuse(in, owned, "layer %u has compress ratio 0", i);
                        continue;
                }
                if (layer->owns_kv)
                        kv_source = (int)i;
                if (layer->owns_index)
                        index_source = (int)i;
                if (kv_source < 0)
                        refuse(in, "kv_source_layer_ids", "layer %u has no source", i);
                else if (c->layer[kv_source].compress_ratio != layer->compress_ratio)
                        refuse(in, "kv_source_layer_ids",
                               "layer %u has compress ratio %u, its source %d has %u", i,
                               layer->compress_ratio, kv_source,
                               c->layer[kv_source].compress_ratio);
                /* A selection numbers rows of the source it was made on. */
                if (index_source < 0 || index_source < kv_source)
                        refuse(in, "index_source_layer_ids",
                               "layer %u has no selection on its KV source %d", i, kv_source);
                layer->kv_source = kv_source;
                layer->index_source = index_source;
        }
}

static void read_candidates(struct reader *in, struct model_config *c) {
        json_t *id = require(in, "candidate_source_layer_id");
        c->candidate_layer = -1;
        c->candidate_blocks = take_u32(in, "candidate_topk_blocks", 1, SELECT_MAX);
        c->candidate_block_size = take_u32(in, "candidate_block_size", 1, SELECT_MAX);
        if (in->r < 0 || json_is_null(id) || json_integer_value(id) == -1)
                return;
        json_int_t source = json_integer_value(id);
        if (!json_is_integer(id) || source < 0 || source >= c->n_layers ||
            !c->layer[source].owns_index) {
                refuse(in, "candidate_source_layer_id", "not one of index_source_layer_ids");
                return;
        }
        c->candidate_layer = (int)source;
        for (unsigned i = (unsigned)source + 1; i < c->n_layers; i++) {
                struct layer_config *layer = &c->layer[i];
                if (!layer->owns_index)
                        continue;
                if (layer->kv_source != c->layer[source].kv_source) /* blocks number its rows */
                        refuse(in, "candidate_source_layer_id",
                               "layer %u selects on KV source %d, the candidates are of %d", i,
                               layer->kv_source, c->layer[source].kv_source);
                layer->in_candidates = true;
        }
}

/* Reads a token id that may stand at the top level, in text_config, or (the same) in both. */
static uint32_t read_token(struct reader *top, struct reader *text, const char *name,
                           uint32_t vocab_size) {
        bool outside = top && top->r == 0 && json_object_get(top->left, name);
        bool inside = text->r == 0 && json_object_get(text->left, name);
        uint32_t a = 0, b = 0;
        if (outside)
                a = take_u32(top, name, 0, vocab_size - 1);
        if (inside || !outside)
                b = take_u32(text, name, 0, vocab_size - 1);
        if (outside && inside && a != b)
                refuse(text, name, "%u, but %u at the top level", b, a);
        return outside ? a : b;
}

static void read_text(struct reader *in, struct model_config *c) {
        c->vocab_size = take_u32(in, "vocab_size", 1, VOCAB_MAX);
        c->hidden_size = take_u32(in, "hidden_size", 1, HIDDEN_MAX);
        c->n_layers = take_u32(in, "num_hidden_layers", 1, LAYERS_MAX);
        /* Below the smallest normal float the sum in rsqrt(mean + eps) would lose it. */
        c->rms_norm_eps = (float)take_number(in, "rms_norm_eps", 1.2e-38, 1);
        for (unsigned i = 0; i < LAYERS_MAX; i++)
                c->layer[i] =
                        (struct layer_config){ .kv_source = -1, .index_source = -1, .engram = -1 };
        read_rope(in, c);
        read_attention(in, c);
        read_ratios(in, c);
        read_sources(in, c);
        read_candidates(in, c);
        read_experts(in, c);
        c->hc = take_u32(in, "hc_mult", 1, HC_MAX);
        c->hc_sinkhorn_iters = take_u32(in, "hc_sinkhorn_iters", 1, 1000);
        c->hc_eps = (float)take_number(in, "hc_eps", 0, 1);
        read_engram(in, c);
        take_off(in, "tie_word_embeddings");
}

/* Tiles of 32 x 32 weights share a scale, an expert's row one per 32 inputs. Widths that are not
 * multiples of 32 would leave open how the last, partial block of an input is quantised. */
static void check_quantised_widths(struct reader *in, const struct model_config *c) {
        const struct {
                const char *name;
                uint32_t width;
        } widths[] = {
                { "hidden_size", c->hidden_size },
                { "q_lora_rank", c->q_lora_rank },
                { "o_lora_rank", c->o_lora_rank },
                { "moe_intermediate_size", c->expert_dim },
        };
        for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++)
                if (widths[i].width % WEIGHT_BLOCK != 0)
                        refuse(in, "quantization_config",
                               "%s is %u, quantised weights need a multiple of %u", widths[i].name,
                               widths[i].width, (unsigned)WEIGHT_BLOCK);
}

/* How the released files store their weights; absent or null: BF16. */
static void read_quantization(struct reader *in, struct model_config *c) {
        c->dense_format = c->expert_format = WEIGHT_BF16;
        json_t *quant = take(in, "quantization_config");
        if (!quant || json_is_null(quant))
                return;
        if (!json_is_object(quant)) {
                refuse(in, "quantization_config", "neither null nor an object");
                return;
        }
        struct reader sub;
        reader_init(&sub, in->file, "quantization_config.", quant, in->err);
        take_exactly(&sub, "quant_method", "fp8");
        take_exactly(&sub, "activation_scheme", "dynamic");
        take_exactly(&sub, "scale_fmt", "ue8m0");
        int64_t block[2];
        take_array(&sub, "weight_block_size", 2, 2, WEIGHT_BLOCK, WEIGHT_BLOCK, block);
        json_t *experts = require(&sub, "expert_dtype");
        const char *found = json_string_value(experts);
        bool fp4 = found && strcmp(found, "fp4") == 0;
        if (experts && !fp4 && !(found && strcmp(found, "fp8") == 0))
                refuse(&sub, "expert_dtype", "'%s' is not supported ('fp4' and 'fp8' are)",
                       found ? found : "not a string");
        if (sub.r == 0 && json_object_size(sub.left) > 0)
                refuse(&sub, json_object_iter_key(json_object_iter(sub.left)), "unknown field");
        c->dense_format = WEIGHT_FP8;
        c->expert_format = fp4 ? WEIGHT_FP4 : WEIGHT_FP8;
        in->r = sub.r;
        reader_deinit(&sub);
        check_quantised_widths(in, c);
}

/* What both levels may carry; `top` is NULL for a flat file. */
static void read_shared(struct reader *top, struct reader *text, struct model_config *c) {
        c->bos_id = read_token(top, text, "bos_token_id", c->vocab_size);
        c->eos_id = read_token(top, text, "eos_token_id", c->vocab_size);
        c->pad_id = read_token(top, text, "pad_token_id", c->vocab_size);
        if (top)
                take_off(top, "tie_word_embeddings");
        read_quantization(top ? top : text, c);
        json_t *inner = top ? take(text, "quantization_config") : NULL;
        if (inner && !json_is_null(inner))
                refuse(text, "quantization_config", "belongs at the top level");
}

static void read_model_type(struct reader *in, const char *wanted) {
        json_t *value = require(in, "model_type");
        const char *found = json_string_value(value);
        if (value && (!found || strcmp(found, wanted) != 0))
                refuse(in, "model_type", "'%s' is not supported ('%s' is)",
                       found ? found : "not a string", wanted);
}

static int parse_document(const char *file, json_t *root, struct model_config *ret,
                          struct error *err) {
        if (!json_is_object(root))
                return error_set(err, -EINVAL, "%s: not a JSON object", file);
        struct model_config config = { .architecture = MODEL_TYPE };
        struct reader top, text;
        reader_init(&top, file, "", root, err);
        read_model_type(&top, MODEL_TYPE);
        json_t *inner = take(&top, "text_config");
        int r = top.r;
        if (r < 0 || !inner) { /* flat */
                if (r == 0) {
                        read_text(&top, &config);
                        read_shared(NULL, &top, &config);
                        refuse_left(&top);
                        r = top.r;
                }
        } else if (!json_is_object(inner)) {
                refuse(&top, "text_config", "not an object");
                r = top.r;
        } else {
                reader_init(&text, file, "text_config.", inner, err);
                if (text.r == 0 && json_object_get(text.left, "model_type"))
                        read_model_type(&text, MODEL_TYPE_TEXT);
                read_text(&text, &config);
                top.r = text.r;
                read_shared(&top, &text, &config);
                if (text.r == 0)
                        text.r = top.r;
                refuse_left(&text);
                if (top.r == 0)
                        top.r = text.r;
                refuse_left(&top);
                r = top.r;
                reader_deinit(&text);
        }
        reader_deinit(&top);
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
