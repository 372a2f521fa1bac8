#include "engine/eval/ids.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"

int ids_from_json(const json_t *array, const char *what, uint32_t **ret, size_t *ret_n,
                  struct error *err) {
        if (!json_is_array(array))
                return error_set(err, -EINVAL, "%s: not an array of token ids", what);
        size_t n = json_array_size(array);
        CLEANUP_FREE uint32_t *ids = calloc(n + 1, sizeof(*ids));
        if (!ids)
                return error_set(err, -ENOMEM, "%s: out of memory for %zu ids", what, n);
        for (size_t i = 0; i < n; i++) {
                const json_t *v = json_array_get(array, i);
                json_int_t id = json_integer_value(v);
                if (!json_is_integer(v) || id < 0 || id > UINT32_MAX)
                        return error_set(err, -EINVAL, "%s: entry %zu is not a token id", what, i);
                ids[i] = (uint32_t)id;
        }
        *ret = TAKE_PTR(ids);
        *ret_n = n;
        return 0;
}

int ids_from_file(const char *path, uint32_t **ret, size_t *ret_n, struct error *err) {
        json_error_t why;
        bool from_stdin = strcmp(path, "-") == 0;
        json_t *file = from_stdin ? json_loadf(stdin, 0, &why) : json_load_file(path, 0, &why);
        if (!file)
                return error_set(err, -EINVAL, "%s: line %d: %s", path, why.line, why.text);
        int r = ids_from_json(file, path, ret, ret_n, err);
        json_decref(file);
        return r;
}
