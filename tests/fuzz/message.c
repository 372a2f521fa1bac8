/* Protobuf payloads: two bytes of record type, then the wire. What is accepted must pack and be
 * accepted again. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "proto/message.h"
#include "proto/token_delta.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void read_token_deltas(const uint8_t *payload, size_t bytes) {
        size_t at = 0;
        struct token_view view;
        while (token_delta_next(payload, bytes, &at, &view) > 0) {
        }
}

static void check_message(unsigned type, const uint8_t *payload, size_t bytes) {
        struct error err = { 0 };
        struct arena arena = { NULL, 0, 0 };
        struct arena again = { NULL, 0, 0 };
        const ProtobufCMessage *message = NULL;
        int r = message_unpack(type, payload, bytes, &arena, &message, &err);
        if (r < 0 && err.text[0] == 0)
                abort(); /* refused without saying why */
        if (r == 0) {
                size_t n = message_packed_bytes(message);
                uint8_t *wire = malloc(n > 0 ? n : 1);
                if (message_pack(message, wire, n) != (int64_t)n)
                        abort();
                if (n <= message_bytes_max(type) &&
                    message_unpack(type, wire, n, &again, &message, &err) == -EBADMSG)
                        abort();
                free(wire);
        }
        arena_deinit(&arena);
        arena_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
        if (bytes < 2)
                return 0;
        unsigned type = data[0] | (unsigned)data[1] << 8;
        if (type == RECORD_TOKENS)
                read_token_deltas(data + 2, bytes - 2);
        else
                check_message(type, data + 2, bytes - 2);
        return 0;
}
