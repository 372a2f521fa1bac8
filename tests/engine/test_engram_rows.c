/* The source of Engram rows can be another than the checkpoint, and no bit of the logits changes.
 * Nano model (argv[1]). */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "engine/engram_rows.h"
#include "tests/engine/random_floats.h"

#define N_TOKENS 60

static const char *model_dir;
static uint32_t tokens[N_TOKENS];

/* A source that keeps packed copies, fills dest at the last moment and checks how it is used. */
struct fake {
        struct engram_tables tables;
        uint8_t *packed[ENGRAM_LAYERS_MAX];
        const uint64_t *rows[ENGRAM_LAYERS_MAX]; /* of the open request, NULL = none */
        uint32_t n[ENGRAM_LAYERS_MAX];
        uint8_t *dest[ENGRAM_LAYERS_MAX];
        unsigned n_open, n_requests, n_rows;
        uint64_t prefetched[ENGRAM_LAYERS_MAX][256];
        uint32_t n_prefetched[ENGRAM_LAYERS_MAX];
        int open_result;
        int fail_table; /* whose collect fails, -1 = none */
        bool keep;      /* has its packed copies already */
};

static size_t packed_bytes(const struct engram_tables *t) {
        return t->code_bytes + t->scale_bytes;
}

static int fake_open(void *context, const struct engram_tables *tables, struct error *err) {
        struct fake *f = context;
        f->tables = *tables;
        if (f->open_result < 0)
                return error_set(err, f->open_result, "the fake has other tables");
        for (uint32_t t = 0; !f->keep && f->open_result == 0 && t < tables->n_tables; t++) {
                const struct engram_table *from = &tables->table[t];
                f->packed[t] = malloc(from->n_rows * packed_bytes(tables));
                for (uint64_t row = 0; row < from->n_rows; row++) {
                        uint8_t *to = f->packed[t] + row * packed_bytes(tables);
                        memcpy(to, from->codes + row * tables->code_bytes, tables->code_bytes);
                        memcpy(to + tables->code_bytes, from->scales + row * tables->scale_bytes,
                               tables->scale_bytes);
                }
        }
        return f->open_result;
}

static void fake_request(void *context, unsigned table, const uint64_t *rows, uint32_t n,
                         uint8_t *dest) {
        struct fake *f = context;
        assert_null(f->rows[table]);
        for (uint32_t i = 0; i < n; i++) {
                assert_true(rows[i] < f->tables.table[table].n_rows);
                for (uint32_t j = 0; j < i; j++)
                        assert_true(rows[i] != rows[j]);
        }
        f->rows[table] = rows;
        f->n[table] = n;
        f->dest[table] = dest;
        f->n_open++;
        f->n_requests++;
        f->n_rows += n;
        memset(dest, 0x55, n * packed_bytes(&f->tables));
}

static int fake_collect(void *context, unsigned table, struct error *err) {
        struct fake *f = context;
        assert_non_null(f->rows[table]);
        size_t bytes = packed_bytes(&f->tables);
        for (uint32_t i = 0; i < f->n[table]; i++)
                memcpy(f->dest[table] + i * bytes, f->packed[table] + f->rows[table][i] * bytes,
                       bytes);
        f->rows[table] = NULL;
        f->n_open--;
        return (int)table == f->fail_table ? error_set(err, -EIO, "row 7: checksum") : 0;
}

static void fake_prefetch(void *context, unsigned table, const uint64_t *rows, uint32_t n) {
        struct fake *f = context;
        assert_true(n <= 256);
        memcpy(f->prefetched[table], rows, n * sizeof(*rows));
        f->n_prefetched[table] = n;
}

static const struct engram_rows_operations fake_operations = { fake_open, fake_request,
                                                               fake_collect, fake_prefetch };

static int try_open(const char *dir, struct fake *fake, struct engine **ret, struct error *err) {
        struct engram_rows rows = { &fake_operations, fake };
        struct engine_options options = { .model_dir = dir,
                                          .n_threads = 1,
                                          .engram_rows = fake ? &rows : NULL };
        return engine_open(&options, ret, err);
}

