#include "engine/config/quantization.h"

bool quantization_open(struct config_reader *in, uint32_t tile, struct config_reader *ret) {
        json_t *object = config_take(in, "quantization_config");
        if (!object || json_is_null(object))
                return false;
        if (!json_is_object(object)) {
                config_refuse(in, "quantization_config", "neither null nor an object");
                return false;
        }
        int64_t block[2];
        config_reader_init(ret, in->file, "quantization_config.", object, in->err);
        config_exactly(ret, "quant_method", "fp8");
        config_exactly(ret, "activation_scheme", "dynamic");
        config_array(ret, "weight_block_size", 2, 2, tile, tile, block);
        return true;
}

void quantization_close(struct config_reader *in, struct config_reader *quantization) {
        config_refuse_left(quantization, NULL, 0);
        in->r = quantization->r;
        config_reader_deinit(quantization);
}

void quantization_check_widths(struct config_reader *in, const struct quantised_width *widths,
                               unsigned n, uint32_t block) {
        for (unsigned i = 0; i < n; i++)
                if (widths[i].width % block != 0)
                        config_refuse(in, "quantization_config",
                                      "%s is %u, quantised weights need a multiple of %u",
                                      widths[i].name, widths[i].width, block);
}
