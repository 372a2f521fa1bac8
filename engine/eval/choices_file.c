#include "engine/eval/choices_file.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/formats.h"
#include "engine/model_config.h"
#include "engine/safetensors.h"

/* The tables of a layer: values by kind, then the two choices of numbers. */
enum { TABLE_ROUTER = CHOICE_VALUES_MAX, TABLE_TOPK, TABLES };

/* Values of a vector that is compared: the widest is an input of a linear layer. It is compared in
 * pieces of whole blocks, of at most 128 values, so that the stack holds it. */
#define PIECE 256

struct table {
        const float *data; /* NULL: not in the file */
        uint64_t n_rows, width;
};

struct choices_file {
        const char *path;
        bool force;
        struct file_map map;
        struct tensor *tensors;
        size_t n_tensors;
        struct table table[LAYERS_MAX][TABLES];
        uint32_t ratio[LAYERS_MAX]; /* positions per compressed row */
        uint32_t n_slots;           /* selections of a position, side by side in a row */
        bool token_index;           /* V3.2's formats */
        uint32_t input_block;       /* of quantised inputs */
        bool tails;                 /* rows of KV have tails, which are not quantised */
        uint64_t n_positions;
        struct choices hooks;

        /* Any thread of a step: */
        atomic_uint_fast64_t n;
        atomic_uint_fast32_t *differ; /* [n_positions] choices that differ at a position */
};

static const char *table_name(unsigned table) {
        return table == TABLE_ROUTER  ? "router"
                : table == TABLE_TOPK ? "topk"
                                      : choice_values_name((enum choice_values)table);
}

/* Row `row` of a table, NULL when the file does not have it. */
static const float *table_row(const struct choices_file *file, uint32_t layer, unsigned table,
                              uint64_t row) {
        const struct table *t = &file->table[layer][table];
        return t->data && row < t->n_rows ? t->data + row * t->width : NULL;
}

static void count(struct choices_file *file, uint64_t position, bool same) {
        atomic_fetch_add_explicit(&file->n, 1, memory_order_relaxed);
        if (!same && position < file->n_positions)
                atomic_fetch_add_explicit(&file->differ[position], 1, memory_order_relaxed);
}

static void on_router(void *userdata, uint32_t layer, uint64_t position, uint32_t n,
                      uint32_t *experts) {
        struct choices_file *file = userdata;
        const float *row = table_row(file, layer, TABLE_ROUTER, position);
        if (!row)
                return;
        bool same = true;
        for (uint32_t i = 0; i < n; i++) {
                same = same && experts[i] == (uint32_t)row[i];
                if (file->force)
                        experts[i] = (uint32_t)row[i];
        }
        count(file, position, same);
}

static uint32_t on_selection(void *userdata, uint32_t layer, uint64_t position, uint32_t slot,
                             uint32_t n_max, uint32_t n, uint32_t *rows) {
        struct choices_file *file = userdata;
        const float *row = table_row(file, layer, TABLE_TOPK, position);
        if (!row)
                return n;
        uint64_t width = file->table[layer][TABLE_TOPK].width / file->n_slots;
        uint32_t n_file = 0;
        bool same = true;
        row += slot * width;
        for (; n_file < width && n_file < n_max && row[n_file] >= 0; n_file++) {
                same = same && n_file < n && rows[n_file] == (uint32_t)row[n_file];
                if (file->force)
                        rows[n_file] = (uint32_t)row[n_file];
        }
        count(file, position, same && n == n_file);
        return file->force ? n_file : n;
}

/* Whether x, quantised to FP8 in blocks, is `values`. */
static bool same_fp8(const float *x, const float *values, uint32_t n, uint32_t block) {
        float y[PIECE];
        for (uint32_t at = 0; at < n; at += block) {
                fp8_round_block(x + at, block, y);
                for (uint32_t i = 0; i < block; i++)
                        if (y[i] != values[at + i])
                                return false;
        }
        return true;
}

static bool same_fp4(enum row_format format, const float *x, const float *values, uint32_t n) {
        uint8_t packed[PIECE];
        float unpacked[PIECE];
        for (uint32_t at = 0; at < n; at += PIECE) {
                uint32_t piece = n - at < PIECE ? n - at : PIECE;
                row_pack(format, x + at, piece, packed);
                row_unpack(format, packed, piece, unpacked);
                for (uint32_t i = 0; i < piece; i++)
                        if (unpacked[i] != values[at + i])
                                return false;
        }
        return true;
}

