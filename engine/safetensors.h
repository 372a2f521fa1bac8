/* Checkpoint files: safetensors, one file or shards with an index, read by mmap.
 *
 * Nothing is copied: a tensor's `data` points into the mapping and lives until checkpoint_close().
 * Everything is checked before anything is touched: header length, JSON, dtype, shape products
 * without overflow, byte ranges inside the file, ranges that overlap, duplicate names. Any thread
 * may read; open and close from one thread.
 *
 * File format: u64 little-endian header length, JSON header {name: {dtype, shape, data_offsets}},
 * data. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct error;
struct progress;

enum dtype {
        DTYPE_F32,
        DTYPE_BF16,
        DTYPE_F8_E4M3, /* OCP e4m3fn */
        DTYPE_F8_E8M0, /* ue8m0 scales: byte b is 2^(b-127), 255 = NaN */
        DTYPE_I8,      /* in DeepSeek files: two FP4 (e2m1) codes per byte, low nibble first */
        DTYPE_I64,     /* tables of numbers */
        DTYPE_OTHER,   /* a known safetensors type that no tensor of ours uses (F16, I32, ...) */
};

#define TENSOR_DIMS_MAX                                                                            \
        4 /* no tensor of the supported families has more than two; files with more are refused */

struct tensor {
        const char *name; /* owned by the checkpoint */
        enum dtype dtype;
        unsigned n_dims;
        uint64_t shape[TENSOR_DIMS_MAX]; /* row-major, [out, in] for matrices */
        const uint8_t *data;             /* aligned to its elements */
        uint64_t bytes;
};

struct checkpoint;

/* Opens DIR/model.safetensors, or DIR/model.safetensors.index.json and the shards it names. Of each
 * file only the header is read. `progress` may be NULL. */
int checkpoint_open(const char *dir, const struct progress *progress, struct checkpoint **ret,
                    struct error *err);
struct checkpoint *checkpoint_close(struct checkpoint *checkpoint); /* NULL-safe, returns NULL */

/* NULL when there is none of that name. */
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name);

/* All tensors, ordered by name. */
size_t checkpoint_n_tensors(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_tensor(const struct checkpoint *checkpoint, size_t index);

/* The place of one of its tensors in that order. */
size_t checkpoint_index(const struct checkpoint *checkpoint, const struct tensor *tensor);

/* Finds `name` and demands dtype and shape exactly; the message names tensor, file, expected and
 * found. */
int checkpoint_require(const struct checkpoint *checkpoint, const char *name, enum dtype dtype,
                       unsigned n_dims, const uint64_t *shape, const struct tensor **ret,
                       struct error *err);

/* Parses one file image: what checkpoint_open() does per file, exposed for the fuzzer. `file` names
 * it in messages. The image must outlive the result. */
int safetensors_parse(const char *file, const uint8_t *image, size_t bytes,
                      struct tensor **ret_tensors, size_t *ret_n, struct error *err);
void safetensors_free(struct tensor *tensors, size_t n);

const char *dtype_name(enum dtype dtype);
size_t dtype_bytes(enum dtype dtype); /* bytes per element as stored; 0 for DTYPE_OTHER */
