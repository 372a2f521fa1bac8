/* The hooks of choices.h see every choice and can replace it; files of choices are checked. Nano
 * model (argv[1]). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "engine/choices.h"
#include "engine/engine.h"
#include "engine/eval/choices_file.h"

#define N_TOKENS 40
#define LAYERS   6 /* of nano, whose layers 1 and 3 own KV at ratios 2 and 1; 1, 3 and 4 select */

static const char *model_dir;

struct seen {
        atomic_uint router, selection, values[CHOICE_VALUES_MAX];
        uint32_t experts[LAYERS][N_TOKENS][2];
        uint32_t n_rows[LAYERS][N_TOKENS], rows[LAYERS][N_TOKENS][8];
        bool replay;  /* else record */
        bool disturb; /* choose other experts */
};

static void on_router(void *userdata, uint32_t layer, uint64_t position, uint32_t n,
                      uint32_t *experts) {
        struct seen *seen = userdata;
        uint32_t *ours = seen->experts[layer][position];
        assert_int_equal(n, 2);
        seen->router++;
        if (seen->disturb) {
                experts[0] = 0;
                experts[1] = 1 + (uint32_t)(position % 2);
        }
        memcpy(seen->replay ? experts : ours, seen->replay ? ours : experts, n * sizeof(*experts));
}

static uint32_t on_selection(void *userdata, uint32_t layer, uint64_t position, uint32_t slot,
                             uint32_t n_max, uint32_t n, uint32_t *rows) {
        assert_int_equal(slot, 0);
        struct seen *seen = userdata;
        uint32_t *ours = seen->rows[layer][position];
        assert_int_equal(n_max, 8);
        seen->selection++;
        if (!seen->replay)
                seen->n_rows[layer][position] = n;
        n = seen->n_rows[layer][position];
        memcpy(seen->replay ? rows : ours, seen->replay ? ours : rows, n * sizeof(*rows));
        return n;
}

static void on_values(void *userdata, enum choice_values kind, uint32_t layer, uint64_t row,
                      uint32_t slot, uint32_t n, float *x) {
        struct seen *seen = userdata;
        (void)row;
        (void)slot;
        assert_true(layer < LAYERS);
        assert_int_equal(n % 32, 0);
        assert_non_null(x);
        seen->values[kind]++;
}

/* Logits of the tokens; the caller frees them. */
static float *run(const struct choices *choices) {
        struct error err = { 0 };
        struct engine *engine = NULL;
        struct sequence *s = NULL;
        uint32_t ids[N_TOKENS];
        struct engine_options options = { .model_dir = model_dir,
                                          .n_threads = 2,
                                          .choices = choices };
        if (engine_open(&options, &engine, &err) < 0)
                fail_msg("%s", err.text);
        uint32_t v = engine_config(engine)->vocab_size;
        for (uint32_t i = 0; i < N_TOKENS; i++)
                ids[i] = (i * 37 + 11) % v;
        float *logits = calloc((size_t)N_TOKENS * v, sizeof(float));
        assert_int_equal(sequence_new(engine, &s), 0);
        struct batch_part part = { s, ids, N_TOKENS, N_TOKENS, logits };
        if (engine_step(engine, &part, 1, &err) < 0)
                fail_msg("%s", err.text);
        sequence_free(s);
        engine_close(engine);
        return logits;
}

