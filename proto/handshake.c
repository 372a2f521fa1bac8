#include "proto/handshake.h"

#include "base/error.h"
#include "proto/region.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* The wire forms. Natural alignment, no implicit padding (asserted), little-endian (asserted in
 * region.c). */
struct wire_hello {
        uint64_t magic;
        uint16_t abi_major;
        uint16_t minor_min;
        uint16_t minor_max;
        uint16_t reserved0;
        uint64_t caps;
        uint32_t d_data_bytes;
        uint32_t c_data_bytes;
        uint32_t library_version;
        uint32_t reserved1[7];
};
_Static_assert(sizeof(struct wire_hello) == HELLO_BYTES, "wire format");

struct wire_welcome {
        uint32_t kind;
        uint16_t abi_major;
        uint16_t minor;
        uint64_t caps;
        uint64_t session_id;
        uint64_t generation;
        uint64_t message_bytes_max;
        uint32_t n_requests_max;
        uint32_t model_state;
        uint32_t load_permille;
        uint32_t daemon_version;
        uint32_t reserved[18];
};
_Static_assert(sizeof(struct wire_welcome) == 128, "wire format");

struct wire_refuse {
        uint32_t kind;
        uint32_t code;
        uint16_t abi_major;
        uint16_t minor_min;
        uint16_t minor_max;
        uint16_t reserved0;
        uint32_t retry_after_ms;
        uint32_t reserved1;
        char text[FRAME_TEXT_BYTES];
};
_Static_assert(sizeof(struct wire_refuse) == FRAME_BYTES_MAX, "wire format");

struct wire_pair { /* KICK (value 0) and GOODBYE (value reason) */
        uint32_t kind;
        uint32_t value;
};
_Static_assert(sizeof(struct wire_pair) == 8, "wire format");

struct wire_state {
        uint32_t kind;
        uint32_t model_state;
        uint32_t load_permille;
        uint32_t reserved;
};
_Static_assert(sizeof(struct wire_state) == 16, "wire format");

struct wire_bulk {
        uint32_t kind;
        uint16_t type;
        uint16_t reserved0;
        uint32_t stream;
        uint32_t reserved1;
        uint64_t bytes;
        uint64_t reserved2;
};
_Static_assert(sizeof(struct wire_bulk) == 32, "wire format");

struct wire_error {
        uint32_t kind;
        int32_t code;
        uint64_t reserved[2];
        char text[FRAME_TEXT_BYTES];
};
_Static_assert(sizeof(struct wire_error) == FRAME_BYTES_MAX, "wire format");

union wire {
        uint8_t bytes[FRAME_BYTES_MAX];
        uint32_t kind;
        struct wire_hello hello;
        struct wire_welcome welcome;
        struct wire_refuse refuse;
        struct wire_pair pair;
        struct wire_state state;
        struct wire_bulk bulk;
        struct wire_error error;
};

/* Text that is too long loses its end, but not its NUL. */
static void text_put(char to[FRAME_TEXT_BYTES], const char *text) {
        size_t n = strnlen(text, FRAME_TEXT_BYTES - 1);
        memcpy(to, text, n);
}

static size_t encode_welcome(const struct frame_welcome *welcome, struct wire_welcome *to) {
        *to = (struct wire_welcome){
                .kind = FRAME_WELCOME,
                .abi_major = welcome->abi_major,
                .minor = welcome->minor,
                .caps = welcome->caps,
                .session_id = welcome->session_id,
                .generation = welcome->generation,
                .message_bytes_max = welcome->message_bytes_max,
                .n_requests_max = welcome->n_requests_max,
                .model_state = welcome->model_state,
                .load_permille = welcome->load_permille,
                .daemon_version = welcome->daemon_version,
        };
        return sizeof(*to);
}

static size_t encode_hello(const struct frame_hello *hello, struct wire_hello *to) {
        *to = (struct wire_hello){
                .magic = HELLO_MAGIC,
                .abi_major = hello->abi_major,
                .minor_min = hello->minor_min,
                .minor_max = hello->minor_max,
                .caps = hello->caps,
                .d_data_bytes = hello->d_data_bytes,
                .c_data_bytes = hello->c_data_bytes,
                .library_version = hello->library_version,
        };
        return sizeof(*to);
}

static size_t encode_refuse(const struct frame_refuse *refuse, struct wire_refuse *to) {
        *to = (struct wire_refuse){
                .kind = FRAME_REFUSE,
                .code = refuse->code,
                .abi_major = refuse->abi_major,
                .minor_min = refuse->minor_min,
                .minor_max = refuse->minor_max,
                .retry_after_ms = refuse->retry_after_ms,
        };
        text_put(to->text, refuse->text);
        return sizeof(*to);
}

static size_t encode_error(const struct frame_error *error, struct wire_error *to) {
        *to = (struct wire_error){ .kind = FRAME_ERROR, .code = error->code };
        text_put(to->text, error->text);
        return sizeof(*to);
}

