#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/pool.h"

struct marks {
        uint32_t count[1000]; /* plain memory: a thread checker sees two workers on one item */
        unsigned n_workers;
};

static void mark(void *context, uint32_t first, uint32_t last, unsigned worker) {
        struct marks *m = context;
        assert_true(worker < m->n_workers);
        for (uint32_t i = first; i < last; i++)
                m->count[i]++;
}

static void every_item_runs_once_per_job(void **state) {
        (void)state;
        for (unsigned threads = 1; threads <= 4; threads++) {
                struct pool *pool;
                struct marks m = { .n_workers = threads };
                assert_int_equal(pool_new(threads, &pool), 0);
                for (uint32_t job = 0; job < 300; job++)
                        pool_run(pool, 1000, 1 + job % 70, mark, &m);
                for (uint32_t i = 0; i < 1000; i++)
                        assert_int_equal(m.count[i], 300);
                pool_free(pool);
        }
}

static void an_empty_job_runs_nothing(void **state) {
        (void)state;
        struct pool *pool;
        struct marks m = { .n_workers = 2 };
        assert_int_equal(pool_new(2, &pool), 0);
        pool_run(pool, 0, 1, mark, &m);
        assert_int_equal(m.count[0], 0);
        pool_free(pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_item_runs_once_per_job),
                cmocka_unit_test(an_empty_job_runs_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
