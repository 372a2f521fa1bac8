/* What a model is, from its configuration: the release's published counts, and the files of this
 * repository, whose tensors the table must list exactly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/describe.h"
#include "engine/kv.h"
#include "engine/model_config.h"

static const char *seed_dir, *nano_dir, *released_json;

static struct model_config config;

static struct tensor_table released(void) {
        struct error err = { 0 };
        struct tensor_table table = { .config = &config };
        json_t *file = json_load_file(released_json, 0, NULL);
        assert_non_null(file);
        char *text = json_dumps(file, 0);
        json_decref(file);
        if (model_config_parse("released_config.json", text, &config, &err) < 0 ||
            other_parts_parse("released_config.json", text, strlen(text), &table.parts, &err) < 0)
                fail_msg("%s", err.text);
        free(text);
        return table;
}

static void the_released_bytes_by_component(void **state) {
        (void)state;
        static const struct {
                enum component component;
                uint64_t bytes;
        } expected[] = {
                { COMPONENT_ENGRAM_TABLES, 202758032400 }, { COMPONENT_EXPERTS, 288777830400 },
                { COMPONENT_ATTENTION, 5069721600 },       { COMPONENT_DENSE_MLP, 0 },
                { COMPONENT_SHARED_EXPERTS, 1416960000 },  { COMPONENT_EMBEDDING, 2647654400 },
                { COMPONENT_MIXING, 157295040 },           { COMPONENT_ROUTER, 157409280 },
                { COMPONENT_INDEXER, 45130752 },           { COMPONENT_COMPRESSOR, 36704256 },
                { COMPONENT_ENGRAM_DENSE, 314880000 },     { COMPONENT_NORMS, 1024000 },
                { COMPONENT_DRAFT_EXPERTS, 7219445760 },   { COMPONENT_DRAFT, 713428872 },
                { COMPONENT_VISION, 970506240 },
        };
        struct tensor_table table = released();
        struct description d;
        assert_int_equal(describe(&table, &d), 0);
        for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
                if (d.component[expected[i].component].bytes != expected[i].bytes)
                        fail_msg("%s: %lu bytes, the release has %lu",
                                 component_name(expected[i].component),
                                 (unsigned long)d.component[expected[i].component].bytes,
                                 (unsigned long)expected[i].bytes);
        assert_int_equal(sizeof(expected) / sizeof(expected[0]), N_COMPONENTS);
        assert_int_equal(d.all.n_tensors, 96085);
        assert_int_equal(d.all.bytes, 510286023000);
}

/* The card: 552 B backbone, 196 B Engram, 16 B active; 13.03 GB are read for a decoded token. */
static void the_released_parameters(void **state) {
        (void)state;
        struct tensor_table table = released();
        struct description d;
        assert_int_equal(describe(&table, &d), 0);
        uint64_t engram = d.component[COMPONENT_ENGRAM_TABLES].parameters;
        assert_int_equal(engram, 196613849600);
        assert_int_equal(d.component[COMPONENT_EXPERTS].parameters, 15360ULL * 3 * 2304 * 5120);
        assert_int_equal((d.text.parameters - engram + 500000000) / 1000000000, 552);
        assert_int_equal((d.active_parameters + 500000000) / 1000000000, 16);
        assert_in_range(d.decode_bytes, 13020000000, 13040000000);
}

