#include "tests/daemon/ring_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "proto/message.h"
#include "proto/record_types.h"
#include "proto/seekd.pb-c.h"
#include "proto/token_delta.h"

static void must(bool condition, const char *what) {
        if (condition)
                return;
        fprintf(stderr, "a client in the same process: %s\n", what);
        abort();
}

void client_connect(struct client *client) {
        struct channel_options options = {
                .d_data_bytes = REGION_DATA_BYTES_MIN,
                .c_data_bytes = REGION_DATA_BYTES_MIN,
                .session_id = 1,
                .generation = 1,
                .message_bytes_max = 1 << 20,
        };
        struct error err = { 0 };
        struct frame welcome = { .kind = FRAME_WELCOME };
        must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, client->sockets) == 0, "socketpair");
        must(channel_open(&client->daemon_side, client->sockets[0], &options, welcome.fds, &err) ==
                     0,
             err.text);
        welcome.welcome.session_id = 1;
        welcome.welcome.generation = 1;
        must(channel_attach(&client->client_side, client->sockets[1], &welcome, 1 << 20, &err) == 0,
             err.text);
        frame_close_fds(&welcome);
        must(outlet_init(&client->outlet, &client->daemon_side) == 0, "out of memory");
}

void client_disconnect(struct client *client) {
        if (!client->outlet.channel)
                return;
        outlet_deinit(&client->outlet);
        channel_close(&client->client_side);
        channel_close(&client->daemon_side);
        close(client->sockets[0]);
        close(client->sockets[1]);
        *client = (struct client){ 0 };
}

static void take_done(struct client *client, const struct channel_message *message) {
        struct arena arena = { 0 };
        struct error err = { 0 };
        const ProtobufCMessage *done;
        must(message_unpack(RECORD_DONE, message->bytes, message->n_bytes, &arena, &done, &err) ==
                     0,
             err.text);
        client->finish_reason = (int)((const Seekd__V1__Done *)done)->finish_reason;
        arena_deinit(&arena);
}

static void take_tokens(struct client *client, const struct channel_message *message) {
        struct token_view view;
        must(message->type == RECORD_TOKENS, "a record that is no answer to a generation");
        for (size_t at = 0; token_delta_next(message->bytes, message->n_bytes, &at, &view) == 1;) {
                if (view.delta.flags & TOKEN_FLAG_TEXT_ONLY)
                        continue;
                must(client->n_ids < GENERATED_MAX, "more tokens than there is room for");
                client->ids[client->n_ids++] = view.delta.id;
        }
}

void receive(struct client *client) {
        struct error err = { 0 };
        struct channel_message message;
        channel_turn(&client->client_side);
        for (int r; (r = channel_receive(&client->client_side, &message, &err)) != CHANNEL_EMPTY;) {
                must(r >= 0, err.text);
                if (r == CHANNEL_BUDGET)
                        channel_turn(&client->client_side);
                else if (message.type == RECORD_DONE)
                        take_done(client, &message);
                else
                        take_tokens(client, &message);
        }
}
