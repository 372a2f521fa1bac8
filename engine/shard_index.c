#include "engine/shard_index.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* The released index has 96,085 entries of about 110 bytes. jansson takes up to 80 bytes of memory
 * for a byte of hostile text (empty objects): 2.7 GB at most. */
#define INDEX_BYTES_MAX (32U << 20)

/* Each is an open mapping; the largest release has 163. */
#define SHARDS_MAX 4096U

static int compare_tensor(const void *a, const void *b) {
        const struct shard_entry *x = a, *y = b;
        return strcmp(x->tensor, y->tensor);
}

static int compare_shard(const void *a, const void *b) {
        const struct shard_entry *x = a, *y = b;
        return strcmp(x->shard, y->shard);
}

/* A file of the checkpoint's own folder. */
static bool is_plain_name(const char *name) {
        return name[0] != '\0' && strcmp(name, ".") != 0 && !strchr(name, '/') &&
                !strstr(name, "..");
}

static int read_total(const char *file, const json_t *document, struct shard_index *index,
                      struct error *err) {
        const json_t *metadata = json_object_get(document, "metadata");
        if (!metadata || json_is_null(metadata))
                return 0;
        if (!json_is_object(metadata))
                return error_set(err, -EINVAL, "%s: metadata: not an object", file);
        const json_t *total = json_object_get(metadata, "total_size");
        if (!total)
                return 0;
        if (!json_is_integer(total) || json_integer_value(total) < 0)
                return error_set(err, -EINVAL,
                                 "%s: metadata.total_size: not a whole number of bytes", file);
        index->has_total = true;
        index->total_bytes = (uint64_t)json_integer_value(total);
        return 0;
}

static int read_entries(const char *file, json_t *map, struct shard_index *index,
                        struct error *err) {
        const char *tensor;
        json_t *value;
        json_object_foreach(map, tensor, value) {
                const char *shard = json_string_value(value);
                if (!shard)
                        return error_set(err, -EINVAL,
                                         "%s: weight_map: the shard of tensor '%s' is not a string",
                                         file, tensor);
                if (!is_plain_name(shard))
                        return error_set(
                                err, -EINVAL,
                                "%s: weight_map: tensor '%s': '%s' is not a plain file name", file,
                                tensor, shard);
                index->entries[index->n++] = (struct shard_entry){ tensor, shard, 0 };
        }
        return 0;
}

static int number_shards(const char *file, struct shard_index *index, struct error *err) {
        qsort(index->entries, index->n, sizeof(*index->entries), compare_shard);
        for (size_t i = 0; i < index->n; i++) {
                struct shard_entry *entry = &index->entries[i];
                if (i == 0 || strcmp(entry[-1].shard, entry->shard) != 0) {
                        if (index->n_shards == SHARDS_MAX)
                                return error_set(err, -EINVAL, "%s: weight_map: more than %u files",
                                                 file, SHARDS_MAX);
                        index->shards[index->n_shards++] = entry->shard;
                }
                entry->shard_number = index->n_shards - 1;
        }
        qsort(index->entries, index->n, sizeof(*index->entries), compare_tensor);
        return 0;
}

static int read_document(const char *file, json_t *document, struct shard_index *index,
                         struct error *err) {
        if (!json_is_object(document))
                return error_set(err, -EINVAL, "%s: not a JSON object", file);
        json_t *map = json_object_get(document, "weight_map");
        if (!map)
                return error_set(err, -EINVAL, "%s: no weight_map", file);
        if (!json_is_object(map))
                return error_set(err, -EINVAL, "%s: weight_map: not an object", file);
        size_t n = json_object_size(map);
        if (n == 0)
                return error_set(err, -EINVAL, "%s: weight_map: no tensors", file);
        index->entries = calloc(n, sizeof(*index->entries));
        index->shards = calloc(n < SHARDS_MAX ? n : SHARDS_MAX, sizeof(*index->shards));
        if (!index->entries || !index->shards)
                return error_set(err, -ENOMEM, "%s: out of memory", file);
        int r = read_total(file, document, index, err);
        if (r == 0)
                r = read_entries(file, map, index, err);
        return r < 0 ? r : number_shards(file, index, err);
}

int shard_index_parse(const char *file, const char *text, size_t n, struct shard_index *ret,
                      struct error *err) {
        if (n > INDEX_BYTES_MAX)
                return error_set(err, -EINVAL, "%s: %zu bytes (at most %u)", file, n,
                                 INDEX_BYTES_MAX);
        json_error_t why;
        json_t *document = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
        if (!document)
                return error_set(err, -EINVAL, "%s: line %d: %s", file, why.line, why.text);
        struct shard_index index = { .document = document };
        int r = read_document(file, document, &index, err);
        if (r < 0)
                shard_index_deinit(&index);
        else
                *ret = index;
        return r;
}

void shard_index_deinit(struct shard_index *index) {
        free(index->entries);
        free(index->shards);
        json_decref(index->document);
        *index = (struct shard_index){ 0 };
}

const struct shard_entry *shard_index_find(const struct shard_index *index, const char *tensor) {
        struct shard_entry key = { .tensor = tensor };
        if (index->n == 0)
                return NULL;
        return bsearch(&key, index->entries, index->n, sizeof(key), compare_tensor);
}
