/* Flipped bits anywhere in the store's file: a miss or an empty store, never a wrong byte, a crash,
 * or a start that fails twice. SEEKD_TEST_FLIPS sets how many random ones are tried,
 * SEEKD_TEST_SEED which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "memory/kv_private.h"
#include "tests/memory/store_fixture.h"

#define LMDB_PAGE 4096
#define CHAINS    3
#define STORED    38 /* pages that put_chain() stores: 8 + 4 + 2 + 1, twice, and 8 */

static struct fixture f;
static struct chain chains[CHAINS], late;
static uint8_t *sound; /* the file as it should be */
static size_t sound_bytes;
static uint64_t seed = 1;

/* -- a store with all kinds of pages in it -------------------------------------------------------
 */

static void put_chain(const struct chain *chain) {
        uint32_t page = 0;
        for (uint32_t n = 8; page + n <= CHAIN_PAGES; page += n, n = n > 1 ? n / 2 : 8)
                assert_int_equal(chain_put(&f, chain, page, n, NULL, NULL), 0);
        for (uint32_t position = 100; position < page * PAGE_TOKENS; position += 777)
                assert_int_equal(chain_put_frontier(&f, chain, position, NULL, NULL), 0);
        assert_int_equal(chain_put_session(&f, chain, CHAIN_PAGES * PAGE_TOKENS - 7, NULL, NULL),
                         0);
        kv_store_sync(f.store);
}

static void forget(const struct page_id *id) {
        struct kv_entry entry;
        if (kv_store_find(f.store, id, &entry))
                kv_store_delete(f.store, &entry.value, 1);
        kv_store_sync(f.store);
}

static void load_file(void) {
        struct stat st;
        int fd = open(scratch_file(&f.folder, "kv.mdb"), O_RDONLY);
        assert_int_equal(fstat(fd, &st), 0);
        sound_bytes = (size_t)st.st_size;
        sound = malloc(sound_bytes);
        assert_int_equal(read(fd, sound, sound_bytes), sound_bytes);
        close(fd);
}

