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
        struct frontier_layout frontier;
        kv_layout_init(&layout, &frontier, released());
        assert_int_equal(layout.n_streams, 8); /* latents and keys of layers 2, 8, 14 and 20 */
        assert_int_equal(layout.page_bytes, 890 * KV_PAGE_TOKENS);
}

static void rows_come_back_across_pages(void **state) {
        (void)state;
        struct kv_layout layout = { 0 };
        struct kv_pool pool = { .limit = INT64_MAX, .hot_rows = 8 };
        kv_layout_add(&layout, KV_SELECTED, 3, 2);
        kv_layout_add(&layout, KV_SCANNED, 5, 1);
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

static void fill_rows(uint64_t first, uint32_t n, uint8_t *ret) {
        for (uint32_t i = 0; i < n; i++)
                ret[i] = (uint8_t)((first + i) * 7);
}

/* Rows of one byte: two full pages of two streams. */
static struct kv *two_pages(const struct kv_layout *layout, struct kv_pool *pool) {
        struct kv *kv;
        uint8_t rows[2 * KV_PAGE_TOKENS];
        assert_int_equal(kv_memory.create(layout, pool, &kv), 0);
        assert_int_equal(kv_memory.reserve(kv, 2 * KV_PAGE_TOKENS, 0), 0);
        fill_rows(0, sizeof(rows), rows);
        for (unsigned stream = 0; stream < 2; stream++)
                kv_memory.append(kv, stream, 0, sizeof(rows), rows);
        return kv;
}

static void a_dropped_row_is_read_in_a_slot_of_the_hot_pool(void **state) {
        (void)state;
        struct kv_layout layout = { 0 };
        struct kv_pool pool = { .limit = INT64_MAX, .hot_rows = 4 };
        kv_layout_add(&layout, KV_SCANNED, 1, 1);
        kv_layout_add(&layout, KV_SELECTED, 1, 1);
        struct kv *kv = two_pages(&layout, &pool);
        uint8_t slab[2 * KV_PAGE_TOKENS], back[2 * KV_PAGE_TOKENS], whole[2 * KV_PAGE_TOKENS];
        fill_rows(0, KV_PAGE_TOKENS, slab);
        fill_rows(0, KV_PAGE_TOKENS, slab + KV_PAGE_TOKENS);
        fill_rows(0, sizeof(whole), whole);

        kv_memory.lend(kv, 0, (struct kv_slab){ slab });
        assert_int_equal(kv_memory.gain(kv), KV_PAGE_TOKENS - 4);
        assert_int_equal(pool.used, 4 * KV_PAGE_TOKENS);
        assert_int_equal(kv_memory.spill(kv), 0);
        assert_true(kv_memory.spilled(kv));
        assert_int_equal(kv_memory.gain(kv), 0);
        assert_int_equal(pool.used, 3 * KV_PAGE_TOKENS + 4);
        for (unsigned stream = 0; stream < 2; stream++) { /* half of it from the slab */
                kv_memory.read(kv, stream, 0, sizeof(back), back);
                assert_memory_equal(back, whole, sizeof(back));
        }

        /* Of each query two rows were dropped: two queries fit, the third does not. */
        const uint32_t rows[] = { 1, 5, 200, 5, 7, 201, 7, 9, 10 }, n_rows[] = { 3, 3, 3 };
        struct kv_queries queries = { rows, n_rows, 3, 3, 1 };
        assert_int_equal(kv_memory.stage(kv, 1, &queries), 2);
        struct kv_slot slots[6];
        kv_memory.slots(kv, 1, rows, 6, slots);
        for (unsigned i = 0; i < 6; i++) {
                assert_int_equal(slots[i].row[0], (uint8_t)(rows[i] * 7));
                assert_false(slots[i].row >= slab && slots[i].row < slab + sizeof(slab));
        }
        assert_ptr_equal(slots[1].row, slots[3].row);
        assert_int_equal(pool.rows_gathered, 3);
        assert_int_equal(pool.rows_missed, 3);

        kv_memory.lend(kv, 1, (struct kv_slab){ slab }); /* is dropped at once */
        assert_int_equal(pool.used, 2 * KV_PAGE_TOKENS + 4);
        kv_memory.destroy(kv);
        assert_int_equal(pool.used, 0);
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_released_model_keeps_890_bytes_per_token),
                cmocka_unit_test(rows_come_back_across_pages),
                cmocka_unit_test(a_dropped_row_is_read_in_a_slot_of_the_hot_pool),
        };
        if (argc != 2)
                return 1;
        released_json = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