/* Whether x, quantised as the model does, is `values`. */
static bool same_codes(const struct choices_file *file, enum choice_values kind, const float *x,
                       const float *values, uint32_t n) {
        if (file->token_index) /* V3.2's rows have blocks of 128, and a latent's tail */
                return same_fp8(x, values, kind == CHOICE_LATENT ? n - FP8_TAIL : n,
                                FP8_LONG_BLOCK);
        switch (kind) {
        case CHOICE_WINDOW:
                return file->tails ? same_fp8(x, values, n - FP8_TAIL, FP8_TAIL_BLOCK)
                                   : same_fp8(x, values, n, FP8_BLOCK);
        case CHOICE_LATENT:
                return file->tails ? same_fp8(x, values, n - FP8_TAIL, FP8_TAIL_BLOCK)
                                   : same_fp4(ROW_FP4_LATENT, x, values, n);
        case CHOICE_INDEX_KEY:
        case CHOICE_INDEX_QUERY: return same_fp4(ROW_FP4_KEY, x, values, n);
        default: return same_fp8(x, values, n, file->input_block);
        }
}

static void on_values(void *userdata, enum choice_values kind, uint32_t layer, uint64_t row,
                      uint32_t slot, uint32_t n, float *x) {
        struct choices_file *file = userdata;
        const float *values = table_row(file, layer, kind, row);
        if (!values)
                return;
        values += (size_t)slot * n;
        uint64_t position = kind == CHOICE_LATENT || kind == CHOICE_INDEX_KEY
                ? (row + 1) * file->ratio[layer] - 1 /* the token that closed the row's group */
                : row;
        count(file, position, same_codes(file, kind, x, values, n));
        if (file->force)
                memcpy(x, values, n * sizeof(*x));
}

static int bind(struct choices_file *file, const struct tensor *t, struct error *err) {
        unsigned layer;
        int at = 0;
        if (sscanf(t->name, "layers.%u.%n", &layer, &at) < 1 || at == 0 || layer >= LAYERS_MAX)
                return error_set(err, -EINVAL, "tensor '%s': not a choice of a layer", t->name);
        for (unsigned i = 0; i < TABLES; i++) {
                if (strcmp(t->name + at, table_name(i)) != 0)
                        continue;
                if (t->dtype != DTYPE_F32 || t->n_dims != 2 || (uintptr_t)t->data % 4 != 0)
                        return error_set(err, -EINVAL, "tensor '%s': not an aligned F32 matrix",
                                         t->name);
                file->table[layer][i] = (struct table){ (const float *)(const void *)t->data,
                                                        t->shape[0], t->shape[1] };
        }
        return 0; /* of another name: an input that another one stands for */
}

int choices_file_open(const char *path, bool force, struct choices_file **ret, struct error *err) {
        struct choices_file *file = calloc(1, sizeof(*file));
        if (!file)
                return error_set(err, -ENOMEM, "out of memory");
        file->path = path;
        file->force = force;
        file->hooks = (struct choices){ file, on_router, on_selection, on_values };
        int r = file_map_open(path, &file->map, err);
        if (r == 0)
                r = safetensors_parse(path, file->map.data, file->map.bytes, &file->tensors,
                                      &file->n_tensors, err);
        for (size_t i = 0; r == 0 && i < file->n_tensors; i++) {
                r = bind(file, &file->tensors[i], err);
                if (r < 0)
                        error_prefix(err, "%s", path);
        }
        if (r < 0) {
                choices_file_close(file);
                return r;
        }
        *ret = file;
        return 0;
}

struct choices_file *choices_file_close(struct choices_file *file) {
        if (!file)
                return NULL;
        safetensors_free(file->tensors, file->n_tensors);
        file_map_close(&file->map);
        free(file->differ);
        free(file);
        return NULL;
}

uint64_t choices_file_n_positions(const struct choices_file *file) {
        uint64_t n = 0;
        for (uint32_t l = 0; l < LAYERS_MAX; l++)
                for (unsigned i = 0; i < TABLES; i++)
                        if (file->table[l][i].data && file->table[l][i].n_rows > n)
                                n = file->table[l][i].n_rows;
        return n;
}