static void write_file(const void *data, size_t bytes) {
        unlink(scratch_file(&f.folder, "kv.mdb"));
        int fd = open(scratch_file(&f.folder, "kv.mdb"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        assert_int_equal(write(fd, data, bytes), bytes);
        close(fd);
}

static int setup(void **state) {
        (void)state;
        fixture_init(&f);
        fixture_open(&f);
        for (uint32_t i = 0; i < CHAINS; i++) {
                chain_make(&chains[i], &f.key, 1000 + i, i + 1);
                put_chain(&chains[i]);
        }
        chain_make(&late, &f.key, 1000, 99);
        put_chain(&late);
        forget(&late.id[0]); /* free pages for the lists of free pages */
        fixture_close(&f);
        load_file();
        return 0;
}

static int teardown(void **state) {
        (void)state;
        fixture_deinit(&f);
        free(sound);
        return 0;
}

/* -- judging -------------------------------------------------------------------------------------
 */

struct seen {
        bool page[CHAINS][CHAIN_PAGES];
        size_t n;
};

/* Reads all; the fixture asserts that what is there is right. */
static struct seen look(void) {
        struct seen seen = { 0 };
        for (unsigned c = 0; c < CHAINS; c++) {
                uint32_t good = (uint32_t)chain_read(&f, &chains[c], 0, CHAIN_PAGES);
                for (uint32_t page = 0; page < CHAIN_PAGES; page++) {
                        seen.page[c][page] = page < good || chain_read(&f, &chains[c], page, 1);
                        seen.n += seen.page[c][page];
                }
                for (uint32_t position = 100; position < CHAIN_PAGES * PAGE_TOKENS; position += 777)
                        chain_read_frontier(&f, &chains[c], position);
                chain_read_session(&f, &chains[c]);
        }
        return seen;
}

static void assert_still(const struct seen *before) {
        struct seen now = look();
        assert_memory_equal(before->page, now.page, sizeof(now.page));
}

/* Opens what is there, uses it in all ways, and opens it again. Returns how many pages were good.
 */
static size_t live_with_it(bool *ret_moved_aside) {
        struct kv_store_statistics s;
        fixture_open(&f);
        kv_store_statistics(f.store, &s);
        *ret_moved_aside = s.moved_aside;
        look(); /* finds what is damaged: then its whole value goes */
        struct seen seen = look();
        put_chain(&late);
        assert_int_equal(chain_read(&f, &late, 0, CHAIN_PAGES), STORED);
        assert_still(&seen);
        forget(&late.id[8]);
        put_chain(&late);
        assert_still(&seen);
        fixture_close(&f);

        fixture_open(&f);
        kv_store_statistics(f.store, &s);
        assert_false(s.moved_aside);
        assert_int_equal(s.dropped_entries, 0);
        assert_still(&seen);
        assert_int_equal(chain_read(&f, &late, 0, CHAIN_PAGES), STORED);
        fixture_close(&f);
        return seen.n;
}

/* -- the tests -----------------------------------------------------------------------------------
 */

static void the_sound_file_is_all_there(void **state) {
        (void)state;
        bool moved_aside;
        write_file(sound, sound_bytes);
        assert_int_equal(live_with_it(&moved_aside), CHAINS * STORED);
        assert_false(moved_aside);
}

static int ignore(void *context, const struct lmdb_node *node) {
        (void)context;
        (void)node;
        return 0;
}

/* The pages in which LMDB keeps its structure: those whose wrong number makes the walk complain.
 * They get more than their share of flips. */
static size_t find_structure(size_t *ret_pages) {
        size_t n = 0;
        write_file(sound, sound_bytes);
        int fd = open(scratch_file(&f.folder, "kv.mdb"), O_RDWR);
        for (size_t page = 0; page < sound_bytes / LMDB_PAGE; page++) {
                off_t at = (off_t)(page * LMDB_PAGE + 7);
                uint8_t wrong = 0xff;
                assert_int_equal(pwrite(fd, &wrong, 1, at), 1);
                if (lmdb_file_walk(fd, KV_ENV_FLAGS, kv_databases, KV_DATABASES, ignore, NULL,
                                   NULL) < 0)
                        ret_pages[n++] = page;
                assert_int_equal(pwrite(fd, sound + at, 1, at), 1);
        }
        close(fd);
        return n;
}

static void a_flipped_bit_is_a_miss_or_an_empty_store(void **state) {
        (void)state;
        unsigned n = getenv("SEEKD_TEST_FLIPS") ? (unsigned)atoi(getenv("SEEKD_TEST_FLIPS")) : 200;
        unsigned moved = 0, partly = 0, unharmed = 0;
        uint64_t random = seed;
        uint8_t *changed = malloc(sound_bytes);
        size_t *structure = calloc(sound_bytes / LMDB_PAGE, sizeof(*structure));
        size_t n_structure = find_structure(structure);
        for (unsigned i = 0; i < n; i++) {
                size_t page = structure[next_random(&random) % n_structure];
                if (i % 8 == 0)
                        page = next_random(&random) % (sound_bytes / LMDB_PAGE);
                /* Heads and tables of nodes are at the start of a page, nodes at its end. */
                size_t at = next_random(&random) % (i % 3 == 0 ? 200 : LMDB_PAGE);
                unsigned bit = (unsigned)(next_random(&random) % 8);
                memcpy(changed, sound, sound_bytes);
                changed[page * LMDB_PAGE + at] ^= (uint8_t)(1U << bit);
                print_message("flip %u: page %zu + %zu bit %u\r", i, page, at, bit);
                write_file(changed, sound_bytes);
                bool moved_aside;
                size_t good = live_with_it(&moved_aside);
                moved += moved_aside;
                partly += !moved_aside && good < CHAINS * STORED;
                unharmed += good == CHAINS * STORED;
                assert_true(!moved_aside || good == 0);
        }
        free(changed);
        free(structure);
        print_message("\n%u flips: %u stores begun anew, %u with misses, %u unharmed (seed %llu)\n",
                      n, moved, partly, unharmed, (unsigned long long)seed);
        assert_true(n < 100 || (moved > 0 && partly > 0 && unharmed > 0));
}

static void a_truncated_file_is_begun_anew(void **state) {
        (void)state;
        const size_t cuts[] = { 0,
                                1,
                                100,
                                4095,
                                4096,
                                5000,
                                8192,
                                8193,
                                sound_bytes / 2,
                                sound_bytes - 4096,
                                sound_bytes - 1 };
        for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
                bool moved_aside;
                write_file(sound, cuts[i]);
                live_with_it(&moved_aside);
                assert_true(moved_aside || cuts[i] == 0 || cuts[i] >= sound_bytes - 4096);
        }
}

static void garbage_is_moved_aside(void **state) {
        (void)state;
        uint64_t random = seed;
        uint8_t *garbage = malloc(sound_bytes);
        for (size_t i = 0; i < sound_bytes; i++)
                garbage[i] = (uint8_t)next_random(&random);
        bool moved_aside;
        write_file(garbage, sound_bytes);
        live_with_it(&moved_aside);
        assert_true(moved_aside);
        assert_non_null(strstr(f.last_text,
                               "kv.mdb: damaged (LMDB: meta page 0 is none); moved to "
                               "kv.mdb.damaged, starting empty"));
        memset(garbage, 0, sound_bytes);
        write_file(garbage, sound_bytes);
        live_with_it(&moved_aside);
        assert_true(moved_aside);
        free(garbage);
        assert_int_equal(access(scratch_file(&f.folder, "kv.mdb.damaged"), F_OK), 0);
}

/* Where a value lies: searched by its first page's bytes. */
static size_t find_bytes(const void *bytes, size_t n) {
        uint8_t *at = memmem(sound, sound_bytes, bytes, n);
        assert_non_null(at);
        return (size_t)(at - sound);
}

static void flip_in_place(size_t at) {
        int fd = open(scratch_file(&f.folder, "kv.mdb"), O_WRONLY);
        uint8_t byte = sound[at] ^ 0x10;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        close(fd);
}

static void a_damaged_value_goes_with_what_hangs_on_it(void **state) {
        (void)state;
        /* Chain 1's pages 8 to 11: header 104 bytes, ids, 5 checksums, pages. */
        uint8_t page[PAGE_BYTES];
        bytes_of(&chains[1].id[8], page, sizeof(page));
        size_t payload = find_bytes(page, sizeof(page));
        size_t start = payload - 104 - 4 * 4 * PAGE_TOKENS - 5 * 4;
        const size_t places[] = { start,
                                  start + 8,
                                  start + 12,
                                  start + 20,
                                  start + 50,
                                  start + 80,
                                  start + 84,
                                  start + 88,
                                  start + 92,
                                  start + 96,
                                  start + 100,
                                  start + 104,
                                  start + 900,
                                  payload - 20,
                                  payload - 1,
                                  payload,
                                  payload + 2 * PAGE_BYTES - 1 };
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                write_file(sound, sound_bytes);
                fixture_open(&f);
                unsigned before = f.events[KV_EVENT_DAMAGED_VALUE];
                flip_in_place(places[i]);
                size_t n = chain_read(&f, &chains[1], 0, CHAIN_PAGES);
                assert_in_range(n, 8, 9); /* the last place is in the second page */
                assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], before + 1);
                assert_int_equal(chain_read(&f, &chains[1], 0, CHAIN_PAGES), 8);
                assert_int_equal(chain_read(&f, &chains[1], 12, 1), 0);
                assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], before + 1); /* said once */
                assert_int_equal(chain_read(&f, &chains[0], 0, CHAIN_PAGES), STORED);
                kv_store_sync(f.store);
                fixture_close(&f);

                fixture_open(&f);
                struct kv_store_statistics s;
                kv_store_statistics(f.store, &s);
                assert_int_equal(s.dropped_entries, 0);
                put_chain(&chains[1]);
                assert_int_equal(chain_read(&f, &chains[1], 0, CHAIN_PAGES), STORED);
                fixture_close(&f);
        }
}

