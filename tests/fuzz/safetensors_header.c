/* A safetensors file image. What is accepted must lie inside the image, apart from each other, and
 * in name order. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check(const struct tensor *tensors, size_t n, const uint8_t *image, size_t bytes) {
        for (size_t i = 0; i < n; i++) {
                const struct tensor *a = &tensors[i];
                if (a->n_dims > TENSOR_DIMS_MAX || a->bytes > bytes || a->data < image + 8 ||
                    (size_t)(a->data - image) > bytes - a->bytes)
                        abort();
                if (i > 0 && strcmp(tensors[i - 1].name, a->name) >= 0)
                        abort();
                for (size_t k = 0; k < i && n < 100; k++) /* squared: not for large headers */
                        if (a->bytes > 0 && tensors[k].bytes > 0 &&
                            a->data < tensors[k].data + tensors[k].bytes &&
                            tensors[k].data < a->data + a->bytes)
                                abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        struct error err = { 0 };
        struct tensor *tensors = NULL;
        size_t n = 0;
        int r = safetensors_parse("input", data, bytes, &tensors, &n, &err);
        if (r < 0 && err.text[0] == 0)
                abort(); /* refused without saying why */
        if (r == 0) {
                check(tensors, n, data, bytes);
                safetensors_free(tensors, n);
        }
        return 0;
}
