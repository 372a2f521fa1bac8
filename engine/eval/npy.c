#include "engine/eval/npy.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

/* Magic, version and a 2-byte header length, then a header padded so that the data starts at a
 * multiple of 64. */
#define PREFIX_BYTES 10
#define HEADER_BYTES (128 - PREFIX_BYTES)

int npy_write(const char *path, const float *data, size_t rows, size_t columns, struct error *err) {
        char header[HEADER_BYTES + 1];
        int n = snprintf(header, sizeof(header),
                         "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows,
                         columns);
        memset(header + n, ' ', sizeof(header) - (size_t)n);
        header[HEADER_BYTES - 1] = '\n';

        FILE *f = fopen(path, "wbe");
        if (!f)
                return error_errno(err, "%s", path);
        const uint8_t prefix[PREFIX_BYTES] = {
                0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, HEADER_BYTES, 0
        };
        size_t written = fwrite(prefix, 1, sizeof(prefix), f) + fwrite(header, 1, HEADER_BYTES, f);
        size_t values = fwrite(data, sizeof(float), rows * columns, f);
        int failed = fclose(f) != 0 || written != PREFIX_BYTES + HEADER_BYTES ||
                values != rows * columns;
        return failed ? error_errno(err, "%s: writing", path) : 0;
}
