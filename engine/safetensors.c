#include "engine/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/fd.h"
#include "engine/progress.h"
#include "engine/shard_index.h"

/* The released headers have 0.3 MB each, in one file they would have 13 MB. jansson takes up to 80
 * bytes of memory for a byte of hostile text (empty objects): 2.7 GB at most. */
#define HEADER_BYTES_MAX (32U << 20)
#define LENGTH_BYTES     8U /* the u64 in front of the header */

#define SINGLE_FILE "model.safetensors"
#define INDEX_FILE  "model.safetensors.index.json"

static const struct {
        const char *name;
        enum dtype dtype;
        unsigned bytes;
} dtypes[] = {
        { "F32", DTYPE_F32, 4 },         { "BF16", DTYPE_BF16, 2 },
        { "F8_E4M3", DTYPE_F8_E4M3, 1 }, { "F8_E8M0", DTYPE_F8_E8M0, 1 },
        { "I8", DTYPE_I8, 1 },           { "BOOL", DTYPE_OTHER, 1 },
        { "U8", DTYPE_OTHER, 1 },        { "F8_E5M2", DTYPE_OTHER, 1 },
        { "I16", DTYPE_OTHER, 2 },       { "U16", DTYPE_OTHER, 2 },
        { "F16", DTYPE_OTHER, 2 },       { "I32", DTYPE_OTHER, 4 },
        { "U32", DTYPE_OTHER, 4 },       { "I64", DTYPE_I64, 8 },
        { "U64", DTYPE_OTHER, 8 },       { "F64", DTYPE_OTHER, 8 },
        { "C64", DTYPE_OTHER, 8 },
};
#define N_DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

const char *dtype_name(enum dtype dtype) {
        for (size_t i = 0; i < N_DTYPES; i++)
                if (dtypes[i].dtype == dtype && dtype != DTYPE_OTHER)
                        return dtypes[i].name;
        return "another type";
}

size_t dtype_bytes(enum dtype dtype) {
        for (size_t i = 0; i < N_DTYPES; i++)
                if (dtypes[i].dtype == dtype && dtype != DTYPE_OTHER)
                        return dtypes[i].bytes;
        return 0;
}

/* Where an entry stands, for messages. */
struct place {
        const char *file;
        const char *tensor;
};

static int bad(const struct place *at, struct error *err, const char *what) {
        return error_set(err, -EINVAL, "%s: tensor '%s': %s", at->file, at->tensor, what);
}

static int parse_dtype(const struct place *at, const json_t *entry, enum dtype *ret_dtype,
                       unsigned *ret_bytes, struct error *err) {
        const char *name = json_string_value(json_object_get(entry, "dtype"));
        if (!name)
                return bad(at, err, "no dtype");
        for (size_t i = 0; i < N_DTYPES; i++)
                if (strcmp(dtypes[i].name, name) == 0) {
                        *ret_dtype = dtypes[i].dtype;
                        *ret_bytes = dtypes[i].bytes;
                        return 0;
                }
        return error_set(err, -EINVAL, "%s: tensor '%s': unknown dtype '%s'", at->file, at->tensor,
                         name);
}

static int parse_shape(const struct place *at, const json_t *entry, unsigned element_bytes,
                       struct tensor *tensor, uint64_t *ret_bytes, struct error *err) {
        const json_t *shape = json_object_get(entry, "shape");
        if (!json_is_array(shape))
                return bad(at, err, "no shape");
        size_t n = json_array_size(shape);
        if (n > TENSOR_DIMS_MAX)
                return error_set(err, -EINVAL, "%s: tensor '%s': %zu dimensions (at most %d)",
                                 at->file, at->tensor, n, TENSOR_DIMS_MAX);

        uint64_t bytes = element_bytes;
        for (size_t i = 0; i < n; i++) {
                const json_t *dim = json_array_get(shape, i);
                if (!json_is_integer(dim) || json_integer_value(dim) < 0)
                        return bad(at, err, "a dimension is not a whole number >= 0");
                tensor->shape[i] = (uint64_t)json_integer_value(dim);
                if (__builtin_mul_overflow(bytes, tensor->shape[i], &bytes))
                        return bad(at, err, "the shape's byte count does not fit 64 bits");
        }
        tensor->n_dims = (unsigned)n;
        *ret_bytes = bytes;
        return 0;
}

