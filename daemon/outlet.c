#include "daemon/outlet.h"

#include <errno.h>

int outlet_init(struct outlet *outlet, struct channel *channel) {
        *outlet = (struct outlet){ .channel = channel };
        return -pthread_mutex_init(&outlet->lock, NULL);
}

void outlet_deinit(struct outlet *outlet) {
        pthread_mutex_destroy(&outlet->lock);
}

static int send_locked(struct outlet *outlet, struct ring_outgoing *message) {
        struct error err = { 0 };
        /* Giving up is allowed only with the mark for space armed: else no kick comes and the rest
         * is never sent. A reader that frees space while we look makes us go on, each time with
         * another piece of the message, so it cannot hold us longer than copying that takes. */
        for (;;) {
                int r = channel_send(outlet->channel, message, &err);
                channel_flush(outlet->channel);
                if (r == 0)
                        return 0;
                if (r != -EAGAIN) {
                        outlet->error = err;
                        atomic_store(&outlet->broken, true);
                        return -EPIPE;
                }
                size_t left = message->n_bytes - message->n_sent;
                uint32_t bytes = left < UINT32_MAX ? (uint32_t)left : UINT32_MAX;
                if (channel_wait_space(outlet->channel, bytes))
                        return -EAGAIN;
        }
}

int outlet_send(struct outlet *outlet, struct ring_outgoing *message) {
        pthread_mutex_lock(&outlet->lock);
        int r = -EPIPE;
        if (!atomic_load(&outlet->gone) && !atomic_load(&outlet->broken))
                r = send_locked(outlet, message);
        pthread_mutex_unlock(&outlet->lock);
        return r;
}

bool outlet_is_broken(struct outlet *outlet, struct error *ret_reason) {
        if (!atomic_load(&outlet->broken))
                return false;
        pthread_mutex_lock(&outlet->lock);
        *ret_reason = outlet->error;
        pthread_mutex_unlock(&outlet->lock);
        return true;
}