/* Values that a row of the kind holds, all slots. */
static uint64_t values_width(const struct model_config *c, unsigned table) {
        uint64_t k = c->n_experts_per_token;
        switch (table) {
        case CHOICE_WINDOW: return c->head_dim;
        case CHOICE_INDEX_KEY: return c->index_head_dim;
        case CHOICE_LATENT:
                return c->kv_lora_rank > 0 ? c->kv_lora_rank + c->rope_dim : c->head_dim;
        case CHOICE_INDEX_QUERY: return (uint64_t)c->index_n_heads * c->index_head_dim;
        case CHOICE_WQ_B: return c->q_lora_rank;
        case CHOICE_WO_B: return (uint64_t)c->o_groups * c->o_lora_rank;
        case CHOICE_EXPERTS_W2: return k * c->expert_dim;
        case CHOICE_SHARED_W2: return (uint64_t)c->n_shared_experts * c->expert_dim;
        case CHOICE_ENGRAM_WKV:
                return (uint64_t)(c->engram_ngram_max - 1) * c->engram_n_heads * c->engram_head_dim;
        case TABLE_ROUTER: return k;
        default: return c->hidden_size;
        }
}

/* Numbers of a row: whole, below `limit`, ascending; `padded`: -1 may follow. */
static bool numbers_fit(const float *row, uint64_t n, uint64_t limit, bool padded) {
        float before = -1;
        for (uint64_t i = 0; i < n; i++) {
                if (padded && row[i] == -1.0f) {
                        before = (float)limit; /* nothing else may come */
                        continue;
                }
                if (!(row[i] > before) || row[i] >= (float)limit ||
                    row[i] != (float)(uint32_t)row[i])
                        return false;
                before = row[i];
        }
        return true;
}

static bool has_token_index(const struct model_config *c) {
        return c->layer[0].attention == ATTENTION_MLA && c->index_topk > 0;
}

/* Selections that each position makes in a layer. */
static uint32_t selections(const struct model_config *c) {
        return c->layer[0].attention == ATTENTION_NSA ? c->n_kv_heads : 1;
}

/* What position p can select from: blocks of tokens, or rows that are complete. */
static uint64_t selectable(const struct model_config *c, uint32_t layer, uint64_t p) {
        return c->layer[layer].attention == ATTENTION_NSA
                ? p / c->nsa.block_size + 1
                : (p + 1) / c->layer[layer].compress_ratio;
}

static bool selections_fit(const struct table *t, const struct model_config *c, uint32_t layer,
                           uint64_t n_positions) {
        uint64_t slots = selections(c), width = t->width / slots;
        if (c->layer[layer].compress_ratio == 0 || t->width % slots != 0)
                return false;
        for (uint64_t p = 0; p < t->n_rows && p < n_positions; p++)
                for (uint64_t slot = 0; slot < slots; slot++)
                        if (!numbers_fit(t->data + p * t->width + slot * width, width,
                                         selectable(c, layer, p), true))
                                return false;
        return true;
}

static bool table_fits(const struct table *t, const struct model_config *c, uint32_t layer,
                       unsigned table, uint64_t n_positions) {
        if (table == TABLE_TOPK)
                return selections_fit(t, c, layer, n_positions);
        if (t->width != values_width(c, table))
                return false;
        for (uint64_t p = 0; table == TABLE_ROUTER && p < t->n_rows && p < n_positions; p++)
                if (!numbers_fit(t->data + p * t->width, t->width, c->n_experts, false))
                        return false;
        return true;
}

int choices_file_prepare(struct choices_file *file, const struct model_config *config,
                         uint64_t n_positions, struct error *err) {
        for (uint32_t l = 0; l < LAYERS_MAX; l++)
                for (unsigned i = 0; i < TABLES; i++)
                        if (file->table[l][i].data &&
                            (l >= config->n_layers ||
                             !table_fits(&file->table[l][i], config, l, i, n_positions)))
                                return error_set(err, -EINVAL,
                                                 "%s: layers.%u.%s does not fit the model",
                                                 file->path, l, table_name(i));
        file->n_slots = selections(config);
        file->token_index = has_token_index(config);
        file->input_block = config->input_block;
        file->tails = config->layer[0].attention == ATTENTION_CSA;
        for (uint32_t l = 0; l < config->n_layers; l++)
                file->ratio[l] = config->layer[l].compress_ratio;
        free(file->differ);
        file->differ = calloc(n_positions + 1, sizeof(*file->differ));
        file->n_positions = n_positions;
        if (!file->differ)
                return error_set(err, -ENOMEM, "%s: out of memory", file->path);
        return 0;
}

const struct choices *choices_file_hooks(const struct choices_file *file) {
        return &file->hooks;
}

void choices_file_tally(const struct choices_file *file, struct choices_tally *ret) {
        *ret = (struct choices_tally){ .n = file->n, .first = UINT64_MAX };
        for (uint64_t p = 0; p < file->n_positions; p++) {
                ret->n_differ += file->differ[p];
                if (file->differ[p] && ret->first == UINT64_MAX)
                        ret->first = p;
        }
}
