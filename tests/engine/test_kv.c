#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/error.h"
#include "engine/kv.h"
#include "engine/kv_pool.h"

static const char *released_json;

static struct model_config *released(void) {
        static struct model_config config;
        struct error err = { 0 };
        json_t *file = json_load_file(released_json, 0, NULL);
        assert_non_null(file);
        char *text = json_dumps(file, 0);
        json_decref(file);
        if (model_config_parse("released_config.json", text, &config, &err) < 0)
                fail_msg("%s", err.text);
        free(text);
        return &config;
}

static void the_released_model_keeps_890_bytes_per_token(void **state) {
        (void)state;
        struct kv_layout layout;
        kv_layout_init(&layout, released());
        assert_int_equal(layout.n_streams, 8); /* latents and keys of layers 2, 8, 14 and 20 */
        assert_int_equal(layout.page_bytes, 890 * KV_PAGE_TOKENS);
}

static void rows_come_back_across_pages(void **state) {
        (void)state;
        struct kv_layout layout = { 0 };
        struct kv_pool pool = { .limit = INT64_MAX, .hot_rows = 8 };
        kv_layout_add(&layout, KV_MAIN, 3, 2);
        kv_layout_add(&layout, KV_KEYS, 5, 1);
        struct kv *kv;
        uint8_t row[5 * 100], back[5 * 100];
        assert_int_equal(kv_memory.create(&layout, &pool, &kv), 0);
        assert_int_equal(kv_memory.reserve(kv, 300, 0), 0);
        for (uint64_t first = 0; first < 300; first += 100) {
                for (unsigned i = 0; i < sizeof(row); i++)
                        row[i] = (uint8_t)(first + i * 7);
                kv_memory.append(kv, 1, first, 100, row);
                for (unsigned i = 0; i < 150; i++)
                        row[i] = (uint8_t)(first * 3 + i);
                kv_memory.append(kv, 0, first / 2, 50, row);
        }
        kv_memory.read(kv, 1, 100, 100, back);
        for (unsigned i = 0; i < sizeof(back); i++)
                assert_int_equal(back[i], (uint8_t)(100 + i * 7));
        const uint32_t rows[] = { 149, 0,
                                  64 }; /* of stream 0: last, first, first of the second page */
        struct kv_slot slot[3];
        kv_memory.slots(kv, 0, rows, 3, slot);
        assert_int_equal(slot[0].row[0], (uint8_t)(200 * 3 + 49 * 3));
        assert_int_equal(slot[1].row[0], 0);
        assert_int_equal(slot[2].row[0], (uint8_t)(100 * 3 + 14 * 3));
        assert_int_equal(kv_memory.bytes(kv), 3ULL * layout.page_bytes);
        assert_int_equal(pool.used, 3ULL * layout.page_bytes);
        kv_memory.destroy(kv);
        assert_int_equal(pool.used, 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_released_model_keeps_890_bytes_per_token),
                cmocka_unit_test(rows_come_back_across_pages),
        };
        if (argc != 2)
                return 1;
        released_json = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
