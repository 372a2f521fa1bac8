/* The store used from several threads: some store and forget, some read, one purges. Meant for a
 * thread sanitizer; without one it still checks every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the four above */
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>

#include "base/error.h"
#include "tests/memory/store_fixture.h"

#define WRITERS 3
#define READERS 3
#define ROUNDS  60

static struct fixture f;
static struct chain chains[WRITERS];
static int writers_left; /* atomic */

static void forget_from(const struct chain *chain, uint32_t page) {
        struct kv_entry entry;
        if (kv_store_find(f.store, &chain->id[page], &entry))
                kv_store_delete(f.store, &entry.value, 1);
}

static void *write_and_forget(void *argument) {
        const struct chain *chain = argument;
        uint64_t random = chain->owner;
        for (unsigned round = 0; round < ROUNDS; round++) {
                uint32_t n = 1U << next_random(&random) % 4;
                for (uint32_t page = 0; page + n <= CHAIN_PAGES; page += n)
                        while (chain_put(&f, chain, page, n, NULL, NULL) == -EAGAIN)
                                kv_store_sync(f.store);
                chain_put_frontier(&f, chain, 8 * PAGE_TOKENS + 3, NULL, NULL);
                struct kv_session session = { .id = round + 1, .owner = chain->owner };
                kv_store_put_session(f.store, &session, NULL, NULL, NULL);
                if (round % 4 == 0)
                        kv_store_sync(f.store);
                if (round % 7 == 0)
                        kv_store_purge(f.store, chain->owner, NULL, NULL);
                else
                        forget_from(chain, (uint32_t)(next_random(&random) % CHAIN_PAGES));
                kv_store_delete_session(f.store, session.id);
        }
        __atomic_fetch_sub(&writers_left, 1, __ATOMIC_RELEASE);
        return NULL;
}

static void ignore_entry(void *context, const struct kv_entry *entry) {
        *(uint64_t *)context += entry->value;
}

static void *read_all(void *argument) {
        uint64_t random = (uint64_t)(uintptr_t)argument, sum = 0;
        while (__atomic_load_n(&writers_left, __ATOMIC_ACQUIRE) > 0) {
                const struct chain *chain = &chains[next_random(&random) % WRITERS];
                uint32_t page = (uint32_t)(next_random(&random) % CHAIN_PAGES);
                uint64_t pin = kv_store_pin(f.store, &chain->id[page]);
                chain_read(&f, chain, page, CHAIN_PAGES - page);
                chain_read_frontier(&f, chain, 8 * PAGE_TOKENS + 3);
                kv_store_each(f.store, ignore_entry, &sum);
                if (pin)
                        kv_store_unpin(f.store, pin);
        }
        return NULL;
}

static void threads_do_not_disturb_each_other(void **state) {
        (void)state;
        fixture_init(&f);
        f.config.queue_bytes_max = 200000;
        fixture_open(&f);
        pthread_t writers[WRITERS], readers[READERS];
        writers_left = WRITERS;
        for (uint32_t i = 0; i < WRITERS; i++) {
                chain_make(&chains[i], &f.key, 1000 + i, i);
                assert_int_equal(pthread_create(&writers[i], NULL, write_and_forget, &chains[i]),
                                 0);
        }
        for (uintptr_t i = 0; i < READERS; i++)
                assert_int_equal(pthread_create(&readers[i], NULL, read_all, (void *)(i + 1)), 0);
        for (int i = 0; i < WRITERS; i++)
                pthread_join(writers[i], NULL);
        for (int i = 0; i < READERS; i++)
                pthread_join(readers[i], NULL);
        assert_int_equal(f.events[KV_EVENT_DAMAGED_VALUE], 0);
        for (uint32_t i = 0; i < WRITERS; i++)
                kv_store_purge(f.store, 1000 + i, NULL, NULL);
        kv_store_sync(f.store);
        struct kv_store_statistics s;
        kv_store_statistics(f.store, &s);
        assert_int_equal(s.n_values + s.n_pages + s.n_frontiers + s.value_bytes, 0);
        fixture_close(&f);
        fixture_open(&f);
        kv_store_statistics(f.store, &s);
        assert_false(s.moved_aside);
        assert_int_equal(s.n_values + s.dropped_entries, 0);
        fixture_deinit(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(threads_do_not_disturb_each_other),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