/* Checks [begin, end) against the data section and the shape. */
static int parse_range(const struct place *at, const json_t *entry, const uint8_t *data,
                       uint64_t data_bytes, unsigned alignment, struct tensor *tensor,
                       struct error *err) {
        const json_t *range = json_object_get(entry, "data_offsets");
        if (!json_is_array(range) || json_array_size(range) != 2 ||
            !json_is_integer(json_array_get(range, 0)) ||
            !json_is_integer(json_array_get(range, 1)))
                return bad(at, err, "data_offsets is not a pair of whole numbers");
        json_int_t begin = json_integer_value(json_array_get(range, 0));
        json_int_t end = json_integer_value(json_array_get(range, 1));
        if (begin < 0 || end < begin)
                return error_set(err, -EINVAL,
                                 "%s: tensor '%s': data_offsets [%" JSON_INTEGER_FORMAT
                                 ", %" JSON_INTEGER_FORMAT "] do not form a range",
                                 at->file, at->tensor, begin, end);
        if ((uint64_t)end > data_bytes)
                return error_set(err, -EINVAL,
                                 "%s: tensor '%s': offset %" JSON_INTEGER_FORMAT
                                 " is past the end of the data (%" PRIu64 " bytes)",
                                 at->file, at->tensor, end, data_bytes);
        if ((uint64_t)(end - begin) != tensor->bytes)
                return error_set(err, -EINVAL,
                                 "%s: tensor '%s': %" JSON_INTEGER_FORMAT
                                 " bytes of data, its shape needs %" PRIu64,
                                 at->file, at->tensor, end - begin, tensor->bytes);
        tensor->data = data + begin;
        /* Readers access whole elements. Mappings start on a page, so this judges the file alone.
         */
        if (tensor->bytes > 0 && (uintptr_t)tensor->data % alignment != 0)
                return bad(at, err, "its data is not aligned to its elements");
        return 0;
}

static int parse_entry(const char *file, const char *name, const json_t *entry, const uint8_t *data,
                       uint64_t data_bytes, struct tensor *ret, struct error *err) {
        struct place at = { file, name };
        if (!json_is_object(entry))
                return bad(&at, err, "its header entry is not an object");
        if (json_object_size(entry) > 3)
                return bad(&at, err, "its header entry has unknown fields");

        struct tensor tensor = { 0 };
        unsigned element_bytes = 0;
        int r = parse_dtype(&at, entry, &tensor.dtype, &element_bytes, err);
        if (r < 0)
                return r;
        r = parse_shape(&at, entry, element_bytes, &tensor, &tensor.bytes, err);
        if (r < 0)
                return r;
        r = parse_range(&at, entry, data, data_bytes, element_bytes, &tensor, err);
        if (r < 0)
                return r;

        tensor.name = strdup(name);
        if (!tensor.name)
                return error_set(err, -ENOMEM, "%s: out of memory", file);
        *ret = tensor;
        return 0;
}

static int compare_data(const void *a, const void *b) {
        const struct tensor *x = a, *y = b;
        return (x->data > y->data) - (x->data < y->data);
}

static int compare_name(const void *a, const void *b) {
        const struct tensor *x = a, *y = b;
        return strcmp(x->name, y->name);
}

static int check_overlap(const char *file, struct tensor *tensors, size_t n, struct error *err) {
        qsort(tensors, n, sizeof(*tensors), compare_data);
        const struct tensor *previous = NULL;
        for (size_t i = 0; i < n; i++) {
                if (tensors[i].bytes == 0) /* shares no byte with anything */
                        continue;
                if (previous && previous->data + previous->bytes > tensors[i].data)
                        return error_set(err, -EINVAL,
                                         "%s: the data of tensor '%s' and tensor '%s' overlap",
                                         file, previous->name, tensors[i].name);
                previous = &tensors[i];
        }
        return 0;
}