static struct engine *open_engine(const char *dir, struct fake *fake) {
        struct engine *engine = NULL;
        struct error err = { 0 };
        if (try_open(dir, fake, &engine, &err) < 0)
                fail_msg("%s", err.text);
        return engine;
}

static void fake_free(struct fake *f) {
        assert_int_equal(f->n_open, 0);
        for (int t = 0; t < ENGRAM_LAYERS_MAX; t++)
                free(f->packed[t]);
}

/* Logits of all tokens, `chunk` at a time; the caller frees them. */
static float *run(struct engine *engine, uint32_t chunk) {
        uint32_t v = engine_config(engine)->vocab_size;
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        struct sequence *s;
        assert_int_equal(sequence_new(engine, &s), 0);
        for (uint32_t at = 0; at < N_TOKENS; at += chunk) {
                struct batch_part part = { s, tokens + at, chunk, chunk, logits + (size_t)at * v };
                assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
        }
        sequence_free(s);
        return logits;
}

static void another_source_changes_no_bit(void **state) {
        (void)state;
        struct fake fake = { .fail_table = -1 };
        struct engine *a = open_engine(model_dir, NULL), *b = open_engine(model_dir, &fake);
        size_t bytes = (size_t)N_TOKENS * engine_config(a)->vocab_size * sizeof(float);
        for (uint32_t chunk = 1; chunk <= N_TOKENS; chunk += chunk == 1 ? 19 : 40) {
                float *of_checkpoint = run(a, chunk), *of_fake = run(b, chunk);
                assert_memory_equal(of_checkpoint, of_fake, bytes);
                free(of_checkpoint), free(of_fake);
        }
        uint32_t n_tables = fake.tables.n_tables;
        assert_int_equal(fake.n_requests, n_tables * (N_TOKENS + N_TOKENS / 20 + 1));
        /* Each token has three rows; a chunk asks for those that are different only. */
        assert_true(fake.n_rows < 3 * n_tables * 3 * N_TOKENS);
        engine_close(a), engine_close(b);
        fake_free(&fake);
}

static void what_is_prefetched_is_what_is_requested(void **state) {
        (void)state;
        struct fake fake = { .fail_table = -1 };
        struct engine *engine = open_engine(model_dir, &fake);
        struct sequence *s;
        assert_int_equal(sequence_new(engine, &s), 0);
        struct batch_part part = { s, tokens, 10, 0, NULL };
        assert_int_equal(engine_step(engine, &part, 1, NULL), 0);

        engine_prefetch(s, tokens + 10, 4, 5);
        part = (struct batch_part){ s, tokens + 10, 4, 0, NULL };
        assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
        part = (struct batch_part){ s, tokens + 14, 1, 0, NULL };
        assert_int_equal(engine_step(engine, &part, 1, NULL), 0);
        for (uint32_t t = 0; t < fake.tables.n_tables; t++) {
                assert_int_equal(fake.n_prefetched[t], 3);
                assert_int_equal(fake.n[t], 3);
                const uint8_t *packed = fake.dest[t];
                size_t bytes = packed_bytes(&fake.tables);
                for (uint32_t i = 0; i < 3; i++)
                        assert_memory_equal(packed + i * bytes,
                                            fake.packed[t] + fake.prefetched[t][i] * bytes, bytes);
        }
        uint32_t unknown = engine_config(engine)->vocab_size;
        fake.n_prefetched[0] = 99;
        engine_prefetch(s, &unknown, 0, 1);
        assert_int_equal(fake.n_prefetched[0], 99);
        sequence_free(s);
        engine_close(engine);
        fake_free(&fake);
}

static void a_failed_read_ends_the_step_and_leaves_no_request(void **state) {
        (void)state;
        for (int table = 0; table < 2; table++) {
                struct fake fake = { .fail_table = table };
                struct engine *engine = open_engine(model_dir, &fake);
                struct error err = { 0 };
                struct sequence *s;
                assert_int_equal(sequence_new(engine, &s), 0);
                struct batch_part part = { s, tokens, 10, 0, NULL };
                assert_int_equal(engine_step(engine, &part, 1, &err), -EIO);
                assert_non_null(strstr(err.text, table == 0 ? "layer 1: row 7" : "layer 4: row 7"));
                assert_int_equal(fake.n_open, 0);
                assert_int_equal(sequence_position(s), 0);
                sequence_free(s);
                engine_close(engine);
                fake_free(&fake);
        }
}

