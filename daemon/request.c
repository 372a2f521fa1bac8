#include "daemon/request.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "daemon/answer_stream.h"
#include "engine/grammar/constraint.h"
#include "engine/grammar/grammar.h"
#include "engine/text_stream.h"
#include "proto/message.h"

struct request *request_new(struct connection *connection, struct outlet *outlet, uint16_t type,
                            uint32_t id) {
        struct request *request = calloc(1, sizeof(*request));
        if (!request)
                return NULL;
        request->connection = connection;
        request->outlet = outlet;
        request->type = type;
        request->id = id;
        request->slot = SLOT_NONE;
        request->received_ns = clock_ns();
        atomic_store(&request->live.phase, SEEKD__V1__PHASE__PHASE_QUEUED);
        return request;
}

struct request *request_free(struct request *request) {
        if (!request)
                return NULL;
        assert(!request->sequence && !request->lease && !request->purge);
        arena_deinit(&request->arena);
        token_list_deinit(&request->tokens);
        text_stream_free(request->text);
        constraint_free(request->constraint);
        grammar_free(request->grammar);
        answer_stream_free(request->answer);
        outbox_deinit(&request->outbox);
        free(request->result);
        free(request);
        return NULL;
}

void request_set_result(struct request *request, uint16_t type, const ProtobufCMessage *message) {
        size_t bytes = message_packed_bytes(message);
        free(request->result);
        request->result = malloc(bytes > 0 ? bytes : 1);
        if (!request->result) {
                refuse(&request->refusal, SEEKD__V1__ERROR_CODE__ERROR_CODE_INTERNAL, NULL,
                       "out of memory");
                return;
        }
        request->result_type = type;
        request->result_bytes = (size_t)message_pack(message, request->result, bytes);
}
