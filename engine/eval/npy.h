/* A float32 matrix as a NumPy .npy file, version 1.0, C order. */
#pragma once

#include <stddef.h>

struct error;

int npy_write(const char *path, const float *data, size_t rows, size_t columns, struct error *err);
