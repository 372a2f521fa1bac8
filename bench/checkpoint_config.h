/* The configuration of a made-up checkpoint: a known one, with fields changed, and what follows
 * from them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model_config.h"
#include "engine/tensor_table.h"

struct error;
struct tokenizer;

/* Dense matrices and experts: FP8 and FP4, FP8 both, BF16 both. */
enum checkpoint_format { CHECKPOINT_RELEASED, CHECKPOINT_FP8, CHECKPOINT_BF16 };

struct config_request {
        const char *like; /* a preset's name, a config.json or a model's folder */
        const char *const
                *sets; /* "field=value" for text_config, or vision_config; JSON, or else a string */
        size_t n_sets;
        enum checkpoint_format format;
        bool drafts, vision;
};

struct checkpoint_config {
        json_t *json; /* the document to write, owned */
        struct model_config model;
        struct tensor_table table; /* of `model` */
};

/* Takes the base, applies the changes, then lets follow what was not set by hand: a shorter or
 * longer schedule from num_hidden_layers (layers beyond the end leave every list), vocab_size up to
 * the tokenizer's, the Engram tables' rows and compressed vocabulary, the quantisation. Of other
 * families than V4.1's only vocabulary, drafts and BF16 follow. What the engine would refuse is
 * refused here, by its own message. `ret` is at least as long-lived as its table. */
int checkpoint_config_make(const struct config_request *request, const struct tokenizer *tokenizer,
                           struct checkpoint_config *ret, struct error *err);
void checkpoint_config_deinit(struct checkpoint_config *config);

/* Names of the presets, NULL at the end. */
const char *checkpoint_preset_name(unsigned index);

/* The text of a preset's config.json, NULL for an unknown name. `ret_changes` (field=value, NULL at
 * the end) come before the caller's. */
const char *checkpoint_preset(const char *name, const char *const **ret_changes);