/* LMDB's own 16 bytes in front of a value: with a wrong length there, freeing the value would free
 * its neighbours. */
static void a_wrong_length_before_a_value_frees_nothing_else(void **state) {
        (void)state;
        uint8_t page[PAGE_BYTES];
        bytes_of(&chains[1].id[8], page, sizeof(page));
        size_t start = find_bytes(page, sizeof(page)) - 104 - 4 * 4 * PAGE_TOKENS - 5 * 4;
        assert_int_equal(start % LMDB_PAGE, 16);
        for (size_t at = start - 16; at < start; at++) {
                write_file(sound, sound_bytes);
                fixture_open(&f);
                flip_in_place(at);
                forget(&chains[1].id[8]);
                put_chain(&late);
                put_chain(&chains[1]);
                for (unsigned c = 0; c < CHAINS; c++)
                        assert_int_equal(chain_read(&f, &chains[c], 0, CHAIN_PAGES), STORED);
                fixture_close(&f);
                fixture_open(&f);
                struct kv_store_statistics s;
                kv_store_statistics(f.store, &s);
                assert_false(s.moved_aside);
                fixture_close(&f);
        }
}

#define with_store(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        if (getenv("SEEKD_TEST_SEED"))
                seed = strtoull(getenv("SEEKD_TEST_SEED"), NULL, 0);
        const struct CMUnitTest tests[] = {
                with_store(the_sound_file_is_all_there),
                with_store(a_flipped_bit_is_a_miss_or_an_empty_store),
                with_store(a_truncated_file_is_begun_anew),
                with_store(garbage_is_moved_aside),
                with_store(a_damaged_value_goes_with_what_hangs_on_it),
                with_store(a_wrong_length_before_a_value_frees_nothing_else),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
