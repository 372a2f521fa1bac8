#include "client/seek/top_reader.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static void fail(struct top_source *source, int code, const char *error, struct top_reading *ret) {
        ret->code = code;
        snprintf(ret->error, sizeof(ret->error), "%s", error);
        if (code == SEEKD_E_LOST || code == SEEKD_E_PROTOCOL)
                source->client = seekd_disconnect(source->client);
}

void top_source_read(struct top_source *source, struct top_reading *ret) {
        *ret = (struct top_reading){ 0 };
        if (!source->client) {
                char error[SEEKD_ERROR_BYTES];
                source->model_known = false; /* of the daemon before */
                int code =
                        seekd_connect(source->socket_path, &source->client, error, sizeof(error));
                if (code < 0) {
                        source->client = NULL;
                        fail(source, code, error, ret);
                        return;
                }
        }
        int code = seekd_stats(source->client, &ret->stats);
        if (code < 0) {
                ret->stats = NULL;
                fail(source, code, seekd_last_error(source->client), ret);
                return;
        }
        if (!source->model_known && ret->stats->model_ready) {
                source->model = (struct seekd_model_info)SEEKD_MODEL_INFO_INIT;
                source->model_known = seekd_model_info(source->client, &source->model) == 0;
        }
        ret->model = source->model;
        ret->model_known = source->model_known;
        ret->load_permille = ret->stats->model_ready ? 1000 : seekd_load_permille(source->client);
}

void top_source_deinit(struct top_source *source) {
        source->client = seekd_disconnect(source->client);
}

struct top_reader {
        pthread_t thread;
        struct top_source source; /* the thread's */
        int fd;

        pthread_mutex_t lock; /* of what follows */
        pthread_cond_t changed;
        double interval_s;
        bool stop;
        bool fresh; /* `latest` waits to be taken */
        struct top_reading latest;
};

static struct timespec after(struct timespec start, double seconds) {
        double whole = (double)(int64_t)seconds;
        start.tv_sec += (time_t)whole;
        start.tv_nsec += (long)((seconds - whole) * 1e9);
        if (start.tv_nsec >= 1000000000L) {
                start.tv_sec++;
                start.tv_nsec -= 1000000000L;
        }
        return start;
}

static void hand_over(struct top_reader *reader, struct top_reading *reading) {
        pthread_mutex_lock(&reader->lock);
        if (reader->fresh)
                top_reading_deinit(&reader->latest);
        reader->latest = *reading;
        reader->fresh = true;
        pthread_mutex_unlock(&reader->lock);
        eventfd_write(reader->fd, 1);
}

/* From one beginning to the next. Returns whether to stop. */
static bool wait_interval(struct top_reader *reader, struct timespec began) {
        pthread_mutex_lock(&reader->lock);
        int r = 0;
        while (!reader->stop && r != ETIMEDOUT) {
                struct timespec end = after(began, reader->interval_s);
                r = pthread_cond_timedwait(&reader->changed, &reader->lock, &end);
        }
        bool stop = reader->stop;
        pthread_mutex_unlock(&reader->lock);
        return stop;
}

static void *read_on(void *argument) {
        struct top_reader *reader = argument;
        struct timespec began;
        do {
                struct top_reading reading;
                clock_gettime(CLOCK_MONOTONIC, &began);
                top_source_read(&reader->source, &reading);
                hand_over(reader, &reading);
        } while (!wait_interval(reader, began));
        return NULL;
}

static void reader_free(struct top_reader *reader) {
        top_source_deinit(&reader->source);
        if (reader->fresh)
                top_reading_deinit(&reader->latest);
        pthread_cond_destroy(&reader->changed);
        pthread_mutex_destroy(&reader->lock);
        if (reader->fd >= 0)
                close(reader->fd);
        free(reader);
}

/* Signals are for the thread that has the terminal. */
static int start_thread(struct top_reader *reader) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int r = -pthread_create(&reader->thread, NULL, read_on, reader);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return r;
}

int top_reader_start(struct top_source *source, double interval_s, struct top_reader **ret) {
        struct top_reader *reader = calloc(1, sizeof(*reader));
        if (!reader) {
                top_source_deinit(source);
                return -ENOMEM;
        }
        reader->source = *source;
        source->client = NULL;
        reader->interval_s = interval_s;
        pthread_mutex_init(&reader->lock, NULL);
        pthread_condattr_t attributes;
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&reader->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        reader->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int r = reader->fd < 0 ? -errno : start_thread(reader);
        if (r < 0)
                reader_free(reader);
        else
                *ret = reader;
        return r;
}

int top_reader_fd(const struct top_reader *reader) {
        return reader->fd;
}

bool top_reader_take(struct top_reader *reader, struct top_reading *ret) {
        eventfd_t n;
        eventfd_read(reader->fd, &n);
        pthread_mutex_lock(&reader->lock);
        bool fresh = reader->fresh;
        if (fresh)
                *ret = reader->latest;
        reader->fresh = false;
        pthread_mutex_unlock(&reader->lock);
        return fresh;
}

void top_reader_set_interval(struct top_reader *reader, double interval_s) {
        pthread_mutex_lock(&reader->lock);
        reader->interval_s = interval_s;
        pthread_cond_signal(&reader->changed);
        pthread_mutex_unlock(&reader->lock);
}

/* A daemon that is well answers in far less. */
#define GRACE_S 0.5

void top_reader_stop(struct top_reader *reader) {
        struct timespec now;
        pthread_mutex_lock(&reader->lock);
        reader->stop = true;
        pthread_cond_signal(&reader->changed);
        pthread_mutex_unlock(&reader->lock);
        clock_gettime(CLOCK_REALTIME, &now);
        struct timespec end = after(now, GRACE_S);
        if (pthread_timedjoin_np(reader->thread, NULL, &end) == 0)
                reader_free(reader);
}