static void every_choice_is_seen_and_can_be_replaced(void **state) {
        (void)state;
        static struct seen seen;
        const struct choices hooks = { &seen, on_router, on_selection, on_values };
        float *plain = run(NULL), *recorded = run(&hooks);
        assert_memory_equal(plain, recorded, N_TOKENS * sizeof(float));
        assert_int_equal(seen.router, LAYERS * N_TOKENS);
        assert_int_equal(seen.selection, 3 * N_TOKENS);
        assert_int_equal(seen.values[CHOICE_WINDOW], LAYERS * N_TOKENS);
        assert_int_equal(seen.values[CHOICE_LATENT], N_TOKENS / 2 + N_TOKENS);
        assert_int_equal(seen.values[CHOICE_INDEX_KEY], N_TOKENS / 2 + N_TOKENS);
        assert_int_equal(seen.values[CHOICE_INDEX_QUERY], 3 * 2 * N_TOKENS);
        assert_int_equal(seen.values[CHOICE_WQ_A], 0); /* nano's weights are BF16 */

        seen.replay = true;
        float *replayed = run(&hooks);
        assert_memory_equal(plain, replayed, N_TOKENS * sizeof(float));
        seen.replay = false;
        seen.disturb = true;
        float *disturbed = run(&hooks);
        assert_memory_not_equal(plain, disturbed, N_TOKENS * sizeof(float));
        free(plain);
        free(recorded);
        free(replayed);
        free(disturbed);
}

/* A safetensors file of one F32 matrix. */
static void write_file(const char *path, const char *name, const char *dtype, const float *data,
                       unsigned rows, unsigned columns) {
        char header[256];
        unsigned bytes = rows * columns * (unsigned)sizeof(float);
        int n = snprintf(header, sizeof(header) - 8,
                         "{\"%s\":{\"dtype\":\"%s\",\"shape\":[%u,%u],\"data_offsets\":[0,%u]}}",
                         name, dtype, rows, columns, bytes);
        while (n % 8 != 0)
                header[n++] = ' ';
        uint64_t length = (uint64_t)n;
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(&length, sizeof(length), 1, f), 1);
        assert_int_equal(fwrite(header, 1, (size_t)n, f), (size_t)n);
        assert_int_equal(fwrite(data, 1, bytes, f), bytes);
        assert_int_equal(fclose(f), 0);
}

static void files_are_checked(void **state) {
        (void)state;
        static const struct {
                const char *name, *dtype;
                float data[4]; /* [2][2] */
                bool opens, fits;
        } cases[] = {
                { "layers.0.router", "F32", { 0, 1, 1, 2 }, true, true },
                { "layers.0.router", "F32", { 1, 0, 1, 2 }, true, false }, /* not ascending */
                { "layers.0.router", "F32", { 0, 1, 1, 3 }, true, false }, /* nano has 3 experts */
                { "layers.0.router", "F32", { 0, 1, 0.5, 2 }, true, false },
                { "layers.0.router", "I32", { 0, 1, 1, 2 }, false, false },
                { "layers.3.topk", "F32", { 0, -1, 0, 1 }, true, true },
                { "layers.3.topk", "F32", { 0, 1, 0, 1 }, true, false }, /* 1 is not visible */
                { "layers.3.topk", "F32", { -1, 0, 0, 1 }, true, false },
                { "layers.0.topk", "F32", { -1, -1, -1, -1 }, true, false }, /* has no rows */
                { "layers.6.router", "F32", { 0, 1, 1, 2 }, true, false },
                { "layers.0.window", "F32", { 0, 1, 1, 2 }, true, false }, /* 32 wide */
                { "layers.999.router", "F32", { 0, 1, 1, 2 }, false, false },
                { "head.router", "F32", { 0, 1, 1, 2 }, false, false },
        };
        struct error err = { 0 };
        struct model_config config;
        char path[] = "/tmp/seekd-test-choices-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(model_config_read(model_dir, &config, &err), 0);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct choices_file *file = NULL;
                write_file(path, cases[i].name, cases[i].dtype, cases[i].data, 2, 2);
                int r = choices_file_open(path, true, &file, &err);
                assert_int_equal(r == 0, cases[i].opens);
                if (r == 0)
                        r = choices_file_prepare(file, &config, 2, &err);
                assert_int_equal(r == 0, cases[i].fits);
                if (r < 0)
                        assert_non_null(strstr(err.text, cases[i].name));
                choices_file_close(file);
        }
        unlink(path);
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 1;
        model_dir = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_choice_is_seen_and_can_be_replaced),
                cmocka_unit_test(files_are_checked),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