size_t frame_encode(const struct frame *frame, uint8_t ret_bytes[FRAME_BYTES_MAX]) {
        union wire wire = { .bytes = { 0 } };
        size_t n = 0;
        switch (frame->kind) {
        case FRAME_HELLO: n = encode_hello(&frame->hello, &wire.hello); break;
        case FRAME_WELCOME: n = encode_welcome(&frame->welcome, &wire.welcome); break;
        case FRAME_REFUSE: n = encode_refuse(&frame->refuse, &wire.refuse); break;
        case FRAME_ERROR: n = encode_error(&frame->error, &wire.error); break;
        case FRAME_KICK:
                wire.pair = (struct wire_pair){ .kind = FRAME_KICK };
                n = sizeof(wire.pair);
                break;
        case FRAME_GOODBYE:
                wire.pair = (struct wire_pair){ FRAME_GOODBYE, frame->goodbye_reason };
                n = sizeof(wire.pair);
                break;
        case FRAME_STATE:
                wire.state = (struct wire_state){
                        .kind = FRAME_STATE,
                        .model_state = frame->state.model_state,
                        .load_permille = frame->state.load_permille,
                };
                n = sizeof(wire.state);
                break;
        case FRAME_BULK:
                wire.bulk = (struct wire_bulk){
                        .kind = FRAME_BULK,
                        .type = frame->bulk.type,
                        .stream = frame->bulk.stream,
                        .bytes = frame->bulk.bytes,
                };
                n = sizeof(wire.bulk);
                break;
        }
        assert(n > 0);
        memcpy(ret_bytes, wire.bytes, n);
        return n;
}

/* All bytes zero: for reserved fields, whatever their type. */
static bool all_zero(const void *p, size_t n) {
        const uint8_t *bytes = p;
        for (size_t i = 0; i < n; i++)
                if (bytes[i])
                        return false;
        return true;
}
#define ZERO(field) all_zero(&(field), sizeof(field))

/* NUL-terminated and zero from there on. */
static bool text_legal(const char text[FRAME_TEXT_BYTES]) {
        size_t n = strnlen(text, FRAME_TEXT_BYTES);
        return n < FRAME_TEXT_BYTES && all_zero(text + n, FRAME_TEXT_BYTES - n);
}

static bool model_legal(uint32_t state, uint32_t permille) {
        return state <= MODEL_FAILED && permille <= 1000;
}

/* The decoders return what is wrong, or NULL. */
static const char *decode_hello(const struct wire_hello *from, struct frame_hello *ret) {
        if (from->reserved0 != 0 || !ZERO(from->reserved1))
                return "reserved field is not zero";
        if (from->minor_min > from->minor_max)
                return "minor versions are in the wrong order";
        *ret = (struct frame_hello){
                .abi_major = from->abi_major,
                .minor_min = from->minor_min,
                .minor_max = from->minor_max,
                .caps = from->caps,
                .d_data_bytes = from->d_data_bytes,
                .c_data_bytes = from->c_data_bytes,
                .library_version = from->library_version,
        };
        return NULL;
}

static const char *decode_welcome(const struct wire_welcome *from, struct frame_welcome *ret) {
        if (!ZERO(from->reserved))
                return "reserved field is not zero";
        if (!model_legal(from->model_state, from->load_permille))
                return "model state or load progress out of range";
        if (from->n_requests_max < 1 || from->n_requests_max > REGION_N_SLOTS)
                return "number of requests out of range";
        *ret = (struct frame_welcome){
                .abi_major = from->abi_major,
                .minor = from->minor,
                .caps = from->caps,
                .session_id = from->session_id,
                .generation = from->generation,
                .message_bytes_max = from->message_bytes_max,
                .n_requests_max = from->n_requests_max,
                .model_state = from->model_state,
                .load_permille = from->load_permille,
                .daemon_version = from->daemon_version,
        };
        return NULL;
}

static const char *decode_refuse(const struct wire_refuse *from, struct frame_refuse *ret) {
        if (from->reserved0 != 0 || from->reserved1 != 0)
                return "reserved field is not zero";
        if (!text_legal(from->text))
                return "text is not terminated";
        *ret = (struct frame_refuse){
                .code = from->code,
                .abi_major = from->abi_major,
                .minor_min = from->minor_min,
                .minor_max = from->minor_max,
                .retry_after_ms = from->retry_after_ms,
        };
        memcpy(ret->text, from->text, sizeof(ret->text));
        return NULL;
}

static const char *decode_state(const struct wire_state *from, struct frame_state *ret) {
        if (from->reserved != 0)
                return "reserved field is not zero";
        if (!model_legal(from->model_state, from->load_permille))
                return "model state or load progress out of range";
        *ret = (struct frame_state){ from->model_state, from->load_permille };
        return NULL;
}

static const char *decode_bulk(const struct wire_bulk *from, struct frame_bulk *ret) {
        if (from->reserved0 != 0 || from->reserved1 != 0 || from->reserved2 != 0)
                return "reserved field is not zero";
        if (from->type == 0)
                return "type 0";
        *ret = (struct frame_bulk){ .type = from->type,
                                    .stream = from->stream,
                                    .bytes = from->bytes };
        return NULL;
}

