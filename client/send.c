/* Requests on their way to the daemon: through the ring, or as a sealed memfd when larger than a
 * record. */
#include "client/client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct outgoing {
        struct outgoing *next;
        struct ring_outgoing message;
        uint8_t *bytes;
        int bulk_fd; /* -1: by the ring */
};

static struct outgoing *outgoing_free(struct outgoing *outgoing) {
        if (!outgoing)
                return NULL;
        if (outgoing->bulk_fd >= 0)
                close(outgoing->bulk_fd);
        free(outgoing->bytes);
        free(outgoing);
        return NULL;
}

static void drop_first(struct seekd_client *client) {
        struct outgoing *first = client->outgoing_first;
        client->outgoing_first = first->next;
        if (!first->next)
                client->outgoing_last = NULL;
        outgoing_free(first);
}

void client_drop_outgoing(struct seekd_client *client) {
        while (client->outgoing_first)
                drop_first(client);
}

/* 0: sent; -EAGAIN: not now, and a kick or POLLOUT will say when. */
static int send_one(struct seekd_client *client, struct outgoing *outgoing, struct error *err) {
        if (outgoing->bulk_fd >= 0) {
                struct frame frame = {
                        .kind = FRAME_BULK,
                        .bulk = { outgoing->message.item.type, outgoing->message.item.stream,
                                  outgoing->message.n_bytes },
                        .fds = { outgoing->bulk_fd, -1 },
                };
                int r = frame_send(client->socket, &frame);
                if (r < 0 && r != -EAGAIN)
                        error_set(err, r, "sending a request to the daemon failed");
                return r;
        }
        for (;;) {
                int r = channel_send(&client->channel, &outgoing->message, err);
                if (r != -EAGAIN)
                        return r;
                size_t left = outgoing->message.n_bytes - outgoing->message.n_sent;
                if (channel_wait_space(&client->channel, (uint32_t)left))
                        return -EAGAIN;
        }
}

int client_flush(struct seekd_client *client, struct error *err) {
        int r = 0;
        while (client->outgoing_first && r == 0) {
                r = send_one(client, client->outgoing_first, err);
                if (r == 0)
                        drop_first(client);
        }
        channel_flush(&client->channel);
        return r == -EAGAIN ? 0 : r;
}

int client_send(struct seekd_client *client, unsigned record_type, uint32_t request_id,
                const ProtobufCMessage *message) {
        size_t bytes = message_packed_bytes(message);
        uint64_t bytes_max = message_bytes_max(record_type);
        if (client->message_bytes_max < bytes_max)
                bytes_max = client->message_bytes_max;
        if (bytes > bytes_max)
                return client_fail(client, SEEKD_E_TOO_LARGE,
                                   "the request takes %zu bytes; the daemon accepts %llu", bytes,
                                   (unsigned long long)bytes_max);

        struct outgoing *outgoing = calloc(1, sizeof(*outgoing));
        uint8_t *wire = malloc(bytes > 0 ? bytes : 1);
        if (!outgoing || !wire) {
                free(outgoing);
                free(wire);
                return client_fail(client, SEEKD_E_NO_MEMORY,
                                   "no memory for a request of %zu bytes", bytes);
        }
        *outgoing = (struct outgoing){ .bytes = wire, .bulk_fd = -1 };
        message_pack(message, wire, bytes);
        outgoing->message.item.type = (uint16_t)record_type;
        outgoing->message.item.stream = request_id;
        outgoing->message.bytes = wire;
        outgoing->message.n_bytes = bytes;
        if (bytes > ring_payload_bytes_max(client->channel.own.data_bytes)) {
                outgoing->bulk_fd = bulk_create(wire, bytes, &client->error);
                if (outgoing->bulk_fd < 0) {
                        int code = seekd_code_of_errno(outgoing->bulk_fd);
                        outgoing_free(outgoing);
                        return code;
                }
        }

        if (client->outgoing_last)
                client->outgoing_last->next = outgoing;
        else
                client->outgoing_first = outgoing;
        client->outgoing_last = outgoing;
        struct error err = { 0 };
        int r = client_flush(client, &err);
        /* A dead peer is noticed by the next dispatch, which has the whole story; what it still
         * sent is worth reading. */
        if (r < 0 && seekd_code_of_errno(r) != SEEKD_E_LOST)
                return client_fail(client, seekd_code_of_errno(r), "%s", err.text);
        return 0;
}

int seekd_events(const struct seekd_client *client) {
        bool bulk_waits = client->outgoing_first && client->outgoing_first->bulk_fd >= 0;
        return bulk_waits ? POLLIN | POLLOUT : POLLIN;
}
