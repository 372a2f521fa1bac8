#include "daemon/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/outlet.h"

static int keep(struct outbox *outbox, const struct ring_outgoing *out) {
        struct outbox_message *message = malloc(sizeof(*message) + out->n_bytes);
        if (!message)
                return -ENOMEM;
        message->next = NULL;
        message->out = *out;
        if (out->n_bytes > 0)
                memcpy(message->bytes, out->bytes, out->n_bytes);
        message->out.bytes = message->bytes;
        if (outbox->last)
                outbox->last->next = message;
        else
                outbox->first = message;
        outbox->last = message;
        return 0;
}

int outbox_send(struct outbox *outbox, struct outlet *outlet, uint16_t type, uint32_t stream,
                bool urgent, const uint8_t *bytes, size_t n) {
        struct ring_outgoing out = {
                .item = { .type = type, .stream = stream, .urgent = urgent },
                .bytes = bytes,
                .n_bytes = n,
        };
        int r = outbox_flush(outbox, outlet);
        if (r == 0)
                r = outlet_send(outlet, &out);
        return r == -EAGAIN ? keep(outbox, &out) : r;
}

static void drop_first(struct outbox *outbox) {
        struct outbox_message *message = outbox->first;
        outbox->first = message->next;
        if (!outbox->first)
                outbox->last = NULL;
        free(message);
}

int outbox_flush(struct outbox *outbox, struct outlet *outlet) {
        while (outbox->first) {
                int r = outlet_send(outlet, &outbox->first->out);
                if (r < 0)
                        return r;
                drop_first(outbox);
        }
        return 0;
}

bool outbox_is_empty(const struct outbox *outbox) {
        return !outbox->first;
}

void outbox_deinit(struct outbox *outbox) {
        while (outbox->first)
                drop_first(outbox);
}