/* The header as JSON, the data section after it. */
static int parse_header(const char *file, const uint8_t *image, size_t bytes, json_t **ret,
                        const uint8_t **ret_data, uint64_t *ret_data_bytes, struct error *err) {
        if (bytes < LENGTH_BYTES)
                return error_set(err, -EINVAL, "%s: %zu bytes are too few for a safetensors file",
                                 file, bytes);
        uint64_t n = 0;
        for (unsigned i = 0; i < LENGTH_BYTES; i++)
                n |= (uint64_t)image[i] << (8 * i);
        if (n < 2 || n > HEADER_BYTES_MAX)
                return error_set(err, -EINVAL,
                                 "%s: header of %" PRIu64 " bytes (2 to %u are legal)", file, n,
                                 HEADER_BYTES_MAX);
        if (n > bytes - LENGTH_BYTES)
                return error_set(err, -EINVAL,
                                 "%s: header of %" PRIu64
                                 " bytes is longer than the file (%zu bytes)",
                                 file, n, bytes);

        json_error_t why;
        json_t *json = json_loadb((const char *)image + LENGTH_BYTES, (size_t)n,
                                  JSON_REJECT_DUPLICATES, &why);
        if (!json)
                return error_set(err, -EINVAL, "%s: header, byte %d: %s", file,
                                 why.position + (int)LENGTH_BYTES, why.text);
        *ret = json;
        *ret_data = image + LENGTH_BYTES + n;
        *ret_data_bytes = bytes - LENGTH_BYTES - n;
        return 0;
}

int safetensors_parse(const char *file, const uint8_t *image, size_t bytes,
                      struct tensor **ret_tensors, size_t *ret_n, struct error *err) {
        json_auto_t *header = NULL;
        const uint8_t *data = NULL;
        uint64_t data_bytes = 0;
        int r = parse_header(file, image, bytes, &header, &data, &data_bytes, err);
        if (r < 0)
                return r;
        if (!json_is_object(header))
                return error_set(err, -EINVAL, "%s: header is not a JSON object", file);

        struct tensor *tensors = calloc(json_object_size(header) + 1, sizeof(*tensors));
        if (!tensors)
                return error_set(err, -ENOMEM, "%s: out of memory", file);
        size_t n = 0;
        const char *name;
        json_t *entry;
        json_object_foreach(header, name, entry) {
                if (strcmp(name, "__metadata__") == 0)
                        continue;
                r = parse_entry(file, name, entry, data, data_bytes, &tensors[n], err);
                if (r < 0)
                        break;
                n++;
        }
        if (r == 0)
                r = check_overlap(file, tensors, n, err);
        if (r < 0) {
                safetensors_free(tensors, n);
                return r;
        }

        qsort(tensors, n, sizeof(*tensors), compare_name);
        *ret_tensors = tensors;
        *ret_n = n;
        return 0;
}

void safetensors_free(struct tensor *tensors, size_t n) {
        if (!tensors)
                return;
        for (size_t i = 0; i < n; i++)
                free((char *)(uintptr_t)tensors[i].name);
        free(tensors);
}

struct shard {
        char *name; /* file name inside the directory, owned */
        struct file_map map;
};

/* `tensor` first: bsearch and qsort compare an entry by its name alone. */
struct entry {
        struct tensor tensor;
        const struct shard *shard;
};

struct checkpoint {
        struct shard *shards;
        size_t n_shards;
        struct entry *entries; /* ordered by name */
        size_t n;
};

struct checkpoint *checkpoint_close(struct checkpoint *checkpoint) {
        if (!checkpoint)
                return NULL;
        for (size_t i = 0; i < checkpoint->n; i++)
                free((char *)(uintptr_t)checkpoint->entries[i].tensor.name);
        free(checkpoint->entries);
        for (size_t i = 0; i < checkpoint->n_shards; i++) {
                file_map_close(&checkpoint->shards[i].map);
                free(checkpoint->shards[i].name);
        }
        free(checkpoint->shards);
        free(checkpoint);
        return NULL;
}

static void checkpoint_closep(struct checkpoint **checkpoint) {
        checkpoint_close(*checkpoint);
}

static int path_join(const char *dir, const char *name, char *ret, struct error *err) {
        int n = snprintf(ret, PATH_MAX, "%s/%s", dir, name);
        if (n < 0 || n >= PATH_MAX)
                return error_set(err, -ENAMETOOLONG, "%s/%s: path too long", dir, name);
        return 0;
}

