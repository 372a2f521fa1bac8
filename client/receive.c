/* What the daemon says: finds the request a message belongs to and hands it over. Everything in a
 * message is checked: a daemon of another version, or something that is not our daemon at all, gets
 * SEEKD_E_PROTOCOL and no more. */
#include "client/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/token_delta.h"

static struct seekd_request *find_request(struct seekd_client *client, uint32_t id) {
        for (struct seekd_request *request = client->requests; request; request = request->next) {
                if (request->id == id && !request->over)
                        return request;
        }
        return NULL;
}

/* Longer ids than the daemon's are cut. */
#define CALL_ID_BYTES_MAX 128

/* The text of a call's beginning is its id, a space, and the name. */
static void read_call_event(struct seekd_piece *piece, unsigned flags, char *id) {
        if (piece->channel != SEEKD_CHANNEL_TOOL)
                return;
        if (flags & TOKEN_FLAG_CALL_END)
                piece->call_event = SEEKD_CALL_END;
        if (!(flags & TOKEN_FLAG_CALL_BEGIN))
                return;
        piece->call_event = SEEKD_CALL_BEGIN;
        piece->call_id = id;
        const char *space =
                piece->text_bytes > 0 ? memchr(piece->text, ' ', piece->text_bytes) : NULL;
        size_t n = space ? (size_t)(space - piece->text) : 0;
        snprintf(id, CALL_ID_BYTES_MAX, "%.*s", (int)(n < CALL_ID_BYTES_MAX ? n : 0), piece->text);
        if (space) {
                piece->text += n + 1;
                piece->text_bytes -= n + 1;
        }
}

static void deliver_piece(struct seekd_request *request, const struct token_view *view) {
        const struct token_delta *delta = &view->delta;
        struct seekd_piece piece = {
                .size = sizeof(piece),
                .text = view->text,
                .text_bytes = delta->text_bytes,
                .has_token = !(delta->flags & TOKEN_FLAG_TEXT_ONLY),
                .token = delta->id,
                .channel =
                        delta->channel <= TOKEN_CHANNEL_TOOL ? delta->channel : TOKEN_CHANNEL_TEXT,
                .has_logprob = (delta->flags & TOKEN_FLAG_LOGPROB) != 0,
                .logprob = delta->logprob,
                .position = delta->position,
        };
        char call_id[CALL_ID_BYTES_MAX];
        read_call_event(&piece, delta->flags, call_id);
        struct seekd_client *client = request->client;
        client->calling_back = true;
        request->running = true;
        int stop = request->piece(request->userdata, &piece);
        request->running = false;
        client->calling_back = false;
        if (stop != 0) {
                request->silent = true;
                seekd_cancel(request);
        }
}

static int take_tokens(struct seekd_request *request, const struct channel_message *message,
                       struct error *err) {
        size_t at = 0;
        struct token_view view;
        int r;
        while ((r = token_delta_next(message->bytes, message->n_bytes, &at, &view)) > 0) {
                if (request->piece && !request->silent)
                        deliver_piece(request, &view);
        }
        if (r < 0)
                return error_set(err, r, "request %u: malformed tokens at byte %zu", request->id,
                                 at);
        return 0;
}

static int take_accepted(struct seekd_request *request, const Seekd__V1__Accepted *accepted,
                         struct error *err) {
        if (accepted->slot >= request->client->channel.peer.n_slots)
                return error_set(err, -EPROTO, "request %u: slot %u of %u", request->id,
                                 accepted->slot, request->client->channel.peer.n_slots);
        request->accepted = true;
        request->slot = accepted->slot;
        request->result.seed = accepted->seed;
        request->result.prompt_tokens = accepted->prompt_tokens;
        if (request->cancel_wanted)
                request_send_cancel(request);
        return 0;
}

static void take_answer(struct seekd_request *request, const ProtobufCMessage *answer) {
        struct error err = { 0 };
        int code = request->answer(request->userdata, answer, &err);
        if (code < 0)
                result_from_code(&request->result, code, err.text);
        request_finish(request);
}

static void tell(struct seekd_request *request, const Seekd__V1__Progress *progress) {
        struct seekd_client *client = request->client;
        struct seekd_work work = {
                .size = sizeof(work),
                .what = progress->what,
                .done = progress->done,
                .total = progress->total,
                .bytes_per_s = progress->bytes_per_s,
                .seconds_left = progress->seconds_left >= 0 ? progress->seconds_left : -1,
        };
        if (!request->work || request->silent)
                return;
        client->calling_back = true;
        request->running = true;
        int stop = request->work(request->userdata, &work);
        request->running = false;
        client->calling_back = false;
        if (stop != 0) {
                request->silent = true;
                seekd_cancel(request);
        }
}

static int take_message(struct seekd_request *request, const struct channel_message *message,
                        struct error *err) {
        struct seekd_client *client = request->client;
        bool generation = request->answer_type == 0;
        bool accepted = message->type == RECORD_ACCEPTED && (generation || request->takes_long);
        bool told = message->type == RECORD_PROGRESS && request->takes_long;
        if (message->type == RECORD_TOKENS && generation)
                return take_tokens(request, message, err);
        if (message->type != RECORD_ERROR && message->type != request->answer_type && !accepted &&
            !told && !(generation && message->type == RECORD_DONE))
                return error_set(err, -EPROTO, "request %u: record type %u is no answer to it",
                                 request->id, message->type);

        const ProtobufCMessage *unpacked = NULL;
        int r = message_unpack(message->type, message->bytes, message->n_bytes, &client->arena,
                               &unpacked, err);
        if (r < 0)
                return r;
        switch (message->type) {
        case RECORD_ERROR:
                result_from_error(&request->result, (const Seekd__V1__Error *)unpacked);
                request_finish(request);
                return 0;
        case RECORD_ACCEPTED:
                return take_accepted(request, (const Seekd__V1__Accepted *)unpacked, err);
        case RECORD_PROGRESS: tell(request, (const Seekd__V1__Progress *)unpacked); return 0;
        case RECORD_DONE:
                result_from_done(&request->result, (const Seekd__V1__Done *)unpacked);
                request_finish(request);
                return 0;
        default: take_answer(request, unpacked); return 0;
        }
}

int client_receive(struct seekd_client *client, bool arm, struct error *err) {
        int n = 0;
        for (;;) {
                struct channel_message message;
                channel_turn(&client->channel);
                int r;
                while ((r = channel_receive(&client->channel, &message, err)) == CHANNEL_MESSAGE) {
                        n++;
                        struct seekd_request *request = find_request(client, message.stream);
                        if (request)
                                r = take_message(request, &message, err);
                        else if (message.flags & RING_MUST_UNDERSTAND)
                                r = error_set(err, -EPROTO,
                                              "record type %u must be understood and is not",
                                              message.type);
                        else
                                r = 0; /* of a request that is over, or news for a later version */
                        if (r < 0)
                                return r;
                }
                if (r < 0)
                        return r;
                if (r == CHANNEL_EMPTY && (!arm || channel_sleep(&client->channel, 0)))
                        return n;
        }
}
