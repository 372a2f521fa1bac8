#include "proto/message.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/utf8.h"

struct record_facts {
        const ProtobufCMessageDescriptor *descriptor;
        uint32_t bytes_max;
};

#define CONTROL(name)                                                                              \
        { &seekd__v1__##name##__descriptor, MESSAGE_CONTROL_BYTES_MAX }
#define PROMPT(name)                                                                               \
        { &seekd__v1__##name##__descriptor, MESSAGE_PROMPT_BYTES_MAX }

static const struct record_facts record_facts[] = {
        [RECORD_GENERATE] = PROMPT(generate),
        [RECORD_TOKENIZE] = PROMPT(tokenize),
        [RECORD_DETOKENIZE] = PROMPT(detokenize),
        [RECORD_MODEL_INFO] = CONTROL(model_info),
        [RECORD_STATS] = CONTROL(stats),
        [RECORD_SESSION_OPEN] = CONTROL(session_open),
        [RECORD_SESSION_ATTACH] = CONTROL(session_attach),
        [RECORD_SESSION_FORK] = CONTROL(session_fork),
        [RECORD_SESSION_REWIND] = CONTROL(session_rewind),
        [RECORD_SESSION_PIN] = CONTROL(session_pin),
        [RECORD_SESSION_CLOSE] = CONTROL(session_close),
        [RECORD_APPEND] = PROMPT(append),
        [RECORD_HINT] = PROMPT(hint),
        [RECORD_REMEMBER] = PROMPT(remember),
        [RECORD_RECALL] = CONTROL(recall),
        [RECORD_SESSION_LIST] = CONTROL(session_list),
        [RECORD_CACHE_LIST] = CONTROL(cache_list),
        [RECORD_CACHE_VERIFY] = CONTROL(cache_verify),
        [RECORD_CACHE_PURGE] = CONTROL(cache_purge),
        [RECORD_IMPORT] = CONTROL(import),
        [RECORD_ERROR] = CONTROL(error),
        [RECORD_ACCEPTED] = CONTROL(accepted),
        [RECORD_DONE] = PROMPT(done),
        [RECORD_TOKENIZE_RESULT] = PROMPT(tokenize_result),
        [RECORD_DETOKENIZE_RESULT] = PROMPT(detokenize_result),
        [RECORD_MODEL_INFO_RESULT] = CONTROL(model_info_result),
        [RECORD_STATS_RESULT] = CONTROL(stats_result),
        [RECORD_SESSION_RESULT] = CONTROL(session_result),
        [RECORD_RECALL_RESULT] = PROMPT(recall_result),
        [RECORD_ACKNOWLEDGED] = CONTROL(acknowledged),
        [RECORD_SESSION_LIST_RESULT] = PROMPT(session_list_result),
        [RECORD_CACHE_LIST_RESULT] = CONTROL(cache_list_result),
        [RECORD_CACHE_VERIFY_RESULT] = CONTROL(cache_verify_result),
        [RECORD_CACHE_PURGE_RESULT] = CONTROL(cache_purge_result),
        [RECORD_IMPORT_RESULT] = CONTROL(import_result),
        [RECORD_PROGRESS] = CONTROL(progress),
};

static struct record_facts facts_of(unsigned record_type) {
        if (record_type >= sizeof(record_facts) / sizeof(record_facts[0]))
                return (struct record_facts){ NULL, 0 };
        return record_facts[record_type];
}

const ProtobufCMessageDescriptor *message_descriptor(unsigned record_type) {
        return facts_of(record_type).descriptor;
}

uint32_t message_bytes_max(unsigned record_type) {
        return facts_of(record_type).bytes_max;
}

/* The walk before unpacking: allocates nothing, visits every byte once per level of nesting. */
struct scan {
        const uint8_t *base;
        unsigned n_fields;
        unsigned depth;
        const char *path[MESSAGE_DEPTH_MAX + 1]; /* message name, then one field name per level */
        struct error *err;
};

struct wire_field {
        uint32_t tag;
        unsigned wire_type;
        const uint8_t *at; /* of the key */
        const uint8_t *value;
        size_t bytes; /* of the value, without a length prefix */
};

/* "Generate.sampling.stop" */
static const char *path_text(const struct scan *scan, const char *field, char *buffer,
                             size_t bytes) {
        size_t used = 0;
        for (unsigned i = 0; i <= scan->depth && used < bytes; i++)
                used += (size_t)snprintf(buffer + used, bytes - used, "%s%s", i > 0 ? "." : "",
                                         scan->path[i]);
        if (field && used < bytes)
                snprintf(buffer + used, bytes - used, ".%s", field);
        return buffer;
}

static int refuse(const struct scan *scan, int code, const char *field, const uint8_t *at,
                  const char *what) {
        char path[256];
        return error_set(scan->err, code, "%s: %s at byte %zu",
                         path_text(scan, field, path, sizeof(path)), what,
                         (size_t)(at - scan->base));
}

static bool read_varint(const uint8_t **at, const uint8_t *end, unsigned bytes_max, uint64_t *ret) {
        uint64_t value = 0;
        for (unsigned i = 0; i < bytes_max && *at + i < end; i++) {
                uint8_t byte = (*at)[i];
                value |= (uint64_t)(byte & 0x7F) << (7 * i);
                if (byte < 0x80) {
                        *at += i + 1;
                        *ret = value;
                        return true;
                }
        }
        return false;
}

/* Reads key and extent of the field at *at and moves *at past it. NULL, or what is wrong with it.
 */
static const char *read_field(const uint8_t **at, const uint8_t *end, struct wire_field *ret) {
        struct wire_field field = { .at = *at };
        uint64_t key, value;
        if (!read_varint(at, end, 5, &key) || key > UINT32_MAX || key >> 3 == 0)
                return "broken field key";
        field.tag = (uint32_t)(key >> 3);
        field.wire_type = key & 7;
        field.value = *at;
        size_t left = (size_t)(end - *at);
        switch (field.wire_type) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
                if (!read_varint(at, end, 10, &value))
                        return "broken number";
                field.bytes = (size_t)(*at - field.value);
                break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
        case PROTOBUF_C_WIRE_TYPE_32BIT:
                field.bytes = field.wire_type == PROTOBUF_C_WIRE_TYPE_64BIT ? 8 : 4;
                if (left < field.bytes)
                        return "number cut off";
                *at += field.bytes;
                break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
                if (!read_varint(at, end, 10, &value) || value > (size_t)(end - *at))
                        return "length past the end";
                field.value = *at;
                field.bytes = (size_t)value;
                *at += field.bytes;
                break;
        default: return "unknown wire type";
        }
        *ret = field;
        return NULL;
}

static unsigned wire_type_of(const ProtobufCFieldDescriptor *field) {
        switch (field->type) {
        case PROTOBUF_C_TYPE_FLOAT:
        case PROTOBUF_C_TYPE_FIXED32:
        case PROTOBUF_C_TYPE_SFIXED32: return PROTOBUF_C_WIRE_TYPE_32BIT;
        case PROTOBUF_C_TYPE_DOUBLE:
        case PROTOBUF_C_TYPE_FIXED64:
        case PROTOBUF_C_TYPE_SFIXED64: return PROTOBUF_C_WIRE_TYPE_64BIT;
        case PROTOBUF_C_TYPE_STRING:
        case PROTOBUF_C_TYPE_BYTES:
        case PROTOBUF_C_TYPE_MESSAGE: return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
        default: return PROTOBUF_C_WIRE_TYPE_VARINT;
        }
}

static int scan_string(const struct scan *scan, const char *name, const struct wire_field *field) {
        size_t valid = utf8_valid_prefix((const char *)field->value, field->bytes);
        if (valid != field->bytes)
                return refuse(scan, -EBADMSG, name, field->value + valid, "invalid UTF-8");
        const uint8_t *nul = field->bytes > 0 ? memchr(field->value, 0, field->bytes) : NULL;
        return nul ? refuse(scan, -EBADMSG, name, nul, "NUL in a string") : 0;
}

static int scan_message(struct scan *scan, const ProtobufCMessageDescriptor *descriptor,
                        const uint8_t *at, const uint8_t *end) {
        while (at < end) {
                struct wire_field field;
                const uint8_t *key = at;
                const char *wrong = read_field(&at, end, &field);
                if (wrong)
                        return refuse(scan, -EBADMSG, NULL, key, wrong);
                if (++scan->n_fields > MESSAGE_FIELDS_MAX)
                        return refuse(scan, -E2BIG, NULL, key, "too many fields");
                const ProtobufCFieldDescriptor *known =
                        protobuf_c_message_descriptor_get_field(descriptor, field.tag);
                if (!known)
                        continue;
                unsigned expected = wire_type_of(known);
                bool packed = known->label == PROTOBUF_C_LABEL_REPEATED &&
                        field.wire_type == PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
                if (field.wire_type != expected && !packed)
                        return refuse(scan, -EBADMSG, known->name, key, "wrong wire type");
                int r = 0;
                if (known->type == PROTOBUF_C_TYPE_STRING)
                        r = scan_string(scan, known->name, &field);
                if (known->type == PROTOBUF_C_TYPE_MESSAGE) {
                        if (scan->depth + 1 >= MESSAGE_DEPTH_MAX)
                                return refuse(scan, -E2BIG, known->name, key, "nested too deep");
                        scan->path[++scan->depth] = known->name;
                        r = scan_message(scan, known->descriptor, field.value,
                                         field.value + field.bytes);
                        scan->depth--;
                }
                if (r < 0)
                        return r;
        }
        return 0;
}

struct arena_source {
        struct arena *arena;
        bool exhausted;
};

static void *source_alloc(void *data, size_t bytes) {
        struct arena_source *source = data;
        void *p = arena_alloc(source->arena, bytes);
        if (!p)
                source->exhausted = true;
        return p;
}

static void source_free(void *data, void *p) {
        (void)data;
        (void)p; /* all at once, with the arena */
}

static int arena_prepare(struct arena *arena, size_t capacity) {
        if (arena->base && arena->capacity >= capacity) {
                arena_reset(arena);
                return 0;
        }
        arena_deinit(arena);
        return arena_init(arena, capacity);
}

int message_unpack(unsigned record_type, const void *payload, size_t bytes, struct arena *arena,
                   const ProtobufCMessage **ret_message, struct error *err) {
        struct record_facts facts = facts_of(record_type);
        if (!facts.descriptor)
                return error_set(err, -ENOTSUP, "record type %u is not known", record_type);
        const char *name = facts.descriptor->short_name;
        if (bytes > facts.bytes_max)
                return error_set(err, -EMSGSIZE, "%s: %zu bytes, at most %u are allowed", name,
                                 bytes, facts.bytes_max);

        struct scan scan = { .base = payload, .path = { name }, .err = err };
        int r = scan_message(&scan, facts.descriptor, payload, (const uint8_t *)payload + bytes);
        if (r < 0)
                return r;

        r = arena_prepare(arena, MESSAGE_ARENA_BYTES(bytes));
        if (r < 0)
                return error_set(err, r, "%s: no memory for %zu bytes", name,
                                 MESSAGE_ARENA_BYTES(bytes));
        struct arena_source source = { .arena = arena };
        ProtobufCAllocator allocator = { source_alloc, source_free, &source };
        ProtobufCMessage *message =
                protobuf_c_message_unpack(facts.descriptor, &allocator, bytes, payload);
        if (!message && source.exhausted)
                return error_set(err, -E2BIG, "%s: would take more than %zu bytes of memory", name,
                                 MESSAGE_ARENA_BYTES(bytes));
        if (!message)
                return error_set(err, -EBADMSG, "%s: malformed", name);
        *ret_message = message;
        return 0;
}

int message_check_utf8(const char *field, const void *text, size_t bytes, struct error *err) {
        size_t valid = bytes > 0 ? utf8_valid_prefix(text, bytes) : 0;
        if (valid == bytes)
                return 0;
        return error_set(err, -EBADMSG, "%s: invalid UTF-8 at byte %zu", field, valid);
}

size_t message_packed_bytes(const ProtobufCMessage *message) {
        return protobuf_c_message_get_packed_size(message);
}

int64_t message_pack(const ProtobufCMessage *message, void *buffer, size_t capacity) {
        size_t bytes = message_packed_bytes(message);
        if (bytes > capacity)
                return -ENOSPC;
        return (int64_t)protobuf_c_message_pack(message, buffer);
}
