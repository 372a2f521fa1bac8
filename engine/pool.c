#include "engine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Idle polls before a worker sleeps: parallel loops follow each other within microseconds during a
 * step, and waking a sleeping thread costs more than most of them. About 20 us. */
#define SPIN_POLLS 2000

static void cpu_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
}

struct worker {
        struct pool *pool;
        pthread_t thread;
        unsigned number;
};

struct pool {
        unsigned n_threads; /* immutable */
        struct worker *worker;
        unsigned n_started;

        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool stopping; /* under lock */

        /* The job: plain fields written before `generation` is released, read after it is acquired.
         */
        pool_task *task;
        void *context;
        uint32_t n, grain;
        atomic_uint generation;    /* one more per job */
        atomic_uint_fast64_t next; /* first item not taken; 64 bits: overshoot by n_threads * grain
                                      cannot wrap */
        atomic_uint n_busy;        /* workers that have not finished the current job */
};

static void work(struct pool *pool, unsigned number) {
        for (;;) {
                uint64_t first =
                        atomic_fetch_add_explicit(&pool->next, pool->grain, memory_order_relaxed);
                if (first >= pool->n)
                        return;
                uint64_t last = first + pool->grain < pool->n ? first + pool->grain : pool->n;
                pool->task(pool->context, (uint32_t)first, (uint32_t)last, number);
        }
}

static bool wait_for_job(struct pool *pool, unsigned seen) {
        for (unsigned i = 0; i < SPIN_POLLS; i++) {
                if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen)
                        return true;
                cpu_relax();
        }
        pthread_mutex_lock(&pool->lock);
        while (!pool->stopping &&
               atomic_load_explicit(&pool->generation, memory_order_acquire) == seen)
                pthread_cond_wait(&pool->wake, &pool->lock);
        bool stopping = pool->stopping;
        pthread_mutex_unlock(&pool->lock);
        return !stopping;
}

static void *worker_main(void *argument) {
        struct worker *self = argument;
        struct pool *pool = self->pool;
        /* Every job waits for all workers, so generations are seen one by one. */
        for (unsigned seen = 0; wait_for_job(pool, seen); seen++) {
                work(pool, self->number);
                atomic_fetch_sub_explicit(&pool->n_busy, 1, memory_order_release);
        }
        return NULL;
}

int pool_new(unsigned n_threads, struct pool **ret) {
        struct pool *pool = calloc(1, sizeof(*pool));
        if (!pool)
                return -ENOMEM;
        pool->n_threads = n_threads;
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->wake, NULL);
        pool->worker = calloc(n_threads, sizeof(*pool->worker));
        int r = pool->worker ? 0 : -ENOMEM;
        for (unsigned i = 1; r == 0 && i < n_threads; i++) {
                pool->worker[i] = (struct worker){ .pool = pool, .number = i };
                r = -pthread_create(&pool->worker[i].thread, NULL, worker_main, &pool->worker[i]);
                if (r == 0)
                        pool->n_started++;
        }
        if (r < 0) {
                pool_free(pool);
                return r;
        }
        *ret = pool;
        return 0;
}

struct pool *pool_free(struct pool *pool) {
        if (!pool)
                return NULL;
        pthread_mutex_lock(&pool->lock);
        pool->stopping = true;
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
        for (unsigned i = 1; i <= pool->n_started; i++)
                pthread_join(pool->worker[i].thread, NULL);
        pthread_cond_destroy(&pool->wake);
        pthread_mutex_destroy(&pool->lock);
        free(pool->worker);
        free(pool);
        return NULL;
}

unsigned pool_n_workers(const struct pool *pool) {
        return pool->n_threads;
}

void pool_run(struct pool *pool, uint32_t n, uint32_t grain, pool_task *task, void *context) {
        if (pool->n_threads == 1 || n <= grain) {
                if (n > 0)
                        task(context, 0, n, 0);
                return;
        }
        pool->task = task;
        pool->context = context;
        pool->n = n;
        pool->grain = grain;
        atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->n_busy, pool->n_started, memory_order_relaxed);

        /* Under the lock, so that a worker between its last poll and its sleep cannot miss the
         * change. */
        pthread_mutex_lock(&pool->lock);
        atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);

        work(pool, 0);
        while (atomic_load_explicit(&pool->n_busy, memory_order_acquire) > 0)
                cpu_relax();
}
