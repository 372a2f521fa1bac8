#include "proto/channel.h"

#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rings and private memory, once both regions are mapped. */
static int channel_start(struct channel *channel, size_t message_bytes_max, struct error *err) {
        channel->record_bytes = ring_payload_bytes_max(channel->peer.data_bytes);
        channel->record = malloc(channel->record_bytes);
        if (!channel->record)
                return error_set(err, -ENOMEM, "channel: no memory for records of %zu bytes",
                                 channel->record_bytes);
        ring_assembly_init(&channel->assembly, message_bytes_max);
        ring_writer_init(&channel->writer, &channel->own, &channel->peer,
                         channel->daemon ? RING_URGENT_BYTES : 0);
        ring_reader_init(&channel->reader, &channel->own, &channel->peer);
        channel_turn(channel);
        return 0;
}

static void channel_release(struct channel *channel) {
        region_deinit(&channel->own);
        region_deinit(&channel->peer);
        free(channel->record);
        ring_assembly_deinit(&channel->assembly);
        *channel = (struct channel){ .socket = -1 };
}

int channel_open(struct channel *channel, int socket, const struct channel_options *options,
                 int ret_fds[2], struct error *err) {
        *channel = (struct channel){
                .socket = socket,
                .daemon = true,
                .futex = options->caps & CAP_FUTEX,
        };
        struct region_options region = {
                .side = REGION_D,
                .data_bytes = options->d_data_bytes,
                .session_id = options->session_id,
                .generation = options->generation,
                .caps = options->caps,
        };
        int fds[2] = { -1, -1 };
        int r = region_create(&region, &channel->own, &fds[0], err);
        if (r < 0)
                goto fail;
        region.side = REGION_C;
        region.data_bytes = options->c_data_bytes;
        r = region_create(&region, &channel->peer, &fds[1], err);
        if (r < 0)
                goto fail;
        r = channel_start(channel, options->message_bytes_max, err);
        if (r < 0)
                goto fail;
        memcpy(ret_fds, fds, sizeof(fds));
        return 0;
fail:
        channel_release(channel);
        for (int i = 0; i < 2; i++)
                if (fds[i] >= 0)
                        close(fds[i]);
        return r;
}

int channel_attach(struct channel *channel, int socket, const struct frame *welcome,
                   size_t message_bytes_max, struct error *err) {
        *channel = (struct channel){ .socket = socket, .futex = welcome->welcome.caps & CAP_FUTEX };
        int r = region_attach(welcome->fds[0], REGION_D, &channel->peer, err);
        if (r < 0)
                goto fail;
        r = region_attach(welcome->fds[1], REGION_C, &channel->own, err);
        if (r < 0)
                goto fail;
        const struct region *regions[] = { &channel->peer, &channel->own };
        for (int i = 0; i < 2; i++) {
                if (regions[i]->session_id == welcome->welcome.session_id &&
                    regions[i]->generation == welcome->welcome.generation &&
                    regions[i]->caps == welcome->welcome.caps &&
                    regions[i]->n_slots >= welcome->welcome.n_requests_max)
                        continue;
                r = error_set(err, -EPROTO, "region %c: header and welcome disagree",
                              (char)regions[i]->side);
                goto fail;
        }
        r = channel_start(channel, message_bytes_max, err);
        if (r < 0)
                goto fail;
        return 0;
fail:
        channel_release(channel);
        return r;
}

void channel_close(struct channel *channel) {
        if (!channel || !channel->own.map)
                return;
        region_state_store(&channel->own, REGION_CLOSED);
        channel_release(channel);
}

/* Either half may kick. The futex only tells of new records, so a kick about space is always a
 * frame. */
static void kick(struct channel *channel, bool records) {
        if (records && channel->daemon && channel->futex &&
            ring_writer_futex_wake(&channel->writer) > 0)
                return;
        /* A peer that is gone is noticed where the socket is read. */
        (void)frame_send_kick(channel->socket);
}

int channel_send(struct channel *channel, struct ring_outgoing *message, struct error *err) {
        return ring_writer_send(&channel->writer, message, err);
}

void channel_flush(struct channel *channel) {
        if (ring_writer_publish(&channel->writer))
                kick(channel, true);
}

bool channel_wait_space(struct channel *channel, uint32_t bytes) {
        channel_flush(channel);
        return ring_writer_arm(&channel->writer, bytes);
}

void channel_turn(struct channel *channel) {
        channel->turn_records = CHANNEL_TURN_RECORDS;
        channel->turn_bytes = CHANNEL_TURN_BYTES;
}

int channel_receive(struct channel *channel, struct channel_message *ret, struct error *err) {
        for (;;) {
                if (channel->turn_records == 0 || channel->turn_bytes == 0) {
                        if (ring_reader_release(&channel->reader))
                                kick(channel, false);
                        return CHANNEL_BUDGET;
                }
                struct ring_record record;
                int r = ring_reader_next(&channel->reader, &record, channel->record,
                                         channel->record_bytes, err);
                if (r < 0)
                        return r;
                if (r == 0) {
                        if (ring_reader_release(&channel->reader))
                                kick(channel, false);
                        return CHANNEL_EMPTY;
                }
                channel->turn_records--;
                uint32_t bytes = record.len + RING_HEADER_BYTES;
                channel->turn_bytes -= bytes < channel->turn_bytes ? bytes : channel->turn_bytes;

                struct channel_message message = { .stream = record.stream, .type = record.type };
                r = ring_assembly_add(&channel->assembly, &record, channel->record, &message.bytes,
                                      &message.n_bytes, &message.flags, err);
                if (r < 0)
                        return r;
                if (r > 0) {
                        message.flags &= RING_MUST_UNDERSTAND;
                        *ret = message;
                        return CHANNEL_MESSAGE;
                }
        }
}

bool channel_sleep(struct channel *channel, uint64_t ahead_bytes) {
        bool due;
        bool asleep = ring_reader_arm(&channel->reader, ahead_bytes, &due);
        if (due)
                kick(channel, false);
        return asleep;
}
