#include "tests/daemon/fake_engine.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/tokenizer.h"

#define CONTEXT_TOKENS 4096
#define FAKE_EOS       1

struct engine {
        struct model_config config;
        struct tokenizer *tokenizer;
        unsigned rows_max;
        uint64_t device_bytes, device_bytes_max; /* 0 = no bound */
        uint64_t n_sequences;
        void (*layer_done)(void *userdata, uint32_t done, uint32_t total);
        void *layer_done_userdata;
};

struct sequence {
        struct engine *engine;
        uint32_t ids[CONTEXT_TOKENS];
        uint32_t announced[CONTEXT_TOKENS]; /* 1 + id, 0 = not */
        uint64_t n;
};

/* The device holds one byte for each token. */

static size_t parts_seen, rows_seen, prefetched;
static unsigned layer_ms;

size_t fake_parts_seen(void) {
        return parts_seen;
}

size_t fake_rows_seen(void) {
        return rows_seen;
}

struct engine *fake_engine_new(const char *model_dir, unsigned rows_max) {
        struct engine *engine = calloc(1, sizeof(*engine));
        struct error err = { 0 };
        assert(engine);
        if (tokenizer_open(model_dir, &engine->tokenizer, &err) < 0)
                abort();
        engine->config.vocab_size = tokenizer_n_ids(engine->tokenizer);
        engine->config.max_positions = CONTEXT_TOKENS;
        engine->config.eos_id = FAKE_EOS;
        engine->rows_max = rows_max;
        parts_seen = rows_seen = prefetched = layer_ms = 0;
        return engine;
}

struct engine *engine_close(struct engine *engine) {
        tokenizer_close(engine->tokenizer);
        free(engine);
        return NULL;
}

const struct model_config *engine_config(const struct engine *engine) {
        return &engine->config;
}

const struct tokenizer *engine_tokenizer(const struct engine *engine) {
        return engine->tokenizer;
}

unsigned engine_batch_rows_max(const struct engine *engine) {
        return engine->rows_max;
}

int sequence_new(struct engine *engine, struct sequence **ret) {
        *ret = calloc(1, sizeof(**ret));
        if (!*ret)
                return -ENOMEM;
        (*ret)->engine = engine;
        engine->n_sequences++;
        return 0;
}

struct sequence *sequence_free(struct sequence *sequence) {
        if (!sequence)
                return NULL;
        sequence->engine->device_bytes -= sequence->n;
        sequence->engine->n_sequences--;
        free(sequence);
        return NULL;
}

void fake_device(struct engine *engine, uint64_t bytes_max) {
        engine->device_bytes_max = bytes_max;
}

uint64_t engine_kv_bytes(const struct engine *engine, uint64_t n_tokens, bool spilled) {
        (void)engine;
        (void)spilled;
        return n_tokens;
}

void engine_kv_statistics(const struct engine *engine, struct engine_kv_statistics *ret) {
        *ret = (struct engine_kv_statistics){ .device_bytes = engine->device_bytes,
                                              .n_sequences = engine->n_sequences };
}

void sequence_lend_page(struct sequence *sequence, uint64_t page, const uint8_t *slab) {
        (void)sequence;
        assert(*slab == (uint8_t)page);
}

uint64_t sequence_position(const struct sequence *sequence) {
        return sequence->n;
}

uint64_t sequence_bytes(const struct sequence *sequence) {
        return sequence->n;
}

/* Ordinary ids only: 200 to 299. */
uint32_t fake_next(const uint32_t *ids, size_t n) {
        uint64_t hash = 1469598103934665603ULL;
        for (size_t i = 0; i < n; i++)
                hash = (hash ^ ids[i]) * 1099511628211ULL;
        return 200 + (uint32_t)((hash >> 33) % 100);
}

