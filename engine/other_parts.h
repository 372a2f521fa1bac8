/* What a checkpoint may carry beside the text model: draft layers and vision. The engine skips
 * both; their sizes are read here to say what is in a checkpoint, and to write one. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;

struct draft_config {
        uint32_t n_layers; /* 0 = none */
        uint32_t n_experts;
        uint32_t n_targets; /* backbone layers whose input the drafts read */
        uint32_t markov_rank;
};

struct vision_config {
        uint32_t n_layers; /* 0 = none */
        uint32_t hidden_size, intermediate_size;
        uint32_t patch_size, downsample_ratio;
};

struct other_parts {
        struct draft_config draft;
        struct vision_config vision;
};

/* Reads the fields of both from a config.json; `file` names it in messages. */
int other_parts_parse(const char *file, const char *json, size_t n, struct other_parts *ret,
                      struct error *err);
