/* Worker threads for loops whose iterations write disjoint outputs.
 *
 * Which worker runs which range has no influence on any result: threads split outputs, never a sum.
 * One thread (the engine's) calls pool_run() at a time and works along. */
#pragma once

#include <stdint.h>

struct pool;

/* n_threads >= 1, the caller included. 0 or a negative errno. */
int pool_new(unsigned n_threads, struct pool **ret);
struct pool *pool_free(struct pool *pool); /* NULL-safe, returns NULL */
unsigned pool_n_workers(const struct pool *pool);

/* Range [first, last) of the items, run by worker number `worker` (0 = caller): for per-worker
 * scratch. */
typedef void pool_task(void *context, uint32_t first, uint32_t last, unsigned worker);

/* Runs items [0, n) in pieces of `grain` (>= 1); returns when all are done. One piece or one
 * thread: no hand-over. */
void pool_run(struct pool *pool, uint32_t n, uint32_t grain, pool_task *task, void *context);
