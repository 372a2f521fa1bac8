/* What is published about released models follows from their config.json alone: parameters, and
 * bytes of KV for a token. Argument: the folder of the configurations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "engine/describe.h"
#include "engine/kv.h"
#include "engine/model_config.h"

static const char *folder;

/* `draft`: what the draft layers add, without their copies of embedding and head. */
struct published {
        const char *file;
        double total_billions, active_billions; /* as their cards say */
        uint64_t parameters, draft;
        double kv_bytes;
};

static const struct published models[] = {
        { "released_deepseek_v2_lite.json", 15.7, 2.4, 15706484224, 0, 31104 },
        { "released_deepseek_coder_v2_lite.json", 15.7, 2.4, 15706484224, 0, 31104 },
        { "released_deepseek_v2.json", 236, 21, 235741434880, 0, 69120 },
        { "released_deepseek_v3.json", 671, 37, 671026419200, 11610068224, 70272 },
        { "released_deepseek_v32.json", 672, 37, 671877944064, 11624027648,
          48068 }, /* with an index */
        { "released_deepseek_v4_flash.json", 284, 13, 284332240471, 0, 3514.25 },
        { "released_deepseek_v4_pro.json", 1573, 49, 1572997201763, 0, 5031.4375 },
};

static struct model_config config;

static void describe_file(const char *file, struct description *ret) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", folder, file);
        json_t *json = json_load_file(path, 0, NULL);
        if (!json)
                fail_msg("%s: not read", path);
        char *text = json_dumps(json, 0);
        json_decref(json);
        struct error err = { 0 };
        struct tensor_table table = { .config = &config };
        if (model_config_parse(file, text, &config, &err) < 0 ||
            other_parts_parse(file, text, strlen(text), &table.parts, &err) < 0)
                fail_msg("%s", err.text);
        free(text);
        assert_int_equal(describe(&table, ret), 0);
}

/* Cards round: the unit of their last digit. */
static void expect_rounded(const char *file, const char *what, double found, double published) {
        double unit = published < 100 && published != round(published) ? 0.1 : 1;
        if (fabs(found / 1e9 - published) > unit)
                fail_msg("%s: %.2f billion %s, published are %g", file, found / 1e9, what,
                         published);
}

static void sizes_are_the_published_ones(void **state) {
        (void)state;
        for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
                const struct published *m = &models[i];
                struct description d;
                describe_file(m->file, &d);
                if (d.text.parameters != m->parameters)
                        fail_msg("%s: %llu parameters", m->file,
                                 (unsigned long long)d.text.parameters);
                expect_rounded(m->file, "parameters", (double)d.text.parameters, m->total_billions);
                expect_rounded(m->file, "active parameters", (double)d.active_parameters,
                               m->active_billions);
                uint64_t copies = 2 * (uint64_t)config.n_draft_layers * config.vocab_size *
                        config.hidden_size;
                uint64_t drafts = d.all.parameters - d.text.parameters;
                if (m->draft > 0)
                        assert_int_equal(drafts - copies, m->draft);
                if ((double)d.kv_page_bytes != m->kv_bytes * KV_PAGE_TOKENS)
                        fail_msg("%s: %g bytes of KV for a token", m->file,
                                 (double)d.kv_page_bytes / KV_PAGE_TOKENS);
        }
}

/* Latent attention without windows keeps nothing but its position between steps. */
static void models_without_windows_have_no_windows(void **state) {
        (void)state;
        struct description d;
        describe_file("released_deepseek_v3.json", &d);
        assert_int_equal(d.frontier_bytes, sizeof(struct frontier_header));
        assert_int_equal(d.component[COMPONENT_ENGRAM_TABLES].n_tensors, 0);
        assert_int_equal(d.component[COMPONENT_MIXING].n_tensors, 0);
}

/* An index of 132 bytes a token and layer always stays; what it selects from may leave. */
static void rows_that_are_selected_may_leave_the_device(void **state) {
        (void)state;
        struct description d;
        describe_file("released_deepseek_v32.json", &d);
        struct kv_layout layout;
        struct frontier_layout frontier;
        kv_layout_init(&layout, &frontier, &config);
        assert_int_equal(layout.block_bytes[KV_SCANNED], 61 * 132 * KV_PAGE_TOKENS);
        assert_int_equal(layout.block_bytes[KV_SELECTED], 61 * 656 * KV_PAGE_TOKENS);
        describe_file("released_deepseek_v3.json", &d);
        kv_layout_init(&layout, &frontier, &config);
        assert_int_equal(layout.block_bytes[KV_SELECTED], 0);
}

int main(int argc, char **argv) {
        if (argc != 2)
                return 2;
        folder = argv[1];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sizes_are_the_published_ones),
                cmocka_unit_test(models_without_windows_have_no_windows),
                cmocka_unit_test(rows_that_are_selected_may_leave_the_device),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
