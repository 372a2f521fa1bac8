/* Token ids from JSON: an array of non-negative integers. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Caller frees *ret. The message names the entry. */
int ids_from_json(const json_t *array, const char *what, uint32_t **ret, size_t *ret_n,
                  struct error *err);

/* PATH, or "-" for standard input. */
int ids_from_file(const char *path, uint32_t **ret, size_t *ret_n, struct error *err);
