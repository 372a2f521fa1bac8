/* Power loss at any write. A session with the store is recorded, write by write and sync by sync;
 * then the file is made as a disk may hold it after a cut: all that was synced, and of the rest any
 * part. Opened, it must have all that was committed, nothing that was deleted before, and no wrong
 * byte. SEEKD_TEST_CUTS sets how many cuts (the first argument, too), SEEKD_TEST_SEED which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tests/memory/faulty_disk.h"
#include "tests/memory/power_cut.h"
#include "tests/memory/store_fixture.h"

#define CHAINS 4
#define ROUNDS 48

static struct fixture f;
static struct chain chains[CHAINS];
static unsigned n_cuts = 20;
static uint64_t seed = 1;

/* What must be there and what must not, after each round. */
struct expectation {
        uint8_t pages[CHAINS]; /* from the front */
        bool frontier[CHAINS]; /* at the end of those pages */
};
static struct expectation expected[ROUNDS + 1];

/* -- the session ---------------------------------------------------------------------------------
 */

static void forget_chain(const struct chain *chain) {
        struct kv_entry entry;
        if (kv_store_find(f.store, &chain->id[0], &entry))
                kv_store_delete(f.store, &entry.value, 1);
}

/* Grows a chain by an extent, with a frontier at times, or forgets it; returns what then is. */
static struct expectation one_round(struct expectation now, uint64_t *random) {
        unsigned c = (unsigned)(next_random(random) % CHAINS);
        uint32_t n = 1U << next_random(random) % 4;
        bool frontier = next_random(random) % 2;
        if (now.pages[c] + n > CHAIN_PAGES || next_random(random) % 8 == 0) {
                forget_chain(&chains[c]);
                now.pages[c] = 0;
                now.frontier[c] = false;
                assert_int_equal(kv_store_delete_session(f.store, chain_session_id(&chains[c])), 0);
        } else {
                assert_int_equal(chain_put(&f, &chains[c], now.pages[c], n, NULL, NULL), 0);
                now.pages[c] = (uint8_t)(now.pages[c] + n);
                now.frontier[c] = frontier;
                assert_int_equal(chain_put_session(&f, &chains[c],
                                                   now.pages[c] * (uint32_t)PAGE_TOKENS - 5, NULL,
                                                   NULL),
                                 0);
                if (frontier)
                        assert_int_equal(chain_put_frontier(&f, &chains[c],
                                                            now.pages[c] * PAGE_TOKENS, NULL, NULL),
                                         0);
        }
        kv_store_sync(f.store);
        return now;
}

static int record_session(void **state) {
        (void)state;
        uint64_t random = seed;
        fixture_init(&f);
        for (uint32_t c = 0; c < CHAINS; c++)
                chain_make(&chains[c], &f.key, 1000 + c, c);
        disk_record(scratch_file(&f.folder, "kv.mdb"));
        fixture_open(&f);
        disk_mark(0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                expected[round + 1] = one_round(expected[round], &random);
                disk_mark(round + 1);
        }
        fixture_close(&f);
        disk_record(NULL);
        return 0;
}

static int end_session(void **state) {
        (void)state;
        disk_forget();
        fixture_deinit(&f);
        return 0;
}

/* -- judging -------------------------------------------------------------------------------------
 */

static int session_tokens(unsigned n_pages) {
        return n_pages > 0 ? (int)n_pages * PAGE_TOKENS - 5 : -1;
}

/* A chain that the interrupted round may have touched has the state before it or the one after. */
static void judge(int mark) {
        const struct expectation *now = &expected[mark];
        const struct expectation *then = &expected[mark < ROUNDS ? mark + 1 : mark];
        for (unsigned c = 0; c < CHAINS; c++) {
                size_t n = chain_read(&f, &chains[c], 0, CHAIN_PAGES);
                if (n != now->pages[c])
                        assert_int_equal(n, then->pages[c]);
                int n_tokens = chain_read_session(&f, &chains[c]);
                if (n_tokens != session_tokens(now->pages[c]))
                        assert_int_equal(n_tokens, session_tokens(then->pages[c]));
                if (n == now->pages[c] && now->frontier[c])
                        assert_true(
                                chain_read_frontier(&f, &chains[c], now->pages[c] * PAGE_TOKENS));
        }
}

static void cut_and_look(size_t cut, uint64_t *random, enum power_mood mood) {
        struct kv_store_statistics s;
        int mark = power_cut(scratch_file(&f.folder, "kv.mdb"), cut, mood, random);
        fixture_open(&f);
        kv_store_statistics(f.store, &s);
        if (mark >= 0) {
                assert_false(s.moved_aside);
                assert_int_equal(s.dropped_entries, 0);
                judge(mark);
        }
        /* And it goes on: all can be stored again on top of what is there. */
        for (unsigned c = 0; c < CHAINS; c++) {
                forget_chain(&chains[c]);
                for (uint32_t page = 0; page < CHAIN_PAGES; page += 8)
                        assert_int_equal(chain_put(&f, &chains[c], page, 8, NULL, NULL), 0);
        }
        kv_store_sync(f.store);
        fixture_close(&f);
        fixture_open(&f);
        for (unsigned c = 0; c < CHAINS; c++)
                assert_int_equal(chain_read(&f, &chains[c], 0, CHAIN_PAGES), CHAIN_PAGES);
        kv_store_statistics(f.store, &s);
        assert_false(s.moved_aside);
        fixture_close(&f);
}

static void whatever_the_cut_what_was_committed_is_there(void **state) {
        (void)state;
        uint64_t random = seed;
        size_t n;
        (void)disk_events(&n);
        assert_true(n > 3 * ROUNDS); /* else nothing was recorded */
        for (unsigned i = 0; i < n_cuts; i++) {
                size_t cut = next_random(&random) % (n + 1);
                enum power_mood mood = i % POWER_MOODS;
                print_message("cut %u before event %zu of %zu, mood %u, seed %llu\n", i, cut, n,
                              mood, (unsigned long long)seed);
                cut_and_look(cut, &random, mood);
        }
        print_message("result {\"cuts\": %u, \"seed\": %llu}\n", n_cuts, (unsigned long long)seed);
}

int main(int argc, char **argv) {
        if (getenv("SEEKD_TEST_CUTS"))
                n_cuts = (unsigned)atoi(getenv("SEEKD_TEST_CUTS"));
        if (argc > 1)
                n_cuts = (unsigned)atoi(argv[1]);
        if (getenv("SEEKD_TEST_SEED"))
                seed = strtoull(getenv("SEEKD_TEST_SEED"), NULL, 0);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(whatever_the_cut_what_was_committed_is_there,
                                                record_session, end_session),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
