/* quantization_config of the families: FP8 weights in square tiles that share a scale. What they
 * have in common is read here, the rest by the family between open and close. */
#pragma once

#include "engine/config/reader.h"

/* False: the field is absent or null (the weights are BF16), or it was refused. True: `ret` reads
 * its object, of which method, activation scheme and tile are taken; to be closed. */
bool quantization_open(struct config_reader *in, uint32_t tile, struct config_reader *ret);

/* Refuses what is left in it. */
void quantization_close(struct config_reader *in, struct config_reader *quantization);

/* A width of inputs that are quantised in blocks. */
struct quantised_width {
        const char *name;
        uint32_t width;
};

/* Refuses a width that is not a multiple of the block: how its last, partial block is quantised
 * would be open. */
void quantization_check_widths(struct config_reader *in, const struct quantised_width *widths,
                               unsigned n, uint32_t block);