static void a_source_may_refuse_or_leave_it_to_the_checkpoint(void **state) {
        (void)state;
        struct error err = { 0 };
        struct engine *engine = NULL;
        struct fake fake = { .open_result = -EINVAL };
        assert_int_equal(try_open(model_dir, &fake, &engine, &err), -EINVAL);
        assert_string_equal(err.text, "the fake has other tables");

        fake.open_result = ENGRAM_ROWS_OF_CHECKPOINT;
        engine = open_engine(model_dir, &fake);
        free(run(engine, N_TOKENS));
        assert_int_equal(fake.n_requests, 0);
        engine_close(engine);
}

static void copy_file(const char *from_dir, const char *to_dir, const char *name, bool hide) {
        char path[PATH_MAX];
        struct file_map map;
        snprintf(path, sizeof(path), "%s/%s", from_dir, name);
        assert_int_equal(file_map_open(path, &map, NULL), 0);
        uint8_t *bytes = malloc(map.bytes);
        memcpy(bytes, map.data, map.bytes);
        static const char tensor[] = "engram.embed.";
        for (uint8_t *at; hide && (at = memmem(bytes, map.bytes, tensor, sizeof(tensor) - 1));)
                at[7] = 'X'; /* engram.Xmbed. is nothing that the engine reads */
        snprintf(path, sizeof(path), "%s/%s", to_dir, name);
        FILE *file = fopen(path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(bytes, 1, map.bytes, file), map.bytes);
        fclose(file);
        free(bytes);
        file_map_close(&map);
}

static void tables_may_be_missing_when_their_rows_are_elsewhere(void **state) {
        (void)state;
        static const char *const names[] = { "config.json", "tokenizer.json", "model.safetensors" };
        char dir[] = "/tmp/engram_rows_XXXXXX", path[PATH_MAX];
        assert_non_null(mkdtemp(dir));
        for (int i = 0; i < 3; i++)
                copy_file(model_dir, dir, names[i], i == 2);

        struct error err = { 0 };
        struct engine *engine = NULL;
        assert_true(try_open(dir, NULL, &engine, &err) < 0);
        assert_non_null(strstr(err.text, "layers.1.engram.embed.weight"));

        struct fake fake = { .fail_table = -1 };
        struct engine *whole = open_engine(model_dir, &fake);
        struct engram_tables tables = fake.tables;
        fake.keep = true;
        engine = open_engine(dir, &fake);
        assert_null(fake.tables.table[0].codes);
        assert_memory_equal(fake.tables.fingerprint, tables.fingerprint,
                            sizeof(tables.fingerprint));
        assert_int_equal(engine_decode_bytes(engine), engine_decode_bytes(whole));
        float *a = run(whole, N_TOKENS), *b = run(engine, N_TOKENS);
        assert_memory_equal(a, b,
                            (size_t)N_TOKENS * engine_config(engine)->vocab_size * sizeof(float));
        free(a), free(b);
        engine_close(engine);

        fake.open_result = ENGRAM_ROWS_OF_CHECKPOINT;
        assert_int_equal(try_open(dir, &fake, &engine, &err), -ENOENT);
        assert_non_null(strstr(err.text, "layers.1.engram.embed"));
        engine_close(whole);
        fake_free(&fake);
        for (int i = 0; i < 3; i++) {
                snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
                unlink(path);
        }
        rmdir(dir);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(another_source_changes_no_bit),
                cmocka_unit_test(what_is_prefetched_is_what_is_requested),
                cmocka_unit_test(a_failed_read_ends_the_step_and_leaves_no_request),
                cmocka_unit_test(a_source_may_refuse_or_leave_it_to_the_checkpoint),
                cmocka_unit_test(tables_may_be_missing_when_their_rows_are_elsewhere),
        };
        uint64_t seed = 1;
        if (argc != 2)
                return 1;
        model_dir = argv[1];
        for (int j = 0; j < N_TOKENS; j++)
                tokens[j] = j == 0 ? 0 : (uint32_t)(random_next(&seed) % 300);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