/* Maps and parses one shard, appends its tensors. */
static int load_shard(struct checkpoint *checkpoint, const char *dir, struct shard *shard,
                      struct error *err) {
        char path[PATH_MAX];
        int r = path_join(dir, shard->name, path, err);
        if (r < 0)
                return r;
        r = file_map_open(path, &shard->map, err);
        if (r < 0)
                return r;
        struct tensor *tensors = NULL;
        size_t n = 0;
        r = safetensors_parse(path, shard->map.data, shard->map.bytes, &tensors, &n, err);
        if (r < 0)
                return r;

        struct entry *entries = reallocarray(checkpoint->entries, checkpoint->n + n + 1,
                                             sizeof(*checkpoint->entries));
        if (!entries) {
                safetensors_free(tensors, n);
                return error_set(err, -ENOMEM, "%s: out of memory", path);
        }
        checkpoint->entries = entries;
        for (size_t i = 0; i < n; i++)
                entries[checkpoint->n++] = (struct entry){ tensors[i], shard };
        free(tensors); /* the names moved */
        return 0;
}

static int sort_entries(struct checkpoint *checkpoint, const char *dir, struct error *err) {
        if (checkpoint->n > 0)
                qsort(checkpoint->entries, checkpoint->n, sizeof(struct entry), compare_name);
        for (size_t i = 1; i < checkpoint->n; i++) {
                const struct entry *a = &checkpoint->entries[i - 1], *b = a + 1;
                if (strcmp(a->tensor.name, b->tensor.name) == 0)
                        return error_set(err, -EINVAL, "%s: tensor '%s' is in both '%s' and '%s'",
                                         dir, a->tensor.name, a->shard->name, b->shard->name);
        }
        return 0;
}

static const struct entry *find_entry(const struct checkpoint *checkpoint, const char *name) {
        struct tensor key = { .name = name };
        if (checkpoint->n == 0)
                return NULL;
        return bsearch(&key, checkpoint->entries, checkpoint->n, sizeof(struct entry),
                       compare_name);
}

/* Index and shards must tell the same story, in both directions. */
static int check_index(const struct checkpoint *checkpoint, const char *path,
                       const struct shard_index *index, struct error *err) {
        uint64_t bytes = 0;
        for (size_t i = 0; i < index->n; i++) {
                const struct shard_entry *listed = &index->entries[i];
                const struct entry *entry = find_entry(checkpoint, listed->tensor);
                if (!entry || entry->shard != &checkpoint->shards[listed->shard_number])
                        return error_set(err, -EINVAL, "%s: tensor '%s' is not in its shard '%s'",
                                         path, listed->tensor, listed->shard);
        }
        for (size_t i = 0; i < checkpoint->n; i++) {
                const struct entry *entry = &checkpoint->entries[i];
                if (!shard_index_find(index, entry->tensor.name))
                        return error_set(err, -EINVAL, "%s: tensor '%s' of '%s' is not listed",
                                         path, entry->tensor.name, entry->shard->name);
                bytes += entry->tensor.bytes;
        }
        if (index->has_total && index->total_bytes != bytes)
                return error_set(err, -EINVAL,
                                 "%s: metadata.total_size: %" PRIu64
                                 " bytes, but the tensors of the shards have %" PRIu64,
                                 path, index->total_bytes, bytes);
        return 0;
}

static int open_shards(struct checkpoint *checkpoint, const char *dir,
                       const struct shard_index *index, const struct progress *progress,
                       struct error *err) {
        checkpoint->shards = calloc(index->n_shards, sizeof(*checkpoint->shards));
        if (!checkpoint->shards)
                return error_set(err, -ENOMEM, "%s: out of memory", dir);
        for (unsigned i = 0; i < index->n_shards; i++) {
                struct shard *shard = &checkpoint->shards[i];
                progress_report(progress, (double)i / index->n_shards, index->shards[i]);
                checkpoint->n_shards++;
                shard->name = strdup(index->shards[i]);
                if (!shard->name)
                        return error_set(err, -ENOMEM, "%s: out of memory", dir);
                int r = load_shard(checkpoint, dir, shard, err);
                if (r < 0)
                        return r;
        }
        return sort_entries(checkpoint, dir, err);
}