static void the_released_memory(void **state) {
        (void)state;
        struct tensor_table table = released();
        struct description d;
        assert_int_equal(describe(&table, &d), 0);
        assert_int_equal(d.kv_page_bytes, 890 * KV_PAGE_TOKENS);
        assert_int_equal(describe_kv_bytes(&d, 1048576), 933232640);
        /* Windows of 40 layers, three open groups, the header. */
        assert_in_range(d.frontier_bytes, 128 * 528 * 40 + 3 * 4096,
                        128 * 528 * 40 + 3 * 4096 + 64);
        assert_int_equal(describe_resident(&d, PLACEMENT_ALL), d.text.bytes);
        uint64_t dense = describe_resident(&d, PLACEMENT_DENSE);
        assert_int_equal(dense, d.text.bytes - 202758032400 - 288777830400);
        /* 512 rows: queries and outputs of 64 heads x 512, four streams, and what is smaller. */
        assert_in_range(d.workspace_bytes, 512 * 4 * (2 * 32768 + 20480),
                        512 * 4 * (6 * 32768 + 3 * 20480));
        uint64_t fixed = dense + d.workspace_bytes + d.frontier_bytes;
        assert_int_equal(describe_room(&d, PLACEMENT_DENSE, 0), -1);
        assert_int_equal(describe_room(&d, PLACEMENT_DENSE, fixed - 1), -1);
        assert_int_equal(describe_room(&d, PLACEMENT_DENSE, fixed), 0);
        assert_int_equal(describe_room(&d, PLACEMENT_DENSE, fixed + 4 * d.kv_page_bytes - 1),
                         3 * KV_PAGE_TOKENS);
}

static int find(void *userdata, const struct tensor_entry *entry) {
        const struct tensor *found;
        struct error err = { 0 };
        if (checkpoint_require(userdata, entry->name, entry->dtype, entry->n_dims, entry->shape,
                               &found, &err) < 0)
                fail_msg("%s", err.text);
        assert_int_equal(found->bytes, entry->bytes);
        return 0;
}

static void expect_exactly_the_tensors_of(const char *dir) {
        struct error err = { 0 };
        struct checkpoint *checkpoint = NULL;
        struct tensor_table table = { .config = &config };
        struct description d;
        if (model_config_read(dir, &config, &err) < 0 ||
            checkpoint_open(dir, NULL, &checkpoint, &err) < 0)
                fail_msg("%s", err.text);
        assert_int_equal(tensor_table_visit(&table, find, checkpoint), 0);
        assert_int_equal(describe(&table, &d), 0);
        assert_int_equal(d.all.n_tensors, checkpoint_n_tensors(checkpoint));
        checkpoint_close(checkpoint);
}

static void the_table_lists_the_tensors_of_real_files(void **state) {
        (void)state;
        expect_exactly_the_tensors_of(seed_dir);
        expect_exactly_the_tensors_of(nano_dir);
}

static void malformed_other_parts_are_named(void **state) {
        (void)state;
        static const struct {
                const char *json, *why;
        } cases[] = {
                { "{\"num_nextn_predict_layers\":-1}", "c: num_nextn_predict_layers: not a whole" },
                { "{\"text_config\":{\"num_nextn_predict_layers\":\"3\"}}",
                  "c: text_config.num_nextn_predict_layers: not a whole" },
                { "{\"num_nextn_predict_layers\":1}", "dspark_n_routed_experts: missing" },
                { "{\"num_nextn_predict_layers\":1,\"dspark_n_routed_experts\":4097}",
                  "dspark_n_routed_experts: not a whole number from 1 to 4096" },
                { "{\"num_nextn_predict_layers\":1,\"dspark_n_routed_experts\":1,"
                  "\"dspark_markov_rank\":1,\"dspark_target_layer_ids\":[]}",
                  "dspark_target_layer_ids: not an array" },
                { "{\"vision_config\":[]}", "vision_config.num_hidden_layers: missing" },
                { "{\"vision_config\":{\"num_hidden_layers\":1e9}}",
                  "vision_config.num_hidden_layers: not a whole number" },
                { "{", "c: line 1" },
        };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct error err = { 0 };
                struct other_parts parts;
                assert_int_equal(
                        other_parts_parse("c", cases[i].json, strlen(cases[i].json), &parts, &err),
                        -22);
                if (!strstr(err.text, cases[i].why))
                        fail_msg("%s: \"%s\"", cases[i].json, err.text);
        }
}

int main(int argc, char **argv) {
        if (argc != 4)
                return 2;
        seed_dir = argv[1];
        nano_dir = argv[2];
        released_json = argv[3];
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_released_bytes_by_component),
                cmocka_unit_test(the_released_parameters),
                cmocka_unit_test(the_released_memory),
                cmocka_unit_test(the_table_lists_the_tensors_of_real_files),
                cmocka_unit_test(malformed_other_parts_are_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
