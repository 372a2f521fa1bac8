#include "bench/bandwidth.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

/* Eight times the largest last-level cache share that we have met (32 MiB). */
#define BANDWIDTH_BYTES (256ULL << 20)

int bandwidth_init(struct bandwidth *ret, unsigned n_threads, struct error *err) {
        *ret = (struct bandwidth){ malloc(BANDWIDTH_BYTES), n_threads };
        if (!ret->buffer)
                return error_set(err, -ENOMEM, "no memory for the bandwidth buffer");
        memset(ret->buffer, 1, BANDWIDTH_BYTES);
        return 0;
}

void bandwidth_deinit(struct bandwidth *bandwidth) {
        free(bandwidth->buffer);
        bandwidth->buffer = NULL;
}

struct reader {
        const uint64_t *data;
        size_t n;
        uint64_t sum;
};

static void *read_all(void *argument) {
        struct reader *r = argument;
        uint64_t sum[4] = { 0 };
        for (size_t i = 0; i + 4 <= r->n; i += 4)
                for (size_t j = 0; j < 4; j++)
                        sum[j] += r->data[i + j];
        r->sum = sum[0] + sum[1] + sum[2] + sum[3];
        return NULL;
}

/* The sums are used, so that no compiler leaves the reading out. */
int bandwidth_read(const struct bandwidth *bandwidth, double *ret, struct error *err) {
        const uint64_t *buffer = bandwidth->buffer;
        unsigned n_threads = bandwidth->n_threads;
        pthread_t thread[BANDWIDTH_THREADS_MAX];
        struct reader reader[BANDWIDTH_THREADS_MAX];
        size_t n = BANDWIDTH_BYTES / sizeof(*buffer) / n_threads / 4 * 4;
        unsigned n_started = 1;
        int r = 0;
        uint64_t start = clock_ns(), sum = 0;
        for (unsigned i = 0; i < n_threads; i++)
                reader[i] = (struct reader){ buffer + i * n, n, 0 };
        for (; r == 0 && n_started < n_threads; n_started += r == 0)
                r = -pthread_create(&thread[n_started], NULL, read_all, &reader[n_started]);
        read_all(&reader[0]);
        for (unsigned i = 1; i < n_started; i++)
                pthread_join(thread[i], NULL);
        if (r < 0)
                return error_set(err, r, "thread %u of %u cannot be started", n_started, n_threads);
        *ret = (double)(n * n_threads * sizeof(*buffer)) /
                ((double)(clock_ns() - start) / (double)NS_PER_S);
        for (unsigned i = 0; i < n_threads; i++)
                sum += reader[i].sum;
        return sum == n * n_threads * buffer[0] ? 0 : error_set(err, -EIO, "memory read wrongly");
}
