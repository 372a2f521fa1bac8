#include "engine/identity.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/model.h"
#include "engine/safetensors.h"

/* Hashing reads about 1 GB a second: a quarter of a second at start. */
#define WHOLE_BYTES_MAX (256ULL << 20)

/* Samples are spread over all tensors: 4,096 blocks of one page are 16 MiB, and 4,096 reads from a
 * cold disk take less than a second. */
#define N_SAMPLES    4096
#define SAMPLE_BYTES 4096

/* Norms, sinks, biases: few bytes with much influence, which samples would miss. All of them
 * together are a few megabytes in the largest released model. */
#define SMALL_BYTES_MAX (64ULL << 10)

struct sink {
        void (*add)(void *context, const void *data, size_t n);
        void *context;
};

static int add_file(const struct sink *sink, const char *dir, const char *name, struct error *err) {
        char path[PATH_MAX];
        struct file_map map;
        snprintf(path, sizeof(path), "%s/%s", dir, name);
        int r = file_map_open(path, &map, err);
        if (r < 0)
                return r;
        sink->add(sink->context, map.data, map.bytes);
        file_map_close(&map);
        return 0;
}

static void add_description(const struct sink *sink, const struct tensor *t) {
        char text[512];
        int n = snprintf(text, sizeof(text), "%s %s", t->name, dtype_name(t->dtype));
        for (unsigned i = 0; i < t->n_dims && n > 0 && (size_t)n < sizeof(text); i++)
                n += snprintf(text + n, sizeof(text) - (size_t)n, " %" PRIu64, t->shape[i]);
        sink->add(sink->context, text, strlen(text) + 1);
}

static void add_up_to(const struct sink *sink, const struct checkpoint *c, uint64_t bytes_max) {
        for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
                const struct tensor *t = checkpoint_tensor(c, i);
                if (t->bytes <= bytes_max)
                        sink->add(sink->context, t->data, t->bytes);
        }
}

/* One block of each `stride` bytes of all tensors, laid end to end in the order of their names. */
static void add_samples(const struct sink *sink, const struct checkpoint *c, uint64_t stride) {
        uint64_t skip = 0; /* bytes of the next tensor before its first sample */
        for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
                const struct tensor *t = checkpoint_tensor(c, i);
                uint64_t at = skip;
                for (; at < t->bytes; at += stride) {
                        uint64_t left = t->bytes - at;
                        sink->add(sink->context, t->data + at,
                                  left < SAMPLE_BYTES ? (size_t)left : SAMPLE_BYTES);
                }
                skip = at - t->bytes;
        }
}

int engine_identity(const struct engine *engine, const char *model_dir,
                    void (*add)(void *context, const void *data, size_t n), void *context,
                    struct error *err) {
        const struct checkpoint *c = engine->checkpoint;
        struct sink sink = { add, context };
        uint64_t bytes = 0;
        int r = add_file(&sink, model_dir, "config.json", err);
        if (r == 0)
                r = add_file(&sink, model_dir, "tokenizer.json", err);
        if (r < 0)
                return r;
        for (size_t i = 0; i < checkpoint_n_tensors(c); i++) {
                add_description(&sink, checkpoint_tensor(c, i));
                bytes += checkpoint_tensor(c, i)->bytes;
        }
        add_up_to(&sink, c, bytes <= WHOLE_BYTES_MAX ? UINT64_MAX : SMALL_BYTES_MAX);
        if (bytes > WHOLE_BYTES_MAX)
                add_samples(&sink, c, bytes / N_SAMPLES);
        return 0;
}
