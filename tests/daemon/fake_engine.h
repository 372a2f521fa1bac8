/* A stand-in for the engine in tests: next tokens are a function of the tokens so far, steps can be
 * made to fail. Replaces the functions of engine/engine.h at link time; tokenizer and sampler are
 * the real ones. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct engine;

/* A step over a sequence that holds this id fails with -ERANGE, as a NaN would. */
#define FAKE_BAD_ID 77

struct engine *fake_engine_new(const char *model_dir, unsigned rows_max);

/* The token that follows these (greedy). */
uint32_t fake_next(const uint32_t *ids, size_t n);

/* Device memory for so many tokens; a step that needs more fails with -ENOSPC. 0 = no bound. */
void fake_device(struct engine *engine, uint64_t bytes_max);

/* Largest number of parts in a step, and of rows, since the start. */
size_t fake_parts_seen(void);
size_t fake_rows_seen(void);

#define FAKE_LAYERS 4

/* From now on each layer of a step takes so long; 0 = no time. */
void fake_slow_layers(unsigned ms);

/* Tokens that were announced by engine_prefetch(), since the start. */
size_t fake_prefetched(void);