/* What is announced must be what is computed later: engine_step() compares. */
void engine_prefetch(struct sequence *sequence, const uint32_t *ids, uint32_t first, uint32_t n) {
        assert(first < n && sequence->n + n <= CONTEXT_TOKENS);
        for (uint32_t i = first; i < n; i++)
                sequence->announced[sequence->n + i] = 1 + ids[i];
        prefetched += n - first;
}

size_t fake_prefetched(void) {
        return prefetched;
}

void engine_watch(struct engine *engine,
                  void (*layer_done)(void *userdata, uint32_t done, uint32_t total),
                  void *userdata) {
        engine->layer_done = layer_done;
        engine->layer_done_userdata = userdata;
}

void fake_slow_layers(unsigned ms) {
        layer_ms = ms;
}

/* Before anything is computed, as in the real one. */
static void run_layers(const struct engine *engine) {
        for (uint32_t l = 0; layer_ms > 0 && engine->layer_done && l < FAKE_LAYERS; l++) {
                nanosleep(&(struct timespec){ .tv_nsec = layer_ms * 1000000L }, NULL);
                engine->layer_done(engine->layer_done_userdata, l + 1, FAKE_LAYERS);
        }
}

int engine_step(struct engine *engine, const struct batch_part *parts, size_t n_parts,
                struct error *err) {
        size_t rows = 0;
        int r = 0;
        for (size_t i = 0; i < n_parts; i++)
                rows += parts[i].n;
        if (engine->device_bytes_max > 0 && engine->device_bytes + rows > engine->device_bytes_max)
                return error_set(err, -ENOSPC, "no room for %zu bytes", rows);
        run_layers(engine);
        engine->device_bytes += rows;
        for (size_t i = 0; i < n_parts; i++) {
                struct sequence *sequence = parts[i].sequence;
                assert(sequence->n + parts[i].n <= CONTEXT_TOKENS);
                for (uint32_t k = 0; k < parts[i].n; k++) {
                        uint32_t announced = sequence->announced[sequence->n + k];
                        assert(announced == 0 || announced == 1 + parts[i].ids[k]);
                        (void)announced;
                }
                memcpy(sequence->ids + sequence->n, parts[i].ids, parts[i].n * sizeof(uint32_t));
                sequence->n += parts[i].n;
                for (uint32_t k = 0; k < parts[i].n; k++)
                        if (parts[i].ids[k] == FAKE_BAD_ID)
                                r = error_set(err, -ERANGE, "part %zu: NaN", i);
                if (parts[i].n_logits == 0)
                        continue;
                memset(parts[i].logits, 0, engine->config.vocab_size * sizeof(float));
                parts[i].logits[fake_next(sequence->ids, sequence->n)] = 10;
        }
        assert(rows <= engine->rows_max);
        parts_seen = n_parts > parts_seen ? n_parts : parts_seen;
        rows_seen = rows > rows_seen ? rows : rows_seen;
        return r;
}

/* A state is the tokens themselves; pages hold nothing, but there are some. */
size_t engine_page_bytes(const struct engine *engine) {
        (void)engine;
        return 1;
}

size_t engine_state_bytes(const struct engine *engine) {
        (void)engine;
        return sizeof(struct sequence);
}

const char *engine_numerics_class(const struct engine *engine) {
        (void)engine;
        return "fake";
}

void sequence_save_page(const struct sequence *sequence, uint64_t page, uint8_t *ret_page) {
        (void)sequence;
        *ret_page = (uint8_t)page;
}

void sequence_save_state(const struct sequence *sequence, uint8_t *ret_state) {
        memcpy(ret_state, sequence, sizeof(*sequence));
}

int sequence_restore(struct sequence *sequence, const uint8_t *const *pages, uint64_t n_pages,
                     const uint8_t *state, struct error *err) {
        (void)err;
        for (uint64_t i = 0; i < n_pages; i++)
                assert(*pages[i] == (uint8_t)i);
        memcpy(sequence, state, sizeof(*sequence));
        sequence->engine->device_bytes += sequence->n;
        return 0;
}
