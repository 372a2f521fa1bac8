/* Which model this is: the bytes that a name for it is made of. */
#pragma once

#include <stddef.h>

struct engine;
struct error;

/* Gives `add` everything that distinguishes the open model from another one, in an order of its
 * own: config.json and tokenizer.json of `model_dir`, of each tensor name, type and shape, and the
 * tensors' bytes. Of more than 256 MiB of bytes the small tensors and a sample of the others,
 * evenly spread: two checkpoints of equal shapes that differ in no such byte are taken for one. A
 * fine-tuned model differs everywhere. 0, or an error that names the file. */
int engine_identity(const struct engine *engine, const char *model_dir,
                    void (*add)(void *context, const void *data, size_t n), void *context,
                    struct error *err);
