#include <stdlib.h>

#include "memory/kv_cache_private.h"

static void serve(struct kv_reader *reader, struct kv_read *read) {
        kv_store_expect(reader->store, read->page, read->n_pages,
                        read->frontier_data ? &read->frontier : NULL);
        read->n_pages_read = kv_store_read_pages(reader->store, read->page, read->n_pages);
        if (read->frontier_data && read->n_pages_read == read->n_pages) {
                uint32_t bytes = 0;
                int r = kv_store_read_frontier(reader->store, &read->frontier, read->tail,
                                               read->n_tail, read->frontier_data,
                                               read->frontier_bytes, &bytes);
                read->frontier_read = r == 0 && bytes == read->frontier_bytes;
        }
}

static void *reader_main(void *userdata) {
        struct kv_reader *reader = userdata;
        pthread_mutex_lock(&reader->lock);
        for (;;) {
                struct kv_read *read = reader->first;
                if (!read && reader->stop)
                        break;
                if (!read) {
                        pthread_cond_wait(&reader->work, &reader->lock);
                        continue;
                }
                reader->first = read->next;
                if (!reader->first)
                        reader->last = &reader->first;
                pthread_mutex_unlock(&reader->lock);
                serve(reader, read);
                pthread_mutex_lock(&reader->lock);
                atomic_store(&read->done, true); /* from here on the lease may be gone */
                pthread_cond_broadcast(&reader->finished);
                if (reader->notify)
                        reader->notify(reader->context);
        }
        pthread_mutex_unlock(&reader->lock);
        return NULL;
}

int kv_reader_start(struct kv_reader *reader, struct kv_store *store) {
        reader->store = store;
        reader->last = &reader->first;
        if (!store)
                return 0;
        pthread_mutex_init(&reader->lock, NULL);
        pthread_cond_init(&reader->work, NULL);
        pthread_cond_init(&reader->finished, NULL);
        int r = pthread_create(&reader->thread, NULL, reader_main, reader);
        reader->running = r == 0;
        return -r;
}

void kv_reader_stop(struct kv_reader *reader) {
        if (!reader->running)
                return;
        pthread_mutex_lock(&reader->lock);
        reader->stop = true;
        pthread_cond_signal(&reader->work);
        pthread_mutex_unlock(&reader->lock);
        pthread_join(reader->thread, NULL);
        pthread_cond_destroy(&reader->finished);
        pthread_cond_destroy(&reader->work);
        pthread_mutex_destroy(&reader->lock);
        reader->running = false;
}

void kv_reader_add(struct kv_reader *reader, struct kv_read *read) {
        atomic_store(&read->done, false);
        read->next = NULL;
        pthread_mutex_lock(&reader->lock);
        *reader->last = read;
        reader->last = &read->next;
        pthread_cond_signal(&reader->work);
        pthread_mutex_unlock(&reader->lock);
}

void kv_reader_wait(struct kv_reader *reader, struct kv_read *read) {
        pthread_mutex_lock(&reader->lock);
        while (!atomic_load(&read->done))
                pthread_cond_wait(&reader->finished, &reader->lock);
        pthread_mutex_unlock(&reader->lock);
}
