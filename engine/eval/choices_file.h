/* Discrete choices of another implementation, from a safetensors file: counted where the engine's
 * own differ, and forced on it if wanted.
 *
 * All tensors are F32 and two-dimensional, a row for each position (or compressed row):
 *
 *   layers.L.router   [positions][experts per token]   experts, ascending
 *   layers.L.topk     [positions][at most index_topk]  selected rows ascending, then -1
 *   layers.L.KIND     [rows][values]                   dequantised values (names:
 * engine/choices.h); slots of a row side by side
 *
 * Choices that the file does not have are the engine's own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/choices.h"

struct error;
struct model_config;
struct choices_file;

/* What agreed. A choice is the experts of a position, the rows selected for it, or the codes of one
 * quantised vector. */
struct choices_tally {
        uint64_t n, n_differ;
        uint64_t first; /* position at which the first one differs; UINT64_MAX = none */
};

int choices_file_open(const char *path, bool force, struct choices_file **ret, struct error *err);
struct choices_file *choices_file_close(struct choices_file *file); /* NULL-safe, returns NULL */

/* Positions that the file has choices for. */
uint64_t choices_file_n_positions(const struct choices_file *file);

/* To be called before the first step: checks the file's numbers against the model (experts, rows
 * and widths that exist) for the `n_positions` positions that will be computed. */
int choices_file_prepare(struct choices_file *file, const struct model_config *config,
                         uint64_t n_positions, struct error *err);

/* For engine_options; lives as long as the file. */
const struct choices *choices_file_hooks(const struct choices_file *file);

void choices_file_tally(const struct choices_file *file, struct choices_tally *ret);