static const char *decode_error(const struct wire_error *from, struct frame_error *ret) {
        if (!ZERO(from->reserved))
                return "reserved field is not zero";
        if (from->code >= 0)
                return "code is not negative";
        if (!text_legal(from->text))
                return "text is not terminated";
        ret->code = from->code;
        memcpy(ret->text, from->text, sizeof(ret->text));
        return NULL;
}

static const struct {
        const char *name;
        size_t bytes;
} kinds[] = {
        [FRAME_HELLO] = { "HELLO", sizeof(struct wire_hello) },
        [FRAME_WELCOME] = { "WELCOME", sizeof(struct wire_welcome) },
        [FRAME_REFUSE] = { "REFUSE", sizeof(struct wire_refuse) },
        [FRAME_KICK] = { "KICK", sizeof(struct wire_pair) },
        [FRAME_STATE] = { "STATE", sizeof(struct wire_state) },
        [FRAME_BULK] = { "BULK", sizeof(struct wire_bulk) },
        [FRAME_ERROR] = { "ERROR", sizeof(struct wire_error) },
        [FRAME_GOODBYE] = { "GOODBYE", sizeof(struct wire_pair) },
};

static const char *decode_body(const union wire *wire, struct frame *ret) {
        switch (ret->kind) {
        case FRAME_HELLO: return decode_hello(&wire->hello, &ret->hello);
        case FRAME_WELCOME: return decode_welcome(&wire->welcome, &ret->welcome);
        case FRAME_REFUSE: return decode_refuse(&wire->refuse, &ret->refuse);
        case FRAME_STATE: return decode_state(&wire->state, &ret->state);
        case FRAME_BULK: return decode_bulk(&wire->bulk, &ret->bulk);
        case FRAME_ERROR: return decode_error(&wire->error, &ret->error);
        case FRAME_KICK: return wire->pair.value == 0 ? NULL : "reserved field is not zero";
        case FRAME_GOODBYE: ret->goodbye_reason = wire->pair.value; return NULL;
        }
        return "unknown kind";
}

int frame_decode(const uint8_t *bytes, size_t n_bytes, struct frame *ret, struct error *err) {
        union wire wire = { .bytes = { 0 } };
        if (n_bytes < sizeof(struct wire_pair) || n_bytes > sizeof(wire))
                return error_set(err, -EPROTO, "frame of %zu bytes: no frame has that size",
                                 n_bytes);
        memcpy(wire.bytes, bytes, n_bytes);

        struct frame frame = { .fds = { -1, -1 } };
        /* A HELLO is told by its magic, so that a stranger's first packet is called what it is. */
        if (n_bytes >= sizeof(wire.hello.magic) && wire.hello.magic == HELLO_MAGIC)
                frame.kind = FRAME_HELLO;
        else if (wire.kind > FRAME_HELLO && wire.kind < sizeof(kinds) / sizeof(kinds[0]))
                frame.kind = (enum frame_kind)wire.kind;
        else
                return error_set(err, -EPROTO, "frame of unknown kind %#x", wire.kind);
        if (n_bytes != kinds[frame.kind].bytes)
                return error_set(err, -EPROTO, "frame %s: %zu bytes instead of %zu",
                                 kinds[frame.kind].name, n_bytes, kinds[frame.kind].bytes);
        const char *problem = decode_body(&wire, &frame);
        if (problem)
                return error_set(err, -EPROTO, "frame %s: %s", kinds[frame.kind].name, problem);
        *ret = frame;
        return 0;
}

int hello_negotiate(const struct frame_hello *hello, uint64_t caps_offered,
                    struct frame_welcome *ret, struct error *err) {
        if (hello->abi_major != PROTOCOL_MAJOR)
                return error_set(err, -EPROTONOSUPPORT,
                                 "protocol version %u is not spoken here, only %d.%d to %d.%d",
                                 hello->abi_major, PROTOCOL_MAJOR, PROTOCOL_MINOR_MIN,
                                 PROTOCOL_MAJOR, PROTOCOL_MINOR_MAX);
        /* As variables: comparing with a constant 0 would make the compiler remark on it. */
        const int lowest_here = PROTOCOL_MINOR_MIN, highest_here = PROTOCOL_MINOR_MAX;
        int highest = hello->minor_max < highest_here ? hello->minor_max : highest_here;
        if (highest < hello->minor_min || highest < lowest_here)
                return error_set(
                        err, -EPROTONOSUPPORT,
                        "protocol versions %u.%u to %u.%u are not spoken here, only %d.%d to %d.%d",
                        hello->abi_major, hello->minor_min, hello->abi_major, hello->minor_max,
                        PROTOCOL_MAJOR, PROTOCOL_MINOR_MIN, PROTOCOL_MAJOR, PROTOCOL_MINOR_MAX);
        ret->abi_major = PROTOCOL_MAJOR;
        ret->minor = (uint16_t)highest;
        ret->caps = hello->caps & caps_offered & CAPS_KNOWN;
        return 0;
}