static int open_sharded(struct checkpoint *checkpoint, const char *dir,
                        const struct progress *progress, struct error *err) {
        char path[PATH_MAX];
        int r = path_join(dir, INDEX_FILE, path, err);
        if (r < 0)
                return r;
        struct file_map map CLEANUP(file_map_close) = { 0 };
        r = file_map_open(path, &map, err);
        if (r == -ENOENT)
                return error_set(err, r, "%s: neither %s nor %s is there", dir, SINGLE_FILE,
                                 INDEX_FILE);
        if (r < 0)
                return r;
        struct shard_index index CLEANUP(shard_index_deinit) = { 0 };
        r = shard_index_parse(path, map.data ? (const char *)map.data : "", map.bytes, &index, err);
        if (r == 0)
                r = open_shards(checkpoint, dir, &index, progress, err);
        return r < 0 ? r : check_index(checkpoint, path, &index, err);
}

static int open_single(struct checkpoint *checkpoint, const char *dir, struct error *err) {
        checkpoint->shards = calloc(1, sizeof(*checkpoint->shards));
        if (!checkpoint->shards)
                return error_set(err, -ENOMEM, "%s: out of memory", dir);
        checkpoint->n_shards = 1;
        checkpoint->shards[0].name = strdup(SINGLE_FILE);
        if (!checkpoint->shards[0].name)
                return error_set(err, -ENOMEM, "%s: out of memory", dir);
        int r = load_shard(checkpoint, dir, &checkpoint->shards[0], err);
        return r < 0 ? r : sort_entries(checkpoint, dir, err);
}

int checkpoint_open(const char *dir, const struct progress *progress, struct checkpoint **ret,
                    struct error *err) {
        char path[PATH_MAX];
        int r = path_join(dir, SINGLE_FILE, path, err);
        if (r < 0)
                return r;
        CLEANUP(checkpoint_closep) struct checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));
        if (!checkpoint)
                return error_set(err, -ENOMEM, "%s: out of memory", dir);
        r = access(path, F_OK) == 0 ? open_single(checkpoint, dir, err)
                                    : open_sharded(checkpoint, dir, progress, err);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(checkpoint);
        return 0;
}

const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name) {
        const struct entry *entry = find_entry(checkpoint, name);
        return entry ? &entry->tensor : NULL;
}

size_t checkpoint_n_tensors(const struct checkpoint *checkpoint) {
        return checkpoint->n;
}

const struct tensor *checkpoint_tensor(const struct checkpoint *checkpoint, size_t index) {
        return index < checkpoint->n ? &checkpoint->entries[index].tensor : NULL;
}

size_t checkpoint_index(const struct checkpoint *checkpoint, const struct tensor *tensor) {
        return (size_t)(find_entry(checkpoint, tensor->name) - checkpoint->entries);
}

/* "[256, 64]"; `n` <= TENSOR_DIMS_MAX, so 96 bytes always suffice (4 x 20 digits and separators).
 */
static void format_shape(const uint64_t *shape, unsigned n, char ret[96]) {
        size_t at = (size_t)snprintf(ret, 96, "[");
        for (unsigned i = 0; i < n; i++)
                at += (size_t)snprintf(ret + at, 96 - at, "%s%" PRIu64, i ? ", " : "", shape[i]);
        snprintf(ret + at, 96 - at, "]");
}

int checkpoint_require(const struct checkpoint *checkpoint, const char *name, enum dtype dtype,
                       unsigned n_dims, const uint64_t *shape, const struct tensor **ret,
                       struct error *err) {
        const struct entry *entry = find_entry(checkpoint, name);
        if (!entry)
                return error_set(
                        err, -ENOENT, "%s: tensor '%s' is missing",
                        checkpoint->n_shards == 1 ? checkpoint->shards[0].name : INDEX_FILE, name);
        const struct tensor *tensor = &entry->tensor;
        bool same = tensor->dtype == dtype && tensor->n_dims == n_dims;
        for (unsigned i = 0; same && i < n_dims; i++)
                same = tensor->shape[i] == shape[i];
        if (!same) {
                char expected[96], found[96];
                format_shape(shape, n_dims, expected);
                format_shape(tensor->shape, tensor->n_dims, found);
                return error_set(err, -EINVAL, "%s: tensor '%s': expected %s %s, found %s %s",
                                 entry->shard->name, name, dtype_name(dtype), expected,
                                 dtype_name(tensor->dtype), found);
        }
        *ret = tensor;
        return 0;
}
